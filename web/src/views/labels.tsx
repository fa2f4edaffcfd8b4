// A feature's labels with authors and scores: current ones first, then those that were replaced or withdrawn.
import { t } from "../i18n/text";
import { amount, ago } from "../model/format";
import type { FeatureView, LabelView } from "../types";
import { embedded } from "../state/app";
import { labelling, withdrawLabel } from "../state/cards";
import { Heading, KindMark } from "./widgets";

export function Labels({ view }: { view: FeatureView }) {
  const [current, earlier] = [view.labels.filter((each) => each.current), view.labels.filter((each) => !each.current)];
  return (
    <>
      <Heading
        note={
          embedded ? null : (
            <button type="button" class="link" onClick={() => (labelling.value = view.feature)}>
              {t("write one")}
            </button>
          )
        }
      >
        {t("Labels")}
      </Heading>
      {!current.length && <p class="note">{t("Nobody has labelled it yet.")}</p>}
      <ul class="labels">
        {current.map((each) => (
          <LabelItem key={each.id} label={each} />
        ))}
      </ul>
      {earlier.length > 0 && (
        <details open={earlier.some((each) => each.replaced)}>
          <summary>{t("Earlier labels ({n})", { n: earlier.length })}</summary>
          <ul class="labels past">
            {earlier.map((each) => (
              <LabelItem key={each.id} label={each} />
            ))}
          </ul>
        </details>
      )}
    </>
  );
}

function LabelItem({ label }: { label: LabelView }) {
  return (
    <li>
      <p>
        <KindMark kind={label.kind} /> <strong>{label.text}</strong>
      </p>
      <p class="note">
        {label.author}
        {label.method && ` · ${label.method}`} · {ago(label.date, Date.now())}
        {!label.current && (label.replaced ? t(" · said earlier") : " · withdrawn")}
        {label.kind === "person" && label.current && !embedded && (
          <button type="button" class="link" onClick={() => void withdrawLabel(label.feature, label.id)}>
            {t("withdraw")}
          </button>
        )}
      </p>
      {label.note && <p class="note">{label.note}</p>}
      {label.scores.map((score) => (
        <p
          key={score.test + score.judge}
          class="note score"
          title={t("judged by {a} on {b} contexts; balanced accuracy with its 95 % interval", {
            a: score.judge,
            b: score.contexts,
          })}
        >
          {score.test} <b>{amount(score.value)}</b> [{amount(score.low)}, {amount(score.high)}] ·{" "}
          {score.null == null ? t("no null") : t("null {a}", { a: amount(score.null) })}
        </p>
      ))}
    </li>
  );
}
