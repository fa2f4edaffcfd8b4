// Compares the graphs of two prompts: aligned tokens, answers, and the influence of every feature in both.
import { t } from "../i18n/text";
import { useEffect, useState } from "preact/hooks";
import { api } from "../api_client";
import { amount, percent, rowOf, visibleText } from "../model/format";
import type { CompareView, ComparedFeature } from "../types";
import { nameOf } from "../state/app";
import { entries, loadHistory, trace, tracing } from "../state/prompting";
import { adjust, go, route } from "../state/route";
import { graphId } from "../state/trace";
import { alignedColumns } from "./token_alignment";
import { Difference } from "./difference";
import { SmallGraph } from "./small_graph";
import { StartSwitch } from "./start_switch";
import { Few, Heading, KindMark, TokenText } from "./widgets";

type Filter = "all" | ComparedFeature["where"];

export function Compare() {
  const { a, b, which } = route.value.query;
  const [view, setView] = useState<CompareView | null>(null);
  const [wrong, setWrong] = useState("");
  const filter = (["only_a", "shared", "only_b"].includes(which ?? "") ? which : "all") as Filter;
  useEffect(() => void fillIn(), []);
  useEffect(() => {
    let active = true;
    setView(null);
    setWrong("");
    if (a && b)
      api.compare(a, b).then(
        (answer) => active && setView(answer),
        (error: unknown) => active && setWrong(error instanceof Error ? error.message : String(error)),
      );
    return () => (active = false);
  }, [a, b]);
  return (
    <div class="page compare">
      <h1>{t("Compare")}</h1>
      <div class="pair">
        <Side name="A" id={a ?? ""} set={(id) => adjust({ a: id })} />
        <button
          type="button"
          class="icon"
          aria-label={t("Swap A and B")}
          title={t("Swap")}
          onClick={() => adjust({ a: b ?? "", b: a ?? "" })}
        >
          ⇄
        </button>
        <Side name="B" id={b ?? ""} set={(id) => adjust({ b: id })} />
      </div>
      {view ? (
        <Compared view={view} filter={filter} setFilter={(next) => adjust({ which: next === "all" ? "" : next })} />
      ) : wrong ? (
        <p class="wrong" role="alert">
          {wrong}. {t("Give another prompt above.")}
        </p>
      ) : (
        <p class="hint">
          {a && b
            ? t("Comparing…")
            : a
              ? t(
                  "A is the graph you looked at. Give B a prompt that differs from it in one thing: a persona, a country, a word. What changed inside will stand below, by influence.",
                )
              : t(
                  "Give two prompts that differ in one thing: a persona, a country, a word. What changed inside will stand below, by influence.",
                )}
        </p>
      )}
    </div>
  );
}

/** Puts the open graph and the latest graph of another prompt into an empty view. */
async function fillIn(): Promise<void> {
  await loadHistory();
  const { a, b } = route.peek().query;
  if (a || b || route.peek().view !== "compare") return;
  const first = entries.peek().find((each) => each.id === graphId.peek()) ?? entries.peek()[0];
  const second = entries.peek().find((each) => each.prompt !== first?.prompt && each.of_kit === first?.of_kit);
  adjust({ a: first?.id ?? "", b: second?.id ?? "" });
}

function Side({ name, id, set }: { name: string; id: string; set: (id: string) => void }) {
  const entry = entries.value.find((each) => each.id === id);
  const [text, setText] = useState("");
  const [withBos, setWithBos] = useState(true);
  useEffect(() => {
    if (!entry) return;
    setText(entry.prompt);
    setWithBos(entry.add_bos);
  }, [entry?.id]);
  const send = async (event: Event) => {
    event.preventDefault();
    const existing = entries.value.find((each) => each.prompt === text && each.add_bos === withBos && each.of_kit);
    const graph = existing ? existing.id : await trace(text, withBos);
    if (graph) set(graph);
  };
  return (
    <form class="side" onSubmit={(event) => void send(event)}>
      <label class="field">
        <span>{name}</span>
        <input
          type="text"
          class="prompt"
          value={text}
          list="earlier"
          placeholder={t("A prompt; Enter traces it")}
          autocomplete="off"
          spellcheck={false}
          onInput={(event) => setText(event.currentTarget.value)}
        />
      </label>
      <datalist id="earlier">
        {earlierPrompts(30).map((each) => (
          <option key={each} value={each} />
        ))}
      </datalist>
      <button type="submit" disabled={!text.trim() || tracing.value !== null}>
        {tracing.value ? "…" : t("Trace")}
      </button>
      {entry && (
        <button type="button" class="link" onClick={() => go("trace", entry.id)}>
          {t("open")}
        </button>
      )}
      <StartSwitch on={withBos} set={setWithBos} />
    </form>
  );
}

/** The prompts of the latest graphs of the kit, each once. */
function earlierPrompts(most: number): string[] {
  return [...new Set(entries.value.filter((each) => each.of_kit).map((each) => each.prompt))].slice(0, most);
}

function Compared({
  view,
  filter,
  setFilter,
}: {
  view: CompareView;
  filter: Filter;
  setFilter: (filter: Filter) => void;
}) {
  const all: readonly ComparedFeature[] = view.features;
  const list = filter === "all" ? all : all.filter((each) => each.where === filter);
  const max = Math.max(1e-12, ...all.map((each) => Math.max(each.influence_a ?? 0, each.influence_b ?? 0)));
  const kinds: [Filter, string][] = [
    ["all", t("All")],
    ["only_a", t("Only in A ({a})", { a: view.n_only_a })],
    ["shared", t("In both ({a})", { a: view.n_shared })],
    ["only_b", t("Only in B ({a})", { a: view.n_only_b })],
  ];
  return (
    <>
      <h2 class="unseen">{t("What differs")}</h2>
      <Aligned view={view} />
      <Heading note={t("probability")}>{t("Answers")}</Heading>
      <table class="numbers answers">
        <thead>
          <tr>
            <th scope="col">A</th>
            <th scope="col">
              <span class="unseen">{t("token")}</span>
            </th>
            <th scope="col">B</th>
          </tr>
        </thead>
        <tbody>
          {likeliest(view).map((each) => (
            <tr key={each.label}>
              <td>
                <Mirror share={each.probability_a ?? 0} left />
                {percent(each.probability_a)}
              </td>
              <th scope="row" class="mono">
                <TokenText text={each.label} />
              </th>
              <td>
                {percent(each.probability_b)}
                <Mirror share={each.probability_b ?? 0} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <Difference compared={view} />
      <div class="smallpair">
        <SmallGraph name="A" id={view.a.id} />
        <SmallGraph name="B" id={view.b.id} />
      </div>
      <Heading
        note={t("features in both hold {a} of the influence in A, {b} in B", {
          a: percent(view.influence_a.shared),
          b: percent(view.influence_b.shared),
        })}
      >
        {t("Features, the largest change first")}
      </Heading>
      <div class="segments" role="group" aria-label={t("Which features")}>
        {kinds.map(([name, title]) => (
          <button key={name} type="button" aria-pressed={filter === name} onClick={() => setFilter(name)}>
            {title}
          </button>
        ))}
      </div>
      <div class="comparehead" aria-hidden="true">
        <span>{t("influence in A")}</span>
        <span>{t("feature")}</span>
        <span>{t("influence in B")}</span>
      </div>
      <Few items={list} few={30} empty={t("None.")}>
        {(each) => <Row feature={each} view={view} max={max} />}
      </Few>
    </>
  );
}

function likeliest(view: CompareView) {
  const larger = (each: CompareView["outputs"][number]) => Math.max(each.probability_a ?? 0, each.probability_b ?? 0);
  return [...view.outputs].sort((a, b) => larger(b) - larger(a)).slice(0, 6);
}

function Row({ feature: each, view, max }: { feature: ComparedFeature; view: CompareView; max: number }) {
  const named = nameOf(each.feature, each.label, each.label_kind);
  const position = each.position_a ?? each.position_b ?? 0;
  const word = each.position_a != null ? view.a.tokens[position] : view.b.tokens[position];
  const sign = each.where === "only_a" ? "− " : each.where === "only_b" ? "+ " : "";
  const title = t("{a}: activation {b} in A, {c} in B", {
    a: each.feature,
    b: amount(each.activation_a),
    c: amount(each.activation_b),
  });
  return (
    <button type="button" class={`comparerow ${each.where}`} title={title} onClick={() => go("feature", each.feature)}>
      <span class="left">
        <span class="num">{each.influence_a == null ? t("absent") : percent(each.influence_a)}</span>
        <Mirror share={(each.influence_a ?? 0) / max} left />
      </span>
      <span class="what">
        {sign}
        {named.text || each.feature} <KindMark kind={named.kind} />{" "}
        <em>
          {visibleText(word ?? "")} · {each.feature}
        </em>
      </span>
      <span class="right">
        <Mirror share={(each.influence_b ?? 0) / max} />
        <span class="num">{each.influence_b == null ? t("absent") : percent(each.influence_b)}</span>
      </span>
    </button>
  );
}

function Mirror({ share, left = false }: { share: number; left?: boolean }) {
  return (
    <span class={`mirror${left ? " left" : ""}`} aria-hidden="true">
      <i style={{ width: `${Math.min(100, 100 * share)}%` }} />
    </span>
  );
}

/** Both prompts in columns; aligned tokens share one. */
function Aligned({ view }: { view: CompareView }) {
  const columns = alignedColumns(view.a.tokens.length, view.b.tokens.length, view.aligned);
  const [rowA, rowB] = [rowOf(view.a), rowOf(view.b)];
  return (
    <div class="aligned" role="img" aria-label={t("{a} aligned tokens", { a: view.aligned.length })}>
      {columns.map(([a, b], i) => {
        const same = a !== null && b !== null && view.a.tokens[a] === view.b.tokens[b];
        return (
          <div key={i} class={same ? "same" : ""}>
            <span>{a === null ? "" : <TokenText text={rowA[a] ?? ""} />}</span>
            <span>{b === null ? "" : <TokenText text={rowB[b] ?? ""} />}</span>
          </div>
        );
      })}
    </div>
  );
}
