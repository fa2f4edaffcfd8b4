// Edges and heads: their addresses, the link under the pointer, the order of a pattern, what the server is asked.
import { afterEach, describe, expect, it, vi } from "vitest";
import { nearestLink, distanceToLink } from "../src/draw/nearest_link";
import { en } from "../src/i18n/explanations";
import { ru } from "../src/i18n/explanations_ru";
import { byAttention, largest, positionOf, readEdge, readHead, writeEdge, writeHead } from "../src/model/explanations";
import { readGraph } from "../src/model/graph";
import type { Link, Mark } from "../src/model/scene";
import {
  edgeDetail,
  effectsAsked,
  explainable,
  followExplanations,
  look,
  measureLook,
  openAnyHead,
  openEdge,
  openHead,
  pattern,
} from "../src/state/explanations";
import { parse, write } from "../src/state/route";
import { choose, chosen, edge, graph, graphId, head } from "../src/state/trace";
import { view } from "./fixtures";

describe("addresses", () => {
  it("bring back every edge and head", () => {
    for (const key of [
      { source: "L2/33@4", target: "O0@5" },
      { source: "T@0", target: "L0/1@0" },
      { source: "E3@12", target: "L5/9@12" },
    ])
      expect(readEdge(writeEdge(key))).toEqual(key);
    for (const key of [
      { layer: 4, head: 0, query: 15, key: 7 },
      { layer: 0, head: 31, query: 0, key: null },
    ])
      expect(readHead(writeHead(key))).toEqual(key);
    expect([writeEdge(null), writeHead(null)]).toEqual(["", ""]);
  });

  it("are read as nothing where they are no edge and no head", () => {
    for (const text of [undefined, "", "T@4", "T@4~", "T@4~O0@5~T@3", "<b>~O0@5", "~"])
      expect(readEdge(text)).toBeNull();
    for (const text of [undefined, "", "4", "4.0", "4.0.x", "-1.0.3", "4.0.3.2.1", "4.0.3.-1"])
      expect(readHead(text)).toBeNull();
  });

  it("stay readable in the address bar", () => {
    const query = { link: "L2/33@4~O0@5", head: "4.0.15.7" };
    const address = write({ view: "trace", id: "g", query });
    expect(address).toBe("#/trace/g?link=L2/33@4~O0@5&head=4.0.15.7");
    expect(parse(address).query).toEqual(query);
  });
});

function mark(key: string, x: number, y: number): Mark {
  return { key, x, y, r: 0, half: 0, kind: "feature", links: [] } as unknown as Mark;
}

function link(from: Mark, to: Mark, share: number): Link {
  return { from, to, weight: share, share, rank: 1 };
}

describe("the link under the pointer", () => {
  const [low, high, side] = [mark("low", 100, 400), mark("high", 300, 100), mark("side", 100, 100)];
  const [slanted, upright] = [link(low, high, 0.2), link(low, side, 0.1)];

  it("is on the curve that is drawn: it begins and ends at the marks and is half way in the middle", () => {
    for (const [x, y] of [
      [100, 400],
      [200, 250],
      [300, 100],
    ])
      expect(distanceToLink(slanted, x!, y!)).toBeLessThan(0.5);
    expect(distanceToLink(slanted, 150, 175)).toBeGreaterThan(20); // the straight line's place is not the curve's
    expect(distanceToLink(upright, 110, 250)).toBeCloseTo(10);
  });

  it("is the nearest within reach, and none beyond it", () => {
    expect(nearestLink([slanted, upright], 101, 200, 4)).toBe(upright);
    expect(nearestLink([slanted, upright], 200, 251, 4)).toBe(slanted);
    expect(nearestLink([slanted, upright], 160, 390, 4)).toBeNull();
    expect(nearestLink([], 100, 400, 4)).toBeNull();
  });

  it("is the widest of those that lie together", () => {
    const wide = link(low, side, -0.9);
    expect(nearestLink([upright, wide], 102, 200, 4)).toBe(wide);
    expect(nearestLink([wide, upright], 102, 200, 4)).toBe(wide);
  });
});

describe("a pattern", () => {
  it("is listed by attention as far as the query sees", () => {
    expect(byAttention([0.1, 0.6, 0.1, 0.2, 0], 3)).toEqual([1, 3, 0, 2]);
    expect(byAttention([1, 0, 0], 0)).toEqual([0]);
  });

  it("has bars by the largest size, also where there is none", () => {
    expect(largest(0.5, -2, 1)).toBe(2);
    expect(largest()).toBeGreaterThan(0);
    expect(positionOf("L3/1207@14")).toBe(14);
  });
});

describe("what is open", () => {
  const asked: string[] = [];
  const answer = vi.fn((address: string) => {
    asked.push(address);
    const body = address.includes("/look")
      ? { key: 0, ablations: [{ measured: address.includes("measure=true") ? 1 : null }] }
      : {};
    return Promise.resolve(new Response(JSON.stringify(body)));
  });
  const settled = () => new Promise((done) => setTimeout(done));

  afterEach(() => {
    choose(null);
    graph.value = null;
    asked.length = 0;
    vi.unstubAllGlobals();
  });

  it("is asked for once each, and closed by choosing something else", async () => {
    vi.stubGlobal("fetch", answer);
    followExplanations();
    [graphId.value, graph.value] = ["g", readGraph(view())];
    openEdge({ source: "T@0", target: "L0/1@0" });
    openHead({ layer: 1, head: 0, query: 1, key: null });
    await settled();
    expect(chosen.value).toEqual(["L0/1@0"]); // its panel is behind the edge's
    expect(edgeDetail.value?.view).toEqual({});
    expect([pattern.value?.view, look.value?.problem]).toEqual([{}, ""]);
    openHead({ layer: 1, head: 0, query: 1, key: 0 });
    await settled();
    expect(asked.filter((each) => each.includes("/edge?"))).toEqual([
      "/api/graphs/g/edge?source=T%400&target=L0%2F1%400",
    ]);
    expect(asked.filter((each) => each.includes("/pattern?"))).toEqual([
      "/api/graphs/g/pattern?layer=1&head=0&query=1",
    ]);
    expect(asked.filter((each) => each.includes("/look?"))).toEqual([
      "/api/graphs/g/look?layer=1&head=0&query=1&measure=false",
      "/api/graphs/g/look?layer=1&head=0&query=1&key=0&measure=false",
    ]);
    await measureLook();
    expect(look.value?.view?.ablations[0]?.measured).toBe(1);
    choose("O0@1");
    expect([edge.value, head.value, edgeDetail.value, look.value]).toEqual([null, null, null, null]);
  });

  it("is a line where the server refuses", async () => {
    const refuse = () => Promise.resolve(new Response('{"error": "there is no layer 9"}', { status: 400 }));
    vi.stubGlobal("fetch", vi.fn(refuse));
    [graphId.value, graph.value] = ["g", readGraph(view())];
    openHead({ layer: 9, head: 0, query: 1, key: null });
    await settled();
    expect([pattern.value?.problem, look.value?.problem]).toEqual(["there is no layer 9", "there is no layer 9"]);
  });

  it("is nothing for a graph of another kit, and waits to be asked for in a large one", () => {
    vi.stubGlobal("fetch", answer);
    graph.value = readGraph({ ...view(), of_kit: false });
    openEdge({ source: "T@0", target: "L0/1@0" });
    expect([explainable.value, asked]).toEqual([false, []]);
    const large = view();
    graph.value = readGraph({ ...large, counts: { ...large.counts, whole: { nodes: 90_000, edges: 1 } } });
    expect([explainable.value, effectsAsked.value]).toEqual([true, false]);
  });

  it("is a head at the chosen node, else at the last token", () => {
    vi.stubGlobal("fetch", answer);
    graph.value = readGraph(view());
    openAnyHead();
    expect(head.value).toEqual({ layer: 0, head: 0, query: 1, key: null });
    choose("L0/1@0");
    openAnyHead();
    expect(head.value).toEqual({ layer: 0, head: 0, query: 0, key: null });
  });
});

describe("words", () => {
  it("are there in both languages, and no number is lost in a sentence", () => {
    for (const words of [en, ru]) {
      expect(words.contrast("+1.50", 4, "30 %")).toMatch(/30 %.*\+1\.50.*4/);
      expect(words.contrast("+0.03", 0, "27 %")).not.toMatch(/ 0 /);
      expect(words.headName(3, 7)).toMatch(/3.*7/);
      expect(Object.keys(words.offsets)).toEqual(view().offset_names);
    }
  });
});
