// Where a person is in the guide, and whether the step's task is done: read off what they did since the step began,
// never asked. Features are found by what they do in the graph at hand, since another dictionary has others.
import { computed, effect, signal, untracked } from "@preact/signals";
import { type Language, LANGUAGES, STEPS, type StepName } from "../i18n/guide";
import type { Node } from "../model/graph";
import type { EffectView } from "../types";
import { embedded, recall, remember } from "./app";
import { labelling, written } from "./cards";
import { addEdit, audit, edits, effect as changed, forget, ran, runAudit, runEdits, source } from "./edit";
import { trace } from "./prompting";
import { adjust, go, route } from "./route";
import { choose, chooseNodes, choosePath, errorsShown, graph, path, primaryNode, setThreshold, tab } from "./trace";

export const PROMPT = "The capital of France is";
const ANSWER = "Paris";
const AUDITED = 30; // features, so that it takes seconds
const TURNED = [-3, -6, -12]; // how strongly a feature is turned against itself, until the answer is another
const SEEN = 0.1; // a change of a probability that nobody overlooks

const first = typeof navigator !== "undefined" && navigator.language.startsWith("ru") ? "ru" : "en";
const kept = recall("clew.language");
export const language = signal<Language>(kept in LANGUAGES ? (kept as Language) : first);
/** The step that the coach shows; null when the guide is not on. */
export const lesson = signal<number | null>(null);
export const reached = signal(Number(recall("clew.guide")) || 0);
export const guess = signal<number | null>(null);
const finished = signal<ReadonlySet<StepName>>(new Set());
/** What there was when the step began: results that are older are not the step's. */
const before = signal<{ effect: unknown; audit: unknown; labels: number }>({ effect: null, audit: null, labels: 0 });

export const stepName = computed<StepName | null>(() => (lesson.value === null ? null : (STEPS[lesson.value] ?? null)));
export const isDone = computed(() => stepName.value !== null && finished.value.has(stepName.value));

/** What an edit of this step did to the answer; null while none was made. */
export const outcome = computed(() => {
  const now = changed.value;
  return now === null || now === before.value.effect ? null : (ofAnswer(now) ?? null);
});

function ofAnswer(view: EffectView | null) {
  return view?.outputs.find((each) => each.token.includes(ANSWER));
}

export function speak(next: Language): void {
  language.value = next;
  remember("clew.language", next);
}

/** From the first step on, with nothing done. */
export function begin(): void {
  finished.value = new Set();
  enter(0);
}

export function enter(step: number): void {
  guess.value = null;
  before.value = { effect: changed.peek(), audit: audit.peek(), labels: written.peek() };
  const name = STEPS[step]!;
  finished.value = new Set([...finished.peek()].filter((each) => each !== name)); // a step that is entered is to be done
  lesson.value = step;
  if (step > reached.peek()) {
    reached.value = step;
    remember("clew.guide", String(step));
  }
  const now = graph.peek();
  if (name === "turn") void prepareTurn();
  if (name === "check" || name === "turn") {
    if (route.peek().view !== "edit") go("edit");
  } else if (route.peek().view !== "trace") go("trace", now?.view.id ?? "");
  if (name === "check")
    requestAnimationFrame(() => document.getElementById("audit")?.scrollIntoView({ block: "start" }));
}

export function leave(): void {
  lesson.value = null;
}

/** Does the step's task, for those who only want to watch. A step that needs the graph has it traced first. */
export async function doIt(): Promise<void> {
  const name = stepName.peek();
  if (!name || !(await haveGraph()) || stepName.peek() !== name) return;
  const main = strongest();
  const now = graph.peek()!;
  if (name === "feature" || name === "card") {
    if (main) choose(main.id);
    if (name === "card") tab.value = "card";
  } else if (name === "label") {
    if (primaryNode.peek()?.kind !== "feature") choose(main?.id ?? null);
    labelling.value = primaryNode.peek()?.feature ?? null;
  } else if (name === "error") {
    errorsShown.value = true;
    const error = now.ranked.find((node) => node.kind === "error");
    if (error) choose(error.id);
    else setThreshold("node", 0.95);
  } else if (name === "attribution") {
    choose(null);
    if (now.view.paths[0]) choosePath(now.view.paths[0].nodes);
  } else if (name === "off") await switchOff();
  else if (name === "turn") await turn();
  else if (name === "check") await runAudit(source.peek() || now.view.id, AUDITED);
}

/** Traces the guide's prompt, unless the graph of one is open; false when that failed. */
async function haveGraph(): Promise<boolean> {
  if (ofGuide()) return true;
  const id = await trace(PROMPT);
  if (!id) return false;
  if (route.peek().view === "trace") go("trace", id);
  return open(id);
}

/** Waits until a graph is there, in whatever view: the trace view opens it. */
async function open(id: string): Promise<boolean> {
  const view = route.peek().view;
  if (view !== "trace") go("trace", id);
  for (let tries = 0; tries < 100 && graph.peek()?.view.id !== id; tries++)
    await new Promise((done) => setTimeout(done, 50));
  if (view !== "trace") go(view);
  return graph.peek()?.view.id === id;
}

function ofGuide(): boolean {
  return graph.value?.view.prompt.includes("France") ?? false;
}

/** All features that speak to the outputs directly, off at once. */
async function switchOff(): Promise<void> {
  const now = graph.peek()!;
  const nodes = now.view.roles.outputs.map((id) => now.byId.get(id)).filter((node): node is Node => node !== undefined);
  chooseNodes(nodes.map((node) => node.id));
  edits.value = [];
  for (const node of nodes) addEdit(now.view, node);
  go("edit");
  await runEdits();
}

/** One edit that does nothing yet: the strongest feature multiplied by one. */
async function prepareTurn(): Promise<void> {
  if (!(await haveGraph()) || stepName.peek() !== "turn") return;
  const [now, main] = [graph.peek()!, strongest()];
  if (!main) return;
  forget();
  edits.value = [];
  addEdit(now.view, main);
  edits.value = edits.peek().map((each) => ({ ...each, verb: "scale", strength: 1 }));
}

async function turn(): Promise<void> {
  if (edits.peek().length !== 1) await prepareTurn();
  for (const strength of TURNED) {
    edits.value = edits.peek().map((each) => ({ ...each, verb: "scale", strength }));
    await runEdits();
    if (!outcome.peek() || isTurned()) return;
  }
}

function isTurned(): boolean {
  const turned = ran.value?.edits.some((each) => each.verb !== "ablate") ?? false;
  return turned && outcome.value !== null && Math.abs(outcome.value.measured - outcome.value.before) > SEEN;
}

/** The feature with the most influence that speaks to the outputs directly, else any above the last token. */
function strongest(): Node | undefined {
  const now = graph.peek();
  if (!now) return undefined;
  const at = now.view.tokens.length - 1;
  const outputs = new Set(now.view.roles.outputs);
  const features = now.ranked.filter((node) => node.kind === "feature" && node.position === at);
  return features.find((node) => outputs.has(node.id)) ?? features[0];
}

const doing: Record<StepName, () => boolean> = {
  trace: ofGuide,
  feature: () => primaryNode.value?.kind === "feature",
  card: () => primaryNode.value?.kind === "feature" && tab.value === "card",
  label: () => written.value > before.value.labels,
  error: () => primaryNode.value?.kind === "error",
  attribution: () => path.value !== null,
  off: () => outcome.value !== null,
  turn: isTurned,
  check: () => audit.value !== null && audit.value !== before.value.audit,
};

effect(() => {
  const now = stepName.value;
  if (now && doing[now]() && !finished.peek().has(now)) finished.value = new Set([...finished.peek(), now]);
});

/** The address holds the step, in whatever view it is done. */
export function keepLesson(): void {
  if (embedded) return;
  effect(() => {
    const said = Number(route.value.query["guide"]);
    if (said >= 1 && said <= STEPS.length && said - 1 !== lesson.peek()) untracked(() => enter(said - 1));
  });
  effect(() => {
    const { view } = route.value;
    const now = lesson.value;
    if (view !== "guide") adjust({ guide: now === null ? "" : String(now + 1) });
  });
}
