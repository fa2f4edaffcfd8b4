// The prompt box: what is typed, how the model reads it, the job that traces it, and the history of graphs.
import { signal } from "@preact/signals";
import { api, follow } from "../api_client";
import { cut } from "../model/format";
import type { GraphEntry, Progress, Tokens } from "../types";
import { attempt, embedded, notify } from "./app";
import { settled } from "./persistence";
import { go, route } from "./route";
import { graphId } from "./trace";

export const typed = signal("");
export const read = signal<Tokens | null>(null);
/** Why what is typed cannot be read: mostly that it is too long. */
export const unread = signal("");
export const entries = signal<readonly GraphEntry[]>([]);
export const tracing = signal<{ id: string; at: Progress | null; queued: boolean } | null>(null);

let asked: AbortController | null = null;
let waiting: ReturnType<typeof setTimeout> | undefined;

/** What is typed is read by the kit's tokenizer once the person pauses. */
export function type(text: string): void {
  typed.value = text;
  clearTimeout(waiting);
  asked?.abort();
  if (!text) {
    [read.value, unread.value] = [null, ""];
    return;
  }
  waiting = setTimeout(() => {
    const mine = (asked = new AbortController());
    const heard = (found: Tokens | null, why = "") =>
      !mine.signal.aborted && ([read.value, unread.value] = [found, why]);
    api
      .tokens(text, mine.signal)
      .then(heard, (error: unknown) => heard(null, error instanceof Error ? error.message : ""));
  }, 150);
}

export async function loadHistory(): Promise<void> {
  if (embedded) return;
  const found = await attempt(() => api.graphs());
  if (found) entries.value = found.graphs;
}

export async function trace(prompt: string): Promise<string | null> {
  if (!prompt.trim() || tracing.peek()) return null;
  const graph = await attempt(async () => {
    const job = await api.start({ kind: "trace", prompt, max_features: null });
    tracing.value = { id: job.id, at: null, queued: job.state === "queued" };
    try {
      const done = await follow(job.id, { progress: (at) => (tracing.value = { id: job.id, at, queued: false }) });
      return done.result?.kind === "trace" ? done.result.graph : null;
    } finally {
      tracing.value = null;
    }
  });
  if (graph) {
    [read.value, unread.value] = [null, ""];
    void loadHistory();
  }
  return graph;
}

export async function traceHere(prompt: string): Promise<void> {
  const graph = await trace(prompt);
  if (graph) go("trace", graph);
}

export function cancelTrace(): void {
  const now = tracing.peek();
  if (now) void attempt(() => api.cancel(now.id));
}

export async function importFile(file: File): Promise<void> {
  const made = await attempt(() => api.importFile(file));
  if (!made) return;
  notify(`${file.name} is in the workspace now.`);
  void loadHistory();
  go("trace", made.graph);
}

/** Removes a graph, and offers to bring it back: the server can while it runs. */
export async function removeGraph({ id, prompt, tokens }: GraphEntry): Promise<void> {
  const wasOpen = id === graphId.peek();
  if (wasOpen) await settled(); // so that it comes back with what was done last
  if ((await attempt(async () => (await api.dropGraph(id), true))) === null) return;
  if (wasOpen) go("trace");
  notify(`The graph of “${cut(prompt || tokens.join(""), 60)}” is removed.`, "say", {
    name: "Undo",
    run: () => void restoreGraph(id, wasOpen),
  });
  await loadHistory();
}

/** Opens it again if it was open, and nothing else is meanwhile. */
async function restoreGraph(id: string, wasOpen: boolean): Promise<void> {
  if (!(await attempt(() => api.restoreGraph(id)))) return;
  if (wasOpen && !graphId.peek() && route.peek().view === "trace") go("trace", id);
  await loadHistory();
}
