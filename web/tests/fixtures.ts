// A small graph made by hand: two tokens, three features, an error, two outputs; every number can be checked by eye.
import type { GraphView, NodeRecord } from "../src/types";

function node(
  id: string,
  kind: NodeRecord["kind"],
  position: number,
  influence: number,
  cumulative: number,
  more: Partial<NodeRecord> = {},
): NodeRecord {
  return { id, kind, position, influence, held: cumulative, error: 0, lost: 0, offsets: [0, 0, 0, 0], ...more };
}

export function view(): GraphView {
  return {
    id: "g",
    prompt: "a b",
    tokens: ["a", " b"],
    token_ids: [1, 2],
    n_layers: 2,
    targets: [],
    position: 1,
    first_position: 0,
    first_reason: "",
    subject: "s",
    dictionary: "d",
    dictionary_kind: "plt",
    of_kit: true,
    add_bos: true,
    thresholds: { node: 0.8, edge: 0.98 },
    scores: { whole: { replacement: 1, completeness: 1 }, shown: { replacement: 1, completeness: 1 } },
    shares: { error: 0, offset: 0 },
    counts: { shown: { nodes: 8, edges: 6 }, whole: { nodes: 8, edges: 6 } },
    offset_names: ["bias", "position", "sink", "left_out"],
    next_tokens: [],
    nodes: [
      node("L0/1@0", "feature", 0, 0.5, 0.5, {
        layer: 0,
        feature: "L0/1",
        label: "alpha",
        label_kind: "person",
        mass: 2,
      }),
      node("L0/2@1", "feature", 1, 0.3, 0.8, { layer: 0, feature: "L0/2", label: "beta", label_kind: "", mass: 1 }),
      node("L1/3@1", "feature", 1, 0.2, 0.9, { layer: 1, feature: "L1/3", label: "", label_kind: "", mass: 4 }),
      node("E1@1", "error", 1, 0.1, 1, { layer: 1 }),
      node("T@0", "token", 0, 0.4, 0, { token_id: 1 }),
      node("T@1", "token", 1, 0.2, 0, { token_id: 2 }),
      node("O0@1", "target", 1, 0, 1, { label: " x", weight: 0.9, probability: 0.9, mass: 8 }),
      node("O1@1", "target", 1, 0, 1, { label: " y", weight: 0.1, probability: 0.1, mass: 5 }),
    ],
    edges: {
      source: [0, 1, 2, 4, 3, 1],
      target: [2, 2, 6, 0, 6, 7],
      weight: [3, -1, 4, 2, -2, 0.5],
      held: [0.4, 0.6, 0.8, 0.9, 0.95, 1],
    },
    paths: [{ nodes: ["T@0", "L0/1@0", "L1/3@1", "O0@1"], weight: 0.2 }],
    roles: { inputs: ["L0/1@0"], outputs: ["L1/3@1"] },
  };
}
