// The offer to explain what the model expects after a token of the prompt: a trace with that position. Below an
// explanation stands the row of the prompt's tokens, each of which makes the offer.
import { t } from "../i18n/text";
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { rowOf, visibleText } from "../model/format";
import { embedded } from "../state/app";
import { traceHere, tracing } from "../state/prompting";
import { graph } from "../state/trace";
import { TokenText } from "./widgets";

/** The button; nothing in a file, in another kit's graph, and where the open graph explains this position already. */
export function ExplainFollowing({ position }: { position: number }) {
  const view = graph.value!.view;
  if (embedded || !view.of_kit) return null;
  if (position === view.position) return <p class="note">{t("What follows this token is explained here.")}</p>;
  const last = position === view.tokens.length - 1;
  const asked = { targets: [], position: last ? -1 : position };
  return (
    <p class="actions">
      <button
        type="button"
        disabled={tracing.value !== null}
        title={t("Traces the prompt anew, for the likeliest tokens after ‘{a}’", {
          a: visibleText(rowOf(view)[position] ?? ""),
        })}
        onClick={() => void traceHere(view.prompt, view.add_bos, asked)}
      >
        {t("Explain what follows here")}
      </button>
    </p>
  );
}

const chosenToken = signal(-1);

/** The tokens of the prompt; a click on one offers to explain what follows it. */
export function TokenRow() {
  const view = graph.value?.view;
  useEffect(() => void (chosenToken.value = -1), [view?.id]);
  if (!view || embedded || !view.of_kit) return null;
  return (
    <div class="tokenrow" role="group" aria-label={t("Tokens of the prompt")}>
      {rowOf(view).map((token, i) => (
        <button
          key={i}
          type="button"
          class={`chipword${i < view.first_position ? " out" : ""}`}
          aria-pressed={i === chosenToken.value}
          aria-current={i === view.position ? "true" : undefined}
          onClick={() => (chosenToken.value = i === chosenToken.peek() ? -1 : i)}
        >
          <TokenText text={token} />
        </button>
      ))}
      {chosenToken.value >= 0 && chosenToken.value < view.tokens.length && (
        <ExplainFollowing position={chosenToken.value} />
      )}
    </div>
  );
}
