// Studies: a list with what each asks, a form to run one, and a result with its claims, each beside its null.
import { counted, known, t } from "../i18n/text";
import type { ComponentChildren } from "preact";
import { api } from "../api_client";
import { ago, amount } from "../model/format";
import { adjust, route, write } from "../state/route";
import { cancelStudy, loadStudies, result, runStudy, running, studies } from "../state/studies";
import type { ClaimView, Findings, StudyResult, StudyTable, StudyView } from "../types";
import { useEffect } from "preact/hooks";
import { Facts, Heading } from "./widgets";

export function Studies() {
  useEffect(() => void loadStudies(), []);
  const { id, query } = route.value;
  if (id) return result.value ? <Result view={result.value} /> : <p class="page hint">{t("Reading the result…")}</p>;
  const listed = studies.value;
  if (!listed) return <p class="page hint">{t("Reading the studies…")}</p>;
  const chosen = listed.studies.find((each) => each.name === query["study"]) ?? listed.studies[0];
  return (
    <div class="page studies">
      <h1>{t("Studies")}</h1>
      <p class="note">
        {t(
          "A study is an experiment that anyone can repeat: it asks one question of the open kit, and every claim stands beside what the same code measures where the claim cannot be true.",
        )}
      </p>
      <div class="studylist">
        {listed.studies.map((each) => (
          <button
            key={each.name}
            type="button"
            aria-pressed={each === chosen}
            onClick={() => adjust({ study: each.name })}
          >
            <b>{each.name}</b> <span lang="en">{each.question}</span>
          </button>
        ))}
      </div>
      {chosen && <Form study={chosen} />}
      <Heading>{t("Results")}</Heading>
      {listed.results.length ? (
        <ul class="rows">
          {listed.results.map((each) => (
            <li key={each.id}>
              <a href={write({ view: "studies", id: each.id, query: {} })}>{each.study}</a>{" "}
              <small>
                {each.kit}, {each.dictionary} ·{" "}
                {t("{n} of {all} hold", {
                  n: each.verdicts.filter((v) => v === "holds").length,
                  all: each.verdicts.length,
                })}{" "}
                · {ago(each.date, Date.now())}
              </small>
            </li>
          ))}
        </ul>
      ) : (
        <p class="note">{t("None yet.")}</p>
      )}
    </div>
  );
}

function Form({ study }: { study: StudyView }) {
  const { query } = route.value;
  const current = running.value;
  const send = (event: Event) => {
    event.preventDefault();
    void runStudy(study);
  };
  return (
    <form class="studyform" onSubmit={send}>
      <p class="note">
        {t("After")} {study.source}.
      </p>
      {study.settings.map((setting) => (
        <label key={setting.name} class="field" title={setting.help}>
          <span>
            {setting.name} <small>{setting.help}</small>
          </span>
          {setting.kind === "switch" ? (
            <input
              type="checkbox"
              checked={(query[setting.name] ?? String(setting.default)) === "true"}
              onChange={(event) => adjust({ [setting.name]: String(event.currentTarget.checked) })}
            />
          ) : (
            <input
              type={setting.kind === "text" ? "text" : "number"}
              step={setting.kind === "integer" ? 1 : "any"}
              value={query[setting.name] ?? String(setting.default ?? "")}
              placeholder={setting.optional ? t("left out") : ""}
              onInput={(event) => adjust({ [setting.name]: event.currentTarget.value })}
            />
          )}
        </label>
      ))}
      {study.lacking && (
        <p class="wrong" role="alert">
          {t("The open kit cannot answer this:")} {study.lacking}.
        </p>
      )}
      <p class="actions run">
        <button type="submit" class="main" disabled={current !== null || study.lacking !== ""}>
          {t("Run")}
        </button>
        {current && (
          <>
            <progress
              aria-label={t("Progress of the study")}
              {...(current.progress?.total ? { value: current.progress.done, max: current.progress.total } : {})}
            />
            <span class="note">{current.progress?.note}</span>
            <button type="button" onClick={cancelStudy}>
              {t("Stop")}
            </button>
          </>
        )}
      </p>
      {current && (
        <p class="note">{t("What is finished is kept: run it again with the same settings and it goes on.")}</p>
      )}
    </form>
  );
}

function Result({ view }: { view: StudyResult }) {
  return (
    <div class="page studies">
      <p class="actions">
        <a href={write({ view: "studies", id: "", query: { study: view.study } })}>{t("All studies")}</a>
        <a href={api.studyReport(view.id)} download>
          {t("Save the report")}
        </a>
      </p>
      <h1>{view.question}</h1>
      <p class="note">
        {" "}
        {view.study} · {view.kit} · {view.dictionary}
        {t(", after")} {view.source}.
      </p>
      <FindingsPart id={view.id} part="found" findings={view.found} neurons={view.neurons} />
      <h2>{t("Where it must be absent")}</h2>
      <p>
        {view.why_absent}{" "}
        {view.false_effects.length ? (
          <b class="wrong">
            {t("Effects are seen here all the same:")} {view.false_effects.join("; ")}
          </b>
        ) : (
          t("No effect is seen here.")
        )}
      </p>
      <FindingsPart id={view.id} part="absent" findings={view.absent} />
      <details>
        <summary>{t("Settings")}</summary>
        <Facts facts={Object.entries(view.config).map(([name, value]) => [name, String(value ?? t("left out"))])} />
      </details>
    </div>
  );
}

interface FindingsProps {
  id: string;
  part: "found" | "absent";
  findings: Findings;
  /** The same claims by the model's own neurons, where they were measured. */
  neurons?: ClaimView[];
}

function FindingsPart({ id, part, findings, neurons = [] }: FindingsProps) {
  const exhibits: ComponentChildren = (
    <>
      {findings.figures.map((figure) => (
        <figure key={figure.name}>
          <img src={api.studyFigure(id, part, figure.name)} alt={figure.title} />
          <figcaption class="note">
            <b>{figure.title}.</b> {figure.text}
          </figcaption>
        </figure>
      ))}
      {findings.tables.map((table) => (
        <TablePart key={table.name} table={table} />
      ))}
    </>
  );
  return (
    <>
      <ul class="claims">
        {findings.claims.map((claim, i) => (
          <Claim key={i} claim={claim} neurons={neurons[i]} />
        ))}
      </ul>
      {part === "found" ? (
        exhibits
      ) : (
        <details>
          <summary>{t("Its figures and tables")}</summary>
          {exhibits}
        </details>
      )}
    </>
  );
}

const verdictClass = (claim: ClaimView) => `verdict-${claim.verdict.replace(" ", "-")}`;

const range = (spread: ClaimView["value"]) =>
  `${amount(spread.value)} (${t("{low} to {high}", { low: amount(spread.low), high: amount(spread.high) })})`;

function Claim({ claim, neurons }: { claim: ClaimView; neurons?: ClaimView | undefined }) {
  const { value, null: none } = claim;
  return (
    <li>
      <b class={verdictClass(claim)}>{known(claim.verdict)}</b> {claim.text}
      <div class="note">
        {range(value)}
        {claim.unit && ` ${claim.unit}`}
        {t("; bar:")} {claim.bar}
        <br />
        {t("null:")} {range(none)}; {claim.null_what}
        {claim.null_bar !== "none" && t("; its own bar: {a}", { a: claim.null_bar })}
        {claim.reference && (
          <>
            <br />
            {claim.reference}
          </>
        )}
        {neurons && (
          <>
            <br />
            {t("by the model's own neurons:")} {range(neurons.value)}
            {t("; null:")} {range(neurons.null)}: <b class={verdictClass(neurons)}>{neurons.verdict}</b>
          </>
        )}
      </div>
    </li>
  );
}

function TablePart({ table }: { table: StudyTable }) {
  return (
    <details>
      <summary>{table.title}</summary>
      <div class="wide">
        <table class="numbers">
          <thead>
            <tr>
              {table.columns.map((name) => (
                <th key={name} scope="col">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {table.rows.map((row, i) => (
              <tr key={i}>
                {row.map((cell, j) => (
                  <td key={j}>{typeof cell === "number" ? amount(cell) : String(cell ?? "–")}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="note">
        {table.note}
        {table.n_rows > table.rows.length &&
          ` ${t("The first {a} of {b}.", { a: table.rows.length, b: counted(table.n_rows, "row|rows") })}`}
      </p>
    </details>
  );
}
