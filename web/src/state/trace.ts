// State of the open graph: its view, filters, selection and arrangement. The address and the workspace follow these
// signals (see `persistence.ts`).
import { counted, known, t } from "../i18n/text";
import { computed, signal } from "@preact/signals";
import { ApiError, api } from "../api_client";
import {
  type Arrangement,
  EMPTY,
  addSuggested,
  addToGroup,
  group,
  groupOf,
  move,
  carrySelection,
  rename,
  togglePin,
  ungroup,
} from "../model/arrangement";
import { type LabelGroup, labelGroupsOf } from "../model/label_groups";
import { type Graph, type Node, featureOf, readGraph, search, withNodes } from "../model/graph";
import { type UndoHistory, begin, record, redo, undo } from "../model/undo_history";
import { type Mark, type Scene, makeScene } from "../model/scene";
import type { EdgeKey, HeadKey } from "../model/explanations";
import { outputAmount, truncate, percent, visibleText } from "../model/format";
import type { GraphView, NodeDetail, NodeRecord, ScoresView } from "../types";
import { attempt, embedded, nameAt, notify, announcement } from "./app";

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
/** Folded runs that the person opened, by their first token. */
export const openedFolds = signal<ReadonlySet<number>>(new Set());
export const folding = signal(true);

/** Keys of the chosen marks (node or group ids). The panel shows the last one; `g` groups all of them. */
export const chosen = signal<readonly string[]>([]);
export const hovered = signal<string | null>(null);
export const path = signal<readonly string[] | null>(null);
/** The edge and the head that the panel explains (see `explanations.ts`); the head stands before the edge. */
export const edge = signal<EdgeKey | null>(null);
export const head = signal<HeadKey | null>(null);
export const query = signal("");
export const detail = signal<NodeDetail | null>(null);
export const tab = signal<"links" | "card">("links");

export const changes = signal<UndoHistory<Arrangement>>(begin(EMPTY));
export const arrangement = computed(() => changes.value.present);

/** Whether there are cards and labels of the graph's features: those of the kit, or those in the exported file. */
export const cardsAvailable = computed(() => embedded !== null || (graph.value?.view.of_kit ?? false));

export interface NodeName {
  text: string;
  named: boolean;
  /** What else is to be said of the name: what the feature does in general, where it does something else here. */
  note: string;
}

/** The name of a node. Labels written on this page are used only if the graph's features are the kit's. */
export function nameIn(view: GraphView, node: NodeRecord, ofKit: boolean): NodeName {
  if (node.kind === "token") return { text: visibleText(view.tokens[node.position] ?? ""), named: true, note: "" };
  if (node.kind === "target") return { text: visibleText(node.label ?? ""), named: true, note: "" };
  if (node.kind === "error")
    return { text: node.label || t("error L{a}", { a: node.layer ?? "" }), named: false, note: "" };
  const feature = featureOf(node.id) ?? node.id;
  const name = ofKit
    ? nameAt(feature, node.label, node.label_kind, node.here)
    : { text: node.label ?? "", kind: "", note: "" };
  return { text: name.text || feature, named: name.text !== "", note: name.note };
}

export function nodeName(node: NodeRecord): NodeName {
  const view = graph.value?.view;
  return view ? nameIn(view, node, cardsAvailable.value) : { text: node.id, named: false, note: "" };
}

/** The words of a name by which a search finds it. */
const wordsOf = (node: NodeRecord) => `${nodeName(node).text} ${nodeName(node).note}`;

export const scene = computed<Scene | null>(() => {
  const openGraph = graph.value;
  if (!openGraph) return null;
  const { node, edge } = embedded ? thresholds.value : { node: 1, edge: 1 };
  return makeScene(
    openGraph,
    arrangement.value,
    { errors: errorsShown.value, pinnedOnly: pinnedOnly.value, node, edge },
    nodeName,
  );
});

/** The label groups that colour the marks; empty in other colour modes. */
export const labelGroups = computed<readonly LabelGroup[]>(() =>
  scene.value && colour.value === "group" ? labelGroupsOf(scene.value) : [],
);

export const primary = computed<string | null>(() => chosen.value.at(-1) ?? null);
export const primaryMark = computed<Mark | null>(() =>
  primary.value ? (scene.value?.byKey.get(primary.value) ?? null) : null,
);
export const primaryNode = computed<Node | null>(() =>
  primary.value ? (graph.value?.byId.get(primary.value) ?? null) : null,
);
export const matches = computed<Node[]>(() => (graph.value ? search(graph.value, query.value, wordsOf) : []));

/** The open graph with all nodes, also those below the thresholds. Loaded when a search needs it. */
const wholeGraph = signal<Graph | null>(null);
/** Whether a search is waiting for the nodes below the thresholds. */
export const searchingHidden = computed(() => query.value.trim() !== "" && loadingWhole.value && !hasWholeGraph());
const loadingWhole = signal(false);
/** The matches of a search below the thresholds. */
export const hiddenMatches = computed<Node[]>(() => {
  const [everything, current] = [wholeGraph.value, graph.value];
  if (!everything || !current || !hasWholeGraph()) return [];
  return search(everything, query.value, wordsOf).filter((node) => !current.byId.has(node.id));
});

function hasWholeGraph(): boolean {
  return wholeGraph.value !== null && wholeGraph.value.view.id === graph.value?.view.id;
}

/** Loads the nodes below the thresholds, for a search. */
export async function loadWholeGraph(): Promise<void> {
  const current = graph.peek()?.view;
  const { shown: shownCounts, whole: wholeCounts } = current?.counts ?? { shown: { nodes: 0 }, whole: { nodes: 0 } };
  if (!current || embedded || loadingWhole.peek() || hasWholeGraph() || shownCounts.nodes >= wholeCounts.nodes) return;
  loadingWhole.value = true;
  const view = await attempt(() => api.graph(current.id, 1, 1));
  loadingWhole.value = false;
  if (view) wholeGraph.value = readGraph({ ...view, edges: { source: [], target: [], weight: [], held: [] } });
}

// --- loading ------------------------------------------------------------------------------------------------------

let viewRequest: AbortController | null = null;

/** Shows a view of the open graph. The selection stays. */
export function showView(view: GraphView): void {
  graph.value = readGraph(view);
  scores.value = { thresholds: view.thresholds, scores: view.scores, counts: view.counts };
}

export function closeGraph(): void {
  viewRequest?.abort();
  graphId.value = "";
  loading.value = "";
  query.value = "";
  graph.value = null;
  scores.value = null;
  detail.value = null;
  path.value = null;
  edge.value = null;
  head.value = null;
  chosen.value = [];
}

const MAX_EXTRA_NODES = 60; // pinned or grouped nodes below the thresholds that are fetched
let requestedNodes: ReadonlySet<string> = new Set();

function pinnedAndGrouped(): string[] {
  const current = arrangement.peek();
  return [...new Set([...current.pins, ...current.groups.flatMap((each) => each.nodes)])];
}

/** Fetches pinned and grouped nodes that are below the thresholds, unless they were requested already. */
export function fetchHiddenPins(): void {
  const current = graph.peek();
  if (current && !embedded && pinnedAndGrouped().some((each) => !current.byId.has(each) && !requestedNodes.has(each)))
    void refresh();
}

/** Pins a node below the thresholds, so that it is shown, and chooses it. */
export function pinAndChoose(id: string): void {
  if (!arrangement.peek().pins.includes(id)) applyChange(togglePin(arrangement.peek(), id));
  choose(id);
}

export async function refresh(): Promise<boolean> {
  const id = graphId.peek();
  if (!id || embedded) return false;
  viewRequest?.abort();
  const request = (viewRequest = new AbortController());
  const { node, edge } = thresholds.peek();
  try {
    const view = await api.graph(id, node, edge, request.signal);
    const shownNow = new Set(view.nodes.map((each) => each.id));
    const cutOff = pinnedAndGrouped()
      .filter((each) => !shownNow.has(each))
      .slice(0, MAX_EXTRA_NODES);
    requestedNodes = new Set(cutOff);
    const details = await Promise.all(
      cutOff.map((each) => api.node(id, each, node, edge, request.signal).catch(() => null)),
    );
    if (request.signal.aborted || id !== graphId.peek()) return false;
    showView(
      withNodes(
        view,
        details.filter((each) => each !== null),
      ),
    );
    return true;
  } catch (error) {
    if (error instanceof DOMException) return false;
    if (error instanceof ApiError && error.status === 404)
      notify(t("This graph is not in the workspace any more."), "fail");
    else notify(error instanceof Error ? error.message : String(error), "fail");
    return false;
  }
}

let refreshTimer: ReturnType<typeof setTimeout> | undefined;
let scoresRequest: AbortController | null = null;

/** Sets a threshold. The scores follow at once, the graph after the slider has rested. */
export function setThreshold(which: "node" | "edge", value: number): void {
  thresholds.value = { ...thresholds.peek(), [which]: value };
  if (embedded) return;
  clearTimeout(refreshTimer);
  refreshTimer = setTimeout(() => void refresh(), 160);
  scoresRequest?.abort();
  const request = (scoresRequest = new AbortController());
  const { node, edge } = thresholds.peek();
  api.scores(graphId.peek(), node, edge, request.signal).then(
    (answer) => (scores.value = answer),
    () => undefined,
  );
}

let detailRequest: AbortController | null = null;

/** Loads all inputs and outputs of a node in the whole graph. */
export async function loadDetail(id: string | null): Promise<void> {
  detailRequest?.abort();
  if (!id || !graph.peek()?.byId.has(id)) {
    detail.value = null;
    return;
  }
  if (detail.peek()?.node.id !== id) detail.value = null;
  if (embedded) {
    detail.value = embedded.nodes[id] ?? null;
    return;
  }
  const request = (detailRequest = new AbortController());
  const { node, edge } = thresholds.peek();
  const answer = await attempt(() => api.node(graphId.peek(), id, node, edge, request.signal));
  if (!request.signal.aborted && answer) detail.value = answer;
}

// --- choosing -----------------------------------------------------------------------------------------------------

export function choose(key: string | null, more = false): void {
  path.value = null;
  edge.value = null;
  head.value = null;
  hovered.value = null;
  if (key === null) chosen.value = [];
  else if (more)
    chosen.value = chosen.peek().includes(key) ? chosen.peek().filter((each) => each !== key) : [...chosen.peek(), key];
  else chosen.value = [key];
  const mark = key ? scene.peek()?.byKey.get(key) : null;
  if (mark) announcement.value = t("Selected {a}", { a: describe(mark) });
}

/** Chooses these marks in place of the present ones. */
export function chooseAll(keys: readonly string[]): void {
  choose(null);
  chosen.value = keys;
}

export function choosePath(nodes: readonly string[] | null): void {
  edge.value = null;
  path.value = nodes;
  hovered.value = null;
}

export function describe(mark: Mark): string {
  const node = mark.members[0];
  if (mark.kind === "target")
    return t("output {a} {b}, position {c}", {
      a: mark.name,
      b: node ? outputAmount(node) : "",
      c: mark.position,
    });
  if (mark.kind === "group")
    return t("group {a} {b} nodes, influence {c}", {
      a: mark.name,
      b: mark.members.length,
      c: percent(mark.influence),
    });
  const layer = mark.kind === "token" ? "" : t("layer {a}, ", { a: node?.layer ?? "" });
  return t("{a} {b}, {c}position {d}, influence {e}", {
    a: known(mark.kind),
    b: mark.name,
    c: layer,
    d: mark.position,
    e: percent(mark.influence),
  });
}

/** Chooses the marks of several nodes. */
export function chooseNodes(ids: readonly string[]): void {
  const current = scene.peek();
  chooseAll([...new Set(ids.map((id) => current?.ofNode.get(id)?.key).filter((key) => key !== undefined))]);
}

/** Chooses a node's mark: its own, or that of its group. */
export function chooseNode(id: string): void {
  choose(scene.peek()?.ofNode.get(id)?.key ?? id);
}

// --- arranging ----------------------------------------------------------------------------------------------------

export function applyChange(next: Arrangement): void {
  changes.value = record(changes.peek(), next);
}

export function undoChange(): void {
  if (!changes.peek().past.length) return notify(t("Nothing to undo."));
  applyHistory(undo(changes.peek()));
  announcement.value = t("Undone");
}

export function redoChange(): void {
  applyHistory(redo(changes.peek()));
}

function applyHistory(next: UndoHistory<Arrangement>): void {
  const before = arrangement.peek();
  changes.value = next;
  chosen.value = carrySelection(chosen.peek(), before, next.present);
}

export function pinChosen(): void {
  let current = arrangement.peek();
  for (const key of chosen.peek()) if (graph.peek()?.byId.has(key)) current = togglePin(current, key);
  if (current !== arrangement.peek()) applyChange(current);
}

/** Groups the chosen nodes, or ungroups the one chosen group. */
export function groupChosen(): void {
  const current = arrangement.peek();
  const keys = chosen.peek();
  const groups = keys.filter((key) => current.groups.some((each) => each.id === key));
  if (keys.length === 1 && groups.length === 1) return ungroupById(groups[0]!);
  const nodes = keys.filter((key) => ["feature", "error"].includes(graph.peek()?.byId.get(key)?.kind ?? ""));
  if (!nodes.length) return notify(t("Choose features first: click one, Shift-click others, then press g."));
  const targetGroup = groups.at(-1);
  const next = targetGroup ? addToGroup(current, targetGroup, nodes) : group(current, nodes, groupName(nodes));
  applyChange(next);
  chosen.value = [targetGroup ?? groupOf(next, nodes[0]!)!.id];
  announcement.value = t("Grouped");
}

function groupName(nodes: readonly string[]): string {
  const main = graph.peek()?.ranked.find((node) => nodes.includes(node.id));
  return main ? truncate(nodeName(main).text, 32) : "group";
}

export function ungroupById(id: string): void {
  const members = arrangement.peek().groups.find((each) => each.id === id)?.nodes ?? [];
  applyChange(ungroup(arrangement.peek(), id));
  chosen.value = members.slice(0, 1);
}

export function renameGroup(id: string, name: string): void {
  if (name.trim()) applyChange(rename(arrangement.peek(), id, name.trim()));
}

export function moveMark(key: string, by: readonly [number, number]): void {
  applyChange(move(arrangement.peek(), key, by));
}

export async function suggestGroups(by: "token" | "label"): Promise<void> {
  const { node, edge } = thresholds.peek();
  const answer = await attempt(() => api.suggest(graphId.peek(), by, node, edge));
  if (!answer) return;
  const next = addSuggested(arrangement.peek(), answer.groups);
  const added = next.groups.length - arrangement.peek().groups.length;
  if (added > 0) applyChange(next);
  notify(
    added > 0
      ? counted(added, "group made; u takes that back.|groups made; u takes that back.")
      : t("No features here share a {a}.", { a: known(by) }),
  );
}
