// The graph itself: tokens along the bottom, layers upward, outputs on top. Canvases hold links, SVG the marks (a canvas
// too when they are many, with a list beside it for those who cannot see it). Pointing previews, a click stays.
import { type Signal, useComputed, useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { measure, palette } from "../draw/palette";
import { MANY, Stage } from "../draw/stage";
import type { Look } from "../draw/canvas_marks";
import { byMark } from "../model/label_groups";
import { Grid } from "../model/grid";
import { type Layout, layOut, loudness, quietRuns } from "../model/layout";
import { light, signs } from "../model/highlight";
import type { Mark, Scene } from "../model/scene";
import { shown } from "../model/format";
import { dark } from "../state/app";
import {
  arrangement,
  chosen,
  colour,
  folding,
  found,
  graph,
  hovered,
  labelGroups,
  labelsShown,
  opened,
  path,
  primaryMark,
  query,
  scene,
  zoom,
} from "../state/trace";
import { MarkList, Marks } from "./svg_marks";
import { Axis, Chips } from "./axes";
import { dragged, usePointer } from "./pointer";
import { Tip } from "./tooltip";

const AXIS = 48;
const CHIPS = 44;

/** Where things are, shared with the keyboard. */
export const laid: { layout: Layout | null; grid: Grid | null; reveal: (mark: Mark) => void } = {
  layout: null,
  grid: null,
  reveal: () => undefined,
};

type Ref<T> = { current: T | null };
type Size = Signal<{ width: number; height: number }>;

export function LinkGraph() {
  const scroller = useRef<HTMLElement>(null);
  const plot = useRef<HTMLDivElement>(null);
  const base = useRef<HTMLCanvasElement>(null);
  const lit = useRef<HTMLCanvasElement>(null);
  const stage = useRef<Stage | null>(null);
  const size = useSignal({ width: 0, height: 0 });
  const layout = useComputed(() => place(scene.value, size.value));
  usePointer(plot, scroller, () => laid.grid, layout);
  useLayoutEffect(() => {
    stage.current = new Stage(base.current!, lit.current!);
  }, []);
  useRoom(scroller, size);
  useDrawing(stage, plot, layout);

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

/** Measures the room there is, and shows what matters first: what is chosen, else the outputs. */
function useRoom(scroller: Ref<HTMLElement>, size: Size): void {
  useLayoutEffect(() => {
    const box = scroller.current!;
    const fit = () => {
      const [width, height] = [box.clientWidth - AXIS, box.clientHeight - CHIPS - 1];
      if (width !== size.peek().width || height !== size.peek().height) size.value = { width, height };
    };
    const watch = new ResizeObserver(fit);
    watch.observe(box);
    fit();
    laid.reveal = (mark) => reveal(box, mark);
    return () => watch.disconnect();
  }, []);
  const opening = graph.value?.view.id ?? null;
  useEffect(() => {
    const box = scroller.current;
    if (opening === null || !box) return;
    const mark = primaryMark.peek();
    if (mark) reveal(box, mark);
    else box.scrollTo(box.scrollWidth, 0); // outputs mostly stand at the last token
  }, [opening, size.value.width > 0, folding.value]);
}

/** Draws the graph when it changes, and what is lit when that does. */
function useDrawing(stage: Ref<Stage>, plot: Ref<HTMLElement>, layout: Signal<Layout | null>): void {
  useSignalEffect(() => {
    const [where, what] = [layout.value, scene.value];
    const view = graph.value?.view;
    const colours = palette(dark.value);
    const look = lookOf(what);
    if (!where || !what || !view || !stage.current) return;
    stage.current.drawBase(what, where, colours, look, view.first_position);
    Object.assign(document.documentElement.dataset, {
      links: String(what.links.length),
      took: stage.current.took.toFixed(0),
    });
  });
  useSignalEffect(() => {
    const [where, what] = [layout.value, scene.value];
    void dragged.value; // draws again at every step of a drag, where marks move and no other signal changes
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
}

function MarksOrList({ layout }: { layout: Signal<Layout | null> }) {
  const [where, what] = [layout.value, scene.value];
  const isDark = dark.value;
  const how = colour.value;
  const selected = chosen.value.join(" ");
  const look = useMemo(() => lookOf(what), [what, how, primaryMark.value]);
  const many = (what?.marks.length ?? 0) > MANY;
  return useMemo(
    () => {
      if (!where || !what) return null;
      return many ? (
        <MarkList scene={what} />
      ) : (
        <Marks scene={what} layout={where} colours={palette(isDark)} look={look} />
      );
    },
    many ? [what, selected] : [where, what, isDark, look, selected],
  );
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

/** Brings a mark into sight. */
function reveal(box: HTMLElement, mark: Mark): void {
  const [x, y] = [mark.x + AXIS, mark.y];
  const [w, h] = [box.clientWidth, box.clientHeight - CHIPS];
  if (x < box.scrollLeft + AXIS + 24 || x > box.scrollLeft + w - 24) box.scrollLeft = x - w / 2;
  if (y < box.scrollTop + 12 || y > box.scrollTop + h - 12) box.scrollTop = y - h / 2;
}
