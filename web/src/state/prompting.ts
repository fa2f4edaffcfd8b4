// State of the prompt box: its text, the text's tokens, the trace job, and the list of earlier graphs.
import { t } from "../i18n/text";
import { signal } from "@preact/signals";
import { ApiError, api, followJob } from "../api_client";
import { rowOf, truncate } from "../model/format";
import { graphFile } from "../model/graph_file";
import type { GraphEntry, GraphView, Progress, Tokens } from "../types";
import { attempt, embedded, notify } from "./app";
import { type Pane, pane } from "./circuit";
import { whenSaved } from "./persistence";
import { go, route } from "./route";
import { graphId } from "./trace";

export const promptText = signal("");
/** Whether the text begins with what the tokenizer puts there. That of an open graph is as it was traced. */
export const addBos = signal(true);
/** The outputs to explain as they are typed, with commas between them; empty for the likeliest tokens. */
export const targetText = signal("");
/** Why the targets cannot be explained. */
export const targetError = signal("");
/** The position whose next token is explained; -1 is the last. */
export const position = signal(-1);
export const tokenization = signal<Tokens | null>(null);
/** Why the text cannot be tokenized; mostly because it is too long. */
export const tokenizationError = signal("");
export const entries = signal<readonly GraphEntry[]>([]);
export const tracing = signal<{ id: string; progress: Progress | null; queued: boolean } | null>(null);

let tokenRequest: AbortController | null = null;
let tokenTimer: ReturnType<typeof setTimeout> | undefined;

/** Sets the text, and asks for its tokens after a pause in typing. */
export function typePrompt(text: string, withBos = addBos.peek()): void {
  if (text !== promptText.peek() || withBos !== addBos.peek()) position.value = -1;
  [promptText.value, addBos.value] = [text, withBos];
  clearTimeout(tokenTimer);
  tokenRequest?.abort();
  if (!text) return hideTokens();
  tokenTimer = setTimeout(() => {
    const request = (tokenRequest = new AbortController());
    const setTokens = (tokens: Tokens | null, error = "") =>
      !request.signal.aborted && ([tokenization.value, tokenizationError.value] = [tokens, error]);
    api
      .tokens(text, withBos, request.signal)
      .then(setTokens, (error: unknown) => setTokens(null, error instanceof Error ? error.message : ""));
  }, 150);
}

/** Forgets the tokens of the text, which are shown while it is written, and those that are on their way. */
export function hideTokens(): void {
  clearTimeout(tokenTimer);
  tokenRequest?.abort();
  [tokenization.value, tokenizationError.value] = [null, ""];
}

export async function loadHistory(): Promise<void> {
  if (embedded) return;
  const answer = await attempt(() => api.graphs());
  if (answer) entries.value = answer.graphs;
}

/** What of a prompt is explained. */
export interface Asked {
  targets: readonly string[];
  position: number;
}

export const LIKELIEST: Asked = { targets: [], position: -1 };

/** The outputs named in a text: a comma that stands alone is one itself. */
export function targetsOf(text: string): string[] {
  const named = text.split(",").map((each) => each.trim());
  return named.some(Boolean) ? named.filter(Boolean) : text.trim() ? [text.trim()] : [];
}

/** Sets the prompt line to what an open graph was traced from. */
export function followGraph(view: GraphView): void {
  [promptText.value, addBos.value] = [view.prompt, view.add_bos ?? true];
  [targetText.value, targetError.value] = [(view.targets ?? []).join(", "), ""];
  position.value = view.position === view.tokens.length - 1 ? -1 : view.position;
}

/** Traces a prompt; null if that failed. What the person did to an earlier graph of the prompt is kept. */
export async function trace(prompt: string, add_bos = true, asked: Asked = LIKELIEST): Promise<string | null> {
  if (!prompt.trim() || tracing.peek()) return null;
  targetError.value = "";
  const targets = asked.targets.length ? [...asked.targets] : null;
  const graph = await attempt(async () => {
    await whenSaved(); // so that the server hands on the latest pins and groups
    try {
      const job = await api.start({
        kind: "trace",
        prompt,
        targets,
        position: asked.position,
        max_features: null,
        add_bos,
      });
      tracing.value = { id: job.id, progress: null, queued: job.state === "queued" };
      const finished = await followJob(job.id, {
        progress: (progress) => (tracing.value = { id: job.id, progress, queued: false }),
      });
      return finished.result?.kind === "trace" ? finished.result.graph : null;
    } catch (error) {
      if (!targets || !(error instanceof ApiError) || !/^(every )?target/.test(error.message)) throw error;
      targetError.value = error.message;
      if (!tokenization.peek()) typePrompt(prompt, add_bos); // the field of the targets stands with the tokens
      return null;
    } finally {
      tracing.value = null;
    }
  });
  if (graph) {
    hideTokens();
    await loadHistory();
    await attempt(() => sayWhatIsKept(graph));
  }
  return graph;
}

/** The server gives a graph what the person did to an earlier graph of its prompt; this says so. */
async function sayWhatIsKept(graph: string): Promise<void> {
  const { pins, groups } = await api.arrangement(graph);
  if (pins.length + groups.length) notify(t("The pins and groups of the earlier trace are kept."));
}

export async function traceHere(prompt: string, withBos = true, asked: Asked = LIKELIEST): Promise<void> {
  const graph = await trace(prompt, withBos, asked);
  if (graph) go("trace", graph, route.peek().query["guide"] ? { pane: "graph" } : {}); // the guide is of graphs
}

export function cancelTrace(): void {
  const current = tracing.peek();
  if (current) void attempt(() => api.cancel(current.id));
}

export async function importFile(file: File): Promise<void> {
  const imported = await attempt(async () => {
    const graph = await graphFile(file);
    const answer = await api.importFile(graph);
    if (graph !== file) await showWhole(answer.graph);
    return answer;
  });
  if (!imported) return;
  notify(t("{a} is in the workspace now.", { a: file.name }));
  void loadHistory();
  go("trace", imported.graph, { pane: "graph" });
}

/** Sets the thresholds of a graph so that all of it is shown: an exported page holds what was shown, and no more. */
async function showWhole(id: string): Promise<void> {
  await api.arrange(id, { ...(await api.arrangement(id)), thresholds: { node: 1, edge: 1 } });
}

/** Takes a file in that is dropped anywhere on the page; without this the browser would leave the page for it. */
export function listenToDrops(): void {
  if (embedded) return;
  const carriesFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
  document.addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    for (const file of event.dataTransfer?.files ?? []) void importFile(file);
  });
}

/** Removes a graph, and offers to restore it, which any server of the workspace can for a day. */
export async function removeGraph(entry: GraphEntry): Promise<void> {
  const { id, prompt } = entry;
  const wasOpen = id === graphId.peek() ? pane.peek() : null;
  if (wasOpen) await whenSaved(); // so that it is restored with the latest arrangement
  if ((await attempt(async () => (await api.dropGraph(id), true))) === null) return;
  if (wasOpen) go("trace");
  notify(t("The graph of “{a}” is removed.", { a: truncate(prompt || rowOf(entry).join(""), 60) }), "say", {
    name: t("Undo"),
    run: () => void restoreGraph(id, wasOpen),
  });
  await loadHistory();
}

/** Restores a graph, and opens it again if it was open and no other graph is now. */
async function restoreGraph(id: string, wasOpen: Pane | null): Promise<void> {
  if (!(await attempt(() => api.restoreGraph(id)))) return;
  if (wasOpen && !graphId.peek() && route.peek().view === "trace") go("trace", id, { pane: wasOpen });
  await loadHistory();
}
