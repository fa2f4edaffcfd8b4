// Keeps the open graph in the address and in the workspace, and opens it from there. The workspace wins where it has
// anything; a link opened elsewhere brings its pins and groups along. Two tabs' changes are merged, none is lost. What
// can be undone stays with the tab.
import { computed, effect } from "@preact/signals";
import { Refused, api } from "../api_client";
import {
  type Arrangement,
  type Cut,
  EMPTY,
  isArrangement,
  merge,
  readGroups,
  readMoved,
  same,
  sameCut,
  writeGroups,
  writeMoved,
} from "../model/arrangement";
import { begin, read, replace, write } from "../model/undo_history";
import type { ArrangementView } from "../types";
import { attempt, embedded, notify, recall, remember } from "./app";
import { adjust, route } from "./route";
import {
  arrangement,
  changes,
  chosen,
  close,
  colour,
  errorsShown,
  fetchKept,
  graph,
  graphId,
  labelsShown,
  loadDetail,
  loading,
  pinnedOnly,
  primary,
  query,
  refresh,
  scores,
  show,
  tab,
  thresholds,
  type Colour,
} from "./trace";

let revision = 0;
/** What a save on its way will have kept, as the revision after this one. */
let sending: { arrangement: Arrangement; cut: Cut } | null = null;
let base: Arrangement = EMPTY;
/** The thresholds that the workspace has, and those that a person last found or kept here. */
let kept: Cut = { node: 0, edge: 0 };
let seen: Cut = kept;
let ready = false;
let saving: Promise<void> | null = null;
let again = false;

export async function open(id: string, said: Readonly<Record<string, string>>): Promise<void> {
  flush();
  ready = false;
  graphId.value = id;
  graph.value = null;
  scores.value = null;
  loading.value = "Opening the graph";
  readSettings(said);
  if (embedded) openEmbedded(said);
  else await openKept(id, said);
  if (id !== graphId.peek()) return;
  loading.value = "";
  ready = graph.value !== null;
  chosen.value = nodesOf(said["sel"]);
}

/** The start: no graph is open. */
function leave(): void {
  flush();
  ready = false;
  close();
}

function openEmbedded(said: Readonly<Record<string, string>>): void {
  if (!embedded) return;
  thresholds.value = { node: share(said["node"], 1), edge: share(said["edge"], 1) };
  const own = fromAddress(said);
  changes.value = begin(same(own, EMPTY) ? { ...EMPTY, ...(embedded.arrangement ?? {}) } : own);
  show(embedded.graph);
}

async function openKept(id: string, said: Readonly<Record<string, string>>): Promise<void> {
  const found = await attempt(() => api.arrangement(id));
  if (!found || id !== graphId.peek()) return;
  [revision, sending] = [found.revision, null];
  base = { pins: found.pins, groups: found.groups, positions: found.positions };
  kept = found.thresholds;
  seen = thresholds.value = { node: share(said["node"], kept.node), edge: share(said["edge"], kept.edge) };
  changes.value = read(
    recall(undoable(id), "sessionStorage"),
    same(base, EMPTY) ? fromAddress(said) : base,
    isArrangement,
    same,
  );
  await refresh();
}

function undoable(id: string): string {
  return `clew.undo.${id}`;
}

function fromAddress(said: Readonly<Record<string, string>>): Arrangement {
  return {
    pins: (said["pins"] ?? "").split(",").filter(Boolean),
    groups: readGroups(said["groups"] ?? ""),
    positions: readMoved(said["moved"] ?? ""),
  };
}

function share(text: string | undefined, otherwise: number): number {
  const value = Number.parseFloat(text ?? "");
  return value > 0 && value <= 1 ? value : otherwise;
}

function readSettings(said: Readonly<Record<string, string>>): void {
  errorsShown.value = said["errors"] !== "0";
  labelsShown.value = said["labels"] !== "0";
  pinnedOnly.value = said["only"] === "pins";
  colour.value = (["sign", "label", "group"].includes(said["colour"] ?? "") ? said["colour"] : "plain") as Colour;
  tab.value = said["tab"] === "card" ? "card" : "links";
  query.value = "";
}

const address = computed<Record<string, string>>(() => ({
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
}));

/** Another address of the graph that is open. One that says nothing is given the state; one with thresholds was written
 *  by a page and says all; another may say only what it points at. What a person did to the graph is the workspace's. */
function follow(said: Readonly<Record<string, string>>): void {
  const now = address.peek();
  const own = Object.keys(now).filter((name) => (said[name] ?? "") !== now[name]);
  if (!own.length) return;
  if (said["node"]) {
    readSettings(said);
    const next = {
      node: share(said["node"], thresholds.peek().node),
      edge: share(said["edge"], thresholds.peek().edge),
    };
    if (!sameCut(next, thresholds.peek())) {
      seen = thresholds.value = next;
      if (!embedded) void refresh();
    }
  }
  if (said["node"] || said["sel"]) chosen.value = nodesOf(said["sel"]);
  adjust(address.peek());
}

function nodesOf(text: string | undefined): string[] {
  return (text ?? "").split(",").filter(Boolean);
}

/** Sets the two-way ties up, once. */
export function keepState(): void {
  window.addEventListener("pagehide", flush);
  effect(() => {
    const { view, id, query: said } = route.value;
    if (view !== "trace") return;
    const wanted = embedded ? embedded.graph.id || "file" : id;
    if (wanted !== graphId.peek()) void (wanted ? open(wanted, said) : leave());
    else if (ready) follow(said);
  });
  effect(() => {
    const now = address.value;
    if (ready && graph.value && route.peek().view === "trace") adjust(now);
  });
  effect(() => {
    const id = primary.value;
    void graph.value; // read only so that the effect runs again when the graph changes; likewise below
    void loadDetail(id);
  });
  effect(() => {
    void arrangement.value;
    if (ready) fetchKept();
  });
  effect(() => {
    const { past, future } = changes.value;
    if (ready && !embedded && past.length + future.length)
      remember(undoable(graphId.peek()), write(changes.value), "sessionStorage");
  });
  effect(() => {
    void arrangement.value;
    void thresholds.value;
    if (ready && !embedded && (unkept() || saving)) void save();
  });
}

function unkept(): boolean {
  return !same(arrangement.peek(), sending?.arrangement ?? base) || !sameCut(thresholds.peek(), sending?.cut ?? seen);
}

/** A link's thresholds are looked at, and kept only once a slider was moved. */
function ownCut(): Cut {
  return sameCut(thresholds.peek(), seen) ? kept : thresholds.peek();
}

/** Sends what is not kept yet before the graph, or the page, is left. */
function flush(): void {
  if (!ready || embedded || !unkept()) return;
  const body = { revision: revision + (sending ? 1 : 0), ...plain(arrangement.peek()), thresholds: ownCut() };
  base = arrangement.peek();
  seen = thresholds.peek();
  api.arrange(graphId.peek(), body, true).catch(() => undefined);
}

/** One save at a time, of the newest state once it rests; what another tab kept meanwhile is merged in. */
async function save(): Promise<void> {
  if (saving) {
    again = true;
    return saving;
  }
  saving = (async () => {
    do {
      again = false;
      await new Promise((done) => setTimeout(done, 250));
      if (!again && ready && unkept()) await saveOnce();
    } while (again);
  })();
  await saving;
  saving = null;
}

/** Ends once what a person did to the open graph is kept, or was said not to be. */
export async function settled(): Promise<void> {
  await saving;
}

async function saveOnce(): Promise<void> {
  const id = graphId.peek();
  const [mine, cut, sent] = [arrangement.peek(), thresholds.peek(), ownCut()];
  const body: ArrangementView = { revision, ...plain(mine), thresholds: sent };
  try {
    sending = { arrangement: mine, cut };
    const answer = await api.arrange(id, body).finally(() => (sending = null));
    if (id !== graphId.peek()) return;
    revision = answer.revision;
    [base, seen, kept] = [mine, cut, sent];
  } catch (error) {
    if (id !== graphId.peek()) return;
    if (!(error instanceof Refused) || error.status !== 409) {
      notify(`Not kept: ${error instanceof Error ? error.message : String(error)}`, "fail");
      return;
    }
    const { newest } = error.body as { newest: ArrangementView };
    const theirs = { pins: newest.pins, groups: newest.groups, positions: newest.positions };
    const merged = merge(base, arrangement.peek(), theirs);
    [revision, base, kept] = [newest.revision, theirs, newest.thresholds];
    changes.value = replace(changes.peek(), merged);
    again = true;
  }
}

function plain(now: Arrangement): Pick<ArrangementView, "pins" | "groups" | "positions"> {
  const groups = now.groups.map(({ id, name, nodes, note }) => ({ id, name, nodes: [...nodes], note: note ?? "" }));
  const positions = Object.fromEntries(
    Object.entries(now.positions).map(([key, [x, y]]) => [key, [x, y] as [number, number]]),
  );
  return { pins: [...now.pins], groups, positions };
}
