// Where values stand on axes.
import { describe, expect, it } from "vitest";
import { farFromDiagonal, markPlace, symmetricPlace, symmetricScale, symmetricTicks } from "../src/model/scale";

describe("axes", () => {
  it("put a mark in the bin that holds it", () => {
    expect(markPlace([1, 2, 4], 2, true)).toBe(0.5);
    expect(markPlace([1, 2, 4], Math.SQRT2, true)).toBeCloseTo(0.25);
    expect(markPlace([0, 1, 2], 1.5, false)).toBe(0.75);
    expect([markPlace([1, 2], 0, false), markPlace([1, 2], 9, false)]).toEqual([0, 1]);
  });

  it("are never moved to the border, however far one effect is from the others", () => {
    const scale = symmetricScale([...Array.from({ length: 99 }, () => 0.05), -7.3, 2.2]);
    expect(scale).toEqual({ linear: 0.01, max: 7.3 });
    const places = [-7.3, 7.3, 0, 2.2].map((value) => symmetricPlace(scale, value));
    expect(places.slice(0, 3)).toEqual([0, 1, 0.5]);
    expect(places[3]).toBeLessThan(0.95);
    // 3.3 times too large is as far from the diagonal at every size
    const step = (size: number) => symmetricPlace(scale, 3.3 * size) - symmetricPlace(scale, size);
    expect(step(0.1)).toBeCloseTo(step(2.2));
  });

  it("are linear near zero and have one scale on both sides", () => {
    const scale = { linear: 0.1, max: 10 };
    expect(symmetricPlace(scale, 0.05) - 0.5).toBeCloseTo((symmetricPlace(scale, 0.1) - 0.5) / 2);
    expect(symmetricPlace(scale, -3)).toBeCloseTo(1 - symmetricPlace(scale, 3));
    expect(symmetricTicks(scale)).toEqual([-10, -1, -0.1, 0, 0.1, 1, 10]);
  });

  it("survive points that are all zero or all equal", () => {
    expect(symmetricPlace(symmetricScale([0, 0]), 0)).toBe(0.5);
    expect(symmetricPlace(symmetricScale([]), 0)).toBe(0.5);
    expect(symmetricPlace(symmetricScale([3, 3]), 3)).toBe(1);
  });

  it("far from the diagonal are counted: too large, too small, or of the wrong sign", () => {
    const [predicted, measured] = [
      [3.3, 1.9, 0.4, -1, 0.001, 0.5, 0],
      [1, 1, 1, 1, 0.004, 0.5, 2],
    ];
    expect(farFromDiagonal(predicted, measured, 0.01)).toEqual({ large: 6, far: 4 });
  });
});
