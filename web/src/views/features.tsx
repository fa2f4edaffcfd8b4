// The atlas as a list: browse, or search by words, by meaning, by what a feature promotes, by what fires on a text.
import { useEffect, useRef, useState } from "preact/hooks";
import { api } from "../api_client";
import { amount, count, density } from "../model/text";
import type { FeatureList, FeatureRow, FiresView } from "../types";
import { attempt, nameOf, workbench } from "../state/app";
import { adjust, go, route } from "../state/route";
import { Fires } from "./fires";
import { KindMark } from "./parts";

const WAYS = [
  ["browse", "All", ""],
  ["words", "Words", "words of a label, such as: capital city"],
  ["meaning", "Meaning", "what it should mean, in your own words"],
  ["promotes", "Promotes", "a token it makes likelier, such as: Paris"],
  ["fires", "Fires on", "a text; each token lists what fires there"],
  ["alike", "Alike", "a feature, such as: L3/1207"],
] as const;
const DENSITIES = [["0", "any"], ["0.001", "at most 0.1 %"], ["0.01", "at most 1 %"], ["0.1", "at most 10 %"]] as const;
const PAGE = 50;

export function Features() {
  const said = route.value.query;
  const how = said["how"] ?? "browse";
  const [list, setList] = useState<FeatureList | null>(null);
  const [fires, setFires] = useState<FiresView | null>(null);
  const asked = useRef<AbortController | null>(null);
  const offset = Number(said["offset"] ?? 0) || 0;
  const key = JSON.stringify(said);
  useEffect(() => {
    asked.current?.abort();
    const mine = (asked.current = new AbortController());
    const query = said["query"] ?? "";
    if (how !== "browse" && !query.trim()) {
      setList(null);
      setFires(null);
      return;
    }
    const timer = setTimeout(() => {
      const most = Number(said["density"] ?? 0) || 1;
      if (how === "fires") return void attempt(() => api.fires(query, most)).then((found) => !mine.signal.aborted && setFires(found));
      const sort = said["sort"] ?? "max_activation";
      const asks = { how, query, layer: said["layer"], max_density: most, dead: said["dead"] ?? "hide", sort, descending: sort !== "feature", offset, limit: PAGE };
      void attempt(() => api.features(asks, mine.signal)).then((found) => found && !mine.signal.aborted && setList(found));
    }, 120);
    return () => clearTimeout(timer);
  }, [key]);
  const way = WAYS.find(([name]) => name === how) ?? WAYS[0];
  return (
    <div class="page features">
      <h1>Features</h1>
      <div class="filters">
        <div class="segments" role="group" aria-label="How to look">
          {WAYS.filter(([name]) => name !== "meaning" || workbench.value?.kit.has_meaning).map(([name, title]) => (
            <button key={name} type="button" aria-pressed={how === name} onClick={() => adjust({ how: name === "browse" ? "" : name, offset: "", query: name === "browse" ? "" : (said["query"] ?? "") })}>{title}</button>
          ))}
        </div>
        {how !== "browse" && (
          <input id="search" key={how} type="search" class="wide" value={said["query"] ?? ""} placeholder={way[2]} aria-label={way[2]} autocomplete="off" onInput={(event) => adjust({ query: event.currentTarget.value, offset: "" })} />
        )}
        <Filters />
      </div>
      {how === "fires" ? fires && <Fires view={fires} /> : list ? <List list={list} offset={offset} how={how} /> : <p class="note">{way[2] ? `Type ${way[2]}.` : "Reading the atlas…"}</p>}
    </div>
  );
}

function Filters() {
  const said = route.value.query;
  const how = said["how"] ?? "browse";
  const layers = Object.keys(workbench.value?.kit.features ?? {});
  return (
    <>
      <label>Layer <select value={said["layer"] ?? ""} onChange={(event) => adjust({ layer: event.currentTarget.value, offset: "" })}><option value="">all</option>{layers.map((layer) => <option key={layer} value={layer}>L{layer}</option>)}</select></label>
      <label>Density <select value={said["density"] ?? "0"} onChange={(event) => adjust({ density: event.currentTarget.value === "0" ? "" : event.currentTarget.value, offset: "" })}>{DENSITIES.map(([value, name]) => <option key={value} value={value}>{name}</option>)}</select></label>
      {how !== "fires" && <label>Dead <select value={said["dead"] ?? "hide"} onChange={(event) => adjust({ dead: event.currentTarget.value === "hide" ? "" : event.currentTarget.value, offset: "" })}><option value="hide">hidden</option><option value="show">shown</option><option value="only">only</option></select></label>}
      {how === "browse" && <label>By <select value={said["sort"] ?? "max_activation"} onChange={(event) => adjust({ sort: event.currentTarget.value, offset: "" })}><option value="max_activation">largest activation</option><option value="density">density</option><option value="feature">number</option></select></label>}
    </>
  );
}

function List({ list, offset, how }: { list: FeatureList; offset: number; how: string }) {
  const rows: readonly FeatureRow[] = list.features;
  return (
    <>
      <p class="note">{count(list.total)} features{list.total > PAGE && `, ${count(offset + 1)} to ${count(Math.min(list.total, offset + rows.length))}`}</p>
      <table class="numbers featurelist">
        <thead><tr><th scope="col">feature</th><th scope="col">name</th>{how !== "browse" && <th scope="col">found because</th>}<th scope="col">density</th><th scope="col">largest</th></tr></thead>
        <tbody>
          {rows.map((each) => {
            const named = nameOf(each.feature, each.label, each.label_kind);
            return (
              <tr key={each.feature} class={each.dead ? "dead" : ""}>
                <td><button type="button" class="link mono" onClick={() => go("feature", each.feature)}>{each.feature}</button></td>
                <th scope="row"><button type="button" class="plain" tabIndex={-1} onClick={() => go("feature", each.feature)}>{named.text || "–"}</button> <KindMark kind={named.kind} /></th>
                {how !== "browse" && <td class="why">{each.why}{each.strength != null && !each.why && amount(each.strength)}</td>}
                <td>{each.dead ? "dead" : each.density == null ? "–" : density(each.density)}</td>
                <td>{amount(each.max_activation)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {how === "browse" && (
        <p class="actions">
          <button type="button" disabled={offset === 0} onClick={() => adjust({ offset: String(Math.max(0, offset - PAGE)) })}>Previous</button>
          <button type="button" disabled={offset + PAGE >= list.total} onClick={() => adjust({ offset: String(offset + PAGE) })}>Next</button>
        </p>
      )}
    </>
  );
}
