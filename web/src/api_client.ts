// Everything the page asks of the server, typed by the server's own document. A refusal is one line for a person.
import type {
  ArrangementView, CompareView, FeatureList, FeatureView, FiresView, GraphEntry, GraphView, Job, JobBody, LabelView, NodeDetail,
  ProbeView, Progress, ScoresView, StepPair, Suggestions, Tokens, Workbench,
} from "./types";

export class Refused extends Error {
  constructor(readonly status: number, message: string, readonly body: unknown) {
    super(message);
  }
}

type Query = Record<string, string | number | boolean | null | undefined>;

async function ask<T>(method: string, path: string, query: Query = {}, body?: unknown, signal?: AbortSignal, keepalive = false): Promise<T> {
  const said = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") said.set(name, String(value));
  }
  const address = `/api/${path}${said.size ? `?${said}` : ""}`;
  const headers: Record<string, string> = body === undefined ? {} : { "Content-Type": "application/json" };
  let answer: Response;
  try {
    answer = await fetch(address, { method, headers, body: body === undefined ? null : JSON.stringify(body), signal: signal ?? null, keepalive });
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
  const said = value && typeof value === "object" && "error" in value ? String(value.error) : `the server answered ${answer.status}`;
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
  exportAddress: (id: string, as: "html" | "json" | "graph", node: number, edge: number) =>
    `/api/graphs/${part(id)}/export?as=${as}&node=${node}&edge=${edge}`,
  importFile: async (file: File) => {
    const type = file.name.endsWith(".json") ? "application/json" : "application/octet-stream";
    const answer = await fetch("/api/graphs/import", { method: "POST", headers: { "Content-Type": type }, body: file });
    return read<{ graph: string }>(answer);
  },
  compare: (a: string, b: string) => ask<CompareView>("POST", "compare", {}, { a, b }),
  features: (query: Query, signal?: AbortSignal) => ask<FeatureList>("GET", "features", query, undefined, signal),
  fires: (text: string, max_density: number) => ask<FiresView>("POST", "features/fires", {}, { text, max_density, top: 5 }),
  feature: (id: string) => ask<FeatureView>("GET", `features/${part(id)}`),
  probe: (id: string, text: string) => ask<ProbeView>("POST", `features/${part(id)}/test`, {}, { text }),
  label: (id: string, text: string, author: string, note: string) =>
    ask<LabelView>("POST", `features/${part(id)}/labels`, {}, { text, author, note }),
  withdraw: (id: number) => ask<null>("DELETE", `labels/${id}`),
  start: (body: JobBody) => ask<Job>("POST", "jobs", {}, body),
  cancel: (id: string) => ask<unknown>("DELETE", `jobs/${part(id)}`),
};

/** Follows a job to its end; rejects when it fails or is cancelled. */
export function follow(id: string, heard: { progress?: (at: Progress) => void; step?: (step: StepPair) => void }): Promise<Job> {
  return new Promise((resolve, reject) => {
    const source = new EventSource(`/api/jobs/${part(id)}/events`);
    source.addEventListener("progress", (event) => heard.progress?.(JSON.parse((event as MessageEvent<string>).data) as Progress));
    source.addEventListener("step", (event) => heard.step?.(JSON.parse((event as MessageEvent<string>).data) as StepPair));
    source.addEventListener("end", (event) => {
      source.close();
      const job = JSON.parse((event as MessageEvent<string>).data) as Job;
      if (job.state === "done") resolve(job);
      else reject(new Refused(0, job.error ?? `the job was ${job.state}`, job));
    });
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) reject(new Refused(0, "the server went away while it worked", null));
    });
  });
}
