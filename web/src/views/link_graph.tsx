// The drawn graph: tokens along the bottom, layers upward, outputs on top. Links are drawn on canvases, marks as SVG;
// many marks are drawn on the canvas too, with a list for screen readers. Pointing previews, a click chooses.
import { t } from "../i18n/text";
import { type Signal, useComputed, useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { measure, palette } from "../draw/palette";
import { MANY_MARKS, Stage } from "../draw/stage";
import type { Colouring } from "../draw/canvas_marks";
import { groupByMark } from "../model/label_groups";
import { Grid } from "../model/grid";
import { type Layout, layOut, influenceByToken, quietRuns } from "../model/layout";
import { highlight, linkSigns } from "../model/highlight";
import type { Mark, Scene } from "../model/scene";
import { rowOf, visibleText } from "../model/format";
import { dark } from "../state/app";
import {
  arrangement,
  chosen,
  colour,
  edge,
  folding,
  matches,
  graph,
  hovered,
  labelGroups,
  labelsShown,
  openedFolds,
  path,
  primaryMark,
  query,
  scene,
  zoom,
} from "../state/trace";
import { MarkList, Marks } from "./svg_marks";
import { Axis, Chips } from "./axes";
import { dragSteps, usePointer } from "./pointer";
import { Tooltip } from "./tooltip";

const AXIS = 48;
const CHIPS = 44;

/** The present layout, shared with the shortcuts. */
export const placement: { layout: Layout | null; grid: Grid | null; reveal: (mark: Mark) => void } = {
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
  const layout = useComputed(() => layOutScene(scene.value, size.value));
  usePointer(plot, scroller, () => placement.grid, layout);
  useLayoutEffect(() => {
    stage.current = new Stage(base.current!, lit.current!);
  }, []);
  useSize(scroller, size);
  useDrawing(stage, plot, layout);

  const activeKey = hovered.value ?? chosen.value.at(-1);
  const active = activeKey && scene.value?.byKey.has(activeKey) ? activeKey : null;
  const currentLayout = layout.value;
  const view = graph.value?.view;
  if (!view) return <section class="scroller" ref={scroller} aria-label={t("Attribution graph")} />;
  return (
    <section class="scroller" ref={scroller} aria-label={t("Attribution graph")}>
      <div class="stage">
        <Axis layout={currentLayout} layers={view.n_layers} />
        <div
          class="plot"
          id="plot"
          ref={plot}
          tabIndex={0}
          role="listbox"
          aria-multiselectable="true"
          aria-label={t("Nodes of the graph: arrows move, Enter selects")}
          aria-activedescendant={active ? `node-${active}` : undefined}
          style={{ width: `${currentLayout?.width ?? 0}px`, height: `${currentLayout?.height ?? 0}px` }}
        >
          <canvas class="base" ref={base} aria-hidden="true" />
          <MarksOrList layout={layout} />
          <canvas class="over" ref={lit} aria-hidden="true" />
        </div>
        <div class="corner" aria-hidden="true" />
        <Chips layout={currentLayout} view={view} />
      </div>
      <Tooltip plot={plot} layout={layout} />
    </section>
  );
}

/** Measures the available size, and scrolls a new graph to the chosen mark, else to the outputs. */
function useSize(scroller: Ref<HTMLElement>, size: Size): void {
  useLayoutEffect(() => {
    const box = scroller.current!;
    const measureBox = () => {
      const [width, height] = [box.clientWidth - AXIS, box.clientHeight - CHIPS - 1];
      if (width !== size.peek().width || height !== size.peek().height) size.value = { width, height };
    };
    const watch = new ResizeObserver(measureBox);
    watch.observe(box);
    measureBox();
    placement.reveal = (mark) => reveal(box, mark);
    return () => watch.disconnect();
  }, []);
  const openedId = graph.value?.view.id ?? null;
  useEffect(() => {
    const box = scroller.current;
    if (openedId === null || !box) return;
    const mark = primaryMark.peek();
    if (mark) reveal(box, mark);
    else box.scrollTo(box.scrollWidth, 0); // most outputs are at the last token
  }, [openedId, size.value.width > 0, folding.value]);
}

/** Draws the graph when it changes, and the highlighted part when that changes. */
function useDrawing(stage: Ref<Stage>, plot: Ref<HTMLElement>, layout: Signal<Layout | null>): void {
  useSignalEffect(() => {
    const [currentLayout, currentScene] = [layout.value, scene.value];
    const view = graph.value?.view;
    const colours = palette(dark.value);
    const colouring = colouringOf(currentScene);
    if (!currentLayout || !currentScene || !view || !stage.current) return;
    stage.current.drawBase(currentScene, currentLayout, colours, colouring, view.first_position);
    Object.assign(document.documentElement.dataset, {
      links: String(currentScene.links.length),
      took: stage.current.took.toFixed(0),
    });
  });
  useSignalEffect(() => {
    const [currentLayout, currentScene] = [layout.value, scene.value];
    void dragSteps.value; // draws at every step of a drag: marks move then, and no other signal changes
    if (!currentLayout || !currentScene || !stage.current) return;
    const selection = {
      hovered: hovered.value,
      chosen: chosen.value,
      path: path.value ?? (edge.value && [edge.value.source, edge.value.target]),
      matches: query.value ? matches.value.map((node) => node.id) : null,
    };
    const highlighted = highlight(currentScene, selection);
    const colouring = colouringOf(currentScene);
    stage.current.drawLit(currentLayout, palette(dark.value), colouring, {
      ...highlighted,
      chosen: new Set(chosen.value),
    });
    plot.current?.classList.toggle("lit", highlighted.marks.size > 0);
  });
}

function MarksOrList({ layout }: { layout: Signal<Layout | null> }) {
  const [currentLayout, currentScene] = [layout.value, scene.value];
  const isDark = dark.value;
  const colourMode = colour.value;
  const selected = chosen.value.join(" ");
  const colouring = useMemo(() => colouringOf(currentScene), [currentScene, colourMode, primaryMark.value]);
  const isLarge = (currentScene?.marks.length ?? 0) > MANY_MARKS;
  return useMemo(
    () => {
      if (!currentLayout || !currentScene) return null;
      return isLarge ? (
        <MarkList scene={currentScene} />
      ) : (
        <Marks scene={currentScene} layout={currentLayout} colours={palette(isDark)} colouring={colouring} />
      );
    },
    isLarge ? [currentScene, selected] : [currentLayout, currentScene, isDark, colouring, selected],
  );
}

function colouringOf(currentScene: Scene | null): Colouring {
  const groups = groupByMark(labelGroups.value);
  return { colour: colour.value, sign: signOf(currentScene), labelGroup: (mark) => groups.get(mark) };
}

function signOf(currentScene: Scene | null): (mark: Mark) => number {
  if (!currentScene || colour.value !== "sign") return () => 0;
  const signsByMark = linkSigns(currentScene, primaryMark.value);
  return (mark) => signsByMark.get(mark) ?? 0;
}

function layOutScene(currentScene: Scene | null, size: { width: number; height: number }): Layout | null {
  const view = graph.value?.view;
  if (!currentScene || !view || size.width <= 0) return null;
  const quiet = folding.value ? quietRuns(influenceByToken(currentScene, view.tokens.length)) : [];
  const layout = layOut(currentScene, view.tokens.length, view.n_layers, {
    ...size,
    zoom: zoom.value,
    labels: labelsShown.value,
    folds: quiet.filter(([from]) => !openedFolds.value.has(from)),
    measure,
    moved: arrangement.value.positions,
    token: (position) => visibleText(rowOf(view)[position] ?? ""),
    strongest: graph.value!.strongest,
  });
  placement.layout = layout;
  placement.grid = new Grid(currentScene.marks);
  return layout;
}

/** Scrolls a mark into view. */
function reveal(box: HTMLElement, mark: Mark): void {
  const [x, y] = [mark.x + AXIS, mark.y];
  const [w, h] = [box.clientWidth, box.clientHeight - CHIPS];
  if (x < box.scrollLeft + AXIS + 24 || x > box.scrollLeft + w - 24) box.scrollLeft = x - w / 2;
  if (y < box.scrollTop + 12 || y > box.scrollTop + h - 12) box.scrollTop = y - h / 2;
}
