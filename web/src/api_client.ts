// Everything the page asks of the server, typed by the server's own document. A refusal is one line for a person.
import type {
  ArrangementView,
  CompareView,
  FeatureList,
  FeatureView,
  FiresView,
  GraphEntry,
  GraphView,
  Job,
  JobBody,
  LabelView,
  NodeDetail,
  ProbeView,
  Progress,
  ScoresView,
  StepPair,
  Suggestions,
  Tokens,
  Workbench,
} from "./types";

export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly body: unknown,
  ) {
    super(message);
  }
}

type Query = Record<string, string | number | boolean | null | undefined>;

async function ask<T>(
  method: string,
  path: string,
  query: Query = {},
  body?: unknown,
  signal?: AbortSignal,
  keepalive = false,
): Promise<T> {
  const said = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") said.set(name, String(value));
  }
  const address = `/api/${path}${said.size ? `?${said}` : ""}`;
  const headers: Record<string, string> = body === undefined ? {} : { "Content-Type": "application/json" };
  let answer: Response;
  try {
    answer = await fetch(address, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      signal: signal ?? null,
      keepalive,
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Refused(0, "the server does not answer: is `clew serve` still running?", null);
  }
  return read<T>(answer);
}

async function read<T>(answer: Response): Promise<T> {
  const text = await answer.text();
  let value: unknown = null;
  try {
    value = text ? JSON.parse(text) : null;
  } catch {
    value = null;
  }
  if (answer.ok) return value as T;
  const said =
    value && typeof value === "object" && "error" in value
      ? String(value.error)
      : `the server answered ${answer.status}`;
  throw new Refused(answer.status, said, value);
}

/** `L3/1207` and `L3/1207@4` are paths and queries of their own; only what is unsafe is escaped. */
const part = (id: string) => id.split("/").map(encodeURIComponent).join("/");

export const api = {
  workbench: () => ask<Workbench>("GET", "workbench"),
  tokens: (prompt: string, signal?: AbortSignal) => ask<Tokens>("POST", "tokens", {}, { prompt }, signal),
  graphs: (limit = 100) => ask<{ total: number; graphs: GraphEntry[] }>("GET", "graphs", { limit }),
  graph: (id: string, node: number, edge: number, signal?: AbortSignal) =>
    ask<GraphView>("GET", `graphs/${part(id)}`, { node, edge }, undefined, signal),
  scores: (id: string, node: number, edge: number, signal?: AbortSignal) =>
    ask<ScoresView>("GET", `graphs/${part(id)}/scores`, { node, edge }, undefined, signal),
  node: (graph: string, id: string, node: number, edge: number, signal?: AbortSignal) =>
    ask<NodeDetail>("GET", `graphs/${part(graph)}/node`, { id, node, edge }, undefined, signal),
  arrangement: (id: string) => ask<ArrangementView>("GET", `graphs/${part(id)}/arrangement`),
  arrange: (id: string, body: ArrangementView, leaving = false) =>
    ask<ArrangementView>("PUT", `graphs/${part(id)}/arrangement`, {}, body, undefined, leaving),
  suggest: (id: string, by: "token" | "label", node: number, edge: number) =>
    ask<Suggestions>("POST", `graphs/${part(id)}/groups/suggest`, { by, node, edge }, {}),
  dropGraph: (id: string) => ask<null>("DELETE", `graphs/${part(id)}`),
  restoreGraph: (id: string) => ask<GraphEntry>("POST", `graphs/${part(id)}/restore`),
  exportAddress: (id: string, as: "html" | "json" | "graph", node: number, edge: number) =>
    `/api/graphs/${part(id)}/export?as=${as}&node=${node}&edge=${edge}`,
  importFile: async (file: File) => {
    const type = file.name.endsWith(".json") ? "application/json" : "application/octet-stream";
    const answer = await fetch("/api/graphs/import", { method: "POST", headers: { "Content-Type": type }, body: file });
    return read<{ graph: string }>(answer);
  },
  compare: (a: string, b: string) => ask<CompareView>("POST", "compare", {}, { a, b }),
  features: (query: Query, signal?: AbortSignal) => ask<FeatureList>("GET", "features", query, undefined, signal),
  fires: (text: string, max_density: number, top = 5) =>
    ask<FiresView>("POST", "features/fires", {}, { text, max_density, top }),
  feature: (id: string) => ask<FeatureView>("GET", `features/${part(id)}`),
  probe: (id: string, text: string) => ask<ProbeView>("POST", `features/${part(id)}/test`, {}, { text }),
  /** `after` is the author's label that this one was begun after, 0 for none: another one since is refused with 409. */
  label: (id: string, text: string, author: string, after: number) =>
    ask<LabelView>("POST", `features/${part(id)}/labels`, {}, { text, author, after }),
  withdraw: (id: number) => ask<null>("DELETE", `labels/${id}`),
  start: (body: JobBody) => ask<Job>("POST", "jobs", {}, body),
  jobs: () => ask<{ jobs: Job[] }>("GET", "jobs"),
  job: (id: string) => ask<Job>("GET", `jobs/${part(id)}`),
  cancel: (id: string) => ask<unknown>("DELETE", `jobs/${part(id)}`),
};

interface Heard {
  progress?: (at: Progress) => void;
  step?: (step: StepPair) => void;
}

const WAITS = [300, 700, 1500, 2500]; // milliseconds before each asking after a job whose line broke

/** Follows a job to its end; rejects when it fails or is cancelled. When the line breaks, the job itself is asked after:
 *  it may be over, it may run on, and a server that does not answer ends the wait. */
export async function follow(id: string, heard: Heard): Promise<Job> {
  let steps = 0; // heard so far: a new line tells all of them again
  for (;;) {
    let told = 0;
    const fresh = (step: StepPair) => ++told > steps && ((steps = told), heard.step?.(step));
    const job = (await listen(id, { ...heard, step: fresh })) ?? (await askAfter(id));
    if (job.state === "done") return job;
    if (job.state === "failed" || job.state === "cancelled")
      throw new Refused(0, job.error ?? `the job was ${job.state}`, job);
    await pause(WAITS[0]!);
  }
}

/** The job as its last event tells it; null when the line broke before. */
function listen(id: string, heard: Heard): Promise<Job | null> {
  return new Promise((resolve) => {
    const source = new EventSource(`/api/jobs/${part(id)}/events`);
    const said = <T>(event: Event) => JSON.parse((event as MessageEvent<string>).data) as T;
    const over = (job: Job | null) => (source.close(), resolve(job));
    source.addEventListener("progress", (event) => heard.progress?.(said<Progress>(event)));
    source.addEventListener("step", (event) => heard.step?.(said<StepPair>(event)));
    source.addEventListener("end", (event) => over(said<Job>(event)));
    source.addEventListener("error", () => over(null));
  });
}

async function askAfter(id: string): Promise<Job> {
  for (const wait of WAITS) {
    await pause(wait);
    try {
      return await api.job(id);
    } catch (error) {
      if (error instanceof Refused && error.status === 404)
        throw new Refused(
          404,
          "this server knows no such work any more: it was started again, or the address is from elsewhere",
          null,
        );
      if (!(error instanceof Refused) || error.status !== 0) throw error;
    }
  }
  throw new Refused(0, "the server went away while it worked: start `clew serve` again", null);
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((done) => setTimeout(done, milliseconds));
}
