// What every head of the model looks at in one prompt: a grid of heads to choose from, and the chosen head as a matrix of
// queries and keys or as lines between tokens. Query and key stand in the address, so that a link shows the same pair.
import { useEffect, useMemo } from "preact/hooks";
import { t } from "../i18n/text";
import { type HeadPattern, type Pair, attentionWeight, queryWeights } from "../model/attention";
import { type HeadKey, byAttention, readHead, writeHead } from "../model/explanations";
import { percent, rowOf, visibleText } from "../model/format";
import { attention, attentionProblem, loadAttention, patternKey, pointed } from "../state/attention";
import { adjust, route, write } from "../state/route";
import { AttentionPlot } from "./attention_plot";
import { HeadGrid } from "./head_grid";
import { Shaded } from "./contexts";
import { Few, Heading, PlainBar, TokenText } from "./widgets";

export function Attention() {
  const { id, query } = route.value;
  const open = readHead(query["head"]);
  const { layer, head } = open ?? { layer: 0, head: 0 };
  useEffect(() => {
    const request = new AbortController();
    pointed.value = null;
    void loadAttention(id, { layer, head }, request.signal);
    return () => request.abort();
  }, [id, layer, head]);
  const view = attention.value?.graph === id ? attention.value : null;
  const pattern = view?.patterns.get(patternKey(layer, head));
  return (
    <div class="page attention">
      <p class="crumbs">
        <a href={write({ view: "trace", id, query: { pane: "graph", head: writeHead(open) } })}>
          {t("Back to the graph")}
        </a>
      </p>
      <h1>{view ? t("Attention on {a}", { a: view.tokens.join("").trim().slice(0, 80) }) : t("Attention")}</h1>
      {attentionProblem.value && (
        <p class="note wrong" role="alert">
          {t("The graph was made with another kit or is not in the workspace: {a}", { a: attentionProblem.value })}
        </p>
      )}
      {view && (
        <div class="attentionsplit">
          <HeadGrid view={view} open={{ layer, head }} choose={(next) => choose({ ...chosenPair(), ...next })} />
          {pattern ? (
            <OpenHead layer={layer} head={head} pattern={pattern} />
          ) : (
            <p class="waiting" role="status">
              {t("Loading layer {a}…", { a: layer })}
            </p>
          )}
        </div>
      )}
      {!view && !attentionProblem.value && (
        <p class="waiting" role="status">
          {t("Loading layer {a}…", { a: layer })}
        </p>
      )}
    </div>
  );
}

function choose(key: HeadKey): void {
  adjust({ head: writeHead(key) });
}

/** The head and the pair in the address; without one, the last token. */
function chosenPair(): HeadKey {
  const last = (attention.peek()?.tokens.length ?? 1) - 1;
  const open = readHead(route.peek().query["head"]) ?? { layer: 0, head: 0, query: last, key: null };
  const query = Math.min(open.query, last);
  return { ...open, query, key: open.key === null ? null : Math.min(open.key, query) };
}

function OpenHead({ layer, head, pattern }: { layer: number; head: number; pattern: HeadPattern }) {
  const view = attention.value!;
  const as = route.value.query["as"] === "lines" ? "lines" : "matrix";
  const { query, key: keyAsked } = (void route.value, chosenPair());
  const weights = useMemo(() => queryWeights(pattern, query), [pattern, query]);
  const order = byAttention(weights, query);
  const chosen = { query, key: keyAsked ?? order[0] ?? 0 };
  const word = (position: number) => visibleText(view.tokens[position] ?? "");
  const set = (pair: Pair) => choose({ layer, head, ...pair });
  return (
    <section class="openhead" aria-label={t("Attention")}>
      <div class="segments" role="group" aria-label={t("Matrix or lines")}>
        {(["matrix", "lines"] as const).map((each) => (
          <button
            key={each}
            type="button"
            aria-pressed={as === each}
            onClick={() => adjust({ as: each === "lines" ? each : "" })}
          >
            {each === "matrix" ? t("Matrix") : t("Lines")}
          </button>
        ))}
        <strong>
          L{layer}H{head}
        </strong>
      </div>
      <PairLine layer={layer} head={head} pattern={pattern} chosen={chosen} />
      <AttentionPlot
        as={as}
        name={{ layer, head }}
        pattern={pattern}
        tokens={view.tokens}
        chosen={chosen}
        choose={set}
      />
      <Heading>{t("The prompt, as {a} sees it", { a: `${word(query)} (${query})` })}</Heading>
      <p class="pattern">
        <Shaded
          tokens={rowOf(view).slice(0, query + 1)}
          activations={weights}
          max={1}
          scale="root"
          underlined={chosen.key}
        />
      </p>
      <Few items={order} few={5}>
        {(position) => (
          <button
            type="button"
            class="row three"
            aria-pressed={position === chosen.key}
            onClick={() => set({ query, key: position })}
          >
            <PlainBar share={weights[position]!} />
            <span class="what mono">
              <TokenText text={view.tokens[position] ?? ""} /> <em>{position}</em>
            </span>
            <span class="num">{percent(weights[position])}</span>
          </button>
        )}
      </Few>
    </section>
  );
}

/** The pair under the pointer, else the chosen one, and its weight. */
function PairLine({
  layer,
  head,
  pattern,
  chosen,
}: {
  layer: number;
  head: number;
  pattern: HeadPattern;
  chosen: Pair;
}) {
  const view = attention.value!;
  const word = (position: number) => visibleText(view.tokens[position] ?? "");
  const now = pointed.value ?? chosen;
  return (
    <p id="pair" class="pairline">
      {t("from {a} ({b}) to {c} ({d}): {e}", {
        a: word(now.query),
        b: now.query,
        c: word(now.key),
        d: now.key,
        e: percent(attentionWeight(pattern, now.query, now.key)),
      })}{" "}
      <a
        id="whythere"
        href={write({
          view: "trace",
          id: view.graph,
          query: { pane: "graph", head: writeHead({ layer, head, ...chosen }) },
        })}
      >
        {t("Why there")}
      </a>
    </p>
  );
}
