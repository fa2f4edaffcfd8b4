// The menu of earlier graphs: opens, imports and, after a confirmation, removes them.
import { counted, t } from "../i18n/text";
import { useEffect, useRef, useState } from "preact/hooks";
import { ago, percent, rowOf, visibleText } from "../model/format";
import type { GraphEntry } from "../types";
import { textStart } from "../state/app";
import { go } from "../state/route";
import { graphId } from "../state/trace";
import { entries, importFile, loadHistory, removeGraph } from "../state/prompting";
import { Menu } from "./menu";

export function History() {
  useEffect(() => void loadHistory(), []);
  const file = useRef<HTMLInputElement>(null);
  return (
    <Menu name={t("History")}>
      {(close) => (
        <>
          <li class="menuhead">
            <button type="button" onClick={() => file.current?.click()}>
              {t("Open a file…")}{" "}
              <small>
                {t("an exported page, graph JSON of Neuronpedia or circuit-tracer, or .graph; or drop it here")}
              </small>
            </button>
            <input
              ref={file}
              type="file"
              accept=".html,.htm,.json,.graph"
              hidden
              onChange={(event) => {
                const chosen = event.currentTarget.files?.[0];
                if (chosen) void importFile(chosen);
                close();
              }}
            />
          </li>
          {entries.value.map((each) => (
            <Entry key={each.id} entry={each} close={close} />
          ))}
          {!entries.value.length && <li class="note">{t("No graphs yet.")}</li>}
        </>
      )}
    </Menu>
  );
}

function Entry({ entry: each, close }: { entry: GraphEntry; close: () => void }) {
  const [confirming, setConfirming] = useState(false);
  if (confirming) {
    return (
      <li class="asking" role="group" aria-label={t("Remove the graph of {a}?", { a: each.prompt })}>
        <span>{t("Remove it, with its pins and groups?")}</span>
        <button type="button" ref={focus} onClick={() => setConfirming(false)}>
          {t("Do not remove")}
        </button>
        <button type="button" class="wrong" onClick={() => void removeGraph(each)}>
          {t("Remove")}
        </button>
      </li>
    );
  }
  return (
    <li class="withdrop">
      <button
        type="button"
        aria-current={each.id === graphId.value ? "true" : undefined}
        onClick={() => {
          close();
          go("trace", each.id, each.of_kit ? {} : { pane: "graph" });
        }}
      >
        <span class="mono">{each.prompt || rowOf(each).map(visibleText).join("")}</span>
        <small>
          {each.top && (
            <>
              → <b class="mono">{visibleText(each.top.label)}</b> {percent(each.top.probability)} ·{" "}
            </>
          )}
          {counted(each.n_nodes, "node|nodes")} · {ago(each.date, Date.now())}
          {!each.add_bos && t(" · without {a}", { a: textStart.value })}
          {each.origin === "import" && t(" · imported")}
        </small>
      </button>
      <button
        type="button"
        class="drop"
        aria-label={t("Remove the graph of {a}", { a: each.prompt })}
        onClick={() => setConfirming(true)}
      >
        ✕
      </button>
    </li>
  );
}

function focus(button: HTMLButtonElement | null): void {
  button?.focus();
}
