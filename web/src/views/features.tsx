// The list of features: all of them, or a search by words, meaning, promoted token, text or similar feature.
import { known, t } from "../i18n/text";
import { useEffect, useState } from "preact/hooks";
import { ApiError, api } from "../api_client";
import { amount, count, density } from "../model/format";
import type { FeatureList, FeatureRow, FiresView } from "../types";
import { nameOf, notify, workbench } from "../state/app";
import { lists, loadLists, takeFromList } from "../state/lists";
import { adjust, go, route } from "../state/route";
import { Fires } from "./fires";
import { HarvestNotice } from "./harvest_notice";
import { StartSwitch } from "./start_switch";
import { KindMark } from "./widgets";

const MODES = [
  ["browse", "All", ""],
  ["words", "Words", "words of a label, such as: capital city"],
  ["meaning", "Meaning", "what it should mean, in your own words"],
  ["promotes", "Promotes", "a token it makes likelier, such as: Paris; or its id, such as: #1234"],
  ["fires", "Fires on", "a text; each token lists what fires there"],
  ["alike", "Alike", "a feature, such as: L3/1207"],
  ["list", "Lists", "a list of yours"],
] as const;
const DENSITIES = [
  ["0", "any"],
  ["0.001", "at most 0.1 %"],
  ["0.01", "at most 1 %"],
  ["0.1", "at most 10 %"],
] as const;
const PAGE = 50;
const BUSY = 429; // the status while the server embeds the labels, which it does once
// Features per token: more if only one layer is shown, because the answer is filtered by layer afterwards.
const [PER_TOKEN, PER_TOKEN_IN_LAYER] = [5, 50];

type Params = Readonly<Record<string, string>>;
/** The result of a search with its mode and offset. It is shown until the next result of the same mode arrives. */
interface Answer {
  mode: string;
  offset: number;
  list: FeatureList | null;
  fires: FiresView | null;
  message: string;
}
const NOTHING: Answer = { mode: "", offset: 0, list: null, fires: null, message: "" };

async function fetchAnswer(params: Params, mode: string, signal: AbortSignal): Promise<Answer> {
  const [query, maxDensity, offset] = [
    params["query"] ?? "",
    Number(params["density"] ?? 0) || 1,
    Number(params["offset"] ?? 0) || 0,
  ];
  if (mode === "fires")
    return {
      ...NOTHING,
      mode,
      fires: ofLayer(
        await api.fires(query, params["bos"] !== "off", maxDensity, params["layer"] ? PER_TOKEN_IN_LAYER : PER_TOKEN),
        params["layer"],
      ),
    };
  const sort = params["sort"] ?? "max_activation";
  const apiQuery = {
    how: mode,
    query,
    layer: params["layer"],
    max_density: maxDensity,
    dead: params["dead"] ?? "hide",
    sort,
    descending: sort !== "feature",
    offset,
    limit: PAGE,
  };
  return { ...NOTHING, mode, offset, list: await api.features(apiQuery, signal) };
}

/** Restricts a result to the features of one layer. */
function ofLayer(view: FiresView, layer: string | undefined): FiresView {
  if (!layer) return view;
  const inLayer = (each: { feature: string }) => each.feature.startsWith(`L${layer}/`);
  return {
    ...view,
    by_feature: view.by_feature.filter(inLayer),
    by_token: view.by_token.map((each) => ({ ...each, features: each.features.filter(inLayer) })),
  };
}

/** The result for the parameters, after a pause in typing. A busy server is asked again. */
function useAnswer(params: Params, mode: string): Answer {
  const [answer, setAnswer] = useState<Answer>(NOTHING);
  useEffect(() => {
    const request = new AbortController();
    if (mode !== "browse" && !(params["query"] ?? "").trim()) return setAnswer(NOTHING);
    const search = () =>
      fetchAnswer(params, mode, request.signal).then(
        (next) => !request.signal.aborted && setAnswer(next),
        (error: unknown) => {
          if (request.signal.aborted) return;
          const reason = error instanceof Error ? error.message : String(error);
          setAnswer({ ...NOTHING, mode, message: reason });
          if (error instanceof ApiError && error.status === BUSY) timer = setTimeout(search, 2000);
          else notify(reason, "fail");
        },
      );
    let timer = setTimeout(search, 120);
    return () => (clearTimeout(timer), request.abort());
  }, [JSON.stringify(params)]);
  return answer.mode === mode ? answer : NOTHING;
}

export function Features() {
  const params = route.value.query;
  const mode = params["how"] ?? "browse";
  const { list, fires, message, offset } = useAnswer(params, mode);
  const selectedMode = MODES.find(([name]) => name === mode) ?? MODES[0];
  return (
    <div class="page features">
      <h1>{t("Features")}</h1>
      <HarvestNotice />
      <div class="filters">
        <div class="segments" role="group" aria-label={t("How to look")}>
          {MODES.filter(([name]) => name !== "meaning" || workbench.value?.kit.has_meaning).map(([name, title]) => (
            <button
              key={name}
              type="button"
              aria-pressed={mode === name}
              onClick={() =>
                adjust({
                  how: name === "browse" ? "" : name,
                  offset: "",
                  query: name === "browse" || name === "list" || mode === "list" ? "" : (params["query"] ?? ""),
                })
              }
            >
              {" "}
              {t(title)}
            </button>
          ))}
        </div>
        {mode === "list" && <ListChoice name={params["query"] ?? ""} />}
        {mode !== "browse" && mode !== "list" && (
          <input
            id="search"
            key={mode}
            type="search"
            class="wide"
            value={params["query"] ?? ""}
            placeholder={known(selectedMode[2])}
            aria-label={known(selectedMode[2])}
            autocomplete="off"
            onInput={(event) => adjust({ query: event.currentTarget.value, offset: "" })}
          />
        )}
        {mode === "fires" && (
          <StartSwitch on={params["bos"] !== "off"} set={(on) => adjust({ bos: on ? "" : "off" })} />
        )}
        <Filters />
      </div>
      {fires && <Fires view={fires} />}
      {list && <List list={list} offset={offset} mode={mode} name={mode === "list" ? (params["query"] ?? "") : ""} />}
      {!fires && !list && (
        <p class="note" role="status">
          {message ||
            (!selectedMode[2]
              ? t("Reading the atlas…")
              : params["query"]
                ? t("Looking…")
                : t("Type {a}.", { a: t(selectedMode[2]) }))}
        </p>
      )}
    </div>
  );
}

/** The lists that there are. One is made on the card of its first feature. */
function ListChoice({ name }: { name: string }) {
  useEffect(() => void loadLists(), []);
  if (!lists.value) return null;
  if (!lists.value.length)
    return <span class="note">{t("There is no list yet: a feature's card puts it into one.")}</span>;
  return (
    <select
      aria-label={t("a list of yours")}
      value={name}
      onChange={(event) => adjust({ query: event.currentTarget.value, offset: "" })}
    >
      <option value="">{t("choose a list")}</option>
      {lists.value.map((each) => (
        <option key={each.name} value={each.name}>
          {each.name} ({each.features.length})
        </option>
      ))}
    </select>
  );
}

function Filters() {
  const params = route.value.query;
  const mode = params["how"] ?? "browse";
  const layers = Object.keys(workbench.value?.kit.features ?? {});
  return (
    <>
      <label>
        {t("Layer")}{" "}
        <select
          value={params["layer"] ?? ""}
          onChange={(event) => adjust({ layer: event.currentTarget.value, offset: "" })}
        >
          <option value="">{t("all")}</option>
          {layers.map((layer) => (
            <option key={layer} value={layer}>
              L{layer}
            </option>
          ))}
        </select>
      </label>
      <label>
        {t("Density")}{" "}
        <select
          value={params["density"] ?? "0"}
          onChange={(event) =>
            adjust({ density: event.currentTarget.value === "0" ? "" : event.currentTarget.value, offset: "" })
          }
        >
          {DENSITIES.map(([value, name]) => (
            <option key={value} value={value}>
              {" "}
              {t(name)}
            </option>
          ))}
        </select>
      </label>
      {mode !== "fires" && (
        <label>
          {t("Dead")}{" "}
          <select
            value={params["dead"] ?? "hide"}
            onChange={(event) =>
              adjust({ dead: event.currentTarget.value === "hide" ? "" : event.currentTarget.value, offset: "" })
            }
          >
            <option value="hide">{t("hidden")}</option>
            <option value="show">{t("shown")}</option>
            <option value="only">{t("only")}</option>
          </select>
        </label>
      )}
      {mode === "browse" && (
        <label>
          {t("By")}{" "}
          <select
            value={params["sort"] ?? "max_activation"}
            onChange={(event) => adjust({ sort: event.currentTarget.value, offset: "" })}
          >
            <option value="max_activation">{t("largest activation")}</option>
            <option value="density">{t("density")}</option>
            <option value="feature">{t("number")}</option>
          </select>
        </label>
      )}
    </>
  );
}

/** One page of the result. */
function List({ list, offset, mode, name }: { list: FeatureList; offset: number; mode: string; name: string }) {
  const members = lists.value?.find((each) => each.name === name)?.features ?? [];
  const rows: readonly FeatureRow[] =
    name && lists.value
      ? list.features.filter((row) => members.some((each) => each.feature === row.feature))
      : list.features;
  const explained = mode !== "browse" && mode !== "list";
  return (
    <>
      <p class="note">
        {count(name ? rows.length : list.total)} {t("features")}
        {list.total > PAGE &&
          `, ${t("{low} to {high}", { low: count(offset + 1), high: count(Math.min(list.total, offset + rows.length)) })}`}
      </p>
      <div class="tablescroll">
        <table class="numbers featurelist">
          <thead>
            <tr>
              <th scope="col">{t("feature")}</th>
              <th scope="col">{t("name")}</th>
              {explained && (
                <th scope="col" class="why">
                  {t("found because")}
                </th>
              )}
              <th scope="col">{t("density")}</th>
              <th scope="col">{t("largest")}</th>
              {name && (
                <th scope="col">
                  <span class="unseen">{t("Take out")}</span>
                </th>
              )}
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
                  {explained && <td class="why">{each.why || (each.strength == null ? "" : amount(each.strength))}</td>}
                  <td>{each.dead ? "dead" : each.density == null ? "–" : density(each.density)}</td>
                  <td>{amount(each.max_activation)}</td>
                  {name && (
                    <td>
                      <button
                        type="button"
                        class="close"
                        aria-label={t("Take {a} out of “{b}”", { a: each.feature, b: name })}
                        onClick={() => void takeFromList(name, each.feature)}
                      >
                        ✕
                      </button>
                    </td>
                  )}
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
      {list.total > PAGE && (
        <p class="actions">
          <button
            type="button"
            disabled={offset === 0}
            onClick={() => adjust({ offset: offset > PAGE ? String(offset - PAGE) : "" })}
          >
            {t("Previous")}
          </button>
          <button
            type="button"
            disabled={offset + PAGE >= list.total}
            onClick={() => adjust({ offset: String(offset + PAGE) })}
          >
            {t("Next")}
          </button>
        </p>
      )}
    </>
  );
}
