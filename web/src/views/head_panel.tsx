// The panel of one head at one position: what it looks at, why it looks at one of these tokens, and what its score
// there loses without the features that matter most.
import { t } from "../i18n/text";
import { type HeadKey, byAttention, largest, writeHead } from "../model/explanations";
import { percent, rowOf, signed, visibleText } from "../model/format";
import { closeHead, look, measureLook, measuring, openHead, pattern } from "../state/explanations";
import { language } from "../state/language";
import { write } from "../state/route";
import { graph, head } from "../state/trace";
import type { LookSide, LookView, PatternView } from "../types";
import { Shaded } from "./contexts";
import { Problem, Waiting, text } from "./explanation_parts";
import { LinkRow, linkName } from "./node_rows";
import { usePanelTop } from "./panel_top";
import { Few, Heading, PlainBar, TokenText } from "./widgets";

export function HeadPanel() {
  const words = text.value;
  const key = head.value!;
  usePanelTop(`${key.layer} ${key.head}`);
  const [patternAnswer, lookAnswer] = [pattern.value, look.value];
  const problem = patternAnswer?.problem || lookAnswer?.problem;
  return (
    <div lang={language.value}>
      <p class="kind">
        <span>{words.head}</span>
        <button type="button" class="close" aria-label={words.closeHead} onClick={closeHead}>
          ✕
        </button>
      </p>
      <h2>{words.headName(key.layer, key.head)}</h2>
      <HeadForm open={key} />
      <p class="note">
        <a href={write({ view: "attention", id: graph.value!.view.id, query: { head: writeHead(key) } })}>
          {t("This head at every position, and all other heads")}
        </a>
      </p>
      {problem && <Problem line={problem} />}
      {patternAnswer?.view && <Pattern view={patternAnswer.view} shown={key.key ?? lookAnswer?.view?.key ?? -1} />}
      {lookAnswer?.view ? <Why view={lookAnswer.view} /> : !problem && <Waiting line={words.asking} />}
    </div>
  );
}

function wordAt(position: number): string {
  return visibleText(graph.value!.view.tokens[position] ?? "");
}

/** Which head, from where to where. Where it is not the model's, the server says so. */
function HeadForm({ open }: { open: HeadKey }) {
  const words = text.value;
  const { tokens, n_layers } = graph.value!.view;
  const heads = pattern.value?.view?.n_heads[open.layer];
  const set = (change: Partial<HeadKey>) => openHead({ ...open, ...change });
  const setQuery = (query: number) => set({ query, key: open.key !== null && open.key > query ? null : open.key });
  const positions = tokens.map((_, position) => position);
  return (
    <div class="headform">
      <NumberField name={words.layer} value={open.layer} most={n_layers - 1} set={(layer) => set({ layer })} />
      <NumberField
        name={words.headNumber}
        value={open.head}
        most={heads && heads - 1}
        set={(number) => set({ head: number })}
      />
      <label>
        <span>{words.from}</span>
        <select aria-label={words.from} value={open.query} onChange={(event) => setQuery(+event.currentTarget.value)}>
          {positions.map((position) => (
            <option key={position} value={position}>
              {position} {wordAt(position)}
            </option>
          ))}
        </select>
      </label>
      <label>
        <span>{words.to}</span>
        <select
          aria-label={words.to}
          value={open.key ?? ""}
          onChange={(event) => set({ key: event.currentTarget.value === "" ? null : +event.currentTarget.value })}
        >
          <option value="">{words.most}</option>
          {positions.slice(0, open.query + 1).map((position) => (
            <option key={position} value={position}>
              {position} {wordAt(position)}
            </option>
          ))}
        </select>
      </label>
    </div>
  );
}

function NumberField({
  name,
  value,
  most,
  set,
}: {
  name: string;
  value: number;
  most: number | undefined;
  set: (value: number) => void;
}) {
  return (
    <label>
      <span>{name}</span>
      <input
        type="number"
        min={0}
        max={most}
        value={value}
        onChange={(event) => {
          const next = Math.round(event.currentTarget.valueAsNumber);
          if (next >= 0) set(next);
          else event.currentTarget.value = String(value);
        }}
      />
    </label>
  );
}

function Pattern({ view, shown }: { view: PatternView; shown: number }) {
  const words = text.value;
  const row = rowOf(graph.value!.view).slice(0, view.query + 1);
  return (
    <>
      <Heading note={words.patternFrom(wordAt(view.query))}>{words.pattern}</Heading>
      <p class="pattern">
        <Shaded tokens={row} activations={view.weights} max={1} scale="root" underlined={shown} />
      </p>
      <Few items={byAttention(view.weights, view.query)} few={5}>
        {(position) => (
          <button
            type="button"
            class="row three"
            aria-pressed={position === shown}
            onClick={() => openHead({ ...head.peek()!, key: position })}
          >
            <PlainBar share={view.weights[position]!} />
            <span class="what mono">
              <TokenText text={graph.value!.view.tokens[position] ?? ""} /> <em>{position}</em>
            </span>
            <span class="num">{percent(view.weights[position])}</span>
          </button>
        )}
      </Few>
    </>
  );
}

function Why({ view }: { view: LookView }) {
  const words = text.value;
  const sides = [view.query_side, view.key_side];
  const max = largest(...sides.flatMap((side) => side.sources.flatMap((each) => [each.value, each.effect])));
  return (
    <>
      <Heading>{words.why(wordAt(view.key))}</Heading>
      <p class="note">{words.contrast(signed(view.contrast), view.n_others, percent(view.weight))}</p>
      <Side title={words.querySide} side={view.query_side} sum={view.contrast} max={max} />
      <Side title={words.keySide} side={view.key_side} sum={view.contrast} max={max} />
      <Ablations view={view} />
    </>
  );
}

function Side({ title, side, sum, max }: { title: string; side: LookSide; sum: number; max: number }) {
  const words = text.value;
  const names = graph.value!.view.offset_names;
  const others = [
    [words.rest, side.rest] as const,
    ...side.offsets.map((value, i) => [words.offsets[names[i] ?? ""] ?? names[i] ?? "", value] as const),
  ].filter(([, value]) => value !== 0);
  return (
    <>
      <Heading note={<span title={words.effectMeans}>{words.valueAndEffect}</span>}>{title}</Heading>
      <Few items={side.sources} few={7} empty={words.nothingSpeaks}>
        {(each) => (
          <LinkRow
            id={each.id}
            {...linkName(each.id, each.label, each.label_kind)}
            weight={each.value}
            mark={each.effect}
            numbers={[signed(each.value), signed(each.effect)]}
            max={max}
            shown={graph.value!.byId.has(each.id)}
          />
        )}
      </Few>
      <p class="split">
        {others.map(([name, value]) => (
          <span key={name}>
            {name} <b>{signed(value)}</b>
          </span>
        ))}
        <span>
          {words.sum} <b>{signed(sum)}</b>
        </span>
      </p>
    </>
  );
}

function Ablations({ view }: { view: LookView }) {
  const words = text.value;
  const measured = view.ablations.some((each) => each.measured !== null);
  const max = largest(...view.ablations.flatMap((each) => [each.predicted, each.measured ?? 0]));
  return (
    <>
      <Heading note={words.predictedAndMeasured}>{words.loses}</Heading>
      <Few items={view.ablations} few={8} empty={words.nothingBefore}>
        {(each) => (
          <LinkRow
            id={each.id}
            {...linkName(each.id, each.label, each.label_kind)}
            weight={each.measured ?? each.predicted}
            mark={each.measured === null ? null : each.predicted}
            numbers={[signed(each.predicted), each.measured === null ? "–" : signed(each.measured)]}
            max={max}
            shown={graph.value!.byId.has(each.id)}
          />
        )}
      </Few>
      {view.ablations.length > 0 && !measured && (
        <p class="actions">
          <button type="button" disabled={measuring.value} onClick={() => void measureLook()}>
            {measuring.value ? words.measuring : words.measure}
          </button>
        </p>
      )}
    </>
  );
}
