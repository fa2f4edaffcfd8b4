// How much of a graph is explained: its scores, whole and as it is shown.
import { t } from "../i18n/text";
import { graph, scores } from "../state/trace";

export function Scores() {
  const current = scores.value?.scores ?? graph.value?.view.scores;
  if (!current) return null;
  const rows = [
    [
      t("Replacement"),
      current.whole.replacement,
      current.shown.replacement,
      t("Share of the influence on the outputs that starts at tokens and not at errors"),
    ],
    [
      t("Completeness"),
      current.whole.completeness,
      current.shown.completeness,
      t("Share of what enters the nodes that is not error, nodes weighted by influence"),
    ],
  ] as const;
  return (
    <dl class="scores">
      {rows.map(([name, whole, shown, title]) => (
        <div
          key={name}
          title={t("{a}. Whole graph {b}; what is shown {c}, where all that was cut counts as error", {
            a: title,
            b: whole.toFixed(3),
            c: shown.toFixed(3),
          })}
        >
          <dt>{name}</dt>
          <dd>
            {whole.toFixed(2)}{" "}
            <small>
              {t("shown")} {shown.toFixed(2)}
            </small>
          </dd>
        </div>
      ))}
    </dl>
  );
}
