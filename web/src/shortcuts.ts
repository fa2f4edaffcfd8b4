// Keyboard shortcuts: one listener, a table for the graph and one for lists. They are off while the person types.
import { t } from "./i18n/text";
import { groupTowards } from "./model/circuit_layout";
import { neighbour } from "./model/grid";
import { writeHead } from "./model/explanations";
import { latinKey } from "./model/keyboard_layout";
import type { Mark } from "./model/scene";
import { embedded, helpOpen, announcement, notify, opening, refusal, refuse, switchTheme } from "./state/app";
import {
  chooseGroup,
  chosenGroup,
  groupShown,
  pane,
  pinGroup,
  redoGroupChange,
  undoGroupChange,
} from "./state/circuit";
import { addFeature, editChosen } from "./state/edit";
import { closeEdge, closeHead, explainable, openAnyHead, openEdge } from "./state/explanations";
import { adjust, back, go, route } from "./state/route";
import {
  choose,
  chosen,
  describe,
  edge,
  graphId,
  groupChosen,
  head,
  hovered,
  path,
  pinChosen,
  primaryMark,
  query,
  redoChange,
  scene,
  undoChange,
  zoom,
} from "./state/trace";
import { figure } from "./views/circuit_figure";
import { text } from "./views/explanation_parts";
import { placement } from "./views/link_graph";
import { writeLabelOf } from "./views/label_editor";
import { labelChosen } from "./views/node_panel";

type Keys = Record<string, (event: KeyboardEvent) => void>;

function cursor(): Mark | null {
  const key = hovered.peek() ?? chosen.peek().at(-1);
  return key ? (scene.peek()?.byKey.get(key) ?? null) : null;
}

function moveTo(mark: Mark | null | undefined): void {
  if (!mark) return;
  hovered.value = mark.key;
  placement.reveal(mark);
  announcement.value = describe(mark);
  document.getElementById("plot")?.focus({ preventScroll: true });
}

function moveInDirection(direction: "left" | "right" | "up" | "down"): void {
  const marks = scene.peek()?.marks ?? [];
  const from = cursor();
  moveTo(from ? neighbour(marks, from, direction) : marks.find((mark) => mark.kind === "target"));
}

/** Moves through the marks in order: outputs first, then the others by influence. */
function stepByInfluence(by: number): void {
  const marks = scene.peek()?.marks ?? [];
  const order = [...marks].sort(
    (a, b) => Number(b.kind === "target") - Number(a.kind === "target") || b.influence - a.influence,
  );
  const from = cursor();
  const index = from ? order.indexOf(from) : -1;
  moveTo(order[Math.max(0, Math.min(order.length - 1, index + by))]);
}

function followStrongestLink(end: "from" | "to"): void {
  const mark = primaryMark.peek();
  const links = mark?.links
    .filter((link) => link[end] !== mark)
    .sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
  const next = links?.[0]?.[end];
  if (next) {
    choose(next.key);
    placement.reveal(next);
  }
}

/** Opens the edge between the chosen mark and the one at the cursor, else the chosen mark's strongest. */
function openNearEdge(): void {
  if (!explainable.peek()) return notify(text.peek().needsServer);
  const mark = primaryMark.peek();
  const links = (mark?.links ?? []).filter((link) => !link.from.group && !link.to.group);
  const other = cursor();
  const between = links.find((link) => other !== mark && (link.from === other || link.to === other));
  const inputs = links.filter((link) => link.to === mark);
  const ordered = (inputs.length ? inputs : links).sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
  const link = between ?? ordered[0];
  if (link) openEdge({ source: link.from.key, target: link.to.key });
  else notify(text.peek().chooseEdge);
}

function askHead(): void {
  if (explainable.peek()) openAnyHead();
  else notify(text.peek().needsServer);
}

function showAttention(): void {
  if (explainable.peek()) go("attention", graphId.peek(), { head: writeHead(head.peek()) });
  else notify(text.peek().needsServer);
}

function chooseHovered(event: KeyboardEvent): void {
  if (hovered.peek()) choose(hovered.peek(), event.shiftKey);
}

function withCursor(action: () => void): () => void {
  return () => {
    const key = hovered.peek();
    if (key && !chosen.peek().includes(key) && !chosen.peek().length) choose(key);
    action();
  };
}

function stepBack(): void {
  if (query.peek()) query.value = "";
  else if (hovered.peek() && chosen.peek().length) hovered.value = null;
  else if (head.peek()) closeHead();
  else if (edge.peek()) closeEdge();
  else if (path.peek()) path.value = null;
  else choose(null);
}

function moveToGroup(direction: "left" | "right" | "up" | "down"): void {
  const focused = document.activeElement?.id.match(/^group-(.+)$/)?.[1] ?? "";
  const next = groupTowards(figure.layout?.boxes ?? [], focused, direction);
  if (next) document.getElementById(`group-${next}`)?.focus();
}

function pressGroup(): void {
  const focused = document.activeElement?.id.match(/^group-(.+)$/)?.[1];
  if (focused) chooseGroup(chosenGroup.peek() === focused ? "" : focused);
}

/** Presses a button or field of the explanation by its id. */
function focusOn(id: string, press = false): void {
  const element = document.getElementById(id);
  element?.focus();
  if (press) element?.click();
}

const EXPLANATION: Keys = {
  ArrowLeft: () => moveToGroup("left"),
  ArrowRight: () => moveToGroup("right"),
  ArrowUp: () => moveToGroup("up"),
  ArrowDown: () => moveToGroup("down"),
  Enter: pressGroup,
  " ": pressGroup,
  n: () => focusOn("groupname"),
  w: () => focusOn("swap"),
  s: () => focusOn("savecircuit", true),
  p: () => groupShown.peek() && !embedded && pinGroup(groupShown.peek()!),
  v: () => (pane.value = "graph"),
  a: showAttention,
  u: undoGroupChange,
  U: redoGroupChange,
  Escape: () => chooseGroup(""),
};

const TRACE: Keys = {
  v: () => (!embedded || embedded.circuit) && (pane.value = "explanation"),
  ArrowLeft: () => moveInDirection("left"),
  ArrowRight: () => moveInDirection("right"),
  ArrowUp: () => moveInDirection("up"),
  ArrowDown: () => moveInDirection("down"),
  j: () => stepByInfluence(1),
  k: () => stepByInfluence(-1),
  Enter: chooseHovered,
  " ": chooseHovered,
  i: () => followStrongestLink("from"),
  o: () => followStrongestLink("to"),
  x: withCursor(openNearEdge),
  h: askHead,
  a: showAttention,
  p: withCursor(pinChosen),
  g: withCursor(groupChosen),
  e: withCursor(editChosen),
  l: withCursor(labelChosen),
  u: undoChange,
  U: redoChange,
  Escape: stepBack,
  "+": () => (zoom.value = Math.min(3, zoom.peek() * 1.2)),
  "-": () => (zoom.value = Math.max(0.5, zoom.peek() / 1.2)),
};

/** Moves the focus by rows in a list; the focused row handles Enter itself. */
function stepRow(by: number): void {
  const rows = [
    ...document.querySelectorAll<HTMLElement>(
      "main button.row, main .changerow, main .comparerow, main tbody button.link",
    ),
  ];
  const index = rows.indexOf(document.activeElement as HTMLElement);
  const next = rows[Math.max(0, Math.min(rows.length - 1, index + by))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

const LISTS: Keys = {
  j: () => stepRow(1),
  k: () => stepRow(-1),
  ArrowDown: () => stepRow(1),
  ArrowUp: () => stepRow(-1),
  l: () => {
    if (route.peek().view === "feature") writeLabelOf(route.peek().id);
    else refuse(t("There is no feature to label in this view."));
  },
  e: () => {
    if (route.peek().view === "feature" && !embedded) {
      addFeature(route.peek().id);
      go("edit");
    }
  },
  Escape: () => {
    if (route.peek().view === "attention") return back("trace", route.peek().id);
    if (route.peek().view === "feature") back(graphId.peek() ? "trace" : "features", graphId.peek());
  },
};

/** Gives the view's search field the focus. The list of all features becomes a search by words first. */
function search(): void {
  const field = () => document.getElementById("search") ?? document.getElementById("picker");
  if (field()) return field()!.focus();
  if (route.peek().view !== "features") return refuse(t("There is nothing to search in this view."));
  adjust({ how: "words", offset: "" });
  setTimeout(() => field()?.focus());
}

const EVERYWHERE: Keys = {
  "?": () => (helpOpen.value = true),
  t: switchTheme,
  "/": search,
};

function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !["checkbox", "range"].includes(target.type);
  return target instanceof HTMLSelectElement || target instanceof HTMLTextAreaElement || target.isContentEditable;
}

export function listenToKeys(): void {
  document.addEventListener("keydown", (event) => {
    if (helpOpen.peek() || opening.peek() || refusal.peek() !== null || event.defaultPrevented) return;
    if (
      (event.ctrlKey || event.metaKey) &&
      latinKey(event).toLowerCase() === "z" &&
      route.peek().view === "trace" &&
      !isTyping(event.target)
    ) {
      event.preventDefault();
      if (pane.peek() === "explanation") return event.shiftKey ? redoGroupChange() : undoGroupChange();
      return event.shiftKey ? redoChange() : undoChange();
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (isTyping(event.target)) {
      if (event.key === "Escape") (event.target as HTMLElement).blur();
      return;
    }
    const target = event.target instanceof HTMLElement ? event.target : null;
    const handlesEnter = target?.matches("button, a, input, summary, [role=tab]") ?? false;
    if (handlesEnter && (event.key === "Enter" || event.key === " ")) return;
    if (target instanceof HTMLInputElement && event.key.startsWith("Arrow")) return;
    const keys = route.peek().view !== "trace" ? LISTS : pane.peek() === "explanation" ? EXPLANATION : TRACE;
    const key = latinKey(event);
    const action = keys[key] ?? EVERYWHERE[key];
    if (!action) return;
    event.preventDefault();
    action(event);
  });
}
