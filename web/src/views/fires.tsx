// The features that fire on a text: those of the chosen token, or of the whole text by their strongest activation.
import { t } from "../i18n/text";
import { useState } from "preact/hooks";
import { amount, density, percent, rowOf } from "../model/format";
import type { FiresView } from "../types";
import { nameOf } from "../state/app";
import { go } from "../state/route";
import { Heading, KindMark, PlainBar, TokenText } from "./widgets";

type Fire = FiresView["by_feature"][number];

export function Fires({ view }: { view: FiresView }) {
  const [selected, setSelected] = useState<number | null>(null);
  const selectedFeatures =
    selected === null ? null : (view.by_token.find((each) => each.position === selected)?.features ?? []);
  return (
    <>
      <h2 class="unseen">{t("What fires")}</h2>
      <p class="firetokens" role="group" aria-label={t("Tokens: choose one to see what fires there")}>
        {rowOf(view).map((token, i) => (
          <button
            key={i}
            type="button"
            class={`chipword${i < view.first_position ? " out" : ""}`}
            aria-pressed={selected === i}
            disabled={i < view.first_position}
            onClick={() => setSelected(selected === i ? null : i)}
          >
            <TokenText text={token} />
          </button>
        ))}
      </p>
      <Heading note={t("activation · share of its largest")}>
        {selected === null ? t("By feature, strongest first") : t("At this token")}
      </Heading>
      <ul class="rows">
        {(selectedFeatures ?? view.by_feature).slice(0, 60).map((each) => (
          <li key={`${each.feature}@${each.position}`}>
            <Row fire={each} token={view.tokens[each.position] ?? ""} />
          </li>
        ))}
      </ul>
    </>
  );
}

function Row({ fire, token }: { fire: Fire; token: string }) {
  const named = nameOf(fire.feature, fire.label, fire.label_kind);
  return (
    <button type="button" class="row" onClick={() => go("feature", fire.feature, { at: String(fire.activation) })}>
      <PlainBar share={fire.share ?? 0} />
      <span class="what">
        {named.text || fire.feature} <KindMark kind={named.kind} />{" "}
        <em>
          <TokenText text={token} /> · {fire.feature}
          {fire.density !== null && ` · ${density(fire.density)}`}
        </em>
      </span>
      <span class="num">{amount(fire.activation)}</span>
      <span class="part">{percent(fire.share)}</span>
    </button>
  );
}
