// The trace view: prompt bar, toolbar, graph and panel.
import { useEffect } from "preact/hooks";
import { api } from "../api_client";
import { count, percent, plural, rowOf } from "../model/format";
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
import { LinkGraph } from "./link_graph";
import { Menu } from "./menu";
import { Panel } from "./panel";
import { PromptBar } from "./prompt_bar";
import { Welcome } from "./welcome";

export function Trace() {
  const view = graph.value?.view;
  return (
    <div class="trace">
      {!embedded && <h1 class="unseen">{view ? `Trace of ${view.prompt}` : "Trace"}</h1>}
      {embedded ? <FileHead /> : <PromptBar>{view && <Scores />}</PromptBar>}
      {view && <Tools />}
      {view ? (
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
        {view.subject} · {view.dictionary} ({view.dictionary_kind.toUpperCase()}) · written by Clew {embedded!.version},
        opens offline{leftOut()}
      </p>
      <Scores />
    </div>
  );
}

/** What was left out of the exported file to limit its size. */
function leftOut(): string {
  const { nodes, edges, cards, details } = embedded!.left_out;
  const parts = [
    nodes && plural(nodes, "node"),
    edges && plural(edges, "edge"),
    cards && plural(cards, "card"),
    details && `the whole inputs of ${plural(details, "node")}`,
    !embedded!.source && "the graph to take it into a workbench again",
  ].filter(Boolean);
  return parts.length ? `; it had no room for ${parts.join(", ")}` : "";
}

function Tools() {
  return (
    <div class="tools" role="toolbar" aria-label="What is shown">
      <Search />
      <Thresholds />
      <span class="grow" />
      <Switches />
      <button
        type="button"
        class="icon"
        aria-label="Undo"
        title="Undo (u)"
        disabled={!changes.value.past.length}
        onClick={undoChange}
      >
        ↶
      </button>
      <button
        type="button"
        class="icon"
        aria-label="Redo"
        title="Redo (U)"
        disabled={!changes.value.future.length}
        onClick={redoChange}
      >
        ↷
      </button>
      <ZoomControls />
      {!embedded && <ExportMenu />}
    </div>
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
      ? `${count(sentEdges)} of ${count(shown.edges)}`
      : count(shown.edges);
  const limitNote = isLimited ? `; only the strongest ${count(sentEdges)} of them are drawn` : "";
  return (
    <>
      <Slider
        name="Nodes"
        value={node}
        min={0.3}
        valueText={`${formatShare(node)} · ${count(embedded ? (currentScene?.marks.length ?? 0) : shown.nodes)}`}
        title={`${count(shown.nodes)} of ${count(whole.nodes)} nodes hold ${percent(node)} of the influence`}
        set={(value) => setThreshold("node", value)}
      />
      <Slider
        name="Edges"
        value={edge}
        min={0.5}
        valueText={`${formatShare(edge)} · ${edges}`}
        title={`${count(shown.edges)} of ${count(whole.edges)} edges hold ${percent(edge)} of the influence that edges carry${limitNote}`}
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
        Errors
      </label>
      <label class="switch">
        <input
          type="checkbox"
          checked={labelsShown.value}
          onChange={(event) => (labelsShown.value = event.currentTarget.checked)}
        />
        Names
      </label>
      <label class="switch" title="Only what is pinned or grouped, with tokens and outputs">
        <input
          type="checkbox"
          checked={pinnedOnly.value}
          onChange={(event) => (pinnedOnly.value = event.currentTarget.checked)}
        />
        Pinned
      </label>
      <label class="switch">
        Colour{" "}
        <select
          value={colour.value}
          onChange={(event) => (colour.value = event.currentTarget.value as Colour)}
          title="Sign: towards what is chosen, else the likeliest output. Group: what was grouped and equal labels, each with a letter"
        >
          <option value="plain">named</option>
          <option value="sign">sign</option>
          <option value="label">label</option>
          <option value="group">label group</option>
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
      <span class="unseen">Search this graph</span>
      <input
        id="search"
        type="search"
        value={query.value}
        placeholder="Label, token, layer, L3/1207"
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
        aria-label={`${name}: share of the influence kept`}
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
      "Replacement",
      current.whole.replacement,
      current.shown.replacement,
      "Share of the influence on the outputs that starts at tokens and not at errors",
    ],
    [
      "Completeness",
      current.whole.completeness,
      current.shown.completeness,
      "Share of what enters the nodes that is not error, nodes weighted by influence",
    ],
  ] as const;
  return (
    <dl class="scores">
      {rows.map(([name, whole, shown, title]) => (
        <div
          key={name}
          title={`${title}. Whole graph ${whole.toFixed(3)}; what is shown ${shown.toFixed(3)}, where all that was cut counts as error`}
        >
          <dt>{name}</dt>
          <dd>
            {whole.toFixed(2)} <small>shown {shown.toFixed(2)}</small>
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
        aria-label="Smaller"
        title="Smaller (−, Ctrl and wheel)"
        onClick={() => (zoom.value = Math.max(0.5, zoom.value / 1.2))}
      >
        −
      </button>
      <button
        type="button"
        class="icon"
        aria-label="Larger"
        title="Larger (+, Ctrl and wheel)"
        onClick={() => (zoom.value = Math.min(3, zoom.value * 1.2))}
      >
        +
      </button>
      {long && (
        <label class="switch" title="Fold runs of tokens that hold little influence">
          <input
            type="checkbox"
            checked={folding.value}
            onChange={(event) => setFolding(event.currentTarget.checked)}
          />
          Fold
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
    ["html", "One HTML file", "this graph with its cards; opens anywhere, offline"],
    ["json", "Graph JSON", "for Neuronpedia and circuit-tracer"],
    ["graph", "Clew's own file", "the whole graph"],
  ] as const;
  return (
    <Menu name="Export">
      {(close) =>
        kinds.map(([as, name, note]) => (
          <li key={as}>
            <a href={api.exportAddress(graphId.value, as, node, edge)} download onClick={close}>
              <strong>{name}</strong>
              <small>{note}</small>
            </a>
          </li>
        ))
      }
    </Menu>
  );
}
