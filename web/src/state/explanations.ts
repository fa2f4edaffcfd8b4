// What stands behind the numbers of the open graph, asked of the server: a node's effects, an open edge's heads and
// steps, an open head's pattern and why it looks there. An exported file and a graph of another kit have none of it.
import { t } from "../i18n/text";
import { computed, effect, signal } from "@preact/signals";
import { api } from "../api_client";
import { type EdgeKey, type HeadKey, sameEdge, sameHead } from "../model/explanations";
import type { EdgeDetail, LookView, NodeEffects, PatternView } from "../types";
import { announcement, embedded } from "./app";
import { chosen, edge, graph, graphId, head, hovered, path, primaryNode, scene } from "./trace";

/** Up to so many nodes effects are found without being asked for. */
const FEW_NODES = 2000;

/** Whether edges and heads can be opened: there is a server, and its kit traced the graph. */
export const explainable = computed(() => !embedded && (graph.value?.view.of_kit ?? false));

/** Effects of a large graph were asked for. */
export const effectsWanted = signal(false);
export const effectsAsked = computed(
  () => explainable.value && (effectsWanted.value || graph.value!.view.counts.whole.nodes <= FEW_NODES),
);

/** What an address answered: nothing yet, a view, or one line that says why there is none. */
export interface Answer<T> {
  of: string;
  view: T | null;
  problem: string;
}

export const effects = signal<Answer<NodeEffects> | null>(null);
export const edgeDetail = signal<Answer<EdgeDetail> | null>(null);
export const pattern = signal<Answer<PatternView> | null>(null);
export const look = signal<Answer<LookView> | null>(null);
export const measuring = signal(false);

/** The output whose loss is shown, by its id; else the first. */
export const shownTarget = signal("");

// --- opening and closing ------------------------------------------------------------------------------------------

export function openEdge(key: EdgeKey): void {
  const marks = chosen.peek();
  path.value = null;
  hovered.value = null;
  head.value = null;
  if (!marks.includes(key.source) && !marks.includes(key.target))
    chosen.value = [scene.peek()?.ofNode.get(key.target)?.key ?? key.target];
  edge.value = key;
  announcement.value = t("Edge from {a} to {b}", { a: key.source, b: key.target });
}

export function openHead(key: HeadKey): void {
  head.value = key;
  announcement.value = t("Layer {a}, head {b}", { a: key.layer, b: key.head });
}

/** Opens a head without an edge: at the chosen node's position and layer, else at the last token. */
export function openAnyHead(): void {
  const node = primaryNode.peek();
  const last = (graph.peek()?.view.tokens.length ?? 1) - 1;
  openHead({ layer: node?.layer ?? 0, head: 0, query: node?.position ?? last, key: null });
}

export function closeHead(): void {
  head.value = null;
}

export function closeEdge(): void {
  edge.value = null;
}

// --- asking -------------------------------------------------------------------------------------------------------

/** Asks for a view, and keeps the answer unless something else was asked for meanwhile. */
function asker<T>(answer: { value: Answer<T> | null; peek: () => Answer<T> | null }) {
  let request: AbortController | null = null;
  return (of: string, work: ((signal: AbortSignal) => Promise<T>) | null) => {
    if (work && answer.peek()?.of === of) return;
    request?.abort();
    request = null;
    answer.value = null;
    if (!work) return;
    const asked = (request = new AbortController());
    work(asked.signal).then(
      (view) => !asked.signal.aborted && (answer.value = { of, view, problem: "" }),
      (error: unknown) => {
        if (asked.signal.aborted) return;
        answer.value = { of, view: null, problem: error instanceof Error ? error.message : String(error) };
      },
    );
  };
}

const askEffects = asker(effects);
const askEdge = asker(edgeDetail);
const askPattern = asker(pattern);
const askLook = asker(look);

/** Ablates in the model the features that are predicted to matter most for the open look. */
export async function measureLook(): Promise<void> {
  const [id, key] = [graphId.peek(), head.peek()];
  const before = look.peek();
  if (!key || !before) return;
  measuring.value = true;
  const answer = await api.look(id, key, true).then(
    (view) => ({ ...before, view, problem: "" }),
    (error: unknown) => ({ ...before, problem: error instanceof Error ? error.message : String(error) }),
  );
  measuring.value = false;
  if (look.peek()?.of === before.of) look.value = answer;
}

/** Connects what is open with the requests for it. Called once, at the start. */
export function followExplanations(): void {
  if (embedded) return;
  const id = computed(() => graph.value?.view.id ?? "");
  effect(() => {
    const node = effectsAsked.value ? (primaryNode.value?.id ?? "") : "";
    const current = id.value;
    askEffects(`${current} ${node}`, node ? (signal) => api.effects(current, node, signal) : null);
  });
  effect(() => {
    const [key, current] = [explainable.value ? edge.value : null, id.value];
    const of = key ? `${current} ${key.source} ${key.target}` : "";
    askEdge(of, key ? (signal) => api.edge(current, key, signal) : null);
  });
  effect(() => {
    const [key, current] = [explainable.value ? head.value : null, id.value];
    const of = key ? `${current} ${key.layer} ${key.head} ${key.query}` : "";
    askPattern(of, key ? (signal) => api.pattern(current, key, signal) : null);
    askLook(`${of} ${key?.key ?? ""}`, key ? (signal) => api.look(current, key, false, signal) : null);
  });
}

/** Takes over the edge and the head of an address. */
export function showExplained(nextEdge: EdgeKey | null, nextHead: HeadKey | null): void {
  if (!sameEdge(nextEdge, edge.peek())) edge.value = nextEdge;
  if (!sameHead(nextHead, head.peek())) head.value = nextHead;
}
