// The panel of one edge: which heads carry its value, what passes them by, and the steps from its value to its effect.
import { largest } from "../model/explanations";
import { signed, visibleText } from "../model/format";
import { closeEdge, edgeDetail, openHead } from "../state/explanations";
import { language } from "../state/language";
import { chooseNode, edge, graph } from "../state/trace";
import type { EdgeDetail, EdgeStep } from "../types";
import { Problem, Waiting, text } from "./explanation_parts";
import { linkName, preview } from "./node_rows";
import { usePanelTop } from "./panel_top";
import { Bar, Facts, Few, Heading } from "./widgets";

export function EdgePanel() {
  const words = text.value;
  const { source, target } = edge.value!;
  usePanelTop(`${source} ${target}`);
  const answer = edgeDetail.value;
  const ends = answer?.view ?? { source: nameless(source), target: nameless(target) };
  return (
    <div lang={language.value}>
      <p class="kind">
        <span>{words.edge}</span>
        <button type="button" class="close" aria-label={words.closeEdge} onClick={closeEdge}>
          ✕
        </button>
      </p>
      <h2 class="ends">
        <End end={ends.source} /> <span aria-hidden="true">→</span> <End end={ends.target} />
      </h2>
      {answer?.view ? (
        <Parts view={answer.view} />
      ) : answer?.problem ? (
        <Problem line={answer.problem} />
      ) : (
        <Waiting line={words.asking} />
      )}
    </div>
  );
}

type Named = EdgeDetail["source"];

function nameless(id: string): Named {
  return { id, label: "", label_kind: "" };
}

function End({ end }: { end: Named }) {
  const { name, place } = linkName(end.id, end.label, end.label_kind);
  return (
    <button type="button" class="link" title={end.id} onClick={() => chooseNode(end.id)} {...preview(end.id)}>
      {name} <em>{place}</em>
    </button>
  );
}

function Parts({ view }: { view: EdgeDetail }) {
  const words = text.value;
  const max = largest(view.value, ...view.heads.map((each) => each.value));
  return (
    <>
      <Facts
        facts={[
          [words.value[0], signed(view.value), words.value[1]],
          [words.effect[0], signed(view.effect), words.effect[1]],
        ]}
      />
      <Heading note={view.heads.length > 0 && words.headsNote}>{words.heads}</Heading>
      <Few items={view.heads} few={8} empty={words.noHeads}>
        {({ layer, head, value }) => (
          <HeadRow name={`L${layer}H${head}`} layer={layer} head={head} value={value} max={max} view={view} />
        )}
      </Few>
      {view.stream.length > 0 && <Heading note={words.streamNote}>{words.stream}</Heading>}
      <Few items={view.stream} few={6}>
        {({ layer, value }) => (
          <PlainRow name={`${words.layer} ${layer}`} note={words.streamRow} value={value} max={max} />
        )}
      </Few>
      <Steps view={view} />
    </>
  );
}

function Steps({ view }: { view: EdgeDetail }) {
  const words = text.value;
  const max = largest(view.value, view.effect, ...view.steps.map((step) => step.value));
  return (
    <>
      <Heading note={words.stepsNote}>{words.steps}</Heading>
      <PlainRow name={words.value[0]} value={view.value} max={max} />
      <Few items={view.steps} few={8}>
        {(step) => <StepRow step={step} view={view} max={max} />}
      </Few>
      <PlainRow name={words.effect[0]} value={view.effect} max={max} />
    </>
  );
}

function StepRow({ step, view, max }: { step: EdgeStep; view: EdgeDetail; max: number }) {
  const { layer, head, name, value } = step;
  if (typeof layer !== "number" || typeof head !== "number") return <PlainRow name={name} value={value} max={max} />;
  return <HeadRow name={name} layer={layer} head={head} value={value} max={max} view={view} />;
}

/** A head's part of an edge; a click opens the head, looking from the edge's target at its source. */
function HeadRow({
  name,
  layer,
  head,
  value,
  max,
  view,
}: {
  name: string;
  layer: number;
  head: number;
  value: number;
  max: number;
  view: EdgeDetail;
}) {
  const { query, key } = view;
  const word = visibleText(graph.value!.view.tokens[query] ?? "");
  return (
    <button type="button" class="row three" onClick={() => openHead({ layer, head, query, key })}>
      <Bar share={value / max} />
      <span class="what">
        {name} <em>{text.value.patternFrom(word)}</em>
      </span>
      <span class="num">{signed(value)}</span>
    </button>
  );
}

function PlainRow({ name, note, value, max }: { name: string; note?: string; value: number; max: number }) {
  return (
    <div class="row three">
      <Bar share={value / max} />
      <span class="what">
        {name} {note && <em>{note}</em>}
      </span>
      <span class="num">{signed(value)}</span>
    </div>
  );
}
