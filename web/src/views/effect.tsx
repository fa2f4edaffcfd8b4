// What came of edits: both texts, and for every output and every feature downstream what was predicted beside what was
// measured. It is the result of one run, and says so once something else is set.
import { useState } from "preact/hooks";
import { type EditLine, VERBS, onlyGenerated } from "../model/edits";
import { amount, count, percent, plural, points, shown, signed } from "../model/format";
import type { EffectChange, EffectView, Step } from "../types";
import { nameOf } from "../state/app";
import { effect, prompt, ran, stale, streams } from "../state/edit";
import { go } from "../state/route";
import { Bar, Few, Heading, TokenText } from "./widgets";

/** Says of what the results below are, where that is not what is set now. */
export function WhatWasRun() {
  const was = ran.value;
  if (!was) return null;
  return (
    <>
      {stale.value && (
        <p class="stale" role="status">
          Not what is set now: below is what came of {was.edits.slice(0, 3).map(words).join(", ")}
          {was.edits.length > 3 && ` and ${plural(was.edits.length - 3, "more edit")}`}
          {was.prompt !== prompt.value && (
            <>
              {" "}
              on <span class="mono">{was.prompt}</span>
            </>
          )}
          . Press Run for a new result.
        </p>
      )}
      {onlyGenerated(was.edits) && (
        <p class="note">
          These edits act on generated tokens alone: they change the text, and nothing on the prompt to be measured.
        </p>
      )}
      {effect.value !== null && effect.value.idle.length > 0 && (
        <p class="note">
          Probabilities and features are measured on the prompt, where {effect.value.idle.join(", ")} changed nothing:
          no token is generated there.
        </p>
      )}
    </>
  );
}

function words(edit: EditLine): string {
  const says = VERBS.find((each) => each.verb === edit.verb)!.says;
  return `${edit.feature}@${edit.positions}: ${says}${edit.verb === "ablate" ? "" : ` ${amount(edit.strength)}`}`;
}

export function Texts() {
  const { default: plain, edited } = streams.value!;
  return (
    <section class="texts" aria-label="Texts, default and edited">
      <Text name="Default" steps={plain} other={edited} />
      <Text name="Edited" steps={edited} other={plain} />
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
        <span class="given">{ran.value?.prompt ?? prompt.value}</span>
        {steps.map((step, i) => (
          <span key={i} class={`tok new${differs(step, i) ? " differs" : ""}`} title={`${percent(step.probability)}`}>
            {step.end === "eos" ? <small title="the text ends here"> ■</small> : <TokenText text={step.text} />}
          </span>
        ))}
      </p>
    </div>
  );
}

export function Effect({ view }: { view: EffectView }) {
  const [all, setAll] = useState(false);
  const most = Math.max(
    1e-3,
    ...view.outputs.flatMap((each) =>
      [each.measured - each.before, (each.predicted ?? each.before) - each.before].map(Math.abs),
    ),
  );
  return (
    <>
      <Heading note={view.through == null ? null : `clamped through layer ${view.through}`}>
        Next token: probability
      </Heading>
      <table class="numbers">
        <thead>
          <tr>
            <th scope="col">token</th>
            <th scope="col">before</th>
            <th scope="col">predicted</th>
            <th scope="col">measured</th>
            <th scope="col">
              <span class="unseen">change</span>
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
                    share={(each.measured - each.before) / most}
                    mark={each.predicted == null ? null : (each.predicted - each.before) / most}
                  />
                  <small>{points(each.measured - each.before)}</small>
                </div>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="note">
        Bars show the measured change, small arrows the predicted one; a whole half is {points(most).replace("+", "")}{" "}
        (percentage points).
      </p>
      {view.outputs.length > 8 && (
        <button type="button" class="more" aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? "Show fewer" : `Show all ${view.outputs.length}`}
        </button>
      )}
      <Changes view={view} />
    </>
  );
}

/** Features downstream: those that the edits set themselves are counted apart. */
function Changes({ view }: { view: EffectView }) {
  const [sort, setSort] = useState<"measured" | "missed">("measured");
  const moved = (each: EffectChange) => Math.abs(each.measured - each.before);
  const missed = (each: EffectChange) => Math.abs(each.measured - (each.predicted ?? each.before));
  const list = [...view.changes].sort((a, b) => (sort === "measured" ? moved(b) - moved(a) : missed(b) - missed(a)));
  const most = Math.max(1e-12, ...list.map(moved));
  return (
    <>
      <Heading
        note={
          <label class="inline">
            by{" "}
            <select value={sort} onChange={(event) => setSort(event.currentTarget.value as typeof sort)}>
              <option value="measured">measured change</option>
              <option value="missed">what the prediction missed</option>
            </select>
          </label>
        }
      >
        Features downstream ({view.n_changes})
      </Heading>
      {view.edited.length > 0 && (
        <p class="note tally">
          Beside {plural(view.edited.length, "activation")} that the edits set themselves
          {view.n_changes > view.changes.length && `; listed are the largest ${count(view.changes.length)}`}.
        </p>
      )}
      <div class="changehead" aria-hidden="true">
        <span>change</span>
        <span>feature</span>
        <span>before</span>
        <span>predicted</span>
        <span>measured</span>
      </div>
      <Few items={list} few={14} empty="No feature changed.">
        {(each) => <Change each={each} view={view} most={most} />}
      </Few>
    </>
  );
}

function Change({ each, view, most }: { each: EffectChange; view: EffectView; most: number }) {
  const named = nameOf(each.feature, each.label, each.label_kind);
  const position = Number(each.node.split("@")[1]);
  return (
    <button
      type="button"
      class="changerow"
      onClick={() => go("feature", each.feature)}
      title={`${each.node}: change ${signed(each.measured - each.before)}`}
    >
      <Bar
        share={(each.measured - each.before) / most}
        mark={each.predicted == null ? null : (each.predicted - each.before) / most}
      />
      <span class="what">
        {named.text || each.feature}{" "}
        <em>
          {shown(view.tokens[position] ?? "")} · {each.feature}
        </em>
      </span>
      <span class="num">{amount(each.before)}</span>
      <span class="num">{each.predicted == null ? "–" : amount(each.predicted)}</span>
      <span class="num">
        <b>{amount(each.measured)}</b>
      </span>
    </button>
  );
}
