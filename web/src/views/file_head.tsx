// The head of a self-contained file: its prompt, where it comes from, what it had no room for.
import { counted, t } from "../i18n/text";
import { rowOf } from "../model/format";
import { embedded } from "../state/app";
import { Scores } from "./scores";

export function FileHead() {
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
