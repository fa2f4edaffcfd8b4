// What is edited, and what came of it: two jobs, the effect (predicted and measured) and the two texts. The address
// holds what is set, and the jobs that were run with it, so that their results are found again.
import { computed, effect as react, signal } from "@preact/signals";
import { api, follow } from "../api_client";
import { type EditLine, bodyOf, clampable, onlyGenerated, positionsOf, readEdits, writeEdits } from "../model/edits";
import type { Node } from "../model/graph";
import { featureOf } from "../model/graph";
import type { AuditView, EffectView, GraphView, Job, JobBody, Progress, Step, StepPair } from "../types";
import { attempt, embedded, notify, workbench } from "./app";
import { adjust, go, route } from "./route";
import { chosen, graph, scene } from "./trace";

const MANY = 60;
const USUAL = { tokens: 12, temperature: 0, top_p: 1, seed: 0, predict: "frozen" as "frozen" | "direct" };

export const prompt = signal("");
export const edits = signal<readonly EditLine[]>([]);
/** The graph that the edits come from: it can be audited. */
export const source = signal("");
export const settings = signal(USUAL);
/** The last clamped layer that was asked for; null is the last edited one. */
export const wantedThrough = signal<number | null>(null);
export const layersThrough = computed(() => (workbench.value ? clampable(edits.value, workbench.value.kit) : []));
/** What is asked of the server: null, its default, where the edits do not allow what was wanted. */
export const through = computed(() =>
  layersThrough.value.indexOf(wantedThrough.value ?? -1) > 0 ? wantedThrough.value : null,
);
export const effect = signal<EffectView | null>(null);
export const streams = signal<{ default: readonly Step[]; edited: readonly Step[] } | null>(null);
export const audit = signal<AuditView | null>(null);
/** How many features an audit switches off. */
export const audited = signal(MANY);
export const running = signal<{ id: string; what: string; at: Progress | null } | null>(null);

/** What the results on the page are of; it may have been changed since. */
export interface Ran {
  prompt: string;
  edits: readonly EditLine[];
  /** All that was set, as one text. */
  said: string;
}
export const ran = signal<Ran | null>(null);
const jobs = signal({ run: "", text: "", audit: "" });

const said = computed(() => {
  const last = wantedThrough.value === layersThrough.value[0] ? null : wantedThrough.value;
  return JSON.stringify([prompt.value, writeEdits(edits.value), last, settings.value]);
});
/** Whether something was changed since the results were made. */
export const stale = computed(() => ran.value !== null && ran.value.said !== said.value);
export const ready = computed(
  () =>
    prompt.value.trim() !== "" &&
    edits.value.length > 0 &&
    edits.value.every((each) => positionsOf(each.positions) !== null) &&
    running.value === null,
);

export function addEdit(view: GraphView, node: Node): void {
  const feature = featureOf(node.id);
  if (!feature) return;
  if (prompt.peek() !== view.prompt) {
    prompt.value = view.prompt;
    edits.value = [];
  }
  if (source.peek() !== view.id) {
    audit.value = null;
    jobs.value = { ...jobs.peek(), audit: "" };
  }
  source.value = view.id;
  addFeature(feature, String(node.position));
}

/** Puts what is chosen in the graph, groups with all their features, among the edits and goes there. */
export function editChosen(): void {
  const now = graph.peek();
  if (embedded || !now) return;
  const members = (key: string) =>
    scene.peek()?.byKey.get(key)?.members ?? [now.byId.get(key)].filter((node) => node !== undefined);
  const nodes = chosen
    .peek()
    .flatMap(members)
    .filter((node) => node.kind === "feature");
  if (!nodes.length) return notify("Choose a feature to edit it.");
  if (!now.view.of_kit) return notify("This graph belongs to another model: it cannot be edited here.");
  for (const node of nodes) addEdit(now.view, node);
  go("edit");
}

export function addFeature(feature: string, positions = "all"): void {
  if (edits.peek().some((each) => each.feature === feature && each.positions === positions)) return;
  edits.value = [...edits.peek(), { verb: "ablate", feature, strength: 0, positions }];
}

export function setEdit(index: number, part: Partial<EditLine>): void {
  edits.value = edits.peek().map((each, i) => (i === index ? { ...each, ...part } : each));
}

export function dropEdit(index: number): void {
  edits.value = edits.peek().filter((_, i) => i !== index);
}

/** Shows a job's progress and waits for its end, whoever started it. */
async function watch(id: string, what: string, heard?: (step: StepPair) => void): Promise<Job> {
  running.value = { id, what, at: null };
  try {
    return await follow(id, {
      progress: (at) => (running.value = { id, what, at }),
      ...(heard ? { step: heard } : {}),
    });
  } finally {
    if (running.peek()?.id === id) running.value = null;
  }
}

const EFFECT = "Measuring the effect";
const TEXTS = "Writing both texts";
const AUDIT = "Auditing the graph";

/** Starts a job and watches it; null when it was refused, failed or was cancelled. */
function work(
  body: JobBody,
  kept: keyof typeof jobs.value,
  what: string,
  heard?: (step: StepPair) => void,
): Promise<Job | null> {
  return attempt(async () => {
    const job = await api.start(body);
    jobs.value = { ...jobs.peek(), [kept]: job.id };
    return watch(job.id, what, heard);
  });
}

export async function runEdits(): Promise<void> {
  if (!ready.peek()) return;
  const now: Ran = { prompt: prompt.peek(), edits: edits.peek(), said: said.peek() };
  const body = { prompt: now.prompt, through: through.peek(), edits: now.edits.map(bodyOf) };
  const { predict, ...sampling } = settings.peek();
  forget();
  ran.value = now;
  if (!onlyGenerated(now.edits)) {
    const done = await work({ kind: "edit", ...body, predict }, "run", EFFECT);
    if (done?.result?.kind !== "edit") return;
    effect.value = done.result;
  }
  streams.value = { default: [], edited: [] };
  await work({ kind: "generate", ...body, ...sampling }, "text", TEXTS, addStep);
}

/** Clears the results of edits. */
export function forget(): void {
  [effect.value, streams.value, ran.value] = [null, null, null];
  jobs.value = { ...jobs.peek(), run: "", text: "" };
}

function addStep(step: StepPair): void {
  const now = streams.peek() ?? { default: [], edited: [] };
  streams.value = {
    default: step.default ? [...now.default, step.default] : now.default,
    edited: step.edited ? [...now.edited, step.edited] : now.edited,
  };
}

export async function runAudit(graph: string, nodes: number): Promise<void> {
  audited.value = nodes;
  const done = await work({ kind: "audit", graph, nodes }, "audit", AUDIT);
  if (done?.result?.kind === "audit") audit.value = done.result;
}

export function cancel(): void {
  const now = running.peek();
  if (now) void attempt(() => api.cancel(now.id));
}

// --- found again after a reload -------------------------------------------------------------------------------------

/** Takes up the jobs that an address names: what is done is shown, what still runs is followed. */
async function takeUp(named: typeof jobs.value): Promise<void> {
  jobs.value = named;
  if (named.run || named.text) ran.value = { prompt: prompt.peek(), edits: edits.peek(), said: said.peek() };
  const measured = await found(named.run, EFFECT);
  if (measured?.kind === "edit") effect.value = measured;
  if (named.text) streams.value = { default: [], edited: [] };
  const written = await found(named.text, TEXTS, addStep);
  if (written?.kind === "generate" && !streams.peek()?.default.length)
    streams.value = { default: whole(written.default), edited: whole(written.edited) };
  const points = await found(named.audit, AUDIT);
  if (points?.kind === "audit") audit.value = points;
}

/** What a job came to; one whose steps are wanted is heard again from its first. */
async function found(id: string, what: string, heard?: (step: StepPair) => void): Promise<Job["result"]> {
  if (!id) return null;
  const job = await attempt(async () => {
    const now = await api.job(id);
    return now.state === "done" && !heard ? now : watch(id, what, heard);
  });
  return job?.result ?? null;
}

/** A text of which only the whole was kept, as one step. */
function whole(text: string): Step[] {
  return text ? [{ token_id: -1, position: -1, text, probability: NaN, end: null }] : [];
}

const NUMBERS = ["tokens", "temperature", "top_p", "seed"] as const;
const WORDS = ["prompt", "edits", "graph", "through", ...NUMBERS, "predict", "run", "text", "audit", "nodes"] as const;

function readSettings(query: Readonly<Record<string, string>>): typeof USUAL {
  const found = { ...USUAL, predict: query["predict"] === "direct" ? ("direct" as const) : USUAL.predict };
  for (const name of NUMBERS) {
    const value = Number.parseFloat(query[name] ?? "");
    if (Number.isFinite(value)) found[name] = value;
  }
  return found;
}

function readAddress(query: Readonly<Record<string, string>>): void {
  if (query["prompt"] !== undefined && query["prompt"] !== prompt.peek()) prompt.value = query["prompt"];
  if (query["edits"] !== undefined && query["edits"] !== writeEdits(edits.peek()))
    edits.value = readEdits(query["edits"]);
  if (query["graph"] !== undefined && query["graph"] !== source.peek()) source.value = query["graph"];
  if (query["edits"] !== undefined) {
    wantedThrough.value = /^\d+$/.test(query["through"] ?? "") ? Number(query["through"]) : null;
    settings.value = readSettings(query);
  }
  const nodes = Number(query["nodes"]);
  if (nodes >= 2) audited.value = nodes;
  const named = { run: query["run"] ?? "", text: query["text"] ?? "", audit: query["audit"] ?? "" };
  const known = jobs.peek();
  if ((["run", "text", "audit"] as const).some((each) => named[each] && named[each] !== known[each]))
    void takeUp({ ...known, ...named });
}

function address(): Record<(typeof WORDS)[number], string> {
  const { predict, ...numbers } = settings.value;
  const set = (name: (typeof NUMBERS)[number]) => (numbers[name] === USUAL[name] ? "" : String(numbers[name]));
  const { run, text, audit: all } = jobs.value;
  return {
    prompt: prompt.value,
    edits: writeEdits(edits.value),
    graph: source.value,
    through: String(through.value ?? ""),
    tokens: set("tokens"),
    temperature: set("temperature"),
    top_p: set("top_p"),
    seed: set("seed"),
    predict: predict === USUAL.predict ? "" : predict,
    run: stale.value ? "" : run,
    text: stale.value ? "" : text,
    audit: all,
    nodes: audited.value === MANY ? "" : String(audited.value),
  };
}

/** The address holds prompt, edits and settings, so that an experiment can be sent. */
export function keepEdits(): void {
  let read = "";
  const text = (query: Readonly<Record<string, string>>) => JSON.stringify(WORDS.map((name) => query[name] || ""));
  react(() => {
    const { view, query } = route.value;
    if (view !== "edit" || text(query) === read) return;
    read = text(query);
    readAddress(query);
  });
  react(() => {
    const now = address();
    if (route.value.view !== "edit") return;
    read = text(now);
    adjust(now);
  });
}
