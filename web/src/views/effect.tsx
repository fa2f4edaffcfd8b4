// The results of edits: both texts, and the predicted and measured change of every output and every downstream feature.
// When the form has changed since the run, a line above says which edits the results belong to.
import { counted, t } from "../i18n/text";
import { useState } from "preact/hooks";
import { type EditLine, VERBS, onlyGenerated } from "../model/edits";
import { amount, count, percent, points, visibleText, signed } from "../model/format";
import type { EffectChange, EffectView, Step } from "../types";
import { nameOf, textStart } from "../state/app";
import { addBos, effect, prompt, lastRun, stale, streams } from "../state/edit";
import { go } from "../state/route";
import { Bar, Few, Heading, TokenText } from "./widgets";

/** Names the edits of the results, if they differ from the form, and those that had no effect on the prompt. */
export function WhatWasRun() {
  const run = lastRun.value;
  if (!run) return null;
  return (
    <>
      {stale.value && (
        <p class="stale" role="status">
          {t("Not what is set now: below is what came of")} {run.edits.slice(0, 3).map(describeEdit).join(", ")}
          {run.edits.length > 3 && t(" and {a}", { a: counted(run.edits.length - 3, "more edit|more edits") })}
          {run.prompt !== prompt.value && (
            <>
              {" "}
              {t("on")} <span class="mono">{run.prompt}</span>
            </>
          )}
          {run.addBos !== addBos.value && (
            <>
              {` ${t(run.addBos ? "with" : "without")} `}
              <code>{textStart.value}</code> {t("in front")}
            </>
          )}
          {t(". Press Run for a new result.")}
        </p>
      )}
      {onlyGenerated(run.edits) && (
        <p class="note">
          {t(
            "These edits act on generated tokens alone: they change the text, and nothing on the prompt to be measured.",
          )}
        </p>
      )}
      {effect.value !== null && effect.value.idle.length > 0 && (
        <p class="note">
          {t("Probabilities and features are measured on the prompt, where")} {effect.value.idle.join(", ")}{" "}
          {t("changed nothing: no token is generated there.")}
        </p>
      )}
    </>
  );
}

function describeEdit(edit: EditLine): string {
  const phrase = t(VERBS.find((each) => each.verb === edit.verb)!.phrase);
  return `${edit.feature}@${edit.positions}: ${phrase}${edit.verb === "ablate" ? "" : ` ${amount(edit.strength)}`}`;
}

export function Texts() {
  const { default: plain, edited } = streams.value!;
  return (
    <section class="texts" aria-label={t("Texts, default and edited")}>
      <Text name={t("Default")} steps={plain} other={edited} />
      <Text name={t("Edited")} steps={edited} other={plain} />
    </section>
  );
}

function Text({ name, steps, other }: { name: string; steps: readonly Step[]; other: readonly Step[] }) {
  const differs = (step: Step, i: number) =>
    other[i] !== undefined && (other[i].token_id !== step.token_id || other[i].text !== step.text);
  return (
    <div>
      <h3>{name}</h3>
      <p class="stream">
        <span class="given">{lastRun.value?.prompt ?? prompt.value}</span>
        {steps.map((step, i) => (
          <span key={i} class={`tok new${differs(step, i) ? " differs" : ""}`} title={`${percent(step.probability)}`}>
            {step.end === "eos" ? <small title={t("the text ends here")}> ■</small> : <TokenText text={step.text} />}
          </span>
        ))}
      </p>
    </div>
  );
}

export function Effect({ view }: { view: EffectView }) {
  const [all, setAll] = useState(false);
  const max = Math.max(
    1e-3,
    ...view.outputs.flatMap((output) =>
      [output.measured - output.before, (output.predicted ?? output.before) - output.before].map(Math.abs),
    ),
  );
  return (
    <>
      <Heading note={view.through == null ? null : t("clamped through layer {a}", { a: view.through })}>
        {t("Next token: probability")}
      </Heading>
      <table class="numbers">
        <thead>
          <tr>
            <th scope="col">{t("token")}</th>
            <th scope="col">{t("before")}</th>
            <th scope="col">{t("predicted")}</th>
            <th scope="col">{t("measured")}</th>
            <th scope="col">
              <span class="unseen">{t("change")}</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {(all ? view.outputs : view.outputs.slice(0, 8)).map((each) => (
            <tr key={each.token_id}>
              <th scope="row" class="mono">
                <TokenText text={each.token} />
              </th>
              <td>{percent(each.before)}</td>
              <td>{each.predicted == null ? "–" : percent(each.predicted)}</td>
              <td>
                <b>{percent(each.measured)}</b>
              </td>
              <td class="barcell">
                <div>
                  <Bar
                    share={(each.measured - each.before) / max}
                    mark={each.predicted == null ? null : (each.predicted - each.before) / max}
                  />
                  <small>{points(each.measured - each.before)}</small>
                </div>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="note">
        {" "}
        {t("Bars show the measured change, small arrows the predicted one; a whole half is {a} (percentage points).", {
          a: points(max).replace("+", ""),
        })}
      </p>
      {view.outputs.length > 8 && (
        <button type="button" class="more" aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? t("Show fewer") : t("Show all {a}", { a: view.outputs.length })}
        </button>
      )}
      <Changes view={view} />
    </>
  );
}

/** Downstream features. Activations that the edits set themselves are not listed. */
function Changes({ view }: { view: EffectView }) {
  const [sort, setSort] = useState<"measured" | "missed">("measured");
  const moved = (each: EffectChange) => Math.abs(each.measured - each.before);
  const missed = (each: EffectChange) => Math.abs(each.measured - (each.predicted ?? each.before));
  const list = [...view.changes].sort((a, b) => (sort === "measured" ? moved(b) - moved(a) : missed(b) - missed(a)));
  const max = Math.max(1e-12, ...list.map(moved));
  return (
    <>
      <Heading
        note={
          <label class="inline">
            {" "}
            {t("by what")}{" "}
            <select value={sort} onChange={(event) => setSort(event.currentTarget.value as typeof sort)}>
              <option value="measured">{t("measured change")}</option>
              <option value="missed">{t("what the prediction missed")}</option>
            </select>
          </label>
        }
      >
        {" "}
        {t("Features downstream ({n})", { n: view.n_changes })}
      </Heading>
      {view.edited.length > 0 && (
        <p class="note tally">
          {t("Beside")} {counted(view.edited.length, "activation|activations")} {t("that the edits set themselves")}
          {view.n_changes > view.changes.length && t("; listed are the largest {a}", { a: count(view.changes.length) })}
          .
        </p>
      )}
      <div class="changehead" aria-hidden="true">
        <span>{t("change")}</span>
        <span>{t("feature")}</span>
        <span>{t("before")}</span>
        <span>{t("predicted")}</span>
        <span>{t("measured")}</span>
      </div>
      <Few items={list} few={14} empty={t("No feature changed.")}>
        {(each) => <Change change={each} view={view} max={max} />}
      </Few>
    </>
  );
}

function Change({ change, view, max }: { change: EffectChange; view: EffectView; max: number }) {
  const named = nameOf(change.feature, change.label, change.label_kind);
  const position = Number(change.node.split("@")[1]);
  return (
    <button
      type="button"
      class="changerow"
      onClick={() => go("feature", change.feature)}
      title={t("{a}: change {b}", { a: change.node, b: signed(change.measured - change.before) })}
    >
      <Bar
        share={(change.measured - change.before) / max}
        mark={change.predicted == null ? null : (change.predicted - change.before) / max}
      />
      <span class="what">
        {named.text || change.feature}{" "}
        <em>
          {visibleText(view.tokens[position] ?? "")} · {change.feature}
        </em>
      </span>
      <span class="num">{amount(change.before)}</span>
      <span class="num">{change.predicted == null ? "–" : amount(change.predicted)}</span>
      <span class="num">
        <b>{amount(change.measured)}</b>
      </span>
    </button>
  );
}
