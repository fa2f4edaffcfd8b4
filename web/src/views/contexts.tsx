// Contexts from the corpus with every token shaded by the feature's activation, relative to its largest in the corpus.
// The token that the context was chosen for is underlined.
import { t } from "../i18n/text";
import { useState } from "preact/hooks";
import { amount, rowOf } from "../model/format";
import type { ContextView } from "../types";
import { TokenText } from "./widgets";

export type Scale = "linear" | "root";

export function shade(activation: number, max: number, scale: Scale): number {
  const share = max > 0 ? Math.max(0, Math.min(1, activation / max)) : 0;
  return scale === "root" ? Math.sqrt(share) : share;
}

export function Shaded({
  tokens,
  activations,
  max,
  scale,
  underlined = -1,
}: {
  tokens: readonly string[];
  activations: readonly number[];
  max: number;
  scale: Scale;
  underlined?: number;
}) {
  return (
    <span class="shaded">
      {tokens.map((token, i) => {
        const value = activations[i] ?? 0;
        const depth = shade(value, max, scale);
        const style =
          depth > 0
            ? { backgroundColor: `color-mix(in srgb, var(--shade) ${Math.round(6 + 62 * depth)}%, transparent)` }
            : undefined;
        return (
          <span
            key={i}
            class={`tok${i === underlined ? " at" : ""}`}
            style={style}
            title={value > 0 ? `${amount(value)}` : undefined}
          >
            <TokenText text={token} />
          </span>
        );
      })}
    </span>
  );
}

export function Contexts({
  contexts,
  max,
  scale,
  few,
}: {
  contexts: readonly ContextView[];
  max: number;
  scale: Scale;
  few: number;
}) {
  const [all, setAll] = useState(false);
  if (!contexts.length) return <p class="note">{t("None.")}</p>;
  return (
    <>
      <ul class="contexts">
        {(all ? contexts : contexts.slice(0, few)).map((each) => (
          <li key={`${each.document}.${each.position}`}>
            <span class="num">{amount(each.activations[each.at] ?? 0)}</span>
            <Shaded tokens={rowOf(each)} activations={each.activations} max={max} scale={scale} underlined={each.at} />
          </li>
        ))}
      </ul>
      {contexts.length > few && (
        <button type="button" class="more" aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? t("Show fewer") : t("Show all {a}", { a: contexts.length })}
        </button>
      )}
    </>
  );
}
