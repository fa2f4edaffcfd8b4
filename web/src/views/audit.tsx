// How far the whole graph can be trusted: predictions against measurements as a scatter plot, beside the same plot for a
// graph whose edges were shuffled (the null), and the table of baselines.
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { palette } from "../draw/palette";
import { scatter } from "../draw/scatter";
import { range } from "../model/scale";
import { amount, count, percent } from "../model/format";
import type { Agreement, AuditPoints, AuditView } from "../types";
import { dark } from "../state/app";
import { audit, audited, runAudit, running, source } from "../state/edit";
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
  const found = audit.value?.graph === id ? audit.value : null;
  const before = useRef(found);
  useEffect(() => {
    if (id && !name) void loadHistory();
  }, [id]);
  useLayoutEffect(() => {
    if (found && found !== before.current) box.current?.scrollIntoView({ block: "start" }); // it is made below what is seen
    before.current = found;
  }, [found]);
  if (!id) return null;
  return (
    <section class="audit" id="audit" ref={box} aria-label="Audit of the whole graph">
      <Heading note={name && <span class="mono">{name}</span>}>Audit of the whole graph</Heading>
      <p class="actions">
        <label>
          switch off{" "}
          <input
            type="number"
            min={2}
            max={2000}
            value={audited.value}
            onChange={(event) => (audited.value = Math.max(2, Number(event.currentTarget.value) || 60))}
          />{" "}
          features, one at a time
        </label>
        <button type="button" disabled={running.value !== null} onClick={() => void runAudit(id, audited.value)}>
          Audit
        </button>
      </p>
      {found && <Found view={found} />}
    </section>
  );
}

function Found({ view }: { view: AuditView }) {
  const most = range(
    [view.points, view.null_points].flatMap((points) => [...points.predicted, ...points.measured]),
    0.99,
  );
  return (
    <>
      <p class="verdict">{view.verdict}</p>
      <div class="plots">
        <Scatter title="This graph" points={view.points} most={most} />
        <Scatter title="Null: the same graph, edges shuffled" points={view.null_points} most={most} />
      </div>
      <p class="note">
        Each point is one effect: of switching one feature off on one output (◆) or feature (●). On the diagonal,
        prediction and measurement agree. {count(view.n_points)} in all.
      </p>
      <Table lines={view.lines.filter((line) => line.name in MAIN)} />
      <details>
        <summary>By distance, by clamped layers, and with one part released or frozen</summary>
        <Table lines={view.lines.filter((line) => !(line.name in MAIN))} />
      </details>
    </>
  );
}

const MAIN: Record<string, string> = {
  total: "this graph",
  influential: "its influential nodes",
  random: "nodes drawn at random",
  gradient: "gradient × activation",
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
              Spearman
            </th>
            <th scope="colgroup" colSpan={2}>
              slope
            </th>
            <th scope="colgroup" colSpan={2}>
              wrong sign
            </th>
          </tr>
          <tr>
            <th scope="col">compared</th>
            {["outputs", "features", "outputs", "features", "outputs", "features"].map((name, i) => (
              <th key={i} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {lines.map((line) => (
            <tr key={line.name}>
              <th scope="row">{MAIN[line.name] ?? line.name}</th>
              <Cell of={line.outputs} what="spearman" />
              <Cell of={line.features} what="spearman" />
              <Cell of={line.outputs} what="slope" />
              <Cell of={line.features} what="slope" />
              <Cell of={line.outputs} what="sign_errors" />
              <Cell of={line.features} what="sign_errors" />
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Cell({ of, what }: { of: Agreement; what: "spearman" | "slope" | "sign_errors" }) {
  const { value, low, high } = of[what];
  const say = (n: number | null | undefined) => (n == null ? "–" : what === "sign_errors" ? percent(n) : amount(n));
  return (
    <td title={`${of.pairs} pairs; 95 % interval ${say(low)} to ${say(high)}`}>
      {say(value)}{" "}
      {low != null && high != null && (
        <small>
          [{say(low)}, {say(high)}]
        </small>
      )}
    </td>
  );
}

function Scatter({ title, points, most }: { title: string; points: AuditPoints; most: number }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const isDark = dark.value;
  useEffect(() => {
    if (canvas.current) scatter(canvas.current, points, most, palette(isDark));
  }, [points, most, isDark]);
  return (
    <figure>
      <figcaption>{title}</figcaption>
      <canvas
        ref={canvas}
        role="img"
        aria-label={`${title}: ${points.predicted.length} effects, predicted across, measured upward, both from ${amount(-most)} to ${amount(most)}`}
      />
    </figure>
  );
}
