// What an output loses with the chosen node: by the graph's effects, by the model itself, and what parts the two.
import { signed, visibleText } from "../model/format";
import { largest } from "../model/explanations";
import type { Node } from "../model/graph";
import { effects, effectsAsked, effectsWanted, explainable, shownTarget } from "../state/explanations";
import { language } from "../state/language";
import { Problem, Waiting, text } from "./explanation_parts";
import { Bar, Heading } from "./widgets";

/** The effects of a node that were answered; null where there are none, or not yet. */
export function effectsOf(node: Node) {
  const answer = effects.value?.view;
  return answer?.id === node.id ? answer : null;
}

export function NodeEffectsPart({ node }: { node: Node }) {
  if (!explainable.value) return null;
  const words = text.value;
  if (!effectsAsked.value)
    return (
      <>
        <Heading>{words.without}</Heading>
        <p class="note" lang={language.value}>
          {words.large}
        </p>
        <p class="actions">
          <button type="button" onClick={() => (effectsWanted.value = true)}>
            {words.findEffects}
          </button>
        </p>
      </>
    );
  const view = effectsOf(node);
  const problem = effects.value?.problem;
  if (view && !view.targets.length) return null;
  return (
    <section class="effects" lang={language.value} aria-label={words.without}>
      <Heading note={view && <TargetChoice targets={view.targets} />}>{words.without}</Heading>
      {view ? <Losses node={node} /> : problem ? <Problem line={problem} /> : <Waiting line={words.findingEffects} />}
    </section>
  );
}

interface Target {
  target: string;
  label: string;
}

function TargetChoice({ targets }: { targets: readonly Target[] }) {
  if (targets.length === 1) return <code>{visibleText(targets[0]!.label)}</code>;
  return (
    <label class="inline">
      <span class="unseen">{text.value.output}</span>
      <select value={shownIn(targets)?.target} onChange={(event) => (shownTarget.value = event.currentTarget.value)}>
        {targets.map(({ target, label }) => (
          <option key={target} value={target}>
            {visibleText(label)}
          </option>
        ))}
      </select>
    </label>
  );
}

function shownIn<T extends Target>(targets: readonly T[]): T | undefined {
  return targets.find((each) => each.target === shownTarget.value) ?? targets[0];
}

function Losses({ node }: { node: Node }) {
  const words = text.value;
  const shown = shownIn(effectsOf(node)!.targets)!;
  const rows = [
    [words.graph, shown.total],
    [words.live, shown.live],
    [words.errors, shown.errors],
  ] as const;
  const max = largest(...rows.map(([, value]) => value ?? 0));
  return (
    <>
      <ul class="rows">
        {rows.map(
          ([[name, meaning], value]) =>
            value !== null && (
              <li key={name} class="row three" title={meaning}>
                <Bar share={value / max} />
                <span class="what">{name}</span>
                <span class="num">{signed(value)}</span>
              </li>
            ),
        )}
      </ul>
      {shown.doubtful && shown.estimated !== null && (
        <p class="note doubtful">? {words.doubtful(signed(shown.estimated))}</p>
      )}
      {shown.live === null && <p class="note">{words.notLive}</p>}
    </>
  );
}
