// One graph of two: circles for what both have, what went and what came; its table; what makes what, and by how much more.
import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { api } from "../api_client";
import { type Text, t } from "../i18n/text";
import { type DifferenceLayout, differenceCsv, layOutDifference } from "../model/difference";
import { fileName, saveFile } from "../model/figure_file";
import { percent, signed, visibleText } from "../model/format";
import { nameAt } from "../state/app";
import { adjust, go, route } from "../state/route";
import type { CompareView, DifferenceEdge, DifferenceNode, DifferenceView } from "../types";
import { FigureExports } from "./figure_exports";
import { Menu } from "./menu";
import { Few, Heading } from "./widgets";

const STATUS = { kept: "=", changed: "≠", gone: "−", new: "+" } as const;
const MEANINGS: Record<DifferenceNode["status"], Text> = {
  kept: "in both",
  changed: "another word",
  gone: "only in A",
  new: "only in B",
};

export function Difference({ compared }: { compared: CompareView }) {
  const [a, b] = [compared.a.id, compared.b.id];
  const by = route.value.query["by"] === "feature" ? "feature" : "position";
  const [view, setView] = useState<DifferenceView | null>(null);
  const [wrong, setWrong] = useState("");
  const chosen = useSignal(-1);
  useEffect(() => {
    let active = true;
    setWrong("");
    chosen.value = -1;
    api.difference(a, b, by).then(
      (answer) => active && setView(answer),
      (error: unknown) => active && (setView(null), setWrong(error instanceof Error ? error.message : String(error))),
    );
    return () => (active = false);
  }, [a, b, by]);
  const choose = (node: number) => (chosen.value = chosen.value === node ? -1 : node);
  return (
    <section aria-label={t("Both as one graph")}>
      <Heading note={view && <Modes by={by} />}>{t("Both as one graph")}</Heading>
      {wrong && (
        <p class="wrong" role="alert">
          {wrong}
        </p>
      )}
      {view && (
        <>
          <p class="note">
            {t("{n} of {all} features, those with the most influence in A or in B.", {
              n: view.nodes.filter((node) => node.kind === "feature").length,
              all: view.n_features,
            })}{" "}
            {t("Lines: blue adds more in B than in A, striped orange less. Numbers are those of the table.")}
          </p>
          <Legend />
          <Paper view={view} chosen={chosen.value} choose={choose} prompt={compared.b.prompt} />
          <Table view={view} compared={compared} chosen={chosen.value} choose={choose} />
        </>
      )}
    </section>
  );
}

function Modes({ by }: { by: DifferenceView["by"] }) {
  return (
    <span class="segments" role="group" aria-label={t("What is one circle")}>
      {(["position", "feature"] as const).map((each) => (
        <button
          key={each}
          type="button"
          aria-pressed={by === each}
          onClick={() => adjust({ by: each === "position" ? "" : each })}
        >
          {t(each === "position" ? "by position" : "by feature")}
        </button>
      ))}
    </span>
  );
}

function Legend() {
  return (
    <ul class="differencelegend">
      {(["kept", "gone", "new"] as const).map((status) => (
        <li key={status}>
          <svg width="22" height="22" class="difference" aria-hidden="true">
            <circle class={status} cx="11" cy="11" r="9" />
            <text x="11" y="15" text-anchor="middle">
              {STATUS[status]}
            </text>
          </svg>
          {t(MEANINGS[status])}
        </li>
      ))}
    </ul>
  );
}

interface Shown {
  view: DifferenceView;
  chosen: number;
  choose: (node: number) => void;
}

function Paper({ view, chosen, choose, prompt }: Shown & { prompt: string }) {
  const box = useRef<HTMLDivElement>(null);
  const drawing = useRef<SVGSVGElement>(null);
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const watcher = new ResizeObserver(([entry]) => setWidth(Math.floor(entry!.contentRect.width)));
    watcher.observe(box.current!);
    return () => watcher.disconnect();
  }, []);
  const layout = useMemo(() => (width ? layOutDifference(view, width) : null), [view, width]);
  const saveTable = () =>
    saveFile(new Blob([differenceCsv(view, nodeText)], { type: "text/csv" }), fileName(prompt, "csv"));
  return (
    <>
      <div class="differencescroll" ref={box} tabIndex={0} role="group" aria-label={t("Both as one graph, drawn")}>
        {layout && <Drawing view={view} layout={layout} chosen={chosen} choose={choose} drawing={drawing} />}
      </div>
      <Menu name={t("Export")}>
        {(close) => (
          <>
            <li>
              <button type="button" onClick={() => (close(), saveTable())}>
                <strong>{t("Table as CSV")}</strong>
                <small>{t("the nodes and edges that are shown")}</small>
              </button>
            </li>
            <FigureExports
              drawing={() => drawing.current}
              title={t("Both as one graph")}
              prompt={prompt}
              close={close}
            />
          </>
        )}
      </Menu>
    </>
  );
}

function Drawing({
  view,
  layout,
  chosen,
  choose,
  drawing,
}: Shown & { layout: DifferenceLayout; drawing: { current: SVGSVGElement | null } }) {
  const touched = (edge: DifferenceEdge) => chosen < 0 || edge.source === chosen || edge.target === chosen;
  const most = Math.max(1e-12, ...view.edges.map((edge) => Math.max(edge.influence_a, edge.influence_b)));
  const ordered = [...view.edges].sort((x, y) => Number(touched(x)) - Number(touched(y)));
  return (
    <svg
      class="difference"
      ref={drawing}
      width={layout.width}
      height={layout.height}
      viewBox={`0 0 ${layout.width} ${layout.height}`}
      role="img"
      aria-label={t("{n} circles and {m} lines; the table below says what they are", {
        n: view.nodes.length,
        m: view.edges.length,
      })}
    >
      {layout.layers.map((layer) => (
        <text key={layer.text} class="layername" x={4} y={layer.y + 4}>
          {layer.text}
        </text>
      ))}
      {ordered.map((edge) => {
        const [from, to] = [layout.places[edge.source]!, layout.places[edge.target]!];
        const middle = (from.y + to.y) / 2;
        return (
          <path
            key={`${edge.source}-${edge.target}`}
            class={`${changeOf(edge)}${touched(edge) ? "" : " away"}`}
            d={`M${from.x} ${from.y}C${from.x} ${middle} ${to.x} ${middle} ${to.x} ${to.y}`}
            stroke-width={0.8 + 5 * Math.sqrt(Math.max(edge.influence_a, edge.influence_b) / most)}
          />
        );
      })}
      {view.nodes.map((node, i) => (
        <g key={i} class={i === chosen ? "chosen" : ""} onClick={() => choose(i)}>
          <title>{`${nodeText(node)} · ${t(MEANINGS[node.status])}`}</title>
          <NodeMark node={node} number={i + 1} place={layout.places[i]!} />
        </g>
      ))}
    </svg>
  );
}

function NodeMark({
  node,
  number,
  place,
}: {
  node: DifferenceNode;
  number: number;
  place: DifferenceLayout["places"][0];
}) {
  const { x, y, radius } = place;
  if (node.kind === "feature")
    return (
      <>
        <circle class={node.status} cx={x} cy={y} r={radius} />
        <text x={x} y={y + 4} text-anchor="middle">
          {number}
        </text>
      </>
    );
  const lines = [node.a?.text, node.b?.text].filter((text) => text !== undefined).map(visibleText);
  const shown = node.status === "changed" ? lines : lines.slice(0, 1);
  return (
    <>
      <rect class={node.status} x={x - 30} y={y - 16} width={60} height={shown.length === 1 ? 24 : 36} rx={5} />
      {shown.map((text, i) => (
        <text key={i} class={i ? "after" : ""} x={x} y={y + 16 * i} text-anchor="middle">
          {text.length > 9 ? `${text.slice(0, 8)}…` : text}
        </text>
      ))}
    </>
  );
}

/** An edge that only one graph has, or that adds clearly more or less in B. */
function changeOf(edge: DifferenceEdge): "plus" | "minus" | "same" {
  const [a, b] = [edge.a ?? 0, edge.b ?? 0];
  if (Math.abs(b - a) < 0.1 * Math.max(Math.abs(a), Math.abs(b))) return "same";
  return b > a ? "plus" : "minus";
}

/** What a node is called: a feature by what it does here, a word as it stands, or as both do. */
function nodeText(node: DifferenceNode): string {
  if (node.kind === "feature")
    return nameAt(node.feature!, node.label, node.label_kind, node.here).text || node.feature!;
  const words = [node.a?.text, node.b?.text].filter((text) => text !== undefined).map(visibleText);
  return node.status === "changed" ? words.join(" → ") : (words[0] ?? "");
}

function Table({ view, compared, chosen, choose }: Shown & { compared: CompareView }) {
  const features = view.nodes.flatMap((node, i) => (node.kind === "feature" ? [i] : []));
  return (
    <>
      <div class="differencehead" aria-hidden="true">
        <span>{t("effect on the answer, A → B")}</span>
      </div>
      <Few items={features} few={12}>
        {(i) => {
          const node = view.nodes[i]!;
          return (
            <>
              <button
                type="button"
                class={`row differencerow ${node.status}`}
                aria-pressed={chosen === i}
                onClick={() => choose(i)}
              >
                <span class="num">{i + 1}</span>
                <b title={t(MEANINGS[node.status])} aria-label={t(MEANINGS[node.status])} role="img">
                  {STATUS[node.status]}
                </b>
                <span class="what">
                  {nodeText(node)} <em>{placeOf(node, compared)}</em>
                </span>
                <span class="num">
                  {node.a ? signed(node.a.effect) : "–"} → {node.b ? signed(node.b.effect) : "–"}
                </span>
                <span class="part">{signed(node.change)}</span>
              </button>
              {chosen === i && <Chosen view={view} place={i} />}
            </>
          );
        }}
      </Few>
    </>
  );
}

function placeOf(node: DifferenceNode, compared: CompareView): string {
  const side = node.b ?? node.a!;
  const tokens = (node.b ? compared.b : compared.a).tokens;
  const word = visibleText(tokens[side.position] ?? "");
  return side.nodes.length > 1 ? `${node.feature} ×${side.nodes.length}` : `${word} · ${node.feature}`;
}

/** The lines of a chosen feature, with their values in both, and the way to its card. */
function Chosen({ view, place }: { view: DifferenceView; place: number }) {
  const node = view.nodes[place]!;
  const edges = view.edges
    .filter((edge) => edge.source === place || edge.target === place)
    .sort((x, y) => Math.abs((y.b ?? 0) - (y.a ?? 0)) - Math.abs((x.b ?? 0) - (x.a ?? 0)));
  return (
    <div class="differencechosen">
      <p class="note">
        {t("influence {a} → {b}, activation {c} → {d}", {
          a: percent(node.a?.influence),
          b: percent(node.b?.influence),
          c: node.a ? node.a.activation.toFixed(2) : "–",
          d: node.b ? node.b.activation.toFixed(2) : "–",
        })}{" "}
        <button type="button" class="link" onClick={() => go("feature", node.feature!)}>
          {t("Open its card")}
        </button>
      </p>
      <table class="numbers">
        <thead>
          <tr>
            <th scope="col">{t("line")}</th>
            <th scope="col">A</th>
            <th scope="col">B</th>
            <th scope="col">{t("change")}</th>
          </tr>
        </thead>
        <tbody>
          {edges.slice(0, 8).map((edge) => {
            const other = view.nodes[edge.source === place ? edge.target : edge.source]!;
            return (
              <tr key={`${edge.source}-${edge.target}`}>
                <th scope="row">
                  {edge.source === place ? "→" : "←"} {nodeText(other)}
                </th>
                <td>{edge.a === null ? "–" : signed(edge.a)}</td>
                <td>{edge.b === null ? "–" : signed(edge.b)}</td>
                <td>{signed((edge.b ?? 0) - (edge.a ?? 0))}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
