// The graph and its scene: lookups, sums over groups, filters that keep pinned nodes, layout.
import { describe, expect, it } from "vitest";
import { EMPTY, group, togglePin } from "../src/model/arrangement";
import { groupByMark, labelGroupsOf, letterPlace } from "../src/model/label_groups";
import { Grid, neighbour } from "../src/model/grid";
import { featureOf, readGraph, search, withNodes } from "../src/model/graph";
import { layOut, influenceByToken, quietRuns } from "../src/model/layout";
import { highlight, linkSigns } from "../src/model/highlight";
import { makeScene } from "../src/model/scene";
import { view } from "./fixtures";

const ALL = { errors: true, pinnedOnly: false, node: 1, edge: 1 };
const name = (node: { label?: string | null; id: string }) => ({
  text: node.label || node.id,
  named: Boolean(node.label),
});
const measure = (text: string) => 8 * text.length;
const room = {
  width: 600,
  height: 400,
  zoom: 1,
  labels: true,
  folds: [],
  measure,
  moved: {},
  token: () => "tok",
  strongest: 0.5,
};

describe("the graph", () => {
  const graph = readGraph(view());

  it("sorts a node's edges by absolute weight and states each as a share of the target's whole input", () => {
    const target = graph.byId.get("L1/3@1")!;
    expect(target.inputs.map((edge) => edge.weight)).toEqual([3, -1]);
    expect(target.inputs.map((edge) => edge.share)).toEqual([0.75, -0.25]);
  });

  it("finds nodes by every word of label, token, layer or id", () => {
    const idsMatching = (query: string) => search(graph, query, (node) => node.label ?? "").map((node) => node.id);
    expect(idsMatching("alpha")).toEqual(["L0/1@0"]);
    expect(idsMatching("layer 1 feature")).toEqual(["L1/3@1"]);
    expect(idsMatching("L0/2")).toEqual(["L0/2@1"]);
    expect(idsMatching("  ")).toEqual([]);
  });

  it("knows a feature's id from its node's, and no other node's", () => {
    expect(["L3/1207@4", "E2@4", "T@4", "O0@4"].map(featureOf)).toEqual(["L3/1207", null, null, null]);
  });
});

describe("what the thresholds cut", () => {
  it("comes back with its edges to what is shown, once, and with their shares", () => {
    const link = { label: "", label_kind: "" as const, influence: 0, shown: true };
    const node = {
      id: "L0/9@0",
      kind: "feature" as const,
      position: 0,
      layer: 0,
      influence: 0.01,
      held: 0.99,
      error: 0,
      lost: 0,
      offsets: [0, 0, 0, 0],
      mass: 4,
    };
    const detail = {
      node,
      shown: false,
      n_inputs: 1,
      n_outputs: 2,
      paths: [],
      left_out: [],
      inputs: [{ ...link, id: "T@0", weight: 4, share: 1 }],
      outputs: [
        { ...link, id: "L1/3@1", weight: -1, share: -0.25 },
        { ...link, id: "L7/7@1", weight: 9, share: 1 },
      ],
    };
    const graph = readGraph(withNodes(view(), [detail, detail]));
    const pinned = graph.byId.get("L0/9@0")!;
    expect(graph.nodes).toHaveLength(9);
    expect(pinned.inputs.map((edge) => [edge.from.id, edge.weight])).toEqual([["T@0", 4]]);
    expect(pinned.outputs.map((edge) => [edge.to.id, edge.share])).toEqual([["L1/3@1", -0.25]]);
    expect(graph.edges).toHaveLength(8);
    expect(withNodes(view(), [{ ...detail, node: { ...node, id: "T@0" } }])).toEqual(view());
  });
});

describe("the scene", () => {
  const graph = readGraph(view());

  it("draws a group as one mark whose links are the sums of its members' edges", () => {
    const arranged = group(EMPTY, ["L0/1@0", "L0/2@1"], "both");
    const scene = makeScene(graph, arranged, ALL, name);
    const [mark, target] = [scene.byKey.get("g1")!, scene.byKey.get("L1/3@1")!];
    const link = scene.links.find((each) => each.from === mark && each.to === target)!;
    const edges = mark.members.flatMap((node) => node.outputs.filter((edge) => target.members.includes(edge.to)));
    expect(link.weight).toBe(edges.reduce((sum, edge) => sum + edge.weight, 0));
    expect(link.weight).toBe(2);
    expect(link.share).toBe(0.5);
    expect(mark.influence).toBeCloseTo(0.8);
    expect(mark.position).toBe(0);
  });

  it("leaves out what the threshold cuts and errors when asked, but never what is pinned", () => {
    const keys = (arranged = EMPTY, filters = {}) => [
      ...makeScene(graph, arranged, { ...ALL, ...filters }, name).byKey.keys(),
    ];
    expect(keys(EMPTY, { node: 0.8 })).not.toContain("L1/3@1");
    expect(keys(togglePin(EMPTY, "L1/3@1"), { node: 0.8 })).toContain("L1/3@1");
    expect(keys(EMPTY, { errors: false })).not.toContain("E1@1");
    expect(keys(togglePin(EMPTY, "L0/1@0"), { pinnedOnly: true })).toEqual(["L0/1@0", "T@0", "T@1", "O0@1", "O1@1"]);
  });

  it("lights a mark's links with both signs, a path's own links, and nothing else", () => {
    const scene = makeScene(graph, EMPTY, ALL, name);
    const highlighted = highlight(scene, { hovered: "L1/3@1", chosen: [], path: null, matches: null });
    expect([...highlighted.marks].map(([mark, sign]) => [mark.key, sign])).toEqual([
      ["L0/1@0", 1],
      ["L0/2@1", -1],
      ["O0@1", 1],
      ["L1/3@1", 0],
    ]);
    const path = highlight(scene, { hovered: null, chosen: [], path: view().paths[0]!.nodes, matches: null });
    expect(path.links.map((link) => `${link.from.key}>${link.to.key}`)).toEqual([
      "T@0>L0/1@0",
      "L0/1@0>L1/3@1",
      "L1/3@1>O0@1",
    ]);
    expect(highlight(scene, { hovered: null, chosen: [], path: null, matches: null }).marks.size).toBe(0);
  });

  it("colours by the sign towards the likeliest output when nothing is chosen", () => {
    const scene = makeScene(graph, EMPTY, ALL, name);
    const signs = linkSigns(scene, null);
    expect(signs.get(scene.byKey.get("L1/3@1")!)).toBe(1);
    expect(signs.get(scene.byKey.get("E1@1")!)).toBe(-1);
    expect(signs.get(scene.byKey.get("L0/1@0")!)).toBeUndefined();
  });
});

describe("label groups", () => {
  const graph = readGraph(view());
  const same = (node: { label?: string | null; id: string }) => ({
    text: node.id === "L1/3@1" ? "Alpha " : node.label || node.id,
    named: true,
  });

  it("are what was grouped and equal labels, each with a hue and a letter; all else has none", () => {
    const arranged = group(EMPTY, ["L0/2@1", "E1@1"], "by hand");
    const groups = labelGroupsOf(makeScene(graph, arranged, ALL, same));
    expect(groups.map((each) => [each.letter, each.hue, each.name, each.marks.map((mark) => mark.key)])).toEqual([
      ["A", 0, "by hand", ["g1"]],
      ["B", 1, "alpha", ["L0/1@0", "L1/3@1"]],
    ]);
    expect(groupByMark(groups).size).toBe(3);
    expect(labelGroupsOf(makeScene(graph, EMPTY, ALL, name))).toEqual([]);
  });

  it("have their letter inside a large mark, beside a small or a pinned one", () => {
    const mark = makeScene(graph, EMPTY, ALL, name).byKey.get("L0/1@0")!;
    expect(letterPlace({ ...mark, x: 50, y: 9, r: 9 })).toEqual({ x: 50, y: 9, inside: true });
    expect(letterPlace({ ...mark, x: 50, y: 9, r: 4 })).toEqual({ x: 62, y: 9, inside: false });
    expect(letterPlace({ ...mark, x: 50, y: 9, r: 9, pinned: true }).inside).toBe(false);
  });
});

describe("the layout", () => {
  const graph = readGraph(view());

  it("stands tokens below layers below outputs, each in its token's column, inside the plot", () => {
    const scene = makeScene(graph, EMPTY, ALL, name);
    const layout = layOut(scene, 2, 2, room);
    const y = (key: string) => scene.byKey.get(key)!.y;
    expect(y("T@0")).toBeGreaterThan(y("L0/1@0"));
    expect(y("L0/2@1")).toBeGreaterThan(y("L1/3@1"));
    expect(y("L1/3@1")).toBeGreaterThan(y("O0@1"));
    for (const mark of scene.marks) {
      expect(mark.x).toBeGreaterThanOrEqual(0);
      expect(mark.x).toBeLessThanOrEqual(layout.width);
      if (mark.kind === "target") continue;
      const column = layout.columns[mark.position]!;
      expect(mark.x).toBeGreaterThanOrEqual(column.left);
      expect(mark.x).toBeLessThanOrEqual(column.left + column.width);
    }
  });

  it("makes the more influential mark the larger one", () => {
    const scene = makeScene(graph, EMPTY, ALL, name);
    layOut(scene, 2, 2, room);
    expect(scene.byKey.get("L0/1@0")!.r).toBeGreaterThan(scene.byKey.get("L0/2@1")!.r);
  });

  it("moves a mark by exactly what a person dragged", () => {
    const scene = makeScene(graph, EMPTY, ALL, name);
    layOut(scene, 2, 2, room);
    const xBefore = scene.byKey.get("L0/1@0")!.x;
    layOut(scene, 2, 2, { ...room, moved: { "L0/1@0": [30, -10] } });
    expect(scene.byKey.get("L0/1@0")!.x).toBe(xBefore + 30);
    const grouped = makeScene(graph, group(EMPTY, ["L0/1@0", "L1/3@1"], "both"), ALL, name);
    layOut(grouped, 2, 2, room);
    const groupX = grouped.byKey.get("g1")!.x;
    layOut(grouped, 2, 2, { ...room, moved: { "L0/1@0": [-20, 0] } });
    expect(grouped.byKey.get("g1")!.x).toBe(groupX - 20);
  });

  it("counts a token as loud by what stands above it, and always where an output does", () => {
    const [first, last] = influenceByToken(makeScene(graph, EMPTY, ALL, name), 2);
    expect(first).toBeCloseTo(0.9);
    expect(last).toBeCloseTo(2.8);
  });

  it("folds only runs of quiet tokens, and only in long prompts", () => {
    expect(quietRuns(Array<number>(30).fill(0))).toEqual([]);
    const loud = Array.from({ length: 100 }, (_, i) => (i < 10 || i === 50 ? 1 : 0));
    const runs = quietRuns(loud);
    expect(runs.length).toBeGreaterThan(0);
    for (const [from, to] of runs) expect(loud.slice(from, to + 1).every((value) => value === 0)).toBe(true);
    const layout = layOut(makeScene(graph, EMPTY, ALL, name), 100, 2, { ...room, folds: runs });
    expect(layout.columnOf).toHaveLength(100);
    expect(layout.columns.reduce((sum, column) => sum + column.to - column.from + 1, 0)).toBe(100);
  });
});

describe("the grid", () => {
  it("finds the nearest of many marks as asking all of them would", () => {
    const graph = readGraph(view());
    const scene = makeScene(graph, EMPTY, ALL, name);
    layOut(scene, 2, 2, room);
    const grid = new Grid(scene.marks);
    for (const mark of scene.marks) expect(grid.nearest(mark.x, mark.y)).toBe(mark);
    expect(grid.nearest(-500, -500)).toBeNull();
  });

  it("steps to the row above and to the side", () => {
    const graph = readGraph(view());
    const scene = makeScene(graph, EMPTY, ALL, name);
    layOut(scene, 2, 2, room);
    const markOf = (key: string) => scene.byKey.get(key)!;
    expect(neighbour(scene.marks, markOf("T@0"), "right")).toBe(markOf("T@1"));
    expect(neighbour(scene.marks, markOf("T@0"), "up")).toBe(markOf("L0/1@0"));
    expect(neighbour(scene.marks, markOf("O0@1"), "up")).toBeNull();
  });
});
