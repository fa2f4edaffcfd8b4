// Two graphs as one: no circle stands on another, positions stay apart, and the table says what is absent.
import { describe, expect, it } from "vitest";
import { differenceCsv, layOutDifference } from "../src/model/difference";
import type { DifferenceNode, DifferenceView } from "../src/types";

const side = (influence: number) => ({
  nodes: ["L0/1@5"],
  text: "",
  position: 5,
  influence,
  activation: 1,
  effect: influence,
});

const feature = (i: number, column: number, layer: number): DifferenceNode => ({
  kind: "feature",
  feature: `L${layer}/${i}`,
  label: `feature ${i}`,
  label_kind: "heuristic",
  here: null,
  layer,
  column,
  status: i % 3 ? "kept" : "gone",
  change: 1,
  a: side(i / 30),
  b: i % 3 ? side(0.1) : null,
});

const word = (column: number): DifferenceNode => ({
  ...feature(1, column, 0),
  kind: "token",
  feature: null,
  layer: null,
});

const view = (column: (i: number) => number): DifferenceView => ({
  by: "position",
  kind: "values",
  columns: [],
  nodes: [...Array.from({ length: 24 }, (_, i) => feature(i, column(i), i % 3)), word(column(0)), word(column(1))],
  edges: [{ source: 0, target: 1, a: 2, b: null, influence_a: 0.1, influence_b: 0 }],
  n_features: 24,
});

describe("the drawing of two graphs as one", () => {
  it.each([320, 900])("keeps all circles apart and on the paper, %i pixels wide", (width) => {
    for (const column of [() => -1, (i: number) => 1 + (i % 2)]) {
      const layout = layOutDifference(view(column), width);
      expect(layout.width).toBeGreaterThanOrEqual(width);
      const places = layout.places.slice(0, 24);
      places.forEach((place, i) => {
        expect(place.x - place.radius).toBeGreaterThan(20);
        expect(place.x + place.radius).toBeLessThan(layout.width);
        expect(place.y + place.radius).toBeLessThan(layout.height);
        for (const other of places.slice(0, i))
          expect(Math.hypot(place.x - other.x, place.y - other.y)).toBeGreaterThan(place.radius + other.radius);
      });
    }
  });

  it("is saved as a table where what is absent is empty", () => {
    const lines = differenceCsv(
      view(() => -1),
      (node) => node.label,
    ).split("\r\n");
    expect(lines[0]).toContain("influence_a,influence_b");
    expect(lines[1]).toBe("L0/0,gone,feature 0,L0/1@5,,0,,1,,0,,1");
    expect(lines).toContain("feature 0,feature 1,2,,-2");
  });
});
