// The server's API, with types from its OpenAPI document. A failure is an ApiError with one line for the person.
import { t } from "./i18n/text";
import type { EdgeKey, HeadKey } from "./model/explanations";
import type {
  ArrangementView,
  ChangedCircuit,
  CircuitChoice,
  CircuitEntry,
  CircuitView,
  CompareView,
  DifferenceView,
  EdgeDetail,
  FeatureList,
  FeaturesOfList,
  FeatureView,
  FiresView,
  GraphEntry,
  GraphView,
  Job,
  KitChoices,
  JobBody,
  LabelView,
  LayerAttention,
  LookView,
  NodeDetail,
  Note,
  NodeEffects,
  PatternView,
  ProbeView,
  Progress,
  ScoresView,
  StepPair,
  StudyList,
  StudyResult,
  Suggestions,
  Tokens,
  Workbench,
} from "./types";

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly body: unknown,
  ) {
    super(message);
  }
}

type Query = Record<string, string | number | boolean | null | undefined>;

async function send(
  method: string,
  path: string,
  query: Query = {},
  body?: unknown,
  signal?: AbortSignal,
  keepalive = false,
): Promise<Response> {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") params.set(name, String(value));
  }
  const address = `/api/${path}${params.size ? `?${params}` : ""}`;
  const headers: Record<string, string> = body === undefined ? {} : { "Content-Type": "application/json" };
  try {
    return await fetch(address, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      signal: signal ?? null,
      keepalive,
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, t("the server does not answer: is `clew serve` still running?"), null);
  }
}

async function request<T>(...sent: Parameters<typeof send>): Promise<T> {
  return readAnswer<T>(await send(...sent));
}

interface Download {
  content: Blob;
  name: string;
}

/** A file as the server names it. */
async function download(...sent: Parameters<typeof send>): Promise<Download> {
  const answer = await send(...sent);
  if (!answer.ok) return readAnswer<Download>(answer);
  const name = /filename="([^"]+)"/.exec(answer.headers.get("content-disposition") ?? "")?.[1];
  return { content: await answer.blob(), name: name ?? "clew" };
}

async function readAnswer<T>(answer: Response): Promise<T> {
  const text = await answer.text();
  let value: unknown = null;
  try {
    value = text ? JSON.parse(text) : null;
  } catch {
    value = null;
  }
  if (answer.ok) return value as T;
  const message =
    value && typeof value === "object" && "error" in value
      ? String(value.error)
      : t("the server answered {a}", { a: answer.status });
  throw new ApiError(answer.status, message, value);
}

/** Escapes an id for a path. Slashes stay, because ids such as `L3/1207` are paths on the server. */
const encodePath = (id: string) => id.split("/").map(encodeURIComponent).join("/");

export const api = {
  workbench: () => request<Workbench>("GET", "workbench"),
  kits: () => request<KitChoices>("GET", "kits"),
  tokens: (prompt: string, add_bos: boolean, signal?: AbortSignal) =>
    request<Tokens>("POST", "tokens", {}, { prompt, add_bos }, signal),
  graphs: (limit = 100) => request<{ total: number; graphs: GraphEntry[] }>("GET", "graphs", { limit }),
  graph: (id: string, node: number, edge: number, signal?: AbortSignal) =>
    request<GraphView>("GET", `graphs/${encodePath(id)}`, { node, edge }, undefined, signal),
  scores: (id: string, node: number, edge: number, signal?: AbortSignal) =>
    request<ScoresView>("GET", `graphs/${encodePath(id)}/scores`, { node, edge }, undefined, signal),
  node: (graph: string, id: string, node: number, edge: number, signal?: AbortSignal) =>
    request<NodeDetail>("GET", `graphs/${encodePath(graph)}/node`, { id, node, edge }, undefined, signal),
  effects: (graph: string, id: string, signal?: AbortSignal) =>
    request<NodeEffects>("GET", `graphs/${encodePath(graph)}/effects`, { id }, undefined, signal),
  edge: (graph: string, { source, target }: EdgeKey, signal?: AbortSignal) =>
    request<EdgeDetail>("GET", `graphs/${encodePath(graph)}/edge`, { source, target }, undefined, signal),
  pattern: (graph: string, { layer, head, query }: HeadKey, signal?: AbortSignal) =>
    request<PatternView>("GET", `graphs/${encodePath(graph)}/pattern`, { layer, head, query }, undefined, signal),
  attention: (graph: string, layer: number, head: number | null, signal?: AbortSignal) =>
    request<LayerAttention>("GET", `graphs/${encodePath(graph)}/attention`, { layer, head }, undefined, signal),
  look: (graph: string, { layer, head, query, key }: HeadKey, measure: boolean, signal?: AbortSignal) =>
    request<LookView>(
      "GET",
      `graphs/${encodePath(graph)}/look`,
      { layer, head, query, key, measure },
      undefined,
      signal,
    ),
  arrangement: (id: string) => request<ArrangementView>("GET", `graphs/${encodePath(id)}/arrangement`),
  arrange: (id: string, body: ArrangementView, leaving = false) =>
    request<ArrangementView>("PUT", `graphs/${encodePath(id)}/arrangement`, {}, body, undefined, leaving),
  suggest: (id: string, by: "token" | "label", node: number, edge: number) =>
    request<Suggestions>("POST", `graphs/${encodePath(id)}/groups/suggest`, { by, node, edge }, {}),
  circuits: (graph: string) => request<{ circuits: CircuitEntry[] }>("GET", `graphs/${encodePath(graph)}/circuits`),
  savedCircuit: (graph: string, id: string) =>
    request<CircuitView>("GET", `graphs/${encodePath(graph)}/circuits/${encodePath(id)}`),
  /** 409 where another circuit has the name, unless it is to be replaced. */
  saveCircuit: ({ graph, ...body }: ChangedCircuit & { name: string; replace: boolean }) =>
    request<CircuitView>("POST", `graphs/${encodePath(graph)}/circuits`, {}, body),
  dropCircuit: (graph: string, id: string) =>
    request<null>("DELETE", `graphs/${encodePath(graph)}/circuits/${encodePath(id)}`),
  circuitFile: (graph: string, id: string) => `/api/graphs/${encodePath(graph)}/circuits/${encodePath(id)}/file`,
  dropGraph: (id: string) => request<null>("DELETE", `graphs/${encodePath(id)}`),
  restoreGraph: (id: string) => request<GraphEntry>("POST", `graphs/${encodePath(id)}/restore`),
  exportAddress: (id: string, as: "json" | "graph", node: number, edge: number) =>
    `/api/graphs/${encodePath(id)}/export?as=${as}&node=${node}&edge=${edge}`,
  /** The graph as one HTML file, with the explanation that is chosen; null for none. */
  page: (id: string, node: number, edge: number, circuit: CircuitChoice | null) =>
    circuit
      ? download("POST", `graphs/${encodePath(id)}/export`, { node, edge }, circuit)
      : download("GET", `graphs/${encodePath(id)}/export`, { as: "html", node, edge }),
  importFile: async (file: File) => {
    const type = file.name.toLowerCase().endsWith(".json") ? "application/json" : "application/octet-stream";
    const answer = await fetch("/api/graphs/import", { method: "POST", headers: { "Content-Type": type }, body: file });
    return readAnswer<{ graph: string }>(answer);
  },
  difference: (a: string, b: string, by: DifferenceView["by"]) =>
    request<DifferenceView>("POST", "compare/graph", {}, { a, b, by }),
  compare: (a: string, b: string) => request<CompareView>("POST", "compare", {}, { a, b }),
  features: (query: Query, signal?: AbortSignal) => request<FeatureList>("GET", "features", query, undefined, signal),
  fires: (text: string, add_bos: boolean, max_density: number, top = 5) =>
    request<FiresView>("POST", "features/fires", {}, { text, add_bos, max_density, top }),
  feature: (id: string) => request<FeatureView>("GET", `features/${encodePath(id)}`),
  probe: (id: string, text: string, add_bos: boolean) =>
    request<ProbeView>("POST", `features/${encodePath(id)}/test`, {}, { text, add_bos }),
  /** `after` is the id of the author's label that this one replaces, 0 for none. A newer one is a conflict: 409. */
  label: (id: string, text: string, author: string, after: number) =>
    request<LabelView>("POST", `features/${encodePath(id)}/labels`, {}, { text, author, after }),
  withdraw: (id: number) => request<null>("DELETE", `labels/${id}`),
  /** The note on what stands at an address: `graphs/ID`, or `features/L3/1207`. */
  note: (address: string) => request<Note>("GET", `${encodePath(address)}/note`),
  writeNote: (address: string, text: string, revision: number) =>
    request<Note>("PUT", `${encodePath(address)}/note`, {}, { text, revision }),
  lists: () => request<{ lists: FeaturesOfList[] }>("GET", "lists"),
  changeList: (name: string, add: string[], remove: string[]) =>
    request<{ lists: FeaturesOfList[] }>("POST", "lists", {}, { name, add, remove }),
  studies: () => request<StudyList>("GET", "studies"),
  studyResult: (id: string) => request<StudyResult>("GET", `studies/results/${encodePath(id)}`),
  studyFigure: (id: string, part: "found" | "absent", figure: string) =>
    `/api/studies/results/${encodePath(id)}/figures/${part}/${encodePath(figure)}`,
  studyReport: (id: string) => `/api/studies/results/${encodePath(id)}/report`,
  start: (body: JobBody) => request<Job>("POST", "jobs", {}, body),
  jobs: () => request<{ jobs: Job[] }>("GET", "jobs"),
  job: (id: string) => request<Job>("GET", `jobs/${encodePath(id)}`),
  cancel: (id: string) => request<unknown>("DELETE", `jobs/${encodePath(id)}`),
};

interface JobListeners {
  progress?: (report: Progress) => void;
  step?: (step: StepPair) => void;
}

const RETRY_WAITS = [300, 700, 1500, 2500]; // milliseconds before each request for a job whose event stream broke

/** Follows a job to its end; rejects if it fails or is cancelled. When the event stream breaks, the job itself is
 *  requested: it may have ended, or run on. A server that does not answer is given up after the last wait. */
export async function followJob(id: string, listeners: JobListeners): Promise<Job> {
  let delivered = 0; // steps passed on so far: a new event stream repeats them
  for (;;) {
    let received = 0;
    const deliverNew = (step: StepPair) => ++received > delivered && ((delivered = received), listeners.step?.(step));
    const job = (await listenToJob(id, { ...listeners, step: deliverNew })) ?? (await pollJob(id));
    if (job.state === "done") return job;
    if (job.state === "failed" || job.state === "cancelled")
      throw new ApiError(0, job.error ?? t("the job was {a}", { a: job.state }), job);
    await pause(RETRY_WAITS[0]!);
  }
}

/** The job from its last event; null if the event stream broke before. */
function listenToJob(id: string, listeners: JobListeners): Promise<Job | null> {
  return new Promise((resolve) => {
    const source = new EventSource(`/api/jobs/${encodePath(id)}/events`);
    const parseData = <T>(event: Event) => JSON.parse((event as MessageEvent<string>).data) as T;
    const finish = (job: Job | null) => (source.close(), resolve(job));
    source.addEventListener("progress", (event) => listeners.progress?.(parseData<Progress>(event)));
    source.addEventListener("step", (event) => listeners.step?.(parseData<StepPair>(event)));
    source.addEventListener("end", (event) => finish(parseData<Job>(event)));
    source.addEventListener("error", () => finish(null));
  });
}

async function pollJob(id: string): Promise<Job> {
  for (const wait of RETRY_WAITS) {
    await pause(wait);
    try {
      return await api.job(id);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404)
        throw new ApiError(
          404,
          t("this server knows no such work any more: it was started again, or the address is from elsewhere"),
          null,
        );
      if (!(error instanceof ApiError) || error.status !== 0) throw error;
    }
  }
  throw new ApiError(0, t("the server went away while it worked: start `clew serve` again"), null);
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
