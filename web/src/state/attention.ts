// The attention of one graph's prompt: layers are fetched one by one, the one that is looked at first.
import { signal } from "@preact/signals";
import { ApiError, api } from "../api_client";
import { type HeadPattern, type Pair, unpackPatterns } from "../model/attention";
import type { HeadKey } from "../model/explanations";
import type { LayerAttention } from "../types";

export interface PromptAttention {
  graph: string;
  nLayers: number;
  tokens: readonly string[];
  shown: readonly string[] | null;
  /** By layer and head; those that have come. */
  patterns: ReadonlyMap<string, HeadPattern>;
}

export const attention = signal<PromptAttention | null>(null);
export const attentionProblem = signal("");
/** The pair under the pointer; null where the chosen one is meant. */
export const pointed = signal<Pair | null>(null);

export const patternKey = (layer: number, head: number) => `${layer}.${head}`;

function take(graph: string, answer: LayerAttention): void {
  const before = attention.peek()?.graph === graph ? attention.peek() : null;
  const patterns = new Map(before?.patterns);
  unpackPatterns(answer.weights, answer.heads.length, answer.tokens.length).forEach((pattern, i) =>
    patterns.set(patternKey(answer.layer, answer.heads[i]!), pattern),
  );
  const { n_layers: nLayers, tokens, shown = null } = answer;
  attention.value = { graph, nLayers, tokens, shown, patterns };
}

/** Fetches the layer of a head, then all others; of a prompt too long for whole layers that head alone. */
export async function loadAttention(graph: string, first: Pick<HeadKey, "layer" | "head">, signal: AbortSignal) {
  attentionProblem.value = "";
  if (attention.peek()?.graph !== graph) attention.value = null;
  const has = (layer: number) => [...(attention.peek()?.patterns.keys() ?? [])].some((k) => k.startsWith(`${layer}.`));
  try {
    if (!attention.peek()?.patterns.has(patternKey(first.layer, first.head)))
      take(graph, await layerOrHead(graph, first, signal));
    const { nLayers } = attention.peek()!;
    for (let layer = 0; layer < nLayers && !signal.aborted; layer++)
      if (!has(layer)) take(graph, await api.attention(graph, layer, null, signal));
  } catch (error) {
    if (signal.aborted || (attention.peek() && error instanceof ApiError && error.status === 400)) return;
    attentionProblem.value = error instanceof Error ? error.message : String(error);
  }
}

async function layerOrHead(graph: string, { layer, head }: Pick<HeadKey, "layer" | "head">, signal: AbortSignal) {
  try {
    return await api.attention(graph, layer, null, signal);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 400) throw error;
    return api.attention(graph, layer, head, signal);
  }
}
