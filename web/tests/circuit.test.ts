// The figure of a circuit: what is drawn, where it stands, how the keys move in it, and how files are named.
import { describe, expect, it } from "vitest";
import { ANSWER, NARROW, drawnEdges, groupTowards, layOutCircuit, wrapped } from "../src/model/circuit_layout";
import { circuitCsv, csv } from "../src/model/csv_file";
import { fileName } from "../src/model/figure_file";
import type { CircuitEdge, CircuitGroup, CircuitView } from "../src/types";

const group = (id: string, role: CircuitGroup["role"], share: number): CircuitGroup => ({
  id,
  name: { en: `group ${id}`, ru: `группа ${id}` },
  called: "",
  role,
  place: "is",
  position: 5,
  members: [],
  share,
  without: 0.5,
  alone: 0.1,
  necessity: 0.4,
  sufficiency: 0.1,
  random: { mean: 0.9, each: [0.9], size: 1 },
  pinned: false,
  told: true,
});
const edge = (source: string, target: string, measured: number): CircuitEdge => ({
  source,
  target,
  measured,
  value: 0.1,
  effect: null,
  heads: [],
});

const view: CircuitView = {
  kind: "circuit",
  graph: "g",
  saved: null,
  name: "",
  prompt: "The capital of France is",
  sentence: { en: "", ru: "" },
  matters: true,
  answer: "Paris",
  probability: 0.99,
  without: 0.01,
  alone: 0.98,
  nothing: 0.001,
  random: { mean: 0.9, each: [0.9], size: 1 },
  coverage: 0.8,
  chain_without: 0.03,
  groups: [
    group("G1", "gathers", 0.5),
    group("G2", "output", 0.2),
    group("G3", "reads", 0.1),
    group("G4", "gathers", 0.05),
    group("G5", "rest", 0.02),
  ],
  words: [{ id: "T@4", text: "France", position: 4 }],
  edges: [
    edge("T@4", "G1", 0.9),
    edge("G1", "G2", 0.8),
    edge("G1", ANSWER, 0.7),
    edge("G4", "G2", -0.3),
    edge("G3", "G2", 0.2),
    edge("T@4", "G2", 0.15),
    edge("G5", "G2", 0.05),
    edge("G3", "G5", 0.9),
  ],
  n_features: 100,
  changes: [],
};
const measure = (text: string) => 7 * text.length;
const laidOut = (width: number) => layOutCircuit(view, width, (each) => each.name.en, measure);
const byId = (width: number) => new Map(laidOut(width).boxes.map((box) => [box.id, box]));

describe("the figure of a circuit", () => {
  it("draws the strongest lines into every group and the answer, and none that hardly matters", () => {
    expect(drawnEdges(view).map(({ source, target }) => `${source} ${target}`)).toEqual([
      "T@4 G1",
      "G1 G2",
      "G4 G2",
      "G3 G2",
      `G1 ${ANSWER}`,
    ]);
  });

  it("puts stages from left to right, and below one another where there is no room", () => {
    const wide = byId(1100);
    const x = (id: string) => wide.get(id)!.x;
    expect(x("T@4")).toBeLessThan(x("G1"));
    expect(x("G3")).toBeLessThan(x("G1"));
    expect(x("G1")).toBe(x("G4"));
    expect(x("G1")).toBeLessThan(x("G2"));
    expect(x("G2")).toBeLessThan(x(ANSWER));
    const narrow = laidOut(NARROW - 1);
    expect(narrow.narrow).toBe(true);
    expect(new Set(narrow.boxes.map((box) => box.x)).size).toBe(1);
    const order = narrow.boxes.map((box) => box.id);
    expect(order).toEqual(["T@4", "G3", "G5", "G1", "G4", "G2", ANSWER]);
    for (let i = 1; i < order.length; i++)
      expect(narrow.boxes[i]!.y).toBeGreaterThanOrEqual(narrow.boxes[i - 1]!.y + narrow.boxes[i - 1]!.height);
  });

  it("lets no two boxes overlap, keeps all within the figure, and a phone's width", () => {
    for (const width of [358, 720, 980, 1400]) {
      const { boxes, height, width: full } = laidOut(width);
      if (width === 358) expect(full).toBeLessThanOrEqual(358);
      boxes.forEach((box, i) => {
        expect(box.x).toBeGreaterThanOrEqual(0);
        expect(box.y).toBeGreaterThanOrEqual(0);
        expect(box.x + box.width).toBeLessThanOrEqual(full);
        expect(box.y + box.height).toBeLessThanOrEqual(height);
        for (const other of boxes.slice(i + 1))
          expect(
            box.x + box.width <= other.x ||
              other.x + other.width <= box.x ||
              box.y + box.height <= other.y ||
              other.y + other.height <= box.y,
          ).toBe(true);
      });
    }
  });

  it("leads a line that passes a column between its boxes, never through one", () => {
    const { boxes, lines } = laidOut(1100);
    const passing = lines.find((line) => line.edge.source === "G1" && line.edge.target === ANSWER)!;
    const [, y] = /L[\d.]+ ([\d.]+)/.exec(passing.path)!;
    const column = boxes.filter((box) => box.id === "G2");
    expect(column.some((box) => box.y < Number(y) && Number(y) < box.y + box.height)).toBe(false);
  });

  it("moves between groups by the arrow keys, and stays where nothing lies ahead", () => {
    const { boxes } = laidOut(1100);
    expect(groupTowards(boxes, "", "right")).toBe("G3");
    expect(groupTowards(boxes, "G1", "right")).toBe("G2");
    expect(groupTowards(boxes, "G1", "down")).toBe("G4");
    expect(groupTowards(boxes, "G2", "right")).toBeNull();
  });

  it("writes long names in at most three lines", () => {
    expect(wrapped("says Paris", 100, measure)).toEqual(["says Paris"]);
    expect(wrapped("a b c d e f g h", 20, measure)).toHaveLength(3);
    expect(wrapped("unbreakablelongword", 70, measure)).toEqual(["unbreakab…"]);
  });

  it("names files after the prompt, with no character that a disk refuses", () => {
    expect(fileName("The capital of France is", "svg")).toBe("capital-of-France-is.svg");
    expect(fileName('В "кавычках" / слово', "png")).toBe("В-кавычках-слово.png");
    expect(fileName("???", "svg")).toBe("circuit.svg");
  });

  it("writes what is seen as a table that no spreadsheet takes for formulas", () => {
    expect(
      csv([
        ["a", 1, null],
        ['say "x"', "=1+1", "-2"],
      ]),
    ).toBe(`a,1,\r\n"say ""x""",'=1+1,'-2\r\n`);
    const lines = circuitCsv(view, (each) => each.name.en).split("\r\n");
    expect(lines[1]).toBe("G1,group G1,gathers,is,0,0.5,0.5,0.1,0.9,0.4,0.1,");
    expect(lines).toContain("source,target,measured,value,heads"); // the graph has no effects
    expect(lines).toContain("group G1,Paris,0.7,0.1,");
    const known = { ...view, edges: view.edges.map((each) => ({ ...each, effect: 0.25 })) };
    expect(circuitCsv(known, (each) => each.name.en).split("\r\n")).toContain("group G1,Paris,0.7,0.1,0.25,");
  });
});
