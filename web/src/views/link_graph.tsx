// The graph itself: tokens along the bottom, layers upward, outputs on top. Canvases hold links, SVG the marks (a canvas
// too when they are many, with a list beside it for those who cannot see it). Pointing previews, a click stays.
import { type Signal, useComputed, useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { measure, palette } from "../draw/palette";
import { MANY, Stage } from "../draw/stage";
import type { Look } from "../draw/marks";
import { byMark } from "../model/families";
import { Grid } from "../model/grid";
import { type Layout, layOut, loudness, quietRuns } from "../model/layout";
import { light, signs } from "../model/light";
import { type Mark, type Scene, anchor } from "../model/scene";
import { shown } from "../model/text";
import { dark } from "../state/app";
import {
  arrangement, choose, chosen, colour, folding, found, graph, hovered, labelGroups, labelsShown, moveMark, opened, path, primaryMark, query, scene, zoom,
} from "../state/trace";
import { MarkList, Marks } from "./marks";
import { Axis, Chips } from "./axes";
import { Tip } from "./tip";

const AXIS = 48;
const CHIPS = 44;

/** Where things are, shared with the keyboard. */
export const laid: { layout: Layout | null; grid: Grid | null; reveal: (mark: Mark) => void } = {
  layout: null,
  grid: null,
  reveal: () => undefined,
};

export function LinkGraph() {
  const scroller = useRef<HTMLElement>(null);
  const plot = useRef<HTMLDivElement>(null);
  const base = useRef<HTMLCanvasElement>(null);
  const lit = useRef<HTMLCanvasElement>(null);
  const size = useSignal({ width: 0, height: 0 });
  const layout = useComputed(() => place(scene.value, size.value));
  const stage = useRef<Stage | null>(null);
  usePointer(plot, scroller, layout);

  useLayoutEffect(() => {
    const box = scroller.current!;
    stage.current = new Stage(base.current!, lit.current!);
    const fit = () => {
      const [width, height] = [box.clientWidth - AXIS, box.clientHeight - CHIPS - 1];
      if (width !== size.peek().width || height !== size.peek().height) size.value = { width, height };
    };
    const watch = new ResizeObserver(fit);
    watch.observe(box);
    fit();
    laid.reveal = (mark) => reveal(box, mark);
    return () => {
      watch.disconnect();
    };
  }, []);

  const opening = graph.value?.view.id ?? null;
  useEffect(() => {
    const box = scroller.current;
    if (opening === null || !box) return;
    const mark = primaryMark.peek();
    if (mark) reveal(box, mark);
    else box.scrollTo(box.scrollWidth, 0); // outputs mostly stand at the last token
  }, [opening, size.value.width > 0]);

  useSignalEffect(() => {
    const [where, what] = [layout.value, scene.value];
    const view = graph.value?.view;
    const colours = palette(dark.value);
    const look = lookOf(what);
    if (!where || !what || !view || !stage.current) return;
    stage.current.drawBase(what, where, colours, look, view.first_position);
    Object.assign(document.documentElement.dataset, { links: String(what.links.length), took: stage.current.took.toFixed(0) });
  });

  useSignalEffect(() => {
    const [where, what] = [layout.value, scene.value];
    if (!where || !what || !stage.current) return;
    const wanted = {
      hovered: hovered.value,
      chosen: chosen.value,
      path: path.value,
      found: query.value ? found.value.map((node) => node.id) : null,
    };
    const now = light(what, wanted);
    const look = lookOf(what);
    stage.current.drawLit(where, palette(dark.value), look, { ...now, chosen: new Set(chosen.value) });
    plot.current?.classList.toggle("lit", now.marks.size > 0);
  });

  const wanted = hovered.value ?? chosen.value.at(-1);
  const active = wanted && scene.value?.byKey.has(wanted) ? wanted : null;
  const where = layout.value;
  const view = graph.value?.view;
  if (!view) return <section class="scroller" ref={scroller} aria-label="Attribution graph" />;
  return (
    <section class="scroller" ref={scroller} aria-label="Attribution graph">
      <div class="stage">
        <Axis layout={where} layers={view.n_layers} />
        <div
          class="plot"
          id="plot"
          ref={plot}
          tabIndex={0}
          role="listbox"
          aria-multiselectable="true"
          aria-label="Nodes of the graph: arrows move, Enter selects"
          aria-activedescendant={active ? `node-${active}` : undefined}
          style={{ width: `${where?.width ?? 0}px`, height: `${where?.height ?? 0}px` }}
        >
          <canvas class="base" ref={base} aria-hidden="true" />
          <MarksOrList layout={layout} />
          <canvas class="over" ref={lit} aria-hidden="true" />
        </div>
        <div class="corner" aria-hidden="true" />
        <Chips layout={where} view={view} />
      </div>
      <Tip plot={plot} layout={layout} />
    </section>
  );
}

function MarksOrList({ layout }: { layout: Signal<Layout | null> }) {
  const [where, what] = [layout.value, scene.value];
  const isDark = dark.value;
  const how = colour.value;
  const selected = chosen.value.join(" ");
  const look = useMemo(() => lookOf(what), [what, how, primaryMark.value]);
  const many = (what?.marks.length ?? 0) > MANY;
  return useMemo(() => {
    if (!where || !what) return null;
    return many ? <MarkList scene={what} /> : <Marks scene={what} layout={where} colours={palette(isDark)} look={look} />;
  }, many ? [what, selected] : [where, what, isDark, look, selected]);
}

function lookOf(what: Scene | null): Look {
  const groups = byMark(labelGroups.value);
  return { colour: colour.value, sign: signOf(what), family: (mark) => groups.get(mark) };
}

function signOf(what: Scene | null): (mark: Mark) => number {
  if (!what || colour.value !== "sign") return () => 0;
  const known = signs(what, primaryMark.value);
  return (mark) => known.get(mark) ?? 0;
}

function place(what: Scene | null, size: { width: number; height: number }): Layout | null {
  const view = graph.value?.view;
  if (!what || !view || size.width <= 0) return null;
  const quiet = folding.value ? quietRuns(loudness(what, view.tokens.length)) : [];
  const layout = layOut(what, view.tokens.length, view.n_layers, {
    ...size,
    zoom: zoom.value,
    labels: labelsShown.value,
    folds: quiet.filter(([from]) => !opened.value.has(from)),
    measure,
    moved: arrangement.value.positions,
    token: (position) => shown(view.tokens[position] ?? ""),
    strongest: graph.value!.strongest,
  });
  laid.layout = layout;
  laid.grid = new Grid(what.marks);
  return layout;
}

function reveal(box: HTMLElement, mark: Mark): void {
  const [x, y] = [mark.x + AXIS, mark.y];
  const [w, h] = [box.clientWidth, box.clientHeight - CHIPS];
  if (x < box.scrollLeft + AXIS + 24 || x > box.scrollLeft + w - 24) box.scrollLeft = x - w / 2;
  if (y < box.scrollTop + 12 || y > box.scrollTop + h - 12) box.scrollTop = y - h / 2;
}

/** Shows where a mark is being dragged to, before it is there. */
function shift(area: HTMLElement, mark: Mark, by: string | null): void {
  const drawn = [...area.querySelectorAll<SVGElement>(".marks > g")].find((each) => each.id === `node-${mark.key}`);
  if (by) drawn?.setAttribute("transform", by);
  else drawn?.removeAttribute("transform");
}

type Ref<T> = { current: T | null };

/** Pointing, clicking, dragging a mark, dragging the paper, zooming. */
function usePointer(plot: Ref<HTMLDivElement>, scroller: Ref<HTMLElement>, layout: Signal<Layout | null>): void {
  const ready = graph.value !== null;
  useEffect(() => {
    const area = plot.current;
    const box = scroller.current;
    if (!area || !box) return;
    let held: { mark: Mark | null; x: number; y: number; left: number; top: number; moved: boolean; was: [number, number] } | null = null;
    let asked = 0;
    const at = (event: PointerEvent | MouseEvent) => {
      const frame = area.getBoundingClientRect();
      return laid.grid?.nearest(event.clientX - frame.left, event.clientY - frame.top) ?? null;
    };
    const drag = (event: PointerEvent) => {
      if (!held) return;
      const [dx, dy] = [event.clientX - held.x, event.clientY - held.y];
      if (!held.moved && Math.hypot(dx, dy) < 5) return;
      held.moved = true;
      if (held.mark) {
        shift(area, held.mark, `translate(${dx} ${dy})`);
        area.style.cursor = "grabbing";
      } else {
        box.scrollLeft = held.left - dx;
        box.scrollTop = held.top - dy;
      }
    };
    const onMove = (event: PointerEvent) => {
      if (held) return drag(event);
      cancelAnimationFrame(asked);
      asked = requestAnimationFrame(() => {
        const mark = at(event);
        area.style.cursor = mark ? "pointer" : "default";
        if (hovered.peek() !== (mark?.key ?? null)) hovered.value = mark?.key ?? null;
      });
    };
    const onDown = (event: PointerEvent) => {
      if (event.button !== 0) return;
      const mark = at(event);
      const movable = mark && mark.kind !== "token" && mark.kind !== "target" ? mark : null;
      const was = arrangement.peek().positions[movable ? anchor(movable) : ""] ?? [0, 0];
      held = { mark: movable, x: event.clientX, y: event.clientY, left: box.scrollLeft, top: box.scrollTop, moved: false, was: [was[0], was[1]] };
      area.setPointerCapture(event.pointerId);
    };
    const onUp = (event: PointerEvent) => {
      const last = held;
      held = null;
      area.style.cursor = "default";
      if (!last) return;
      if (last.mark) shift(area, last.mark, null);
      if (last.moved && last.mark) return moveMark(anchor(last.mark), [last.was[0] + event.clientX - last.x, last.was[1] + event.clientY - last.y]);
      if (last.moved) return;
      const mark = at(event);
      const more = event.shiftKey || event.ctrlKey || event.metaKey;
      if (!mark) choose(null);
      else if (!more && chosen.peek().length === 1 && chosen.peek()[0] === mark.key) choose(null);
      else choose(mark.key, more);
    };
    const onLeave = () => {
      cancelAnimationFrame(asked);
      hovered.value = null;
    };
    const onWheel = (event: WheelEvent) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoom.value = Math.max(0.5, Math.min(3, zoom.peek() * (event.deltaY < 0 ? 1.15 : 1 / 1.15)));
    };
    area.addEventListener("pointermove", onMove);
    area.addEventListener("pointerdown", onDown);
    area.addEventListener("pointerup", onUp);
    area.addEventListener("pointerleave", onLeave);
    box.addEventListener("wheel", onWheel, { passive: false });
    return () => {
      area.removeEventListener("pointermove", onMove);
      area.removeEventListener("pointerdown", onDown);
      area.removeEventListener("pointerup", onUp);
      area.removeEventListener("pointerleave", onLeave);
      box.removeEventListener("wheel", onWheel);
    };
  }, [ready, layout]);
}
