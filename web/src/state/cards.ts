// Feature cards, each requested once, and labels that the person writes: the server stores them, all views show them.
import { t } from "../i18n/text";
import { signal } from "@preact/signals";
import { ApiError, api } from "../api_client";
import { currentLabelOf, withLabel } from "../model/labels";
import type { FeatureView, LabelConflict, LabelView } from "../types";
import { attempt, author, embedded, notify, remember, rename } from "./app";

const MAX_CARDS = 300;

export const cards = signal<ReadonlyMap<string, FeatureView>>(new Map(Object.entries(embedded?.cards ?? {})));
/** The number of labels written on this page. */
export const labelsWritten = signal(0);
/** The feature whose label is being written. */
export const labelling = signal<string | null>(null);
/** Why a card could not be loaded, by feature. A failed card is requested again only on `retryCard`. */
export const cardErrors = signal<ReadonlyMap<string, string>>(new Map());
const requested = new Set<string>();

export function requestCard(feature: string): void {
  if (embedded || requested.has(feature) || cards.peek().has(feature) || cardErrors.peek().has(feature)) return;
  if (!/^L\d+\/\d+$/.test(feature))
    return setCardError(feature, t("“{a}” is no feature: write a layer and a number, such as L3/1207", { a: feature }));
  requested.add(feature);
  api
    .feature(feature)
    .then(storeCard, (error: unknown) => setCardError(feature, error instanceof Error ? error.message : String(error)))
    .finally(() => requested.delete(feature));
}

function setCardError(feature: string, reason: string): void {
  cardErrors.value = new Map(cardErrors.peek()).set(feature, reason);
}

/** Requests a card again after a failure. */
export function retryCard(feature: string): void {
  const rest = new Map(cardErrors.peek());
  rest.delete(feature);
  cardErrors.value = rest;
  requestCard(feature);
}

function storeCard(card: FeatureView): void {
  const next = new Map(cards.peek());
  next.delete(card.feature);
  next.set(card.feature, card);
  if (next.size > MAX_CARDS) next.delete(next.keys().next().value!);
  cards.value = next;
}

/** Reloads a card after a change of label, because the server decides which label is shown. */
async function reloadCard(feature: string): Promise<void> {
  const card = await attempt(() => api.feature(feature));
  if (!card) return;
  storeCard(card);
  rename(feature, { text: card.name, kind: card.name_kind });
}

/** A change of an author's label in another tab: the newest label, or null if it was withdrawn. */
export interface LabelChange {
  author: string;
  newest: LabelView | null;
}

/** Saves a label that replaces the author's current one: that on the card, or the one in `change`, if the editor has
 *  shown a change already. If the author's label is another one by now, saves nothing and returns that change. */
export async function writeLabel(
  feature: string,
  text: string,
  change: LabelChange | null = null,
): Promise<LabelChange | null> {
  const authorName = author.peek().trim() || "me";
  remember("clew.author", authorName);
  const card = cards.peek().get(feature) ?? (await attempt(() => api.feature(feature)));
  if (!card) return change;
  const after = (change?.author === authorName ? change.newest : currentLabelOf(card.labels, authorName))?.id ?? 0;
  const saved = await attempt(() => api.label(feature, text.trim(), authorName, after).catch(asConflict));
  if (!saved) return change;
  if ("newest" in saved) {
    void reloadCard(feature);
    return { author: authorName, newest: saved.newest };
  }
  rename(feature, { text: saved.text, kind: "person" });
  storeCard({ ...card, labels: withLabel(card.labels, saved) });
  labelling.value = null;
  labelsWritten.value += 1;
  notify(t("{a} is now “{b}”", { a: feature, b: saved.text }));
  void reloadCard(feature);
  return null;
}

function asConflict(error: unknown): LabelConflict {
  if (error instanceof ApiError && error.status === 409) return error.body as LabelConflict;
  throw error;
}

export async function withdrawLabel(feature: string, id: number): Promise<void> {
  if ((await attempt(async () => (await api.withdraw(id), true))) !== null) await reloadCard(feature);
}
