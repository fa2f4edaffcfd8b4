// The trace view: prompt bar, toolbar, graph and panel.
import { useEffect } from "preact/hooks";
import { api } from "../api_client";
import { count, percent, rowOf } from "../model/format";
import { embedded } from "../state/app";
import {
  pinAndChoose,
  changes,
  choose,
  colour,
  errorsShown,
  folding,
  matches,
  hiddenMatches,
  graph,
  graphId,
  labelsShown,
  loading,
  loadWholeGraph,
  openedFolds,
  pinnedOnly,
  query,
  redoChange,
  scene,
  scores,
  setThreshold,
  thresholds,
  undoChange,
  zoom,
  type Colour,
} from "../state/trace";
import { counted, t } from "../i18n/text";
import { circuitProblem, exportedCircuit, pane } from "../state/circuit";
import { CircuitTools } from "./circuit_tools";
import { Explanation } from "./explanation";
import { graphCsv } from "../model/csv_file";
import { fileName, saveFile } from "../model/figure_file";
import { LinkGraph } from "./link_graph";
import { Menu } from "./menu";
import { Panel } from "./panel";
import { PromptBar } from "./prompt_bar";
import { Welcome } from "./welcome";

export function Trace() {
  const view = graph.value?.view;
  const explained = pane.value === "explanation";
  return (
    <div class="trace">
      {!embedded && <h1 class="unseen">{view ? t("Trace of {a}", { a: view.prompt }) : t("Trace")}</h1>}
      {embedded ? <FileHead /> : <PromptBar>{view && !explained && <Scores />}</PromptBar>}
      {(view || (explained && graphId.value)) && <Tools />}
      {explained && graphId.value ? (
        <Explanation />
      ) : view ? (
        <div class="split2">
          <LinkGraph />
          <Panel />
        </div>
      ) : graphId.value && loading.value ? (
        <p class="waiting" role="status">
          {loading.value}…
        </p>
      ) : (
        <Welcome />
      )}
    </div>
  );
}

function FileHead() {
  const view = embedded!.graph;
  return (
    <div class="promptbar filehead">
      <h1 class="mono">{view.prompt || rowOf(view).join("")}</h1>
      <p class="note">
        {view.subject} · {view.dictionary} ({view.dictionary_kind.toUpperCase()}) ·{" "}
        {t("written by Clew {a}, opens offline", { a: embedded!.version })}
        {leftOut()}
      </p>
      <Scores />
    </div>
  );
}

/** What was left out of the exported file to limit its size. */
function leftOut(): string {
  const { nodes, edges, cards, details } = embedded!.left_out;
  const parts = [
    nodes && counted(nodes, "node|nodes"),
    edges && counted(edges, "edge|edges"),
    cards && counted(cards, "card|cards"),
    details && t("the whole inputs of {a}", { a: counted(details, "node|nodes") }),
    !embedded!.source && t("the graph to take it into a workbench again"),
  ].filter(Boolean);
  return parts.length ? t("; it had no room for {a}", { a: parts.join(", ") }) : "";
}

function Tools() {
  return (
    <div class="tools" role="toolbar" aria-label={t("What is shown")}>
      <Panes />
      {pane.value === "explanation" ? (
        <>
          <span class="grow" />
          <CircuitTools />
        </>
      ) : (
        <>
          <GraphTools />
          {circuitProblem.value && (
            <p class="note noexplanation" role="status">
              {t("There is no explanation in groups: {reason}", { reason: circuitProblem.value })}
            </p>
          )}
        </>
      )}
    </div>
  );
}

/** The explanation, or the graph of features behind it. */
function Panes() {
  if (embedded && !embedded.circuit) return null;
  return (
    <div class="segments panes" role="group" aria-label={t("Explanation or graph")}>
      {(["explanation", "graph"] as const).map((each) => (
        <button key={each} type="button" aria-pressed={pane.value === each} onClick={() => (pane.value = each)}>
          {t(each === "explanation" ? "Explanation" : "Graph")}
        </button>
      ))}
    </div>
  );
}

function GraphTools() {
  return (
    <>
      <Search />
      <Thresholds />
      <span class="grow" />
      <Switches />
      <button
        type="button"
        class="icon"
        aria-label={t("Undo")}
        title={t("Undo (u)")}
        disabled={!changes.value.past.length}
        onClick={undoChange}
      >
        ↶
      </button>
      <button
        type="button"
        class="icon"
        aria-label={t("Redo")}
        title={t("Redo (U)")}
        disabled={!changes.value.future.length}
        onClick={redoChange}
      >
        ↷
      </button>
      <ZoomControls />
      {!embedded && <ExportMenu />}
    </>
  );
}

/** The threshold sliders. The server limits how many edges it sends; the text says so if that cut some. */
function Thresholds() {
  const view = graph.value!.view;
  const { node, edge } = thresholds.value;
  const { shown, whole } = scores.value?.counts ?? view.counts;
  const currentScene = scene.value;
  const formatShare = (share: number) => percent(share).replace(".0", "");
  const sentEdges = view.edges.source.length;
  const isLimited = !embedded && shown.edges === view.counts.shown.edges && sentEdges < shown.edges;
  const edges = embedded
    ? count(currentScene?.links.length ?? 0)
    : isLimited
      ? t("{a} of {b}", { a: count(sentEdges), b: count(shown.edges) })
      : count(shown.edges);
  const limitNote = isLimited ? t("; only the strongest {a} of them are drawn", { a: count(sentEdges) }) : "";
  return (
    <>
      <Slider
        name={t("Nodes")}
        value={node}
        min={0.3}
        valueText={`${formatShare(node)} · ${count(embedded ? (currentScene?.marks.length ?? 0) : shown.nodes)}`}
        title={t("{a} of {b} nodes hold {c} of the influence", {
          a: count(shown.nodes),
          b: count(whole.nodes),
          c: percent(node),
        })}
        set={(value) => setThreshold("node", value)}
      />
      <Slider
        name={t("Edges")}
        value={edge}
        min={0.5}
        valueText={`${formatShare(edge)} · ${edges}`}
        title={t("{a} of {b} edges hold {c} of the influence that edges carry{d}", {
          a: count(shown.edges),
          b: count(whole.edges),
          c: percent(edge),
          d: limitNote,
        })}
        set={(value) => setThreshold("edge", value)}
      />
    </>
  );
}

function Switches() {
  return (
    <>
      <label class="switch">
        <input
          type="checkbox"
          checked={errorsShown.value}
          onChange={(event) => (errorsShown.value = event.currentTarget.checked)}
        />
        {t("Errors")}
      </label>
      <label class="switch">
        <input
          type="checkbox"
          checked={labelsShown.value}
          onChange={(event) => (labelsShown.value = event.currentTarget.checked)}
        />
        {t("Names")}
      </label>
      <label class="switch" title={t("Only what is pinned or grouped, with tokens and outputs")}>
        <input
          type="checkbox"
          checked={pinnedOnly.value}
          onChange={(event) => (pinnedOnly.value = event.currentTarget.checked)}
        />
        {t("Pinned")}
      </label>
      <label class="switch">
        {t("Colour")}{" "}
        <select
          value={colour.value}
          onChange={(event) => (colour.value = event.currentTarget.value as Colour)}
          title={t(
            "Sign: towards what is chosen, else the likeliest output. Group: what was grouped and equal labels, each with a letter",
          )}
        >
          <option value="plain">{t("named")}</option>
          <option value="sign">{t("sign")}</option>
          <option value="label">{t("label")}</option>
          <option value="group">{t("label group")}</option>
        </select>
      </label>
    </>
  );
}

function Search() {
  const text = query.value.trim();
  useEffect(() => {
    if (!text) return;
    const timer = setTimeout(() => void loadWholeGraph(), 400);
    return () => clearTimeout(timer);
  }, [text]);
  const onKey = (event: KeyboardEvent) => {
    if (event.key === "Escape") {
      query.value = "";
      document.getElementById("plot")?.focus({ preventScroll: true });
      event.stopPropagation();
    }
    const [first, hidden] = [matches.value[0], hiddenMatches.value[0]];
    if (event.key === "Enter" && (first ?? hidden)) {
      query.value = "";
      if (first) choose(scene.value?.ofNode.get(first.id)?.key ?? first.id);
      else pinAndChoose(hidden!.id);
      document.getElementById("plot")?.focus({ preventScroll: true });
    }
  };
  return (
    <label class="search">
      <span class="unseen">{t("Search this graph")}</span>
      <input
        id="search"
        type="search"
        value={query.value}
        placeholder={t("Label, token, layer, L3/1207")}
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => (query.value = event.currentTarget.value)}
        onKeyDown={onKey}
      />
      <kbd aria-hidden="true">/</kbd>
    </label>
  );
}

/** A slider for a threshold, which grows with the square of the slider's place. */
function Slider({
  name,
  value,
  min,
  valueText,
  title,
  set,
}: {
  name: string;
  value: number;
  min: number;
  valueText: string;
  title: string;
  set: (value: number) => void;
}) {
  const position = Math.round(1000 * Math.sqrt(Math.max(0, (value - min) / (1 - min))));
  const move = (sliderValue: number) => set(Math.round(1000 * (min + (1 - min) * (sliderValue / 1000) ** 2)) / 1000);
  return (
    <label class="range" title={title}>
      <span>{name}</span>
      <input
        type="range"
        min={0}
        max={1000}
        step={5}
        value={position}
        aria-label={t("{a}: share of the influence kept", { a: name })}
        aria-valuetext={valueText}
        onInput={(event) => move(Number(event.currentTarget.value))}
      />
      <output>{valueText}</output>
    </label>
  );
}

function Scores() {
  const current = scores.value?.scores ?? graph.value?.view.scores;
  if (!current) return null;
  const rows = [
    [
      t("Replacement"),
      current.whole.replacement,
      current.shown.replacement,
      t("Share of the influence on the outputs that starts at tokens and not at errors"),
    ],
    [
      t("Completeness"),
      current.whole.completeness,
      current.shown.completeness,
      t("Share of what enters the nodes that is not error, nodes weighted by influence"),
    ],
  ] as const;
  return (
    <dl class="scores">
      {rows.map(([name, whole, shown, title]) => (
        <div
          key={name}
          title={t("{a}. Whole graph {b}; what is shown {c}, where all that was cut counts as error", {
            a: title,
            b: whole.toFixed(3),
            c: shown.toFixed(3),
          })}
        >
          <dt>{name}</dt>
          <dd>
            {whole.toFixed(2)}{" "}
            <small>
              {t("shown")} {shown.toFixed(2)}
            </small>
          </dd>
        </div>
      ))}
    </dl>
  );
}

function ZoomControls() {
  const long = (graph.value?.view.tokens.length ?? 0) > 40;
  return (
    <span class="zooms">
      <button
        type="button"
        class="icon"
        aria-label={t("Smaller")}
        title={t("Smaller (−, Ctrl and wheel)")}
        onClick={() => (zoom.value = Math.max(0.5, zoom.value / 1.2))}
      >
        −
      </button>
      <button
        type="button"
        class="icon"
        aria-label={t("Larger")}
        title={t("Larger (+, Ctrl and wheel)")}
        onClick={() => (zoom.value = Math.min(3, zoom.value * 1.2))}
      >
        +
      </button>
      {long && (
        <label class="switch" title={t("Fold runs of tokens that hold little influence")}>
          <input
            type="checkbox"
            checked={folding.value}
            onChange={(event) => setFolding(event.currentTarget.checked)}
          />
          {t("Fold")}
        </label>
      )}
    </span>
  );
}

/** Turns folding on or off; runs that were opened are folded again. */
function setFolding(fold: boolean): void {
  openedFolds.value = new Set();
  folding.value = fold;
}

function ExportMenu() {
  const { node, edge } = thresholds.value;
  const kinds = [
    ["html", t("One HTML file"), t("this graph with its cards; opens anywhere, offline")],
    ["json", t("Graph JSON"), t("for Neuronpedia and circuit-tracer")],
    ["graph", t("Clew's own file"), t("the whole graph")],
  ] as const;
  return (
    <Menu name={t("Export")}>
      {(close) => (
        <>
          {kinds.map(([as, name, note]) => (
            <li key={as}>
              <a
                href={api.exportAddress(graphId.value, as, node, edge, as === "html" ? exportedCircuit() : "")}
                download
                onClick={close}
              >
                <strong>{name}</strong>
                <small>{note}</small>
              </a>
            </li>
          ))}
          <li>
            <button type="button" onClick={() => (close(), saveCsv())}>
              <strong>{t("Table as CSV")}</strong>
              <small>{t("the nodes and edges that are shown")}</small>
            </button>
          </li>
        </>
      )}
    </Menu>
  );
}

function saveCsv(): void {
  const [shown, view] = [scene.peek(), graph.peek()?.view];
  if (shown && view) saveFile(new Blob([graphCsv(shown)], { type: "text/csv" }), fileName(view.prompt, "csv"));
}
