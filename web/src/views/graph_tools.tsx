// The toolbar over the graph: search, thresholds, what is drawn and how, undo, zoom, export.
import { useEffect } from "preact/hooks";
import { count, percent } from "../model/format";
import { writeHead } from "../model/explanations";
import { embedded } from "../state/app";
import { explainable } from "../state/explanations";
import { write } from "../state/route";
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
  head,
  labelsShown,
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
import { t } from "../i18n/text";
import { GraphExport } from "./graph_export";
import { UndoButtons } from "./undo_buttons";

export function GraphTools() {
  return (
    <>
      <Search />
      <Thresholds />
      <span class="grow" />
      <Switches />
      <UndoButtons of={changes.value} undo={undoChange} redo={redoChange} />
      <ZoomControls />
      {explainable.value && <AttentionLink />}
      {!embedded && <GraphExport />}
    </>
  );
}

function AttentionLink() {
  return (
    <a
      class="link"
      href={write({ view: "attention", id: graphId.value, query: { head: writeHead(head.value) } })}
      title={t("What every head looks at in this prompt (a)")}
    >
      {t("Attention")}
    </a>
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
