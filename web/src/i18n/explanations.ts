// What the panel says of effects, edges and heads.
export interface ExplanationText {
  without: string;
  output: string;
  graph: readonly [name: string, meaning: string];
  live: readonly [name: string, meaning: string];
  errors: readonly [name: string, meaning: string];
  notLive: string;
  doubtful: (estimate: string) => string;
  large: string;
  findEffects: string;
  findingEffects: string;
  valueAndEffect: string;
  effectMeans: string;
  asking: string;

  edge: string;
  value: readonly [name: string, meaning: string];
  effect: readonly [name: string, meaning: string];
  heads: string;
  headsNote: string;
  noHeads: string;
  stream: string;
  streamNote: string;
  layer: string;
  streamRow: string;
  steps: string;
  stepsNote: string;
  openEdge: string;
  closeEdge: string;

  head: string;
  headName: (layer: number, head: number) => string;
  headNumber: string;
  from: string;
  to: string;
  most: string;
  pattern: string;
  patternFrom: (token: string) => string;
  why: (token: string) => string;
  contrast: (score: string, others: number, share: string) => string;
  querySide: string;
  keySide: string;
  offsets: Readonly<Record<string, string>>;
  rest: string;
  sum: string;
  loses: string;
  predictedAndMeasured: string;
  measure: string;
  measuring: string;
  nothingBefore: string;
  nothingSpeaks: string;
  anyHead: string;
  closeHead: string;
  needsServer: string;
  chooseEdge: string;
}

export const en: ExplanationText = {
  without: "Without it, the output loses",
  output: "Output",
  graph: [
    "by the graph's effects",
    "What its centred logit loses with this node, over all paths of the graph's effects",
  ],
  live: ["live, in the model", "The same by the model's own derivative: one reverse pass"],
  errors: ["through the dictionary's errors", "Live less the graph's: what passes through what the dictionary misses"],
  notLive: "A live effect is of a feature that writes to its own layer.",
  doubtful: (estimate) => `Not to be trusted: the model's first and second derivative together say ${estimate}.`,
  large: "Of a graph so large, effects take a while to find.",
  findEffects: "Find effects",
  findingEffects: "Finding effects…",
  valueAndEffect: "value · effect",
  effectMeans: "Effect: what it would lose with the source, patterns and norms following",
  asking: "Asking the model…",

  edge: "Edge",
  value: ["Value", "What the target is made of: patterns and norm scales as they were"],
  effect: ["Effect", "What the target loses with the source: patterns and norm scales follow"],
  heads: "Heads that carry its value",
  headsNote: "a click says why",
  noHeads: "No head carries any of it: it stays in the stream.",
  stream: "Past the heads, by the stream",
  streamNote: "the rest",
  layer: "Layer",
  streamRow: "stream",
  steps: "From value to effect",
  stepsNote: "what each step adds",
  openEdge: "Heads and steps of this edge",
  closeEdge: "Close the edge",

  head: "Head",
  headName: (layer, head) => `Layer ${layer}, head ${head}`,
  headNumber: "Head",
  from: "Looks from",
  to: "At",
  most: "where it looks most",
  pattern: "What it looks at",
  patternFrom: (token) => `from ${token}`,
  why: (token) => `Why at ${token}`,
  contrast: (score, others, share) =>
    `${share} of its attention goes there: its score is ${score}${others === 0 ? ", and there is no other key to compare it with" : others === 1 ? " against that of the other key" : ` against the mean of ${others} other keys`}.`,
  querySide: "At the query",
  keySide: "At the keys",
  offsets: { bias: "biases", position: "position", sink: "sink", left_out: "left-out features" },
  rest: "weaker sources",
  sum: "sum",
  loses: "The score loses without it",
  predictedAndMeasured: "predicted · measured",
  measure: "Measure in the model",
  measuring: "Measuring…",
  nothingBefore: "No feature stands in front of this head.",
  nothingSpeaks: "Nothing speaks for it on this side.",
  anyHead: "Ask a head",
  closeHead: "Close the head",
  needsServer: "Edges and heads are explained where clew serve runs with the kit that traced the graph.",
  chooseEdge: "Choose a node first; x then opens its strongest edge, or the one to the mark that the arrows point at.",
};
