// State of the explanation: the circuit of the open graph, what a person changed of it, saved circuits, swaps. Numbers
// come from the server, which measures every changed circuit anew.
import { computed, signal } from "@preact/signals";
import { ApiError, api, followJob } from "../api_client";
import { t } from "../i18n/text";
import { saveFile } from "../model/figure_file";
import { type UndoHistory, begin, record, redo, undo } from "../model/undo_history";
import type { ChangedCircuit, CircuitEntry, CircuitGroup, CircuitView, GroupChange, Job, SwapView } from "../types";
import { announcement, attempt, embedded, notify } from "./app";
import { language } from "./language";
import { graphId, thresholds } from "./trace";

export type Pane = "explanation" | "graph";
type Changes = readonly GroupChange[];

/** What of an open graph is shown first: the explanation, or the graph of features behind it. */
export const pane = signal<Pane>("explanation");
export const circuit = signal<CircuitView | null>(null);
export const measuring = signal(false);
/** Why there is no circuit; empty where there is one, or it is on its way. */
export const circuitProblem = signal("");
/** The saved circuit from which the changes start; empty where it is the one that was found. */
export const savedId = signal("");
export const DEFAULT_GROUPS = 10;
export const groupLimit = signal(DEFAULT_GROUPS);
export const groupChanges = signal<UndoHistory<Changes>>(begin<Changes>([]));
export const chosenGroup = signal("");
/** Members of the chosen group that are to be split off or moved. */
export const chosenMembers = signal<ReadonlySet<string>>(new Set());
export const savedCircuits = signal<readonly CircuitEntry[]>([]);
export const swap = signal<SwapView | null>(null);
export const swapping = signal(false);

export const changesNow = computed(() => groupChanges.value.present);
export const groupShown = computed<CircuitGroup | null>(
  () => circuit.value?.groups.find((each) => each.id === chosenGroup.value) ?? null,
);

export function groupName(group: CircuitGroup): string {
  return group.name[language.value];
}

/** What the server is asked for: the circuit of the open graph as it is changed now. */
function request(): ChangedCircuit {
  return {
    graph: graphId.peek(),
    saved: savedId.peek() || null,
    groups: groupLimit.peek(),
    changes: [...changesNow.peek()],
  };
}

/** Saves the open graph as one HTML file: with its explanation, unless it has none or only the graph was looked at. */
export async function savePage(): Promise<void> {
  const { graph, ...choice } = request();
  const explained = pane.peek() === "explanation" || circuit.peek() !== null;
  const { node, edge } = thresholds.peek();
  announcement.value = t("The file is being written…");
  const file = await attempt(() => api.page(graph, node, edge, explained ? choice : null));
  if (file) saveFile(file.content, file.name);
}

export function closeCircuit(): void {
  latest++;
  [circuit.value, circuitProblem.value, measuring.value] = [embedded?.circuit ?? null, "", false];
  [chosenGroup.value, chosenMembers.value, savedCircuits.value, swap.value] = ["", new Set(), [], null];
  [savedId.value, groupChanges.value, shownKey] = ["", begin<Changes>([]), ""];
}

let latest = 0;
let shownKey = "";

/** Finds the circuit of the open graph, or measures it anew after a change; nothing where it is the one shown. */
export async function measureCircuit(): Promise<void> {
  const body = request();
  const key = JSON.stringify(body);
  if (embedded || !body.graph || key === shownKey) return;
  shownKey = key;
  const number = ++latest;
  [measuring.value, circuitProblem.value] = [true, ""];
  try {
    const view =
      body.saved && !body.changes.length ? await api.savedCircuit(body.graph, body.saved) : await foundCircuit(body);
    if (number !== latest) return;
    circuit.value = view;
    if (!view.groups.some((each) => each.id === chosenGroup.peek())) chosenGroup.value = "";
    announcement.value = view.sentence[language.peek()].replaceAll("*", "");
  } catch (error) {
    if (number !== latest) return;
    const line = error instanceof Error ? error.message : String(error);
    shownKey = "";
    if (circuit.peek() && changesNow.peek().length) {
      notify(line, "fail");
      groupChanges.value = undo(groupChanges.peek());
    } else {
      circuitProblem.value = line;
      if (isRefusal(error) && refusedGraph !== body.graph) [refusedGraph, pane.value] = [body.graph, "graph"];
    }
  } finally {
    if (number === latest) measuring.value = false;
  }
}

/** The last graph that has no explanation, and of which the features were shown in its place. */
let refusedGraph = "";

/** Whether the server has said that there is no such circuit, and did not merely fail to answer. */
function isRefusal(error: unknown): boolean {
  if (!(error instanceof ApiError)) return false;
  return (error.status >= 400 && error.status < 500) || (error.body as Job | null)?.state === "failed";
}

async function foundCircuit(body: ChangedCircuit): Promise<CircuitView> {
  const job = await api.start({ kind: "circuit", ...body });
  const { result } = await followJob(job.id, {});
  if (result?.kind !== "circuit") throw new ApiError(0, "the server sent something else than a circuit", result);
  return result;
}

// --- changes ------------------------------------------------------------------------------------------------------

function change(...next: GroupChange[]): void {
  groupChanges.value = record(groupChanges.peek(), [...changesNow.peek(), ...next]);
  chosenMembers.value = new Set();
  swap.value = null;
}

export function renameCircuitGroup(group: CircuitGroup, name: string): void {
  const called = name.trim();
  if (called !== group.called && called !== groupName(group)) change({ verb: "rename", group: group.id, name: called });
}

export function mergeGroups(into: string, other: string): void {
  change({ verb: "merge", group: into, other });
}

export function splitGroup(group: string): void {
  change({ verb: "split", group, members: [...chosenMembers.peek()] });
}

/** Moves the marked features into another group; out of all groups where it is empty. */
export function moveMembers(group: string): void {
  change({ verb: "move", group, members: [...chosenMembers.peek()] });
}

export function pinGroup(group: CircuitGroup): void {
  change({ verb: group.pinned ? "unpin" : "pin", group: group.id });
}

export function undoGroupChange(): void {
  if (!groupChanges.peek().past.length) return notify(t("Nothing to undo."));
  groupChanges.value = undo(groupChanges.peek());
  announcement.value = t("Undone");
}

export function redoGroupChange(): void {
  groupChanges.value = redo(groupChanges.peek());
}

export function chooseGroup(id: string): void {
  if (id !== chosenGroup.peek()) [chosenMembers.value, swap.value] = [new Set(), null];
  chosenGroup.value = id;
}

export function toggleMember(id: string): void {
  const next = new Set(chosenMembers.peek());
  if (!next.delete(id)) next.add(id);
  chosenMembers.value = next;
}

// --- saved circuits -----------------------------------------------------------------------------------------------

export async function loadSaved(): Promise<void> {
  const graph = graphId.peek();
  if (embedded || !graph) return;
  const answer = await attempt(() => api.circuits(graph));
  if (answer && graph === graphId.peek()) savedCircuits.value = answer.circuits;
}

/** Saves the circuit under a name; false where another one has the name and is not to be replaced. */
export async function saveCircuit(name: string, replace = false): Promise<boolean> {
  try {
    const view = await api.saveCircuit({ ...request(), name, replace });
    showSaved(view);
    notify(t("Saved as “{name}”.", { name: view.name }));
    void loadSaved();
    return true;
  } catch (error) {
    if (error instanceof ApiError && error.status === 409) return false;
    notify(error instanceof Error ? error.message : String(error), "fail");
    return true;
  }
}

function showSaved(view: CircuitView): void {
  [savedId.value, groupChanges.value] = [view.saved ?? "", begin<Changes>([])];
  shownKey = JSON.stringify(request());
  circuit.value = view;
}

/** Opens a saved circuit; the one that was found, where the id is empty. */
export function openCircuit(id: string): void {
  [savedId.value, groupChanges.value, swap.value] = [id, begin<Changes>([]), null];
}

export async function removeCircuit(id: string): Promise<void> {
  if ((await attempt(async () => (await api.dropCircuit(graphId.peek(), id), true))) === null) return;
  if (savedId.peek() === id) openCircuit("");
  await loadSaved();
}

// --- swap -----------------------------------------------------------------------------------------------------------

/** Puts the group of another prompt's circuit in the place of the chosen one, and measures what the model says. */
export async function swapGroup(group: string, prompt: string, otherGroup = "", addBos = true): Promise<void> {
  if (swapping.peek() || !prompt.trim()) return;
  swapping.value = true;
  const view = await attempt(async () => {
    const body = { kind: "swap" as const, ...request(), group, prompt, other_group: otherGroup, add_bos: addBos };
    const { result } = await followJob((await api.start(body)).id, {});
    return result?.kind === "swap" ? result : null;
  });
  swapping.value = false;
  if (view && chosenGroup.peek() === group) swap.value = view;
}
