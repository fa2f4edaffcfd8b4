// What is edited, and what came of it: two jobs side by side, the effect (predicted and measured) and the two texts.
import { computed, effect as react, signal } from "@preact/signals";
import { api, follow } from "../api_client";
import { type EditLine, bodyOf, clampable, readEdits, writeEdits } from "../model/edits";
import type { Node } from "../model/graph";
import { featureOf } from "../model/graph";
import type { AuditView, EffectView, GraphView, JobBody, Progress, Step } from "../types";
import { attempt, embedded, notify, workbench } from "./app";
import { adjust, go, route } from "./route";
import { chosen, graph, scene } from "./trace";

export const prompt = signal("");
export const edits = signal<readonly EditLine[]>([]);
/** The graph that the edits come from: it can be audited. */
export const source = signal("");
export const settings = signal({ tokens: 12, temperature: 0, top_p: 1, seed: 0, predict: "frozen" as "frozen" | "direct" });
/** The last clamped layer that was asked for; null is the last edited one. */
export const wantedThrough = signal<number | null>(null);
export const layersThrough = computed(() => (workbench.value ? clampable(edits.value, workbench.value.kit) : []));
/** What is asked of the server: null, its default, where the edits do not allow what was wanted. */
export const through = computed(() => (layersThrough.value.indexOf(wantedThrough.value ?? -1) > 0 ? wantedThrough.value : null));
export const effect = signal<EffectView | null>(null);
export const streams = signal<{ default: readonly Step[]; edited: readonly Step[] } | null>(null);
export const audit = signal<AuditView | null>(null);
export const running = signal<{ id: string; what: string; at: Progress | null } | null>(null);

export function addEdit(view: GraphView, node: Node): void {
  const feature = featureOf(node.id);
  if (!feature) return;
  if (prompt.peek() !== view.prompt) {
    prompt.value = view.prompt;
    edits.value = [];
    effect.value = null;
    streams.value = null;
  }
  if (source.peek() !== view.id) audit.value = null;
  source.value = view.id;
  addFeature(feature, String(node.position));
}

/** Puts what is chosen in the graph, groups with all their features, among the edits and goes there. */
export function editChosen(): void {
  const now = graph.peek();
  if (embedded || !now) return;
  const nodes = chosen.peek().flatMap((key) => scene.peek()?.byKey.get(key)?.members ?? []).filter((node) => node.kind === "feature");
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

/** Starts a job, shows its progress, gives its result; null when it was refused, failed or was cancelled. */
export async function work(body: JobBody, what: string, heard: (step: { default: Step | null; edited: Step | null }) => void = () => undefined) {
  return attempt(async () => {
    const job = await api.start(body);
    running.value = { id: job.id, what, at: null };
    try {
      const done = await follow(job.id, { progress: (at) => (running.value = { id: job.id, what, at }), step: heard });
      return done.result;
    } finally {
      if (running.peek()?.id === job.id) running.value = null;
    }
  });
}

export async function runEdits(): Promise<void> {
  const said = { prompt: prompt.peek(), edits: edits.peek().map(bodyOf), through: through.peek() };
  if (!said.prompt || !said.edits.length) return;
  const { predict, ...sampling } = settings.peek();
  effect.value = null;
  streams.value = null;
  const changed = await work({ kind: "edit", ...said, predict }, "Measuring the effect");
  if (changed?.kind !== "edit") return;
  effect.value = changed;
  streams.value = { default: [], edited: [] };
  await work({ kind: "generate", ...said, ...sampling }, "Writing both texts", (step) => {
    const now = streams.peek() ?? { default: [], edited: [] };
    streams.value = {
      default: step.default ? [...now.default, step.default] : now.default,
      edited: step.edited ? [...now.edited, step.edited] : now.edited,
    };
  });
}

export async function runAudit(graph: string, nodes: number): Promise<void> {
  const found = await work({ kind: "audit", graph, nodes }, "Auditing the graph");
  if (found?.kind === "audit") audit.value = found;
}

export function cancel(): void {
  const now = running.peek();
  if (now) void attempt(() => api.cancel(now.id));
}

/** The address holds prompt and edits, so that an experiment can be sent. */
export function keepEdits(): void {
  let read = "";
  react(() => {
    const { view, query } = route.value;
    if (view !== "edit") return;
    const said = JSON.stringify([query["prompt"], query["edits"], query["graph"], query["through"]]);
    if (said === read) return;
    read = said;
    if (query["prompt"] !== undefined && query["prompt"] !== prompt.peek()) prompt.value = query["prompt"];
    if (query["edits"] !== undefined && query["edits"] !== writeEdits(edits.peek())) edits.value = readEdits(query["edits"]);
    if (query["graph"] !== undefined && query["graph"] !== source.peek()) source.value = query["graph"];
    if (query["edits"] !== undefined) wantedThrough.value = /^\d+$/.test(query["through"] ?? "") ? Number(query["through"]) : null;
  });
  react(() => {
    const now = { prompt: prompt.value, edits: writeEdits(edits.value), graph: source.value, through: String(through.value ?? "") };
    if (route.value.view !== "edit") return;
    read = JSON.stringify([now.prompt || undefined, now.edits || undefined, now.graph || undefined, now.through || undefined]);
    adjust(now);
  });
}
