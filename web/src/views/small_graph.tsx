// A small drawing of a graph, to compare two at a glance. Pointing at a mark shows its name, a click opens it in Trace.
import { counted, t } from "../i18n/text";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { api } from "../api_client";
import { measure, palette } from "../draw/palette";
import { Stage } from "../draw/stage";
import { EMPTY } from "../model/arrangement";
import { readGraph } from "../model/graph";
import { Grid } from "../model/grid";
import { type Layout, layOut, influenceByToken, quietRuns } from "../model/layout";
import { type Mark, type Scene, makeScene } from "../model/scene";
import { percent, rowOf, visibleText } from "../model/format";
import { attempt, dark } from "../state/app";
import { go } from "../state/route";
import { nameIn } from "../state/trace";
import type { GraphView } from "../types";
import { TokenText, placeName } from "./widgets";

const SHOWN_SHARES = { node: 0.6, edge: 0.9 }; // thresholds of the drawing
const MAX_UNFOLDED = 8; // above this count of tokens, runs with little influence are folded
const SIZE = { zoom: 0.7, height: 260 };
const PLAIN_COLOURING = { colour: "plain" as const, sign: () => 0, labelGroup: () => undefined };

const formatShare = (share: number) => percent(share).replace(".0", "");

export function SmallGraph({ name, id }: { name: string; id: string }) {
  const [view, setView] = useState<GraphView | null>(null);
  useEffect(() => {
    const request = new AbortController();
    setView(null);
    void attempt(() => api.graph(id, SHOWN_SHARES.node, SHOWN_SHARES.edge, request.signal)).then(
      (answer) => answer && !request.signal.aborted && setView(answer),
    );
    return () => request.abort();
  }, [id]);
  return (
    <figure class="smallgraph">
      {view ? (
        <Plot name={name} id={id} view={view} />
      ) : (
        <figcaption class="note">
          {t("Reading")} {name}…
        </figcaption>
      )}
    </figure>
  );
}

interface Placed {
  scene: Scene;
  layout: Layout;
  grid: Grid;
}

/** The graph's layout for the available width. */
function usePlaced(box: { current: HTMLElement | null }, view: GraphView): Placed | null {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const measureBox = () => setWidth(box.current!.clientWidth);
    const watch = new ResizeObserver(measureBox);
    watch.observe(box.current!);
    measureBox();
    return () => watch.disconnect();
  }, []);
  return useMemo(() => {
    if (width <= 0) return null;
    const graph = readGraph(view);
    const scene = makeScene(graph, EMPTY, { errors: true, pinnedOnly: false, node: 1, edge: 1 }, (node) =>
      nameIn(view, node, view.of_kit),
    );
    const tokens = view.tokens.length;
    const room = {
      ...SIZE,
      width,
      labels: false,
      folds: quietRuns(influenceByToken(scene, tokens), MAX_UNFOLDED),
      measure,
      moved: {},
      token: (i: number) => visibleText(rowOf(view)[i] ?? ""),
      strongest: graph.strongest,
    };
    const layout = layOut(scene, tokens, view.n_layers, room);
    return { scene, layout, grid: new Grid(scene.marks) };
  }, [view, width]);
}

function Plot({ name, id, view }: { name: string; id: string; view: GraphView }) {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [pointed, setPointed] = useState<Mark | null>(null);
  const isDark = dark.value;
  const placed = usePlaced(box, view);
  useLayoutEffect(() => {
    if (!placed || !canvas.current) return;
    new Stage(canvas.current, canvas.current).drawBase(
      placed.scene,
      placed.layout,
      palette(isDark),
      PLAIN_COLOURING,
      view.first_position,
      true,
    );
    if (box.current) box.current.scrollLeft = placed.layout.width; // most outputs are at the last token
  }, [placed, isDark]);
  const markAt = (event: MouseEvent) => {
    const frame = canvas.current!.getBoundingClientRect();
    return placed?.grid.nearest(event.clientX - frame.left, event.clientY - frame.top) ?? null;
  };
  const open = (event: MouseEvent) => {
    const mark = markAt(event);
    go("trace", id, mark ? { sel: mark.key } : { pane: "graph" });
  };
  const size = { width: `${placed?.layout.width ?? 0}px`, height: `${placed?.layout.height ?? 0}px` };
  const { nodes, edges } = view.counts.shown;
  return (
    <>
      <figcaption class="note">
        <b>{name}</b>{" "}
        {pointed ? (
          <>
            {pointed.name} · {placeName(view, pointed.members[0]!)}
            {pointed.kind !== "target" && ` · ${percent(pointed.influence)}`}
          </>
        ) : (
          t("{a} with {b} of the influence, {c} with {d}", {
            a: counted(nodes, "node|nodes"),
            b: formatShare(SHOWN_SHARES.node),
            c: counted(edges, "edge|edges"),
            d: formatShare(SHOWN_SHARES.edge),
          })
        )}
      </figcaption>
      <div class="smallscroll" ref={box} tabIndex={0} role="group" aria-label={t("{a}, drawn small", { a: name })}>
        <canvas
          ref={canvas}
          role="img"
          aria-label={t("{a} and {b}; a click opens the graph", {
            a: counted(nodes, "node|nodes"),
            b: counted(edges, "edge|edges"),
          })}
          style={size}
          onPointerMove={(event) => setPointed(markAt(event))}
          onPointerLeave={() => setPointed(null)}
          onClick={open}
        />
        {placed && <TokenChips layout={placed.layout} view={view} />}
      </div>
    </>
  );
}

function TokenChips({ layout, view }: { layout: Layout; view: GraphView }) {
  return (
    <div class="chips" style={{ width: `${layout.width}px` }}>
      {layout.columns.map((column) => (
        <span
          key={column.from}
          class={`chip${column.folded ? " folded" : ""}`}
          style={{ left: `${column.middle}px`, maxWidth: `${Math.min(128, column.width - 4)}px` }}
        >
          {column.folded ? `⋯${column.to - column.from + 1}` : <TokenText text={rowOf(view)[column.from] ?? ""} />}
        </span>
      ))}
    </div>
  );
}
