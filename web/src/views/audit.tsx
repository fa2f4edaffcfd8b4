// The audit of a graph: predicted against measured effects as a scatter plot, beside the same plot for a graph with
// shuffled edges (the null), and the table of baselines.
import { HowToRead, READ_AUDIT } from "./how_to_read";
import { type Text, known, t } from "../i18n/text";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { palette } from "../draw/palette";
import { scatter } from "../draw/scatter";
import { FAR, type SymmetricScale, farFromDiagonal, symmetricScale } from "../model/scale";
import { amount, count, percent } from "../model/format";
import type { Agreement, AuditPoints, AuditView } from "../types";
import { dark } from "../state/app";
import { audit, auditSize, runAudit, running, source } from "../state/edit";
import { entries, loadHistory } from "../state/prompting";
import { graph } from "../state/trace";
import { Heading } from "./widgets";

export function AuditPart() {
  const box = useRef<HTMLElement>(null);
  const id = source.value || (graph.value?.view.of_kit ? graph.value.view.id : "");
  const name =
    graph.value?.view.id === id
      ? graph.value.view.prompt
      : (entries.value.find((each) => each.id === id)?.prompt ?? "");
  const currentAudit = audit.value?.graph === id ? audit.value : null;
  const previousAudit = useRef(currentAudit);
  useEffect(() => {
    if (id && !name) void loadHistory();
  }, [id]);
  useLayoutEffect(() => {
    // A new audit appears below the visible part.
    if (currentAudit && currentAudit !== previousAudit.current) box.current?.scrollIntoView({ block: "start" });
    previousAudit.current = currentAudit;
  }, [currentAudit]);
  if (!id) return null;
  return (
    <section class="audit" id="audit" ref={box} aria-label={t("Audit of the whole graph")}>
      <Heading note={name && <span class="mono">{name}</span>}>{t("Audit of the whole graph")}</Heading>
      <p class="actions">
        <label>
          {t("switch off")}{" "}
          <input
            type="number"
            min={2}
            max={2000}
            value={auditSize.value}
            onChange={(event) => (auditSize.value = Math.max(2, Number(event.currentTarget.value) || 60))}
          />{" "}
          {t("features, one at a time")}
        </label>
        <button type="button" disabled={running.value !== null} onClick={() => void runAudit(id, auditSize.value)}>
          {t("Audit")}
        </button>
      </p>
      {currentAudit && <AuditResult view={currentAudit} />}
    </section>
  );
}

function AuditResult({ view }: { view: AuditView }) {
  const scale = symmetricScale(
    [view.points, view.null_points].flatMap((points) => [...points.predicted, ...points.measured]),
  );
  return (
    <>
      <p class="verdict">{view.verdict}</p>
      <div class="plots">
        <Scatter title={t("This graph")} points={view.points} scale={scale} />
        <Scatter title={t("Null: the same graph, edges shuffled")} points={view.null_points} scale={scale} />
      </div>
      <p class="note">
        {" "}
        {t(
          "Each point is one effect: of switching one feature off on one output (◆) or feature (●). On the diagonal, prediction and measurement agree; between the dotted lines they differ by less than a factor of {a}. Both axes are linear up to ±{b}, logarithmic beyond, and hold every point.",
          { a: FAR, b: scale.linear },
        )}{" "}
        {drawnPoints(view)}
      </p>{" "}
      <HowToRead text={READ_AUDIT} />
      <Table lines={view.lines.filter((line) => line.name in MAIN)} />
      <details>
        <summary>{t("By distance, by clamped layers, and with one part released or frozen")}</summary>
        <Table lines={view.lines.filter((line) => !(line.name in MAIN))} />
      </details>
    </>
  );
}

/** How many of the audit's effects are drawn, and why not all. */
function drawnPoints({ points, n_points: total }: AuditView): string {
  const drawn = points.predicted.length;
  if (drawn === total) return t("{a} in all.", { a: count(total) });
  return t("{a} of {b} are drawn: a random sample, without those that are no finite number.", {
    a: count(drawn),
    b: count(total),
  });
}

const MAIN: Record<string, Text> = {
  total: "this graph's values",
  effects: "its effects",
  exact: "its effects, the last norm exact",
  influential: "its influential nodes",
  random: "nodes drawn at random",
  gradient: "gradient × activation",
  second: "the model, to second order",
  activation: "activation alone",
  shuffled: "shuffled edges (null)",
};

function Table({ lines }: { lines: AuditView["lines"] }) {
  return (
    <div class="wide">
      <table class="numbers audittable">
        <thead>
          <tr>
            <td />
            <th scope="colgroup" colSpan={2}>
              {t("Spearman")}
            </th>
            <th scope="colgroup" colSpan={2}>
              {t("slope")}
            </th>
            <th scope="colgroup" colSpan={2}>
              {t("wrong sign")}
            </th>
          </tr>
          <tr>
            <th scope="col">{t("compared")}</th>
            {["outputs", "features", "outputs", "features", "outputs", "features"].map((name, i) => (
              <th key={i} scope="col">
                {known(name)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {lines.map((line) => (
            <tr key={line.name}>
              <th scope="row">{known(MAIN[line.name] ?? line.name)}</th>
              <Cell agreement={line.outputs} statistic="spearman" />
              <Cell agreement={line.features} statistic="spearman" />
              <Cell agreement={line.outputs} statistic="slope" />
              <Cell agreement={line.features} statistic="slope" />
              <Cell agreement={line.outputs} statistic="sign_errors" />
              <Cell agreement={line.features} statistic="sign_errors" />
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Cell({ agreement, statistic }: { agreement: Agreement; statistic: "spearman" | "slope" | "sign_errors" }) {
  const { value, low, high } = agreement[statistic];
  const formatValue = (n: number | null | undefined) =>
    n == null ? "–" : statistic === "sign_errors" ? percent(n) : amount(n);
  return (
    <td
      title={t("{a} pairs; 95 % interval {b} to {c}", {
        a: agreement.pairs,
        b: formatValue(low),
        c: formatValue(high),
      })}
    >
      {formatValue(value)}{" "}
      {low != null && high != null && (
        <small>
          [{formatValue(low)}, {formatValue(high)}]
        </small>
      )}
    </td>
  );
}

function Scatter({ title, points, scale }: { title: string; points: AuditPoints; scale: SymmetricScale }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const isDark = dark.value;
  useEffect(() => {
    if (canvas.current) scatter(canvas.current, points, scale, palette(isDark));
  }, [points, scale.linear, scale.max, isDark]);
  const { large, far } = farFromDiagonal(points.predicted, points.measured, scale.linear);
  const range = t("{low} to {high}", { low: amount(-scale.max), high: amount(scale.max) });
  return (
    <figure>
      <figcaption>{title}</figcaption>
      <canvas
        ref={canvas}
        role="img"
        aria-label={t(
          "{a}: {b} effects, predicted across, measured upward, both from {c} on a symmetric logarithmic scale",
          { a: title, b: points.predicted.length, c: range },
        )}
      />
      <p class="note">
        {t(
          "{a} of {b} effects beyond ±{c} are predicted more than {d} times too large or too small, or with the wrong sign.",
          { a: count(far), b: count(large), c: scale.linear, d: FAR },
        )}
      </p>
    </figure>
  );
}
