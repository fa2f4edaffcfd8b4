// The trace view: prompt bar, toolbar, graph and panel.
import { embedded } from "../state/app";
import { graph, graphId, loading } from "../state/trace";
import { t } from "../i18n/text";
import { circuitProblem, pane } from "../state/circuit";
import { CircuitTools } from "./circuit_tools";
import { Explanation } from "./explanation";
import { FileHead } from "./file_head";
import { GraphTools } from "./graph_tools";
import { LinkGraph } from "./link_graph";
import { Panel } from "./panel";
import { PromptBar } from "./prompt_bar";
import { Scores } from "./scores";
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
