// The graph that is open: what of it is shown, what is chosen, what a person did to it. The address and the workspace
// follow these signals (see `persistence.ts`); the views only read them.
import { computed, signal } from "@preact/signals";
import { Refused, api } from "../api_client";
import {
  type Arrangement,
  EMPTY,
  adopt,
  addToGroup,
  group,
  groupOf,
  move,
  rechosen,
  rename,
  togglePin,
  ungroup,
} from "../model/arrangement";
import { type Family, families } from "../model/label_groups";
import { type Graph, type Node, featureOf, readGraph, search, withNodes } from "../model/graph";
import { type History, begin, record, redo, undo } from "../model/undo_history";
import { type Mark, type Scene, makeScene } from "../model/scene";
import { cut, percent, shown } from "../model/format";
import type { GraphView, NodeDetail, NodeRecord, ScoresView } from "../types";
import { attempt, embedded, nameOf, notify, spoken } from "./app";

export type Colour = "plain" | "sign" | "label" | "group";

export const graphId = signal("");
export const graph = signal<Graph | null>(null);
export const loading = signal("");
export const thresholds = signal({ node: 0.8, edge: 0.98 });
export const scores = signal<ScoresView | null>(null);
export const errorsShown = signal(true);
export const labelsShown = signal(true);
export const pinnedOnly = signal(false);
export const colour = signal<Colour>("plain");
export const zoom = signal(1);
/** Folded runs a person opened: by their first token. */
export const opened = signal<ReadonlySet<number>>(new Set());
export const folding = signal(true);

/** Keys of marks (node or group ids); the last one is what the panel shows, all are what `g` groups. */
export const chosen = signal<readonly string[]>([]);
export const hovered = signal<string | null>(null);
export const path = signal<readonly string[] | null>(null);
export const query = signal("");
export const detail = signal<NodeDetail | null>(null);
export const tab = signal<"links" | "card">("links");

export const changes = signal<History<Arrangement>>(begin(EMPTY));
export const arrangement = computed(() => changes.value.present);

/** Whether the graph's features are those whose cards and labels are at hand: the kit's, or the file's own. */
export const ours = computed(() => embedded !== null || (graph.value?.view.of_kit ?? false));

/** What a node of a view is called; a label written anywhere is shown where the features are those of the kit. */
export function nameIn(view: GraphView, node: NodeRecord, ofKit: boolean): { text: string; named: boolean } {
  if (node.kind === "token") return { text: shown(view.tokens[node.position] ?? ""), named: true };
  if (node.kind === "target") return { text: shown(node.label ?? ""), named: true };
  if (node.kind === "error") return { text: `error L${node.layer}`, named: false };
  const feature = featureOf(node.id) ?? node.id;
  const text = (ofKit ? nameOf(feature, node.label, node.label_kind).text : node.label) || "";
  return { text: text || feature, named: text !== "" };
}

export function nodeName(node: NodeRecord): { text: string; named: boolean } {
  const view = graph.value?.view;
  return view ? nameIn(view, node, ours.value) : { text: node.id, named: false };
}

export const scene = computed<Scene | null>(() => {
  const found = graph.value;
  if (!found) return null;
  const { node, edge } = embedded ? thresholds.value : { node: 1, edge: 1 };
  return makeScene(
    found,
    arrangement.value,
    { errors: errorsShown.value, pinnedOnly: pinnedOnly.value, node, edge },
    nodeName,
  );
});

/** The label groups by which marks are coloured; none in another mode. */
export const labelGroups = computed<readonly Family[]>(() =>
  scene.value && colour.value === "group" ? families(scene.value) : [],
);

export const primary = computed<string | null>(() => chosen.value.at(-1) ?? null);
export const primaryMark = computed<Mark | null>(() =>
  primary.value ? (scene.value?.byKey.get(primary.value) ?? null) : null,
);
export const primaryNode = computed<Node | null>(() =>
  primary.value ? (graph.value?.byId.get(primary.value) ?? null) : null,
);
export const found = computed<Node[]>(() =>
  graph.value ? search(graph.value, query.value, (node) => nodeName(node).text) : [],
);

/** All nodes of the open graph, also those below the thresholds: asked for once a search wants them. */
const whole = signal<Graph | null>(null);
/** Whether a search still waits for them. */
export const lookingDeeper = computed(() => query.value.trim() !== "" && deeper.value && !isWhole());
const deeper = signal(false);
/** What a search finds below the thresholds. */
export const foundBelow = computed<Node[]>(() => {
  const [all, now] = [whole.value, graph.value];
  if (!all || !now || !isWhole()) return [];
  return search(all, query.value, (node) => nodeName(node).text).filter((node) => !now.byId.has(node.id));
});

function isWhole(): boolean {
  return whole.value !== null && whole.value.view.id === graph.value?.view.id;
}

/** Fetches what a search may find below the thresholds. */
export async function lookDeeper(): Promise<void> {
  const now = graph.peek()?.view;
  const { shown: here, whole: all } = now?.counts ?? { shown: { nodes: 0 }, whole: { nodes: 0 } };
  if (!now || embedded || deeper.peek() || isWhole() || here.nodes >= all.nodes) return;
  deeper.value = true;
  const view = await attempt(() => api.graph(now.id, 1, 1));
  deeper.value = false;
  if (view) whole.value = readGraph({ ...view, edges: { source: [], target: [], weight: [], held: [] } });
}

// --- loading ------------------------------------------------------------------------------------------------------

let asking: AbortController | null = null;

/** Shows a graph's view; what was chosen and is still there stays chosen. */
export function show(view: GraphView): void {
  graph.value = readGraph(view);
  scores.value = { thresholds: view.thresholds, scores: view.scores, counts: view.counts };
}

export function close(): void {
  asking?.abort();
  graphId.value = "";
  loading.value = "";
  query.value = "";
  graph.value = null;
  scores.value = null;
  detail.value = null;
  path.value = null;
  chosen.value = [];
}

const MOST_KEPT = 60; // pinned or grouped nodes that are fetched though the thresholds cut them
let asked: ReadonlySet<string> = new Set();

function keptNodes(): string[] {
  const now = arrangement.peek();
  return [...new Set([...now.pins, ...now.groups.flatMap((each) => each.nodes)])];
}

/** Fetches what was pinned though the thresholds had cut it. */
export function fetchKept(): void {
  const now = graph.peek();
  if (now && !embedded && keptNodes().some((each) => !now.byId.has(each) && !asked.has(each))) void refresh();
}

/** Brings a node that is not shown into the graph, by pinning it. */
export function bring(id: string): void {
  if (!arrangement.peek().pins.includes(id)) change(togglePin(arrangement.peek(), id));
  choose(id);
}

export async function refresh(): Promise<boolean> {
  const id = graphId.peek();
  if (!id || embedded) return false;
  asking?.abort();
  const mine = (asking = new AbortController());
  const { node, edge } = thresholds.peek();
  try {
    const view = await api.graph(id, node, edge, mine.signal);
    const shownNow = new Set(view.nodes.map((each) => each.id));
    const cutOff = keptNodes()
      .filter((each) => !shownNow.has(each))
      .slice(0, MOST_KEPT);
    asked = new Set(cutOff);
    const details = await Promise.all(
      cutOff.map((each) => api.node(id, each, node, edge, mine.signal).catch(() => null)),
    );
    if (mine.signal.aborted || id !== graphId.peek()) return false;
    show(
      withNodes(
        view,
        details.filter((each) => each !== null),
      ),
    );
    return true;
  } catch (error) {
    if (error instanceof DOMException) return false;
    if (error instanceof Refused && error.status === 404)
      notify("This graph is not in the workspace any more.", "fail");
    else notify(error instanceof Error ? error.message : String(error), "fail");
    return false;
  }
}

let waiting: ReturnType<typeof setTimeout> | undefined;
let scoring: AbortController | null = null;

/** A slider moved: the scores follow at once, the graph when it rests. */
export function setThreshold(which: "node" | "edge", value: number): void {
  thresholds.value = { ...thresholds.peek(), [which]: value };
  if (embedded) return;
  clearTimeout(waiting);
  waiting = setTimeout(() => void refresh(), 160);
  scoring?.abort();
  const mine = (scoring = new AbortController());
  const { node, edge } = thresholds.peek();
  api.scores(graphId.peek(), node, edge, mine.signal).then(
    (answer) => (scores.value = answer),
    () => undefined,
  );
}

let detailing: AbortController | null = null;

/** Asks for all that goes into and out of a node in the whole graph. */
export async function loadDetail(id: string | null): Promise<void> {
  detailing?.abort();
  if (!id || !graph.peek()?.byId.has(id)) {
    detail.value = null;
    return;
  }
  if (detail.peek()?.node.id !== id) detail.value = null;
  if (embedded) {
    detail.value = embedded.nodes[id] ?? null;
    return;
  }
  const mine = (detailing = new AbortController());
  const { node, edge } = thresholds.peek();
  const answer = await attempt(() => api.node(graphId.peek(), id, node, edge, mine.signal));
  if (!mine.signal.aborted && answer) detail.value = answer;
}

// --- choosing -----------------------------------------------------------------------------------------------------

export function choose(key: string | null, more = false): void {
  path.value = null;
  hovered.value = null;
  if (key === null) chosen.value = [];
  else if (more)
    chosen.value = chosen.peek().includes(key) ? chosen.peek().filter((each) => each !== key) : [...chosen.peek(), key];
  else chosen.value = [key];
  const mark = key ? scene.peek()?.byKey.get(key) : null;
  if (mark) spoken.value = `Selected ${describe(mark)}`;
}

/** Everything of a label group at once. */
export function chooseAll(keys: readonly string[]): void {
  choose(null);
  chosen.value = keys;
}

export function choosePath(nodes: readonly string[] | null): void {
  path.value = nodes;
  hovered.value = null;
}

export function describe(mark: Mark): string {
  const node = mark.members[0];
  if (mark.kind === "target")
    return `output ${mark.name} ${percent(node?.probability ?? node?.weight)}, position ${mark.position}`;
  if (mark.kind === "group")
    return `group ${mark.name} ${mark.members.length} nodes, influence ${percent(mark.influence)}`;
  const layer = mark.kind === "token" ? "" : `layer ${node?.layer}, `;
  return `${mark.kind} ${mark.name}, ${layer}position ${mark.position}, influence ${percent(mark.influence)}`;
}

/** Several nodes at once, each by its mark. */
export function chooseNodes(ids: readonly string[]): void {
  const now = scene.peek();
  chooseAll([...new Set(ids.map((id) => now?.ofNode.get(id)?.key).filter((key) => key !== undefined))]);
}

/** A node's mark: itself, or the group that it is in. */
export function chooseNode(id: string): void {
  choose(scene.peek()?.ofNode.get(id)?.key ?? id);
}

// --- arranging ----------------------------------------------------------------------------------------------------

export function change(next: Arrangement): void {
  changes.value = record(changes.peek(), next);
}

export function undoChange(): void {
  if (!changes.peek().past.length) return notify("Nothing to undo.");
  turn(undo(changes.peek()));
  spoken.value = "Undone";
}

export function redoChange(): void {
  turn(redo(changes.peek()));
}

function turn(next: History<Arrangement>): void {
  const was = arrangement.peek();
  changes.value = next;
  chosen.value = rechosen(chosen.peek(), was, next.present);
}

export function pinChosen(): void {
  let now = arrangement.peek();
  for (const key of chosen.peek()) if (graph.peek()?.byId.has(key)) now = togglePin(now, key);
  if (now !== arrangement.peek()) change(now);
}

/** Puts what is chosen into one group, or takes a chosen group apart. */
export function groupChosen(): void {
  const now = arrangement.peek();
  const keys = chosen.peek();
  const groups = keys.filter((key) => now.groups.some((each) => each.id === key));
  if (keys.length === 1 && groups.length === 1) return ungroupOne(groups[0]!);
  const nodes = keys.filter((key) => ["feature", "error"].includes(graph.peek()?.byId.get(key)?.kind ?? ""));
  if (!nodes.length) return notify("Choose features first: click one, Shift-click others, then press g.");
  const into = groups.at(-1);
  const next = into ? addToGroup(now, into, nodes) : group(now, nodes, groupName(nodes));
  change(next);
  chosen.value = [into ?? groupOf(next, nodes[0]!)!.id];
  spoken.value = "Grouped";
}

function groupName(nodes: readonly string[]): string {
  const main = graph.peek()?.ranked.find((node) => nodes.includes(node.id));
  return main ? cut(nodeName(main).text, 32) : "group";
}

export function ungroupOne(id: string): void {
  const members = arrangement.peek().groups.find((each) => each.id === id)?.nodes ?? [];
  change(ungroup(arrangement.peek(), id));
  chosen.value = members.slice(0, 1);
}

export function renameGroup(id: string, name: string): void {
  if (name.trim()) change(rename(arrangement.peek(), id, name.trim()));
}

export function moveMark(key: string, by: readonly [number, number]): void {
  change(move(arrangement.peek(), key, by));
}

export async function suggestGroups(by: "token" | "label"): Promise<void> {
  const { node, edge } = thresholds.peek();
  const answer = await attempt(() => api.suggest(graphId.peek(), by, node, edge));
  if (!answer) return;
  const next = adopt(arrangement.peek(), answer.groups);
  const made = next.groups.length - arrangement.peek().groups.length;
  if (made > 0) change(next);
  notify(
    made > 0 ? `${made} group${made === 1 ? "" : "s"} made; u takes that back.` : `No features here share a ${by}.`,
  );
}
