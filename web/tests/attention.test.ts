// Attention as the server packs it: every weight comes back at its query and key, and what is read off it is right.
import { describe, expect, it } from "vitest";
import {
  attentionWeight,
  movedPair,
  nearestLine,
  queryWeights,
  strongLines,
  thumbnailOf,
  unpackPatterns,
} from "../src/model/attention";

/** Two heads on four tokens: the first looks at the token before, the second spreads evenly. */
const HEADS = [
  [[1], [1, 0], [0, 1, 0], [0, 0, 1, 0]],
  [[1], [0.5, 0.5], [1 / 3, 1 / 3, 1 / 3], [0.25, 0.25, 0.25, 0.25]],
];

function packed(heads: number[][][]): string {
  const weights = heads.flat(2).map((weight) => Math.round(65535 * weight));
  return btoa(weights.map((weight) => String.fromCharCode(weight & 255, weight >> 8)).join(""));
}

describe("attention of a layer", () => {
  const [previous, even] = unpackPatterns(packed(HEADS), 2, 4) as [Uint16Array, Uint16Array];

  it("comes back weight by weight, and is nothing behind the query", () => {
    for (const [pattern, head] of [[previous, HEADS[0]!] as const, [even, HEADS[1]!] as const])
      head.forEach((row, query) => {
        row.forEach((weight, key) => expect(attentionWeight(pattern, query, key)).toBeCloseTo(weight, 4));
        expect(queryWeights(pattern, query)).toHaveLength(query + 1);
      });
    expect(attentionWeight(previous, 1, 2)).toBe(0);
  });

  it("is refused where it is not of so many tokens", () => {
    expect(() => unpackPatterns(packed(HEADS), 2, 5)).toThrow("40 bytes for 2 heads of 5 tokens");
  });

  it("has the lines of a head, the weakest first, and the nearest to a point between the columns", () => {
    expect(strongLines(even, 4, 0.4).map(({ query, key }) => [query, key])).toEqual([
      [1, 0],
      [1, 1],
      [0, 0],
    ]);
    const lines = strongLines(previous, 4, 0.02);
    expect(nearestLine(lines, 0.5, 2.5)).toMatchObject({ query: 3, key: 2 });
    expect(nearestLine(lines, 1, 9)).toBeNull();
  });

  it("shows in a thumbnail the largest weight of each cell, none above the diagonal", () => {
    expect([...thumbnailOf(previous, 4, 2)]).toEqual([1, 0, 1, 1]);
    const last = [...thumbnailOf(even, 4, 2)].slice(2);
    [1 / 3, 1 / 3].forEach((weight, i) => expect(last[i]).toBeCloseTo(weight, 4));
  });

  it("is walked by arrows, and a key never lies behind its query", () => {
    expect(movedPair({ query: 3, key: 3 }, "ArrowUp", 4)).toEqual({ query: 2, key: 2 });
    expect(movedPair({ query: 2, key: 2 }, "ArrowRight", 4)).toEqual({ query: 2, key: 2 });
    expect(movedPair({ query: 2, key: 1 }, "End", 4)).toEqual({ query: 3, key: 1 });
    expect(movedPair({ query: 0, key: 0 }, "q", 4)).toBeNull();
  });
});
