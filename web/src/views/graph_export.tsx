// What a graph can be saved as: one HTML file, graph JSON, Clew's own file, a table.
import { api } from "../api_client";
import { t } from "../i18n/text";
import { graphCsv } from "../model/csv_file";
import { fileName, saveFile } from "../model/figure_file";
import { savePage } from "../state/circuit";
import { graph, graphId, scene, thresholds } from "../state/trace";
import { Menu } from "./menu";

export function GraphExport() {
  const { node, edge } = thresholds.value;
  const kinds = [
    ["json", t("Graph JSON"), t("for Neuronpedia and circuit-tracer")],
    ["graph", t("Clew's own file"), t("the whole graph")],
  ] as const;
  return (
    <Menu name={t("Export")}>
      {(close) => (
        <>
          <li>
            <button type="button" onClick={() => (close(), void savePage())}>
              <strong>{t("One HTML file")}</strong>
              <small>{t("this graph with its cards; opens anywhere, offline")}</small>
            </button>
          </li>
          {kinds.map(([as, name, note]) => (
            <li key={as}>
              <a href={api.exportAddress(graphId.value, as, node, edge)} download onClick={close}>
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
