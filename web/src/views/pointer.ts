// The pointer on the graph: pointing previews, a click chooses, a drag moves a mark or the paper, Ctrl and wheel zoom.
import { type Signal, signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Grid } from "../model/grid";
import type { Layout } from "../model/layout";
import { type Mark, anchor } from "../model/scene";
import { arrangement, choose, chosen, graph, hovered, moveMark, zoom } from "../state/trace";

type Ref<T> = { current: T | null };

/** Counts the steps of a drag: what is lit is drawn again at each, with the mark where it is held. */
export const dragged = signal(0);

/** What the pointer holds: a mark, with where it stood, or the paper. */
interface Held {
  mark: Mark | null;
  /** Where the pointer took it. */
  x: number;
  y: number;
  left: number;
  top: number;
  moved: boolean;
  /** Where the mark stood, and how far that was from its own place. */
  stood: readonly [number, number];
  was: readonly [number, number];
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
    let held: Held | null = null;
    let asked = 0;
    const at = (event: PointerEvent | MouseEvent) => {
      const frame = area.getBoundingClientRect();
      return grid()?.nearest(event.clientX - frame.left, event.clientY - frame.top) ?? null;
    };
    const onMove = (event: PointerEvent) => {
      if (held) return drag(area, box, held, event);
      cancelAnimationFrame(asked);
      asked = requestAnimationFrame(() => {
        const mark = at(event);
        area.style.cursor = mark ? "pointer" : "default";
        if (hovered.peek() !== (mark?.key ?? null)) hovered.value = mark?.key ?? null;
      });
    };
    const onDown = (event: PointerEvent) => {
      if (event.button !== 0) return;
      held = hold(at(event), event, box);
      area.setPointerCapture(event.pointerId);
    };
    const onUp = (event: PointerEvent) => {
      const last = held;
      held = null;
      area.style.cursor = "default";
      if (!last) return;
      if (last.moved && last.mark) drop(area, last, event);
      else if (!last.moved) click(at(event), event);
    };
    const onCancel = () => {
      if (held?.mark) [held.mark.x, held.mark.y] = held.stood;
      held = null;
    };
    area.addEventListener("pointermove", onMove, listening);
    area.addEventListener("pointerdown", onDown, listening);
    area.addEventListener("pointerup", onUp, listening);
    area.addEventListener("pointercancel", onCancel, listening);
    area.addEventListener("pointerleave", () => (cancelAnimationFrame(asked), (hovered.value = null)), listening);
    box.addEventListener("wheel", onWheel, { passive: false, signal: stop.signal });
    return () => stop.abort();
  }, [ready, layout]);
}

function hold(mark: Mark | null, event: PointerEvent, box: HTMLElement): Held {
  const movable = mark && mark.kind !== "token" && mark.kind !== "target" ? mark : null;
  const was = arrangement.peek().positions[movable ? anchor(movable) : ""] ?? [0, 0];
  return {
    mark: movable,
    x: event.clientX,
    y: event.clientY,
    left: box.scrollLeft,
    top: box.scrollTop,
    moved: false,
    stood: [movable?.x ?? 0, movable?.y ?? 0],
    was,
  };
}

/** The mark follows the pointer with its links, lit above the dimmed graph; it is arranged once it is let go. */
function drag(area: HTMLElement, box: HTMLElement, held: Held, event: PointerEvent): void {
  const [dx, dy] = [event.clientX - held.x, event.clientY - held.y];
  if (!held.moved && Math.hypot(dx, dy) < 5) return;
  held.moved = true;
  area.style.cursor = "grabbing";
  if (!held.mark) {
    box.scrollLeft = held.left - dx;
    box.scrollTop = held.top - dy;
    return;
  }
  [held.mark.x, held.mark.y] = [held.stood[0] + dx, held.stood[1] + dy];
  shift(area, held.mark, `translate(${dx} ${dy})`);
  hovered.value = held.mark.key;
  dragged.value++;
}

function drop(area: HTMLElement, held: Held, event: PointerEvent): void {
  const mark = held.mark!;
  [mark.x, mark.y] = held.stood;
  shift(area, mark, null);
  dragged.value++;
  moveMark(anchor(mark), [held.was[0] + event.clientX - held.x, held.was[1] + event.clientY - held.y]);
}

function click(mark: Mark | null, event: PointerEvent): void {
  const more = event.shiftKey || event.ctrlKey || event.metaKey;
  if (!mark) choose(null);
  else if (!more && chosen.peek().length === 1 && chosen.peek()[0] === mark.key) choose(null);
  else choose(mark.key, more);
}

/** The drawn element of a mark, where there is one, goes along. */
function shift(area: HTMLElement, mark: Mark, by: string | null): void {
  const drawn = [...area.querySelectorAll<SVGElement>(".marks > g")].find((each) => each.id === `node-${mark.key}`);
  if (by) drawn?.setAttribute("transform", by);
  else drawn?.removeAttribute("transform");
}

function onWheel(event: WheelEvent): void {
  if (!event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  zoom.value = Math.max(0.5, Math.min(3, zoom.peek() * (event.deltaY < 0 ? 1.15 : 1 / 1.15)));
}
