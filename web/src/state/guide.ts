// The person's place in the guide, and whether the step's task is done, which follows from the state of the page since
// the step began. Features are chosen by their role in the open graph, because every dictionary has others.
import { computed, effect, signal, untracked } from "@preact/signals";
import { STEPS, type StepName } from "../i18n/guide_steps";
import { visibleText } from "../model/format";
import { type Node, featureOf } from "../model/graph";
import type { EffectView } from "../types";
import { embedded, recall, remember } from "./app";
import { labelsWritten, writeLabel } from "./cards";
import { pane } from "./circuit";
import {
  addEdit,
  audit,
  editGraph,
  edits,
  effect as changed,
  clearResults,
  idle,
  lastRun,
  runAudit,
  runEdits,
  source,
} from "./edit";
import { trace } from "./prompting";
import { adjust, go, route } from "./route";
import {
  choose,
  chooseNodes,
  choosePath,
  errorsShown,
  graph,
  nodeName,
  path,
  primaryNode,
  setThreshold,
  tab,
} from "./trace";

export const PROMPT = "The capital of France is";
const ANSWER = "Paris";
const AUDIT_SIZE = 30; // features; few, so that the audit takes seconds
const TURN_STRENGTHS = [-3, -6, -12]; // factors for a feature, tried in this order until the answer changes visibly
const VISIBLE_CHANGE = 0.1; // of a probability

/** The step that the coach shows; null if the guide is off. */
export const currentStep = signal<number | null>(null);
export const furthestStep = signal(Number(recall("clew.guide")) || 0);
export const guess = signal<number | null>(null);
const finished = signal<ReadonlySet<StepName>>(new Set());
/** The results at the start of the step: only newer ones count for its task. */
const stepStart = signal<{ effect: unknown; audit: unknown; labels: number }>({ effect: null, audit: null, labels: 0 });

export const stepName = computed<StepName | null>(() =>
  currentStep.value === null ? null : (STEPS[currentStep.value] ?? null),
);
export const isDone = computed(() => stepName.value !== null && finished.value.has(stepName.value));

/** The effect of this step's edit on the answer; null before there is one. */
export const answerChange = computed(() => {
  const latest = changed.value;
  return latest === null || latest === stepStart.value.effect ? null : (answerOf(latest) ?? null);
});

function answerOf(view: EffectView | null) {
  return view?.outputs.find((each) => each.token.includes(ANSWER));
}

/** Starts the guide at its first step, with no task done. */
export function startGuide(): void {
  finished.value = new Set();
  enterStep(0);
}

export function enterStep(step: number): void {
  guess.value = null;
  stepStart.value = { effect: changed.peek(), audit: audit.peek(), labels: labelsWritten.peek() };
  const name = STEPS[step]!;
  // A step that is entered again is to be done again.
  finished.value = new Set([...finished.peek()].filter((each) => each !== name));
  currentStep.value = step;
  if (step > furthestStep.peek()) {
    furthestStep.value = step;
    remember("clew.guide", String(step));
  }
  const current = graph.peek();
  if (name === "turn") void prepareTurn();
  if (name === "check" || name === "turn") {
    if (route.peek().view !== "edit") go("edit");
  } else {
    pane.value = "graph";
    if (route.peek().view !== "trace") go("trace", current?.view.id ?? "", { pane: "graph" });
  }
  if (name === "check")
    requestAnimationFrame(() => document.getElementById("audit")?.scrollIntoView({ block: "start" }));
}

export function leaveGuide(): void {
  currentStep.value = null;
}

/** Does the step's task for the person. Traces the guide's prompt first if no graph of it is open. */
export async function doStep(): Promise<void> {
  const name = stepName.peek();
  if (!name || !(await ensureGraph()) || stepName.peek() !== name) return;
  await idle(); // a run of the step before still writes its texts
  if (stepName.peek() !== name) return;
  const main = strongest();
  const current = graph.peek()!;
  if (name === "feature" || name === "card") {
    if (main) choose(main.id);
    if (name === "card") tab.value = "card";
  } else if (name === "label") {
    if (primaryNode.peek()?.kind !== "feature") choose(main?.id ?? null);
    await labelChosenFeature();
  } else if (name === "error") {
    errorsShown.value = true;
    const error = current.ranked.find((node) => node.kind === "error");
    if (error) choose(error.id);
    else setThreshold("node", 0.95);
  } else if (name === "attribution") {
    choose(null);
    if (current.view.paths[0]) choosePath(current.view.paths[0].nodes);
  } else if (name === "off") await switchOff();
  else if (name === "turn") await turnFeature();
  else if (name === "check") await runAudit(source.peek() || current.view.id, AUDIT_SIZE);
}

/** Labels the chosen feature with what the person has typed, else with the name that it has: a rule's, or the tokens
 *  that it promotes. */
async function labelChosenFeature(): Promise<void> {
  const node = primaryNode.peek();
  const feature = node && featureOf(node.id);
  if (!feature) return;
  const typed = document.querySelector<HTMLInputElement>(".labeleditor > input")?.value.trim();
  const { text, named } = nodeName(node);
  await writeLabel(
    feature,
    typed || (named ? text : `fires on “${visibleText(graph.peek()!.view.tokens[node.position] ?? "")}”`),
  );
}

/** Opens a graph of the guide's prompt, traced if need be; false if that failed. */
async function ensureGraph(): Promise<boolean> {
  if (isGuideGraph()) return true;
  const id = await trace(PROMPT);
  if (!id) return false;
  if (route.peek().view === "trace") go("trace", id, { pane: "graph" });
  return openGraph(id);
}

/** Loads a graph through the trace view, which opens graphs, and returns to the present view. */
async function openGraph(id: string): Promise<boolean> {
  const view = route.peek().view;
  if (view !== "trace") go("trace", id, { pane: "graph" });
  for (let tries = 0; tries < 100 && graph.peek()?.view.id !== id; tries++)
    await new Promise((done) => setTimeout(done, 50));
  if (view !== "trace") go(view);
  return graph.peek()?.view.id === id;
}

function isGuideGraph(): boolean {
  return graph.value?.view.prompt.includes("France") ?? false;
}

/** Ablates all output features at once. */
async function switchOff(): Promise<void> {
  const current = graph.peek()!;
  const nodes = current.view.roles.outputs
    .map((id) => current.byId.get(id))
    .filter((node): node is Node => node !== undefined);
  chooseNodes(nodes.map((node) => node.id));
  editGraph(current.view);
  edits.value = [];
  for (const node of nodes) addEdit(current.view, node);
  go("edit");
  await runEdits();
}

/** Sets up one edit without effect: the strongest feature multiplied by one. */
async function prepareTurn(): Promise<void> {
  if (!(await ensureGraph())) return;
  await idle();
  if (stepName.peek() !== "turn") return;
  const [current, main] = [graph.peek()!, strongest()];
  if (!main) return;
  clearResults();
  editGraph(current.view);
  edits.value = [];
  addEdit(current.view, main);
  edits.value = edits.peek().map((each) => ({ ...each, verb: "scale", strength: 1 }));
}

async function turnFeature(): Promise<void> {
  if (edits.peek().length !== 1) await prepareTurn();
  for (const strength of TURN_STRENGTHS) {
    edits.value = edits.peek().map((each) => ({ ...each, verb: "scale", strength }));
    await runEdits();
    if (!answerChange.peek() || isTurned()) return;
  }
}

function isTurned(): boolean {
  const turned = lastRun.value?.edits.some((each) => each.verb !== "ablate") ?? false;
  return (
    turned &&
    answerChange.value !== null &&
    Math.abs(answerChange.value.measured - answerChange.value.before) > VISIBLE_CHANGE
  );
}

/** The most influential output feature at the last token, else the most influential feature there. */
function strongest(): Node | undefined {
  const current = graph.peek();
  if (!current) return undefined;
  const lastPosition = current.view.tokens.length - 1;
  const outputs = new Set(current.view.roles.outputs);
  const features = current.ranked.filter((node) => node.kind === "feature" && node.position === lastPosition);
  return features.find((node) => outputs.has(node.id)) ?? features[0];
}

const stepChecks: Record<StepName, () => boolean> = {
  trace: isGuideGraph,
  feature: () => primaryNode.value?.kind === "feature",
  card: () => primaryNode.value?.kind === "feature" && tab.value === "card",
  label: () => labelsWritten.value > stepStart.value.labels,
  error: () => primaryNode.value?.kind === "error",
  attribution: () => path.value !== null,
  off: () => answerChange.value !== null,
  turn: isTurned,
  check: () => audit.value !== null && audit.value !== stepStart.value.audit,
};

effect(() => {
  const name = stepName.value;
  if (name && stepChecks[name]() && !finished.peek().has(name)) finished.value = new Set([...finished.peek(), name]);
});

/** Keeps the step in the address of every view. */
export function persistStep(): void {
  if (embedded) return;
  effect(() => {
    const stepNumber = Number(route.value.query["guide"]);
    if (stepNumber >= 1 && stepNumber <= STEPS.length && stepNumber - 1 !== currentStep.peek())
      untracked(() => enterStep(stepNumber - 1));
  });
  effect(() => {
    const { view } = route.value;
    const step = currentStep.value;
    if (view !== "guide") adjust({ guide: step === null ? "" : String(step + 1) });
  });
}
