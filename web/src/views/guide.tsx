// The guide: a page that says what will be learnt, and a coach along the bottom that teaches by doing in the real views.
import { useEffect } from "preact/hooks";
import { percent } from "../model/format";
import { GUIDES, LANGUAGES, STEPS, type Language } from "../i18n/guide";
import {
  begin,
  doIt,
  enter,
  guess,
  isDone,
  language,
  leave,
  lesson,
  outcome,
  reached,
  speak,
  stepName,
} from "../state/guide";

export function Guide() {
  const text = GUIDES[language.value];
  useEffect(leave, []);
  return (
    <div class="page guide" lang={language.value}>
      <Languages />
      <h1>{text.title}</h1>
      <p class="lead">{text.intro}</p>
      <p class="actions">
        <button type="button" class="main" onClick={begin}>
          {text.start}
        </button>
        {reached.value > 0 && (
          <button type="button" onClick={() => enter(Math.min(reached.value, STEPS.length - 1))}>
            {text.resume}
          </button>
        )}
      </p>
      <ol>
        {STEPS.map((name, i) => (
          <li key={name}>
            <button type="button" class="plain" onClick={() => enter(i)}>
              <strong>{text.steps[name].title}</strong>
            </button>
            <p>{text.steps[name].teach}</p>
          </li>
        ))}
      </ol>
    </div>
  );
}

function Languages() {
  return (
    <div class="segments" role="group" aria-label="Language">
      {(Object.keys(LANGUAGES) as Language[]).map((each) => (
        <button key={each} type="button" lang={each} aria-pressed={language.value === each} onClick={() => speak(each)}>
          {LANGUAGES[each]}
        </button>
      ))}
    </div>
  );
}

export function Coach() {
  const name = stepName.value;
  if (!name) return null;
  const text = GUIDES[language.value];
  const said = text.steps[name];
  const [at, last] = [lesson.value!, lesson.value === STEPS.length - 1];
  return (
    <section class="coach" aria-label={text.title} lang={language.value}>
      <div class="coachtext">
        <p class="kind">{text.step(at + 1, STEPS.length)}</p>
        <h2>{said.title}</h2>
        <p>{said.teach}</p>
      </div>
      <div class="coachtask" aria-live="polite">
        {said.question && <Question key={name} question={said.question} choices={said.choices!} />}
        <p class={isDone.value ? "task done" : "task"}>
          <b aria-hidden="true">{isDone.value ? "✓" : "▸"}</b> {said.task}
        </p>
        {isDone.value && <p>{said.after}</p>}
        {isDone.value && last && <p>{text.finished}</p>}
      </div>
      <div class="coachbuttons">
        {!isDone.value && (
          <button type="button" onClick={() => void doIt()}>
            {text.doIt}
          </button>
        )}
        {!last && (
          <button type="button" class={isDone.value ? "main" : ""} onClick={() => enter(at + 1)}>
            {text.next}
          </button>
        )}
        {at > 0 && (
          <button type="button" onClick={() => enter(at - 1)}>
            {text.back}
          </button>
        )}
        <button type="button" class="link" onClick={leave}>
          {last && isDone.value ? text.done : text.leave}
        </button>
      </div>
    </section>
  );
}

/** A guess before the measurement: what came of it is said in numbers. */
function Question({ question, choices }: { question: string; choices: readonly string[] }) {
  const top = outcome.value;
  const change = top ? top.measured - top.before : 0;
  const right = !top ? null : Math.abs(change) < 0.01 ? 1 : change < 0 ? 0 : 2;
  return (
    <div class="question">
      <p>{question}</p>
      <div class="segments" role="group" aria-label={question}>
        {choices.map((each, i) => (
          <button
            key={i}
            type="button"
            aria-pressed={guess.value === i}
            disabled={right !== null}
            onClick={() => (guess.value = i)}
          >
            {each}
            {right === i ? " ✓" : ""}
          </button>
        ))}
        {top && (
          <span class="note">
            {percent(top.before)} → {percent(top.measured)}
          </span>
        )}
      </div>
    </div>
  );
}
