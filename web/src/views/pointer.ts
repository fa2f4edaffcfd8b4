// Pointer events on the graph: pointing previews, a click chooses, a drag moves a mark or scrolls, Ctrl and wheel zoom.
import { type Signal, signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Grid } from "../model/grid";
import type { Layout } from "../model/layout";
import { nearestLink } from "../draw/nearest_link";
import { MANY_LINKS } from "../draw/stage";
import { type Link, type Mark, positionKey } from "../model/scene";
import { explainable, openEdge } from "../state/explanations";
import { arrangement, choose, chosen, graph, hovered, moveMark, scene, zoom } from "../state/trace";

type Ref<T> = { current: T | null };

/** Counts the steps of a drag. The highlighted part is drawn again at each, with the mark under the pointer. */
export const dragSteps = signal(0);

/** A drag in progress: of a mark, or of the whole plot if `mark` is null. */
interface Drag {
  mark: Mark | null;
  /** Where the drag began. */
  x: number;
  y: number;
  left: number;
  top: number;
  moved: boolean;
  /** The mark's place when the drag began, and its offset from the layout's place. */
  markStart: readonly [number, number];
  offsetStart: readonly [number, number];
}

export function usePointer(
  plot: Ref<HTMLDivElement>,
  scroller: Ref<HTMLElement>,
  grid: () => Grid | null,
  layout: Signal<Layout | null>,
): void {
  const ready = graph.value !== null;
  useEffect(() => {
    const area = plot.current;
    const box = scroller.current;
    if (!area || !box) return;
    const stop = new AbortController();
    const listening = { signal: stop.signal };
    let dragging: Drag | null = null;
    let frameRequest = 0;
    const markAt = (event: PointerEvent | MouseEvent) => {
      const frame = area.getBoundingClientRect();
      return grid()?.nearest(event.clientX - frame.left, event.clientY - frame.top) ?? null;
    };
    const onMove = (event: PointerEvent) => {
      if (dragging) return moveDrag(area, box, dragging, event);
      cancelAnimationFrame(frameRequest);
      frameRequest = requestAnimationFrame(() => {
        const mark = markAt(event);
        area.style.cursor = mark || linkAt(area, event) ? "pointer" : "default";
        if (hovered.peek() !== (mark?.key ?? null)) hovered.value = mark?.key ?? null;
      });
    };
    const onDown = (event: PointerEvent) => {
      if (event.button !== 0) return;
      dragging = startDrag(markAt(event), event, box);
      area.setPointerCapture(event.pointerId);
    };
    const onUp = (event: PointerEvent) => {
      const finished = dragging;
      dragging = null;
      area.style.cursor = "default";
      if (!finished) return;
      if (finished.moved && finished.mark) endDrag(area, finished, event);
      else if (!finished.moved) click(area, markAt(event), event);
    };
    const onCancel = () => {
      if (dragging?.mark) [dragging.mark.x, dragging.mark.y] = dragging.markStart;
      dragging = null;
    };
    area.addEventListener("pointermove", onMove, listening);
    area.addEventListener("pointerdown", onDown, listening);
    area.addEventListener("pointerup", onUp, listening);
    area.addEventListener("pointercancel", onCancel, listening);
    area.addEventListener(
      "pointerleave",
      () => (cancelAnimationFrame(frameRequest), (hovered.value = null)),
      listening,
    );
    box.addEventListener("wheel", onWheel, { passive: false, signal: stop.signal });
    return () => stop.abort();
  }, [ready, layout]);
}

function startDrag(mark: Mark | null, event: PointerEvent, box: HTMLElement): Drag {
  const movable = mark && mark.kind !== "token" && mark.kind !== "target" ? mark : null;
  const offsetStart = arrangement.peek().positions[movable ? positionKey(movable) : ""] ?? [0, 0];
  return {
    mark: movable,
    x: event.clientX,
    y: event.clientY,
    left: box.scrollLeft,
    top: box.scrollTop,
    moved: false,
    markStart: [movable?.x ?? 0, movable?.y ?? 0],
    offsetStart,
  };
}

/** Moves the mark with the pointer; only the highlighted part is drawn. The arrangement changes at the end of the
 *  drag. */
function moveDrag(area: HTMLElement, box: HTMLElement, drag: Drag, event: PointerEvent): void {
  const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
  if (!drag.moved && Math.hypot(dx, dy) < 5) return;
  drag.moved = true;
  area.style.cursor = "grabbing";
  if (!drag.mark) {
    box.scrollLeft = drag.left - dx;
    box.scrollTop = drag.top - dy;
    return;
  }
  [drag.mark.x, drag.mark.y] = [drag.markStart[0] + dx, drag.markStart[1] + dy];
  translateMark(area, drag.mark, `translate(${dx} ${dy})`);
  hovered.value = drag.mark.key;
  dragSteps.value++;
}

function endDrag(area: HTMLElement, drag: Drag, event: PointerEvent): void {
  const mark = drag.mark!;
  [mark.x, mark.y] = drag.markStart;
  translateMark(area, mark, null);
  dragSteps.value++;
  moveMark(positionKey(mark), [
    drag.offsetStart[0] + event.clientX - drag.x,
    drag.offsetStart[1] + event.clientY - drag.y,
  ]);
}

const REACH = 4; // pixels from a link at which it is hit

/** The link under the pointer, of one node to one other: of the chosen marks where some are chosen, else of all, unless
 *  these are too many to be told apart. */
function linkAt(area: HTMLElement, event: PointerEvent): Link | null {
  const current = scene.peek();
  if (!current || !explainable.peek()) return null;
  const keys = chosen.peek();
  const links = keys.length ? keys.flatMap((key) => current.byKey.get(key)?.links ?? []) : current.links;
  if (links.length > MANY_LINKS) return null;
  const frame = area.getBoundingClientRect();
  const single = links.filter((link) => !link.from.group && !link.to.group);
  return nearestLink(single, event.clientX - frame.left, event.clientY - frame.top, REACH);
}

function click(area: HTMLElement, mark: Mark | null, event: PointerEvent): void {
  const more = event.shiftKey || event.ctrlKey || event.metaKey;
  const link = mark ? null : linkAt(area, event);
  if (link) openEdge({ source: link.from.key, target: link.to.key });
  else if (!mark) choose(null);
  else if (!more && chosen.peek().length === 1 && chosen.peek()[0] === mark.key) choose(null);
  else choose(mark.key, more);
}

/** Moves the SVG element of a mark, if there is one. */
function translateMark(area: HTMLElement, mark: Mark, by: string | null): void {
  const element = [...area.querySelectorAll<SVGElement>(".marks > g")].find((each) => each.id === `node-${mark.key}`);
  if (by) element?.setAttribute("transform", by);
  else element?.removeAttribute("transform");
}

function onWheel(event: WheelEvent): void {
  if (!event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  zoom.value = Math.max(0.5, Math.min(3, zoom.peek() * (event.deltaY < 0 ? 1.15 : 1 / 1.15)));
}
