// Edits and their results, from two jobs: the effect (predicted and measured) and the two texts. The address holds the
// settings and the ids of the jobs, so that a reload shows the results again.
import { type Text, t } from "../i18n/text";
import { computed, effect as react, signal, untracked } from "@preact/signals";
import { api, followJob } from "../api_client";
import { type EditLine, bodyOf, clampable, onlyGenerated, positionsOf, readEdits, writeEdits } from "../model/edits";
import type { Node } from "../model/graph";
import { featureOf } from "../model/graph";
import type { AuditView, EffectView, GraphView, Job, JobBody, Prediction, Progress, Step, StepPair } from "../types";
import { attempt, embedded, notify, workbench } from "./app";
import { adjust, go, route, write } from "./route";
import { chosen, graph, scene } from "./trace";

const DEFAULT_AUDIT_SIZE = 60;
const PREDICTIONS: Prediction[] = ["effects", "frozen", "direct"];
const DEFAULTS = { tokens: 12, temperature: 0, top_p: 1, seed: 0, predict: "effects" as Prediction };

export const prompt = signal("");
/** Whether the prompt begins with what the tokenizer puts there. */
export const addBos = signal(true);
export const edits = signal<readonly EditLine[]>([]);
/** The graph that the edits come from, which can be audited. */
export const source = signal("");
export const settings = signal(DEFAULTS);
/** The last clamped layer that the person chose; null for the last edited layer. */
export const requestedThrough = signal<number | null>(null);
export const layersThrough = computed(() => (workbench.value ? clampable(edits.value, workbench.value.kit) : []));
/** The last clamped layer for the request; null, the server's default, if the edits do not allow the chosen one. */
export const through = computed(() =>
  layersThrough.value.indexOf(requestedThrough.value ?? -1) > 0 ? requestedThrough.value : null,
);
export const effect = signal<EffectView | null>(null);
export const streams = signal<{ default: readonly Step[]; edited: readonly Step[] } | null>(null);
export const audit = signal<AuditView | null>(null);
/** How many features an audit switches off. */
export const auditSize = signal(DEFAULT_AUDIT_SIZE);
/** The work that the page waits for: from the first request of a run to its last result. No id before the server has
 *  given one. */
export const running = signal<{ id: string; title: string; progress: Progress | null } | null>(null);

/** The settings that gave the results on the page. The form may have changed since. */
export interface EditRun {
  prompt: string;
  addBos: boolean;
  edits: readonly EditLine[];
  /** All settings as text, to compare with those in the form. */
  serialized: string;
}
export const lastRun = signal<EditRun | null>(null);
const jobs = signal({ run: "", text: "", audit: "" });

const serializedSettings = computed(() => {
  const last = requestedThrough.value === layersThrough.value[0] ? null : requestedThrough.value;
  return JSON.stringify([prompt.value, addBos.value, writeEdits(edits.value), last, settings.value]);
});
/** Whether the settings have changed since the results were made. */
export const stale = computed(() => lastRun.value !== null && lastRun.value.serialized !== serializedSettings.value);
export const ready = computed(
  () =>
    prompt.value.trim() !== "" &&
    edits.value.length > 0 &&
    edits.value.every((each) => positionsOf(each.positions) !== null) &&
    running.value === null,
);

/** The edits of prompts that the form does not show now: they return with their graph. */
const putAway = new Map<string, readonly EditLine[]>();
const putAwayAs = (text: string, withBos: boolean) => `${withBos} ${text}`;

/** Sets the form to a graph: its prompt, and the edits that were made for that prompt. */
export function editGraph(view: GraphView): void {
  const { prompt: text, add_bos: withBos } = view;
  if (prompt.peek() !== text || addBos.peek() !== withBos) {
    putAway.set(putAwayAs(prompt.peek(), addBos.peek()), edits.peek());
    [prompt.value, addBos.value, edits.value] = [text, withBos, putAway.get(putAwayAs(text, withBos)) ?? []];
  }
  const audited = view.of_kit ? view.id : "";
  if (source.peek() === audited) return;
  source.value = audited;
  audit.value = null;
  jobs.value = { ...jobs.peek(), audit: "" };
}

export function addEdit(view: GraphView, node: Node): void {
  const feature = featureOf(node.id);
  if (!feature) return;
  editGraph(view);
  addFeature(feature, String(node.position));
}

/** Adds the features chosen in the graph, and those of chosen groups, to the edits, and opens the edit view. */
export function editChosen(): void {
  const current = graph.peek();
  if (embedded || !current) return;
  const members = (key: string) =>
    scene.peek()?.byKey.get(key)?.members ?? [current.byId.get(key)].filter((node) => node !== undefined);
  const nodes = chosen
    .peek()
    .flatMap(members)
    .filter((node) => node.kind === "feature");
  if (!nodes.length) return notify(t("Choose a feature to edit it."));
  if (!current.view.of_kit) return notify(t("This graph belongs to another model: it cannot be edited here."));
  for (const node of nodes) addEdit(current.view, node);
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

/** Keeps the page busy for the whole of some work, also between its jobs. */
async function busyWith<T>(title: string, work: () => Promise<T>): Promise<T> {
  running.value = { id: "", title, progress: null };
  try {
    return await work();
  } finally {
    running.value = null;
  }
}

/** Waits until nothing runs. */
export function idle(): Promise<void> {
  return new Promise((resolve) => {
    const stop = running.subscribe((work) => {
      if (work === null) queueMicrotask(() => (stop(), resolve()));
    });
  });
}

/** Shows a job's progress and waits for its end. */
async function watchJob(id: string, title: string, onStep?: (step: StepPair) => void): Promise<Job> {
  running.value = { id, title, progress: null };
  return followJob(id, {
    progress: (progress) => (running.value = { id, title, progress }),
    ...(onStep ? { step: onStep } : {}),
  });
}

const EFFECT: Text = "Measuring the effect";
const TEXTS: Text = "Writing both texts";
const AUDIT: Text = "Auditing the graph";

/** Starts a job and waits for its end; null if it was refused, failed or was cancelled. */
function runJob(
  body: JobBody,
  slot: keyof typeof jobs.value,
  title: string,
  onStep?: (step: StepPair) => void,
): Promise<Job | null> {
  return attempt(async () => {
    running.value = { id: "", title, progress: null };
    const job = await api.start(body);
    jobs.value = { ...jobs.peek(), [slot]: job.id };
    return watchJob(job.id, title, onStep);
  });
}

function currentRun(): EditRun {
  return {
    prompt: prompt.peek(),
    addBos: addBos.peek(),
    edits: edits.peek(),
    serialized: serializedSettings.peek(),
  };
}

export async function runEdits(): Promise<void> {
  if (!ready.peek()) return;
  const run = currentRun();
  const body = {
    prompt: run.prompt,
    add_bos: run.addBos,
    through: through.peek(),
    edits: run.edits.map(bodyOf),
  };
  const { predict, ...sampling } = settings.peek();
  clearResults();
  lastRun.value = run;
  await busyWith(EFFECT, async () => {
    if (!onlyGenerated(run.edits)) {
      const job = await runJob({ kind: "edit", ...body, predict }, "run", EFFECT);
      if (job?.result?.kind !== "edit") return;
      effect.value = job.result;
    }
    streams.value = { default: [], edited: [] };
    await runJob({ kind: "generate", ...body, ...sampling }, "text", TEXTS, addStep);
  });
}

/** Clears the results of edits. */
export function clearResults(): void {
  [effect.value, streams.value, lastRun.value] = [null, null, null];
  jobs.value = { ...jobs.peek(), run: "", text: "" };
}

function addStep(step: StepPair): void {
  const texts = streams.peek() ?? { default: [], edited: [] };
  streams.value = {
    default: step.default ? [...texts.default, step.default] : texts.default,
    edited: step.edited ? [...texts.edited, step.edited] : texts.edited,
  };
}

export async function runAudit(graph: string, nodes: number): Promise<void> {
  auditSize.value = nodes;
  const job = await busyWith(AUDIT, () => runJob({ kind: "audit", graph, nodes }, "audit", AUDIT));
  if (job?.result?.kind === "audit") audit.value = job.result;
}

export function cancel(): void {
  const current = running.peek();
  if (current?.id) void attempt(() => api.cancel(current.id));
}

// --- results after a reload ------------------------------------------------------------------------------------------

/** Resumes the jobs named in an address: shows the results of finished ones and follows running ones. */
async function resumeJobs(jobIds: typeof jobs.value): Promise<void> {
  jobs.value = jobIds;
  if (jobIds.run || jobIds.text) lastRun.value = currentRun();
  const measured = await jobResult(jobIds.run, EFFECT);
  if (measured?.kind === "edit") effect.value = measured;
  if (jobIds.text) streams.value = { default: [], edited: [] };
  const written = await jobResult(jobIds.text, TEXTS, addStep);
  if (written?.kind === "generate" && !streams.peek()?.default.length)
    streams.value = { default: asOneStep(written.default), edited: asOneStep(written.edited) };
  const points = await jobResult(jobIds.audit, AUDIT);
  if (points?.kind === "audit") audit.value = points;
}

/** The result of a job. With `onStep` its events are replayed from the first step, even if it has ended. */
async function jobResult(id: string, title: string, onStep?: (step: StepPair) => void): Promise<Job["result"]> {
  if (!id) return null;
  const job = await attempt(async () => {
    const current = await api.job(id);
    return current.state === "done" && !onStep ? current : busyWith(title, () => watchJob(id, title, onStep));
  });
  return job?.result ?? null;
}

/** A text of which the server keeps no steps, as one step. */
function asOneStep(text: string): Step[] {
  return text ? [{ token_id: -1, position: -1, text, probability: NaN, end: null }] : [];
}

const NUMBERS = ["tokens", "temperature", "top_p", "seed"] as const;
const PARAMETERS = [
  "prompt",
  "bos",
  "edits",
  "graph",
  "through",
  ...NUMBERS,
  "predict",
  "run",
  "text",
  "audit",
  "nodes",
] as const;

function readSettings(query: Readonly<Record<string, string>>): typeof DEFAULTS {
  const predict = PREDICTIONS.find((name) => name === query["predict"]) ?? DEFAULTS.predict;
  const parsed = { ...DEFAULTS, predict };
  for (const name of NUMBERS) {
    const value = Number.parseFloat(query[name] ?? "");
    if (Number.isFinite(value)) parsed[name] = value;
  }
  return parsed;
}

function readAddress(query: Readonly<Record<string, string>>): void {
  if (query["prompt"] !== undefined) [prompt.value, addBos.value] = [query["prompt"], query["bos"] !== "off"];
  if (query["edits"] !== undefined && query["edits"] !== writeEdits(edits.peek()))
    edits.value = readEdits(query["edits"]);
  if (query["graph"] !== undefined && query["graph"] !== source.peek()) source.value = query["graph"];
  if (query["edits"] !== undefined) {
    requestedThrough.value = /^\d+$/.test(query["through"] ?? "") ? Number(query["through"]) : null;
    settings.value = readSettings(query);
  }
  const nodes = Number(query["nodes"]);
  if (nodes >= 2) auditSize.value = nodes;
  const jobIds = { run: query["run"] ?? "", text: query["text"] ?? "", audit: query["audit"] ?? "" };
  const currentIds = jobs.peek();
  if ((["run", "text", "audit"] as const).some((each) => jobIds[each] && jobIds[each] !== currentIds[each]))
    void resumeJobs({ ...currentIds, ...jobIds });
}

function address(): Record<(typeof PARAMETERS)[number], string> {
  const { predict, ...numbers } = settings.value;
  const unlessDefault = (name: (typeof NUMBERS)[number]) =>
    numbers[name] === DEFAULTS[name] ? "" : String(numbers[name]);
  const { run, text, audit: auditJob } = jobs.value;
  return {
    prompt: prompt.value,
    bos: addBos.value ? "" : "off",
    edits: writeEdits(edits.value),
    graph: source.value,
    through: String(through.value ?? ""),
    tokens: unlessDefault("tokens"),
    temperature: unlessDefault("temperature"),
    top_p: unlessDefault("top_p"),
    seed: unlessDefault("seed"),
    predict: predict === DEFAULTS.predict ? "" : predict,
    run: stale.value ? "" : run,
    text: stale.value ? "" : text,
    audit: auditJob,
    nodes: auditSize.value === DEFAULT_AUDIT_SIZE ? "" : String(auditSize.value),
  };
}

/** The address of the form as it stands. */
export const editAddress = computed(() => write({ view: "edit", id: "", query: address() }));

/** Keeps prompt, edits and settings in the address, so that an experiment can be shared as a link; and sets the form to
 *  each graph that is opened. */
export function persistEdits(): void {
  let openedGraph = "";
  react(() => {
    const view = graph.value?.view;
    if (!view || view.id === openedGraph) return;
    openedGraph = view.id;
    untracked(() => editGraph(view));
  });
  let lastRead = "";
  const serialize = (query: Readonly<Record<string, string>>) =>
    JSON.stringify(PARAMETERS.map((name) => query[name] || ""));
  react(() => {
    const { view, query } = route.value;
    if (view !== "edit" || serialize(query) === lastRead) return;
    lastRead = serialize(query);
    readAddress(query);
  });
  react(() => {
    const parameters = address();
    if (route.value.view !== "edit") return;
    lastRead = serialize(parameters);
    adjust(parameters);
  });
}
