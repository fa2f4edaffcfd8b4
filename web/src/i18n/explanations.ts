// What the panel says of effects, edges and heads.
import type { Language } from "../state/language";

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

const en: ExplanationText = {
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

const ru: ExplanationText = {
  without: "Без него выход теряет",
  output: "Выход",
  graph: ["по эффектам графа", "Сколько теряет центрированный логит без этого узла, по всем путям эффектов графа"],
  live: ["в самой модели", "То же по производной самой модели: один обратный проход"],
  errors: ["через ошибки словаря", "Число модели минус число графа: то, что проходит через упущенное словарём"],
  notLive: "В самой модели эффект есть только у признаков, пишущих в свой слой.",
  doubtful: (estimate) => `Графу здесь верить нельзя: первая и вторая производные модели вместе дают ${estimate}.`,
  large: "В таком большом графе эффекты ищутся не сразу.",
  findEffects: "Найти эффекты",
  findingEffects: "Ищем эффекты…",
  valueAndEffect: "значение · эффект",
  effectMeans: "Эффект: что будет потеряно без источника, когда паттерны и нормы следуют за ним",
  asking: "Спрашиваем модель…",

  edge: "Ребро",
  value: ["Значение", "Из чего состоит цель: паттерны и масштабы норм как были"],
  effect: ["Эффект", "Что цель теряет без источника: паттерны и масштабы норм следуют за ним"],
  heads: "Головы, несущие значение",
  headsNote: "почему — по щелчку",
  noHeads: "Ни одна голова его не несёт: оно остаётся в потоке.",
  stream: "Мимо голов, по потоку",
  streamNote: "остаток",
  layer: "Слой",
  streamRow: "поток",
  steps: "От значения к эффекту",
  stepsNote: "что добавляет шаг",
  openEdge: "Головы и шаги этого ребра",
  closeEdge: "Закрыть ребро",

  head: "Голова",
  headName: (layer, head) => `Слой ${layer}, голова ${head}`,
  headNumber: "Голова",
  from: "Смотрит с",
  to: "На",
  most: "куда смотрит больше всего",
  pattern: "На что она смотрит",
  patternFrom: (token) => `с ${token}`,
  why: (token) => `Почему на ${token}`,
  contrast: (score, others, share) =>
    `Туда идёт ${share} её внимания: оценка ${score}${others === 0 ? ", и сравнить её не с чем: других ключей нет" : ` против средней по другим ключам (их ${others})`}.`,
  querySide: "Со стороны запроса",
  keySide: "Со стороны ключей",
  offsets: { bias: "смещения", position: "позиция", sink: "сток", left_out: "опущенные признаки" },
  rest: "слабые источники",
  sum: "сумма",
  loses: "Без него оценка теряет",
  predictedAndMeasured: "прогноз · замер",
  measure: "Измерить в модели",
  measuring: "Измеряем…",
  nothingBefore: "Перед этой головой нет признаков.",
  nothingSpeaks: "С этой стороны за неё ничто не говорит.",
  anyHead: "Спросить голову",
  closeHead: "Закрыть голову",
  needsServer: "Рёбра и головы объясняются там, где работает clew serve с набором, которым граф получен.",
  chooseEdge: "Сначала выберите узел; затем x откроет его сильнейшее ребро или то, что ведёт к узлу под стрелками.",
};

export const EXPLANATIONS: Record<Language, ExplanationText> = { en, ru };
