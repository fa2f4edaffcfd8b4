// The keyboard: one listener, one table a view. Keys are not taken while somebody types.
import { neighbour } from "./model/grid";
import { meant } from "./model/keyboard_layout";
import type { Mark } from "./model/scene";
import { embedded, helping, spoken, switchTheme } from "./state/app";
import { labelling } from "./state/cards";
import { addFeature, editChosen } from "./state/edit";
import { back, go, route } from "./state/route";
import {
  choose,
  chosen,
  describe,
  graphId,
  groupChosen,
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
import { laid } from "./views/link_graph";
import { labelChosen } from "./views/node_panel";

type Keys = Record<string, (event: KeyboardEvent) => void>;

function cursor(): Mark | null {
  const key = hovered.peek() ?? chosen.peek().at(-1);
  return key ? (scene.peek()?.byKey.get(key) ?? null) : null;
}

function moveTo(mark: Mark | null | undefined): void {
  if (!mark) return;
  hovered.value = mark.key;
  laid.reveal(mark);
  spoken.value = describe(mark);
  document.getElementById("plot")?.focus({ preventScroll: true });
}

function step(direction: "left" | "right" | "up" | "down"): void {
  const marks = scene.peek()?.marks ?? [];
  const from = cursor();
  moveTo(from ? neighbour(marks, from, direction) : marks.find((mark) => mark.kind === "target"));
}

/** Outputs first, then everything by influence. */
function stepByInfluence(by: number): void {
  const marks = scene.peek()?.marks ?? [];
  const order = [...marks].sort(
    (a, b) => Number(b.kind === "target") - Number(a.kind === "target") || b.influence - a.influence,
  );
  const from = cursor();
  const place = from ? order.indexOf(from) : -1;
  moveTo(order[Math.max(0, Math.min(order.length - 1, place + by))]);
}

function follow(end: "from" | "to"): void {
  const mark = primaryMark.peek();
  const links = mark?.links
    .filter((link) => link[end] !== mark)
    .sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
  const next = links?.[0]?.[end];
  if (next) {
    choose(next.key);
    laid.reveal(next);
  }
}

function take(event: KeyboardEvent): void {
  if (hovered.peek()) choose(hovered.peek(), event.shiftKey);
}

function withCursor(act: () => void): () => void {
  return () => {
    const key = hovered.peek();
    if (key && !chosen.peek().includes(key) && !chosen.peek().length) choose(key);
    act();
  };
}

function leave(): void {
  if (query.peek()) query.value = "";
  else if (hovered.peek() && chosen.peek().length) hovered.value = null;
  else if (path.peek()) path.value = null;
  else choose(null);
}

const TRACE: Keys = {
  ArrowLeft: () => step("left"),
  ArrowRight: () => step("right"),
  ArrowUp: () => step("up"),
  ArrowDown: () => step("down"),
  j: () => stepByInfluence(1),
  k: () => stepByInfluence(-1),
  Enter: take,
  " ": take,
  i: () => follow("from"),
  o: () => follow("to"),
  p: withCursor(pinChosen),
  g: withCursor(groupChosen),
  e: withCursor(editChosen),
  l: withCursor(labelChosen),
  u: undoChange,
  U: redoChange,
  Escape: leave,
  "+": () => (zoom.value = Math.min(3, zoom.peek() * 1.2)),
  "-": () => (zoom.value = Math.max(0.5, zoom.peek() / 1.2)),
};

/** In lists j and k move from row to row; Enter is the row's own. */
function stepRow(by: number): void {
  const rows = [
    ...document.querySelectorAll<HTMLElement>(
      "main button.row, main .changerow, main .comparerow, main tbody button.link",
    ),
  ];
  const place = rows.indexOf(document.activeElement as HTMLElement);
  const next = rows[Math.max(0, Math.min(rows.length - 1, place + by))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

const LISTS: Keys = {
  j: () => stepRow(1),
  k: () => stepRow(-1),
  ArrowDown: () => stepRow(1),
  ArrowUp: () => stepRow(-1),
  l: () => {
    if (route.peek().view === "feature" && !embedded) labelling.value = route.peek().id;
  },
  e: () => {
    if (route.peek().view === "feature" && !embedded) {
      addFeature(route.peek().id);
      go("edit");
    }
  },
  Escape: () => {
    if (route.peek().view === "feature") back(graphId.peek() ? "trace" : "features", graphId.peek());
  },
};

const EVERYWHERE: Keys = {
  "?": () => (helping.value = true),
  t: switchTheme,
  "/": () => (document.getElementById("search") ?? document.getElementById("picker"))?.focus(),
};

function typing(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !["checkbox", "range"].includes(target.type);
  return target instanceof HTMLSelectElement || target instanceof HTMLTextAreaElement || target.isContentEditable;
}

export function listen(): void {
  document.addEventListener("keydown", (event) => {
    if (helping.peek() || event.defaultPrevented) return;
    if (
      (event.ctrlKey || event.metaKey) &&
      meant(event).toLowerCase() === "z" &&
      route.peek().view === "trace" &&
      !typing(event.target)
    ) {
      event.preventDefault();
      return event.shiftKey ? redoChange() : undoChange();
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (typing(event.target)) {
      if (event.key === "Escape") (event.target as HTMLElement).blur();
      return;
    }
    const target = event.target instanceof HTMLElement ? event.target : null;
    const own = target?.matches("button, a, input, summary, [role=tab]") ?? false;
    if (own && (event.key === "Enter" || event.key === " ")) return;
    if (target instanceof HTMLInputElement && event.key.startsWith("Arrow")) return;
    const keys = route.peek().view === "trace" ? TRACE : LISTS;
    const key = meant(event);
    const act = keys[key] ?? EVERYWHERE[key];
    if (!act) return;
    event.preventDefault();
    act(event);
  });
}
