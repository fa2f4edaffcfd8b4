// A feature's card: density and activations, contexts, logit weights, related features, labels. All numbers come from
// the atlas. Contexts are shaded linearly in the activation, or by its square root if the person chooses.
import { counted, t } from "../i18n/text";
import { useState } from "preact/hooks";
import { amount, count, density, percent, signed } from "../model/format";
import type { CardView, FeatureView, RelatedView, TokenWeight } from "../types";
import { embedded } from "../state/app";
import { go } from "../state/route";
import { Contexts, type Scale } from "./contexts";
import { Histogram } from "./histogram";
import { FeatureLists } from "./feature_lists";
import { Labels } from "./labels";
import { NoteOn } from "./note";
import { Bar, Facts, Few, Heading, TokenText } from "./widgets";
import { Probe } from "./probe";
import { nameOf } from "../state/app";

export function Card({
  view,
  activation,
  narrow = false,
}: {
  view: FeatureView;
  activation: number | null;
  narrow?: boolean;
}) {
  const [scale, setScale] = useState<Scale>("linear");
  const { card } = view;
  return (
    <div class={`card${narrow ? " narrow" : ""}`}>
      {!narrow && <h2 class="unseen">{t("Card")}</h2>}
      <div class="cardmain">
        {!card && (
          <p class="note">
            {t("There is no atlas for this dictionary yet: `clew harvest` makes one. Labels and tests work without.")}
          </p>
        )}
        {card && <Summary view={view} card={card} activation={activation} />}
        {card?.dead && (
          <p class="note">
            {" "}
            {t("It never fired on the atlas' corpus of {n} positions: it is dead, or waits for other text.", {
              n: count(card.positions),
            })}
          </p>
        )}
        {!embedded && <Probe feature={view.feature} max={card?.max_activation ?? null} scale={scale} />}
        {card && !card.dead && <FiringContexts card={card} scale={scale} setScale={setScale} />}
      </div>
      <div class="cardside">
        {card && <Weights card={card} />}
        <Labels view={view} />
        <NoteOn address={`features/${view.feature}`} />
        <FeatureLists feature={view.feature} />
        {card && <Neighbours card={card} />}
      </div>
    </div>
  );
}

function Summary({ view, card, activation }: { view: FeatureView; card: CardView; activation: number | null }) {
  const writes =
    view.writes.length > 1
      ? `L${view.writes[0]}–L${view.writes.at(-1)}`
      : view.writes.map((layer) => `L${layer}`).join(", ");
  return (
    <>
      <Facts
        facts={[
          [
            t("Density"),
            density(card.density),
            t("fires at {a} of {b} positions", { a: count(card.fired), b: count(card.positions) }),
          ],
          [
            t("Documents"),
            percent(card.document_density),
            t("{a} of {b}", { a: count(card.fired_documents), b: count(card.documents) }),
          ],
          [t("Largest"), amount(card.max_activation), t("largest activation in the corpus")],
          [t("Mean when on"), amount(card.mean_activation)],
          [t("Reads"), `L${view.reads}`, t("the layer whose input it reads")],
          [t("Writes"), writes || "–", t("the layers whose output it writes to")],
        ]}
      />
      {!card.dead && (
        <>
          <Heading
            note={
              activation === null ? t("positions, by activation") : t("this prompt: {a}", { a: amount(activation) })
            }
          >
            {t("Activations")}
          </Heading>
          <Histogram
            counts={card.log_histogram.counts}
            edges={card.log_histogram.edges}
            mark={activation}
            log
            label="How often each activation occurs"
          />
        </>
      )}
    </>
  );
}

function FiringContexts({ card, scale, setScale }: { card: CardView; scale: Scale; setScale: (scale: Scale) => void }) {
  return (
    <>
      <Heading
        note={
          <label class="inline">
            {t("shading")}{" "}
            <select value={scale} onChange={(event) => setScale(event.currentTarget.value as Scale)}>
              <option value="linear">{t("linear")}</option>
              <option value="root">{t("square root")}</option>
            </select>
          </label>
        }
      >
        {t("Strongest contexts")}
      </Heading>
      <Contexts contexts={card.top} max={card.max_activation} scale={scale} few={6} />
      <Heading note={t("drawn evenly from each band of activation")}>{t("Quantile bands")}</Heading>
      {card.bands.map((band) => (
        <div key={band.low} class="band">
          <p class="note">
            {amount(band.low)} to {amount(band.high)} · {counted(band.fired, "position|positions")}
          </p>
          <Contexts contexts={band.contexts} max={card.max_activation} scale={scale} few={2} />
        </div>
      ))}
      <Heading note={t("drawn at random where it is silent")}>{t("Where it does not fire")}</Heading>
      <Contexts contexts={card.silent} max={card.max_activation} scale={scale} few={4} />
    </>
  );
}

function Weights({ card }: { card: CardView }) {
  return (
    <>
      <Heading note={t("logit at activation 1, direct path")}>{t("Promotes")}</Heading>
      <TokenWeights tokens={card.promoted} />
      <Heading>{t("Suppresses")}</Heading>
      <TokenWeights tokens={card.suppressed} />
      <Heading note={t("on all tokens of the vocabulary")}>{t("Logit weights")}</Heading>
      <Histogram counts={card.logits.counts} edges={card.logits.edges} mark={null} label="Weights on all tokens" zero />
    </>
  );
}

function TokenWeights({ tokens }: { tokens: readonly TokenWeight[] }) {
  const max = Math.max(1e-12, ...tokens.map((each) => Math.abs(each.weight)));
  return (
    <Few items={tokens} few={6} empty="–">
      {(each) => (
        <div class="row">
          <Bar share={each.weight / max} />
          <span class="what mono">
            <TokenText text={each.token} />
          </span>
          <span class="num" />
          <span class="part">{signed(each.weight)}</span>
        </div>
      )}
    </Few>
  );
}

function Neighbours({ card }: { card: CardView }) {
  return (
    <>
      <Related title={t("Fed by")} note={t("virtual weight")} list={card.inputs} />
      <Related title={t("Feeds")} note={t("virtual weight")} list={card.outputs} />
      <Related title={t("Writes alike")} note={t("cosine of decoders")} list={card.nearest_decoder} />
      <Related title={t("Reads alike")} note={t("cosine of encoders")} list={card.nearest_encoder} />
      <Related title={t("Fires together")} note={t("PMI in nats")} list={card.together} />
    </>
  );
}

function Related({ title, note, list }: { title: string; note: string; list: readonly RelatedView[] }) {
  if (!list.length) return null;
  const max = Math.max(1e-12, ...list.map((each) => Math.abs(each.value)));
  return (
    <>
      <Heading note={note}>{title}</Heading>
      <Few items={list} few={4}>
        {(each) => {
          const name = nameOf(each.feature, each.label, "").text;
          const hasCard = !embedded || each.feature in embedded.cards;
          const content = (
            <>
              <Bar share={each.value / max} />
              <span class="what">
                {name || each.feature} {name && <em>{each.feature}</em>}
              </span>
              <span class="num" />
              <span class="part">{signed(each.value)}</span>
            </>
          );
          return hasCard ? (
            <button type="button" class="row" onClick={() => go("feature", each.feature)}>
              {content}
            </button>
          ) : (
            <div class="row away">{content}</div>
          );
        }}
      </Few>
    </>
  );
}
