// The axes of the graph: layers on the left; along the bottom a chip for each token, and one for each folded run.
import { t } from "../i18n/text";
import type { Layout } from "../model/layout";
import { rowOf, visibleText } from "../model/format";
import type { GraphView } from "../types";
import { chooseNode, chosen, hovered, openedFolds } from "../state/trace";
import { TokenText } from "./widgets";

export function Axis({ layout, layers }: { layout: Layout | null; layers: number }) {
  const every = layers > 16 ? 2 : 1;
  const name = (row: number) =>
    row === 0 ? t("Emb") : row === layers + 1 ? t("Out") : (row - 1) % every ? "" : `L${row - 1}`;
  return (
    <div class="axis" aria-hidden="true" style={{ height: `${layout?.height ?? 0}px` }}>
      {layout?.rows.map((row, i) => (
        <span key={i} style={{ top: `${row.middle}px` }}>
          {name(i)}
        </span>
      ))}
    </div>
  );
}

export function Chips({ layout, view }: { layout: Layout | null; view: GraphView }) {
  const active = chosen.value;
  const row = rowOf(view);
  return (
    <div class="chips" style={{ width: `${layout?.width ?? 0}px` }}>
      {layout?.columns.map((column) => {
        const place = { left: `${column.middle}px`, maxWidth: `${Math.min(128, column.width - 4)}px` };
        if (column.folded) {
          const words = row
            .slice(column.from, column.to + 1)
            .map(visibleText)
            .join(" ");
          const open = () => (openedFolds.value = new Set([...openedFolds.peek(), column.from]));
          return (
            <button
              key={column.from}
              type="button"
              class="chip folded"
              style={place}
              title={t("Open {a} quiet tokens: {b}", { a: column.to - column.from + 1, b: words })}
              onClick={open}
            >
              ⋯{column.to - column.from + 1}
            </button>
          );
        }
        const isLeftOut = column.from < view.first_position;
        const id = `T@${column.from}`;
        const title = isLeftOut
          ? t("Left out{a}: this position has no features; what it sends on is the offset 'sink'", {
              a: view.first_reason && `, ${view.first_reason}`,
            })
          : t("Token {a}{b}", { a: column.from, b: view.shown ? `, ${view.tokens[column.from]}` : "" });
        return (
          <button
            key={column.from}
            type="button"
            tabIndex={-1}
            class={`chip${isLeftOut ? " out" : ""}${active.includes(id) ? " chosen" : ""}`}
            style={place}
            title={title}
            onClick={() => chooseNode(id)}
            onPointerEnter={() => (hovered.value = id)}
            onPointerLeave={() => (hovered.value = null)}
          >
            <TokenText text={row[column.from] ?? ""} />
          </button>
        );
      })}
    </div>
  );
}
