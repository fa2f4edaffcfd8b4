// The guide: a page with an overview of the steps, and a coach at the bottom that leads through them in the real views.
import { t } from "../i18n/text";
import { useEffect } from "preact/hooks";
import { percent } from "../model/format";
import { GUIDES } from "../i18n/guide";
import { STEPS } from "../i18n/guide_steps";
import { LANGUAGES, language, setLanguage, type Language } from "../state/language";
import {
  startGuide,
  doStep,
  enterStep,
  guess,
  isDone,
  leaveGuide,
  currentStep,
  answerChange,
  furthestStep,
  stepName,
} from "../state/guide";

export function Guide() {
  const text = GUIDES[language.value];
  useEffect(leaveGuide, []);
  return (
    <div class="page guide" lang={language.value}>
      <Languages />
      <h1>{text.title}</h1>
      <p class="lead">{text.intro}</p>
      <p class="actions">
        <button type="button" class="main" onClick={startGuide}>
          {text.start}
        </button>
        {furthestStep.value > 0 && (
          <button type="button" onClick={() => enterStep(Math.min(furthestStep.value, STEPS.length - 1))}>
            {text.resume}
          </button>
        )}
      </p>
      <ol>
        {STEPS.map((name, i) => (
          <li key={name}>
            <button type="button" class="plain" onClick={() => enterStep(i)}>
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
    <div class="segments" role="group" aria-label={t("Language")}>
      {(Object.keys(LANGUAGES) as Language[]).map((each) => (
        <button
          key={each}
          type="button"
          lang={each}
          aria-pressed={language.value === each}
          onClick={() => setLanguage(each)}
        >
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
  const step = text.steps[name];
  const [stepIndex, isLast] = [currentStep.value!, currentStep.value === STEPS.length - 1];
  return (
    <section class="coach" aria-label={text.title} lang={language.value}>
      <div class="coachtext">
        <p class="kind">{text.step(stepIndex + 1, STEPS.length)}</p>
        <h2>{step.title}</h2>
        <p>{step.teach}</p>
      </div>
      <div class="coachtask" aria-live="polite">
        {step.question && <Question key={name} question={step.question} choices={step.choices!} />}
        <p class={isDone.value ? "task done" : "task"}>
          <b aria-hidden="true">{isDone.value ? "✓" : "▸"}</b> {step.task}
        </p>
        {isDone.value && <p>{step.after}</p>}
        {isDone.value && isLast && <p>{text.finished}</p>}
      </div>
      <div class="coachbuttons">
        {!isDone.value && (
          <button type="button" onClick={() => void doStep()}>
            {text.doIt}
          </button>
        )}
        {!isLast && (
          <button type="button" class={isDone.value ? "main" : ""} onClick={() => enterStep(stepIndex + 1)}>
            {text.next}
          </button>
        )}
        {stepIndex > 0 && (
          <button type="button" onClick={() => enterStep(stepIndex - 1)}>
            {text.back}
          </button>
        )}
        <button type="button" class="link" onClick={leaveGuide}>
          {isLast && isDone.value ? text.done : text.leave}
        </button>
      </div>
    </section>
  );
}

/** A question to answer before the measurement. The measured change then marks the right choice. */
function Question({ question, choices }: { question: string; choices: readonly string[] }) {
  const top = answerChange.value;
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
