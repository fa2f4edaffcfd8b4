// The page of one feature: name, card, and links to neighbouring and similar features.
import { t } from "../i18n/text";
import { amount } from "../model/format";
import { embedded } from "../state/app";
import { cards, requestCard } from "../state/cards";
import { addFeature } from "../state/edit";
import { back, go, route } from "../state/route";
import { graphId } from "../state/trace";
import { Card } from "./card";
import { FeatureName } from "./label_editor";
import { NoCard } from "./missing_card";

export function Feature() {
  const { id, query } = route.value;
  requestCard(id);
  const view = cards.value.get(id);
  const activation = Number.parseFloat(query["at"] ?? "");
  const [layer, index] = id.split("/");
  const step = (by: number) => go("feature", `${layer}/${Math.max(0, Number(index) + by)}`);
  return (
    <div class="page">
      <p class="crumbs">
        {query["from"] === "trace" && graphId.value && (
          <button type="button" class="link" onClick={() => back("trace", graphId.value)}>
            {t("← back to the graph")}
          </button>
        )}
        <code>{id}</code>
        {!embedded && index !== undefined && (
          <>
            <button type="button" class="link" disabled={index === "0"} onClick={() => step(-1)}>
              {t("previous")}
            </button>
            <button type="button" class="link" onClick={() => step(1)}>
              {t("next")}
            </button>
            <button
              type="button"
              class="link"
              onClick={() => {
                addFeature(id);
                go("edit");
              }}
            >
              {t("steer with it")}
            </button>
            <button type="button" class="link" onClick={() => go("features", "", { how: "alike", query: id })}>
              {t("features like it")}
            </button>
          </>
        )}
      </p>
      {view ? (
        <>
          <FeatureName feature={id} label={view.name} kind={view.name_kind} level={1} />
          {Number.isFinite(activation) && (
            <p class="note">
              {t("On the prompt you came from it is")} {amount(activation)}.
            </p>
          )}
          <Card key={id} view={view} activation={Number.isFinite(activation) ? activation : null} />
        </>
      ) : (
        <NoCard feature={id} />
      )}
    </div>
  );
}
