// Keeps the open graph's state in the address and in the workspace, and restores it from them. The workspace's
// arrangement takes precedence; pins and groups of a link are used where the workspace has none. Changes of two tabs
// are merged. The undo history is kept in the tab's own storage.
import { t } from "../i18n/text";
import { batch, computed, effect, untracked } from "@preact/signals";
import { ApiError, api } from "../api_client";
import {
  type Arrangement,
  type Thresholds,
  EMPTY,
  isArrangement,
  merge,
  readGroups,
  readMoved,
  sameArrangement,
  sameThresholds,
  writeGroups,
  writeMoved,
} from "../model/arrangement";
import { readEdge, readHead, writeEdge, writeHead } from "../model/explanations";
import { begin, read, replace, write } from "../model/undo_history";
import type { ArrangementView, GroupChange } from "../types";
import { attempt, embedded, notify, recall, remember } from "./app";
import { effectsWanted, showExplained, shownTarget } from "./explanations";
import {
  type Pane,
  DEFAULT_GROUPS,
  changesNow,
  chosenGroup,
  closeCircuit,
  groupChanges,
  groupLimit,
  measureCircuit,
  pane,
  savedId,
} from "./circuit";
import { adjust, route } from "./route";
import {
  arrangement,
  changes,
  chosen,
  closeGraph,
  colour,
  edge,
  errorsShown,
  fetchHiddenPins,
  graph,
  graphId,
  head,
  labelsShown,
  loadDetail,
  loading,
  pinnedOnly,
  primary,
  query,
  refresh,
  scores,
  showView,
  tab,
  thresholds,
  type Colour,
} from "./trace";

let revision = 0;
/** What a save in flight will have stored, as the revision after this one. */
let saveInFlight: { arrangement: Arrangement; thresholds: Thresholds } | null = null;
let baseArrangement: Arrangement = EMPTY;
/** The thresholds in the workspace, and those that the page last loaded or saved. They differ for a link's
 *  thresholds. */
let savedThresholds: Thresholds = { node: 0, edge: 0 };
let baseThresholds: Thresholds = savedThresholds;
let ready = false;
let saving: Promise<void> | null = null;
let saveAgain = false;

export async function openGraph(id: string, params: Readonly<Record<string, string>>): Promise<void> {
  flush();
  ready = false;
  batch(() => {
    closeCircuit();
    graphId.value = id;
    graph.value = null;
    scores.value = null;
    loading.value = t("Opening the graph");
    readSettings(params);
  });
  if (embedded) openEmbedded(params);
  else await openSaved(id, params);
  if (id !== graphId.peek()) return;
  loading.value = "";
  ready = graph.value !== null;
  chosen.value = nodesOf(params["sel"]);
}

/** Returns to the start, with no graph open. */
function leaveGraph(): void {
  flush();
  ready = false;
  closeGraph();
  closeCircuit();
}

function openEmbedded(params: Readonly<Record<string, string>>): void {
  if (!embedded) return;
  thresholds.value = { node: parseShare(params["node"], 1), edge: parseShare(params["edge"], 1) };
  const linked = fromAddress(params);
  changes.value = begin(sameArrangement(linked, EMPTY) ? { ...EMPTY, ...(embedded.arrangement ?? {}) } : linked);
  showView(embedded.graph);
}

async function openSaved(id: string, params: Readonly<Record<string, string>>): Promise<void> {
  const saved = await attempt(() => api.arrangement(id));
  if (!saved || id !== graphId.peek()) return;
  [revision, saveInFlight] = [saved.revision, null];
  baseArrangement = { pins: saved.pins, groups: saved.groups, positions: saved.positions };
  savedThresholds = saved.thresholds;
  baseThresholds = thresholds.value = {
    node: parseShare(params["node"], savedThresholds.node),
    edge: parseShare(params["edge"], savedThresholds.edge),
  };
  changes.value = read(
    recall(undoKey(id), "sessionStorage"),
    sameArrangement(baseArrangement, EMPTY) ? fromAddress(params) : baseArrangement,
    isArrangement,
    sameArrangement,
  );
  await refresh();
}

function undoKey(id: string): string {
  return `clew.undo.${id}`;
}

function fromAddress(params: Readonly<Record<string, string>>): Arrangement {
  return {
    pins: (params["pins"] ?? "").split(",").filter(Boolean),
    groups: readGroups(params["groups"] ?? ""),
    positions: readMoved(params["moved"] ?? ""),
  };
}

function parseShare(text: string | undefined, fallback: number): number {
  const value = Number.parseFloat(text ?? "");
  return value > 0 && value <= 1 ? value : fallback;
}

function readSettings(params: Readonly<Record<string, string>>): void {
  errorsShown.value = params["errors"] !== "0";
  labelsShown.value = params["labels"] !== "0";
  pinnedOnly.value = params["only"] === "pins";
  colour.value = (["sign", "label", "group"].includes(params["colour"] ?? "") ? params["colour"] : "plain") as Colour;
  tab.value = params["tab"] === "card" ? "card" : "links";
  shownTarget.value = params["on"] ?? "";
  effectsWanted.value = params["effects"] === "1";
  showExplained(readEdge(params["link"]), readHead(params["head"]));
  query.value = "";
  pane.value = paneOf(params);
  savedId.value = params["circuit"] ?? "";
  groupLimit.value = Math.max(4, Math.min(12, Number.parseInt(params["most"] ?? "") || groupLimit.peek()));
  chosenGroup.value = params["part"] ?? "";
  const linked = readChanges(params["changes"]);
  if (JSON.stringify(linked) !== JSON.stringify(changesNow.peek())) groupChanges.value = begin(linked);
}

/** A link to something in the graph opens the graph; other links open the explanation, as far as there is one. */
function paneOf(params: Readonly<Record<string, string>>): Pane {
  if (embedded && !embedded.circuit) return "graph";
  if (params["pane"] === "graph" || params["pane"] === "explanation") return params["pane"];
  return ["sel", "link", "head", "pins", "groups", "moved"].some((name) => params[name]) ? "graph" : "explanation";
}

function readChanges(text: string | undefined): GroupChange[] {
  try {
    const value: unknown = JSON.parse(text ?? "[]");
    return Array.isArray(value) ? (value as GroupChange[]) : [];
  } catch {
    return [];
  }
}

const address = computed<Record<string, string>>(() => ({
  pane: pane.value,
  circuit: savedId.value,
  most: groupLimit.value === DEFAULT_GROUPS ? "" : String(groupLimit.value),
  part: chosenGroup.value,
  changes: changesNow.value.length ? JSON.stringify(changesNow.value) : "",
  node: String(thresholds.value.node),
  edge: String(thresholds.value.edge),
  sel: chosen.value.join(","),
  pins: arrangement.value.pins.join(","),
  groups: writeGroups(arrangement.value.groups),
  moved: writeMoved(arrangement.value.positions),
  errors: errorsShown.value ? "" : "0",
  labels: labelsShown.value ? "" : "0",
  only: pinnedOnly.value ? "pins" : "",
  colour: colour.value === "plain" ? "" : colour.value,
  tab: tab.value === "card" ? "card" : "",
  on: shownTarget.value,
  effects: effectsWanted.value ? "1" : "",
  link: writeEdge(edge.value),
  head: writeHead(head.value),
}));

/** Applies another address of the open graph. An address with thresholds was written by the page and holds all
 *  settings; one without may still hold a selection or a head. The arrangement is the workspace's, and all else is written to
 *  the address. */
function followAddress(params: Readonly<Record<string, string>>): void {
  const current = address.peek();
  const changed = Object.keys(current).filter((name) => (params[name] ?? "") !== current[name]);
  if (!changed.length) return;
  if (params["node"]) {
    batch(() => readSettings(params));
    const next = {
      node: parseShare(params["node"], thresholds.peek().node),
      edge: parseShare(params["edge"], thresholds.peek().edge),
    };
    if (!sameThresholds(next, thresholds.peek())) {
      baseThresholds = thresholds.value = next;
      if (!embedded) void refresh();
    }
  }
  const names = params["sel"] || params["head"];
  if (names && !params["node"]) pane.value = paneOf(params);
  if (params["node"] || params["sel"]) chosen.value = nodesOf(params["sel"]);
  if (params["node"] || names) showExplained(readEdge(params["link"]), readHead(params["head"]));
  adjust(address.peek());
}

function nodesOf(text: string | undefined): string[] {
  return (text ?? "").split(",").filter(Boolean);
}

/** Connects address, state and workspace. Called once, at the start. */
export function persistGraph(): void {
  window.addEventListener("pagehide", flush);
  effect(() => {
    const { view, id, query: params } = route.value;
    if (view !== "trace") return;
    const wantedId = embedded ? embedded.graph.id || "file" : id;
    if (wantedId !== graphId.peek()) void (wantedId ? openGraph(wantedId, params) : leaveGraph());
    else if (ready) followAddress(params);
  });
  effect(() => {
    const current = address.value;
    if (ready && graph.value && route.peek().view === "trace") adjust(current);
  });
  effect(() => {
    void [savedId.value, changesNow.value, groupLimit.value];
    if (graphId.value && pane.value === "explanation") untracked(() => void measureCircuit());
  });
  effect(() => {
    const id = primary.value;
    void graph.value; // read so that the effect runs again when the graph changes; the same below
    void loadDetail(id);
  });
  effect(() => {
    void arrangement.value;
    if (ready) fetchHiddenPins();
  });
  effect(() => {
    const { past, future } = changes.value;
    if (ready && !embedded && past.length + future.length)
      remember(undoKey(graphId.peek()), write(changes.value), "sessionStorage");
  });
  effect(() => {
    void arrangement.value;
    void thresholds.value;
    if (ready && !embedded && (hasUnsaved() || saving)) void save();
  });
}

function hasUnsaved(): boolean {
  return (
    !sameArrangement(arrangement.peek(), saveInFlight?.arrangement ?? baseArrangement) ||
    !sameThresholds(thresholds.peek(), saveInFlight?.thresholds ?? baseThresholds)
  );
}

/** The thresholds to save. Those of a link are not saved until a slider moves. */
function thresholdsToSave(): Thresholds {
  return sameThresholds(thresholds.peek(), baseThresholds) ? savedThresholds : thresholds.peek();
}

/** Saves pending changes before the graph or the page is left. The request outlives the page. */
function flush(): void {
  if (!ready || embedded || !hasUnsaved()) return;
  const body = {
    revision: revision + (saveInFlight ? 1 : 0),
    ...arrangementBody(arrangement.peek()),
    thresholds: thresholdsToSave(),
  };
  baseArrangement = arrangement.peek();
  baseThresholds = thresholds.peek();
  api.arrange(graphId.peek(), body, true).catch(() => undefined);
}

/** Saves the newest state once it has not changed for a moment, one request at a time. */
async function save(): Promise<void> {
  if (saving) {
    saveAgain = true;
    return saving;
  }
  saving = (async () => {
    do {
      saveAgain = false;
      await new Promise((done) => setTimeout(done, 250));
      if (!saveAgain && ready && hasUnsaved()) await saveOnce();
    } while (saveAgain);
  })();
  await saving;
  saving = null;
}

/** Resolves when the pending save has succeeded, or its failure was shown. */
export async function whenSaved(): Promise<void> {
  await saving;
}

async function saveOnce(): Promise<void> {
  const id = graphId.peek();
  const [sentArrangement, sentThresholds, toSave] = [arrangement.peek(), thresholds.peek(), thresholdsToSave()];
  const body: ArrangementView = { revision, ...arrangementBody(sentArrangement), thresholds: toSave };
  try {
    saveInFlight = { arrangement: sentArrangement, thresholds: sentThresholds };
    const answer = await api.arrange(id, body).finally(() => (saveInFlight = null));
    if (id !== graphId.peek()) return;
    revision = answer.revision;
    [baseArrangement, baseThresholds, savedThresholds] = [sentArrangement, sentThresholds, toSave];
  } catch (error) {
    if (id !== graphId.peek()) return;
    if (!(error instanceof ApiError) || error.status !== 409) {
      notify(t("Not kept: {a}", { a: error instanceof Error ? error.message : String(error) }), "fail");
      return;
    }
    const { newest } = error.body as { newest: ArrangementView };
    const remote = { pins: newest.pins, groups: newest.groups, positions: newest.positions };
    const merged = merge(baseArrangement, arrangement.peek(), remote);
    [revision, baseArrangement, savedThresholds] = [newest.revision, remote, newest.thresholds];
    changes.value = replace(changes.peek(), merged);
    saveAgain = true;
  }
}

function arrangementBody(arranged: Arrangement): Pick<ArrangementView, "pins" | "groups" | "positions"> {
  const groups = arranged.groups.map(({ id, name, nodes, note }) => ({
    id,
    name,
    nodes: [...nodes],
    note: note ?? "",
  }));
  const positions = Object.fromEntries(
    Object.entries(arranged.positions).map(([key, [x, y]]) => [key, [x, y] as [number, number]]),
  );
  return { pins: [...arranged.pins], groups, positions };
}
