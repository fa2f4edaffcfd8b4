// The atlas as a list: browse, or search by words, by meaning, by what a feature promotes, by what fires on a text.
import { useEffect, useState } from "preact/hooks";
import { Refused, api } from "../api_client";
import { amount, count, density } from "../model/format";
import type { FeatureList, FeatureRow, FiresView } from "../types";
import { nameOf, notify, workbench } from "../state/app";
import { adjust, go, route } from "../state/route";
import { Fires } from "./fires";
import { Harvested } from "./harvest_notice";
import { KindMark } from "./widgets";

const WAYS = [
  ["browse", "All", ""],
  ["words", "Words", "words of a label, such as: capital city"],
  ["meaning", "Meaning", "what it should mean, in your own words"],
  ["promotes", "Promotes", "a token it makes likelier, such as: Paris"],
  ["fires", "Fires on", "a text; each token lists what fires there"],
  ["alike", "Alike", "a feature, such as: L3/1207"],
] as const;
const DENSITIES = [
  ["0", "any"],
  ["0.001", "at most 0.1 %"],
  ["0.01", "at most 1 %"],
  ["0.1", "at most 10 %"],
] as const;
const PAGE = 50;
const BUSY = 429; // labels are read for their meaning once, and the question asked again meanwhile
const [A_TOKEN, OF_A_LAYER] = [5, 50]; // features a token: many where only one layer's are shown

type Said = Readonly<Record<string, string>>;
/** What was found, and by which way and from which place on: it stays while the next answer to the same is waited for. */
interface Answer {
  how: string;
  offset: number;
  list: FeatureList | null;
  fires: FiresView | null;
  waits: string;
}
const NOTHING: Answer = { how: "", offset: 0, list: null, fires: null, waits: "" };

async function ask(said: Said, how: string, signal: AbortSignal): Promise<Answer> {
  const [query, most, offset] = [
    said["query"] ?? "",
    Number(said["density"] ?? 0) || 1,
    Number(said["offset"] ?? 0) || 0,
  ];
  if (how === "fires")
    return {
      ...NOTHING,
      how,
      fires: ofLayer(await api.fires(query, most, said["layer"] ? OF_A_LAYER : A_TOKEN), said["layer"]),
    };
  const sort = said["sort"] ?? "max_activation";
  const asks = {
    how,
    query,
    layer: said["layer"],
    max_density: most,
    dead: said["dead"] ?? "hide",
    sort,
    descending: sort !== "feature",
    offset,
    limit: PAGE,
  };
  return { ...NOTHING, how, offset, list: await api.features(asks, signal) };
}

/** What fires, of one layer only. */
function ofLayer(view: FiresView, layer: string | undefined): FiresView {
  if (!layer) return view;
  const here = (each: { feature: string }) => each.feature.startsWith(`L${layer}/`);
  return {
    ...view,
    by_feature: view.by_feature.filter(here),
    by_token: view.by_token.map((each) => ({ ...each, features: each.features.filter(here) })),
  };
}

/** Asks once a person rests; what a server is too busy for is asked again. */
function useAnswer(said: Said, how: string): Answer {
  const [answer, setAnswer] = useState<Answer>(NOTHING);
  useEffect(() => {
    const mine = new AbortController();
    if (how !== "browse" && !(said["query"] ?? "").trim()) return setAnswer(NOTHING);
    const send = () =>
      ask(said, how, mine.signal).then(
        (found) => !mine.signal.aborted && setAnswer(found),
        (error: unknown) => {
          if (mine.signal.aborted) return;
          const why = error instanceof Error ? error.message : String(error);
          setAnswer({ ...NOTHING, how, waits: why });
          if (error instanceof Refused && error.status === BUSY) timer = setTimeout(send, 2000);
          else notify(why, "fail");
        },
      );
    let timer = setTimeout(send, 120);
    return () => (clearTimeout(timer), mine.abort());
  }, [JSON.stringify(said)]);
  return answer.how === how ? answer : NOTHING;
}

export function Features() {
  const said = route.value.query;
  const how = said["how"] ?? "browse";
  const { list, fires, waits, offset } = useAnswer(said, how);
  const way = WAYS.find(([name]) => name === how) ?? WAYS[0];
  return (
    <div class="page features">
      <h1>Features</h1>
      <Harvested />
      <div class="filters">
        <div class="segments" role="group" aria-label="How to look">
          {WAYS.filter(([name]) => name !== "meaning" || workbench.value?.kit.has_meaning).map(([name, title]) => (
            <button
              key={name}
              type="button"
              aria-pressed={how === name}
              onClick={() =>
                adjust({
                  how: name === "browse" ? "" : name,
                  offset: "",
                  query: name === "browse" ? "" : (said["query"] ?? ""),
                })
              }
            >
              {title}
            </button>
          ))}
        </div>
        {how !== "browse" && (
          <input
            id="search"
            key={how}
            type="search"
            class="wide"
            value={said["query"] ?? ""}
            placeholder={way[2]}
            aria-label={way[2]}
            autocomplete="off"
            onInput={(event) => adjust({ query: event.currentTarget.value, offset: "" })}
          />
        )}
        <Filters />
      </div>
      {fires && <Fires view={fires} />}
      {list && <List list={list} offset={offset} how={how} />}
      {!fires && !list && (
        <p class="note" role="status">
          {waits || (!way[2] ? "Reading the atlas…" : said["query"] ? "Looking…" : `Type ${way[2]}.`)}
        </p>
      )}
    </div>
  );
}

function Filters() {
  const said = route.value.query;
  const how = said["how"] ?? "browse";
  const layers = Object.keys(workbench.value?.kit.features ?? {});
  return (
    <>
      <label>
        Layer{" "}
        <select
          value={said["layer"] ?? ""}
          onChange={(event) => adjust({ layer: event.currentTarget.value, offset: "" })}
        >
          <option value="">all</option>
          {layers.map((layer) => (
            <option key={layer} value={layer}>
              L{layer}
            </option>
          ))}
        </select>
      </label>
      <label>
        Density{" "}
        <select
          value={said["density"] ?? "0"}
          onChange={(event) =>
            adjust({ density: event.currentTarget.value === "0" ? "" : event.currentTarget.value, offset: "" })
          }
        >
          {DENSITIES.map(([value, name]) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
        </select>
      </label>
      {how !== "fires" && (
        <label>
          Dead{" "}
          <select
            value={said["dead"] ?? "hide"}
            onChange={(event) =>
              adjust({ dead: event.currentTarget.value === "hide" ? "" : event.currentTarget.value, offset: "" })
            }
          >
            <option value="hide">hidden</option>
            <option value="show">shown</option>
            <option value="only">only</option>
          </select>
        </label>
      )}
      {how === "browse" && (
        <label>
          By{" "}
          <select
            value={said["sort"] ?? "max_activation"}
            onChange={(event) => adjust({ sort: event.currentTarget.value, offset: "" })}
          >
            <option value="max_activation">largest activation</option>
            <option value="density">density</option>
            <option value="feature">number</option>
          </select>
        </label>
      )}
    </>
  );
}

/** A page of features; every search has as many pages as it found. */
function List({ list, offset, how }: { list: FeatureList; offset: number; how: string }) {
  const rows: readonly FeatureRow[] = list.features;
  return (
    <>
      <p class="note">
        {count(list.total)} features
        {list.total > PAGE && `, ${count(offset + 1)} to ${count(Math.min(list.total, offset + rows.length))}`}
      </p>
      <table class="numbers featurelist">
        <thead>
          <tr>
            <th scope="col">feature</th>
            <th scope="col">name</th>
            {how !== "browse" && (
              <th scope="col" class="why">
                found because
              </th>
            )}
            <th scope="col">density</th>
            <th scope="col">largest</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((each) => {
            const named = nameOf(each.feature, each.label, each.label_kind);
            return (
              <tr key={each.feature} class={each.dead ? "dead" : ""}>
                <td>
                  <button type="button" class="link mono" onClick={() => go("feature", each.feature)}>
                    {each.feature}
                  </button>
                </td>
                <th scope="row">
                  <button type="button" class="plain" tabIndex={-1} onClick={() => go("feature", each.feature)}>
                    {named.text || "–"}
                  </button>{" "}
                  <KindMark kind={named.kind} />
                </th>
                {how !== "browse" && (
                  <td class="why">{each.why || (each.strength == null ? "" : amount(each.strength))}</td>
                )}
                <td>{each.dead ? "dead" : each.density == null ? "–" : density(each.density)}</td>
                <td>{amount(each.max_activation)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {list.total > PAGE && (
        <p class="actions">
          <button
            type="button"
            disabled={offset === 0}
            onClick={() => adjust({ offset: offset > PAGE ? String(offset - PAGE) : "" })}
          >
            Previous
          </button>
          <button
            type="button"
            disabled={offset + PAGE >= list.total}
            onClick={() => adjust({ offset: String(offset + PAGE) })}
          >
            Next
          </button>
        </p>
      )}
    </>
  );
}
