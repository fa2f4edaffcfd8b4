// The first view of a traced prompt: the sentence, what was measured of it, and the circuit in a few named groups.
import { useEffect } from "preact/hooks";
import { t } from "../i18n/text";
import { percent } from "../model/format";
import type { CircuitView } from "../types";
import { language } from "../state/language";
import {
  chooseGroup,
  chosenGroup,
  circuit,
  circuitProblem,
  groupName,
  loadSaved,
  measuring,
  pane,
} from "../state/circuit";
import { graph } from "../state/trace";
import { CircuitFigure } from "./circuit_figure";
import { CircuitPanel } from "./circuit_panel";
import { TokenRow } from "./explain_following";

export function Explanation() {
  const view = circuit.value;
  const id = graph.value?.view.id;
  useEffect(() => void loadSaved(), [id]);
  if (!view)
    return (
      <div class="nocircuit">
        {circuitProblem.value ? (
          <>
            <p class="wrong" role="alert">
              {t("There is no explanation in groups: {reason}", { reason: circuitProblem.value })}
            </p>
            <p>
              <button type="button" class="link" onClick={() => (pane.value = "graph")}>
                {t("Show the graph of its features")}
              </button>
            </p>
          </>
        ) : (
          <p class="waiting" role="status">
            {t("Reading the graph into groups, and measuring each…")}
          </p>
        )}
      </div>
    );
  return (
    <div class="split2">
      <section class="explanation" aria-busy={measuring.value} aria-label={t("Explanation")}>
        <Sentence view={view} />
        <Measured view={view} />
        <TokenRow />
        <CircuitFigure view={view} />
        <p class="note legendline">
          {t(
            "Bars: how likely {answer} still is without the group, and with the group alone. ▾ without random features of the same size and place. Lines: how much of what they lead to goes with their source, measured over all paths.",
            { answer: `‘${view.answer}’` },
          )}
        </p>
      </section>
      <CircuitPanel view={view} />
    </div>
  );
}

/** The sentence; each group that it tells of is a button. */
function Sentence({ view }: { view: CircuitView }) {
  const parts = view.sentence[language.value].split("*");
  return (
    <h2 class="sentence" id="sentence">
      {parts.map((part, i) => (i % 2 ? <Named key={i} name={part} view={view} /> : part))}
    </h2>
  );
}

function Named({ name, view }: { name: string; view: CircuitView }) {
  const group =
    view.groups.find((each) => groupName(each) === name) ??
    view.groups.find((each) => each.told && groupName(each).startsWith(name));
  if (!group) return <em>{name}</em>;
  return (
    <button
      type="button"
      class="link"
      aria-pressed={chosenGroup.value === group.id}
      onClick={() => chooseGroup(chosenGroup.value === group.id ? "" : group.id)}
    >
      {name}
    </button>
  );
}

function Measured({ view }: { view: CircuitView }) {
  const facts = [
    [t("the answer"), view.answer, percent(view.probability)],
    [t("without all {n} groups", { n: view.groups.length }), "", percent(view.without)],
    [t("without random features instead"), "", view.random.mean === null ? "–" : percent(view.random.mean)],
    [t("with everything else ablated"), "", percent(view.alone)],
    [t("of the influence in groups"), "", percent(view.coverage)],
  ] as const;
  return (
    <dl class="measured">
      {facts.map(([name, word, value]) => (
        <div key={name}>
          <dd>
            {word && <span class="mono">{word}</span>} {value}
          </dd>
          <dt>{name}</dt>
        </div>
      ))}
      {measuring.value && (
        <div role="status" class="busy">
          <progress aria-label={t("Measuring")} />
        </div>
      )}
    </dl>
  );
}
