// Small components that all views use: tokens, bars, headings, lists. They know nothing of the state.
import { type Text, t } from "../i18n/text";
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Node } from "../model/graph";
import { tokenParts, visibleText } from "../model/format";
import type { GraphView, NameKind } from "../types";

/** A token with visible signs for its spaces. */
export function TokenText({ text }: { text: string }) {
  return (
    <>
      {tokenParts(text).map((part, i) =>
        part.space ? (
          <i key={i} class="space">
            {part.text}
          </i>
        ) : (
          part.text
        ),
      )}
    </>
  );
}

export function placeName(view: GraphView, node: Node): string {
  const word = visibleText(view.tokens[node.position] ?? "");
  if (node.kind === "token") return t("token {a}", { a: node.position });
  if (node.kind === "target") return t("output after {a}", { a: word });
  return t("layer {a}, at {b} ({c})", { a: node.layer ?? "", b: word, c: node.position });
}

/** A signed bar around a middle line: solid to the right, striped to the left. `mark` is the predicted value. */
export function Bar({ share, mark = null }: { share: number; mark?: number | null }) {
  return (
    <span class="bar" aria-hidden="true">
      {mark !== null && <b style={{ left: `${50 + 50 * Math.max(-1, Math.min(1, mark))}%` }} />}
      <i class={share < 0 ? "minus" : "plus"} style={{ width: `${Math.min(50, 50 * Math.abs(share))}%` }} />
    </span>
  );
}

/** A bar for an amount without sign, such as influence. */
export function PlainBar({ share }: { share: number }) {
  return (
    <span class="bar plain" aria-hidden="true">
      <i style={{ width: `${Math.max(0, Math.min(100, 100 * share))}%` }} />
    </span>
  );
}

export function Heading({ children, note }: { children: ComponentChildren; note?: ComponentChildren }) {
  return (
    <h3>
      <span>{children}</span>
      {note && <small>{note}</small>}
    </h3>
  );
}

export function Facts({ facts }: { facts: readonly (readonly [string, ComponentChildren, string?])[] }) {
  return (
    <dl class="facts">
      {facts.map(([name, value, title]) => (
        <div key={name} title={title}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** The first items of a list, with a button to show the rest. */
export function Few<T>({
  items,
  few = 10,
  empty,
  children,
}: {
  items: readonly T[];
  few?: number;
  empty?: string;
  children: (item: T) => ComponentChildren;
}) {
  const [all, setAll] = useState(false);
  if (!items.length) return empty ? <p class="note">{empty}</p> : null;
  return (
    <>
      <ul class="rows">
        {(all ? items : items.slice(0, few)).map((item, i) => (
          <li key={i}>{children(item)}</li>
        ))}
      </ul>
      {items.length > few && (
        <button type="button" class="more" aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? t("Show fewer") : t("Show all {a}", { a: items.length })}
        </button>
      )}
    </>
  );
}

const KINDS: Record<NameKind, Text> = {
  person: "named by a person",
  model: "named by a model",
  heuristic: "named by a rule",
  promoted: "named after the tokens it promotes",
  imported: "named in the file",
  "": "no name yet",
};

/** A small sign for who named a feature, with a tooltip. */
export function KindMark({ kind }: { kind: NameKind | null | undefined }) {
  const sign = { person: "●", model: "◐", heuristic: "○", promoted: "↑", imported: "↓", "": "" }[kind ?? ""];
  return sign ? (
    <span class={`kindmark ${kind}`} title={t(KINDS[kind ?? ""])} aria-label={t(KINDS[kind ?? ""])} role="img">
      {sign}
    </span>
  ) : null;
}

export function Kbd({ children }: { children: ComponentChildren }) {
  return <kbd aria-hidden="true">{children}</kbd>;
}
