// Feature cards, asked for once each, and labels written by the person: kept by the server, shown everywhere at once.
import { signal } from "@preact/signals";
import { Refused, api } from "../api_client";
import { ownLabel, withLabel } from "../model/labels";
import type { FeatureView, LabelConflict, LabelView } from "../types";
import { attempt, author, embedded, notify, remember, rename } from "./app";

const LONGEST = 300;

export const cards = signal<ReadonlyMap<string, FeatureView>>(new Map(Object.entries(embedded?.cards ?? {})));
/** Labels that were written on this page. */
export const written = signal(0);
/** The feature whose label is being written. */
export const labelling = signal<string | null>(null);
/** Why a card could not be read, by feature: a wish is not asked for again and again. */
export const refused = signal<ReadonlyMap<string, string>>(new Map());
const asked = new Set<string>();

export function wantCard(feature: string): void {
  if (embedded || asked.has(feature) || cards.peek().has(feature) || refused.peek().has(feature)) return;
  if (!/^L\d+\/\d+$/.test(feature))
    return refuse(feature, `“${feature}” is no feature: write a layer and a number, such as L3/1207`);
  asked.add(feature);
  api
    .feature(feature)
    .then(keep, (error: unknown) => refuse(feature, error instanceof Error ? error.message : String(error)))
    .finally(() => asked.delete(feature));
}

function refuse(feature: string, why: string): void {
  refused.value = new Map(refused.peek()).set(feature, why);
}

/** Asks for a card once more. */
export function wantAgain(feature: string): void {
  const rest = new Map(refused.peek());
  rest.delete(feature);
  refused.value = rest;
  wantCard(feature);
}

function keep(found: FeatureView): void {
  const next = new Map(cards.peek());
  next.delete(found.feature);
  next.set(found.feature, found);
  if (next.size > LONGEST) next.delete(next.keys().next().value!);
  cards.value = next;
}

/** Asks again, after a label changed: the server says which name is the one to show. */
async function renew(feature: string): Promise<void> {
  const found = await attempt(() => api.feature(feature));
  if (!found) return;
  keep(found);
  rename(feature, { text: found.name, kind: found.name_kind });
}

/** What an author's label has become elsewhere, null where it was withdrawn. */
export interface Changed {
  author: string;
  newest: LabelView | null;
}

/** Keeps a label in the place of the author's own on the card, or of the one that they were told of. Where it is
 *  another one by now, nothing is kept, and that one is given back to be told. */
export async function writeLabel(feature: string, text: string, told: Changed | null = null): Promise<Changed | null> {
  const by = author.peek().trim() || "me";
  remember("clew.author", by);
  const card = cards.peek().get(feature) ?? (await attempt(() => api.feature(feature)));
  if (!card) return told;
  const after = (told?.author === by ? told.newest : ownLabel(card.labels, by))?.id ?? 0;
  const kept = await attempt(() => api.label(feature, text.trim(), by, after).catch(conflict));
  if (!kept) return told;
  if ("newest" in kept) {
    void renew(feature);
    return { author: by, newest: kept.newest };
  }
  rename(feature, { text: kept.text, kind: "person" });
  keep({ ...card, labels: withLabel(card.labels, kept) });
  labelling.value = null;
  written.value += 1;
  notify(`${feature} is now “${kept.text}”`);
  void renew(feature);
  return null;
}

function conflict(error: unknown): LabelConflict {
  if (error instanceof Refused && error.status === 409) return error.body as LabelConflict;
  throw error;
}

export async function withdrawLabel(feature: string, id: number): Promise<void> {
  if ((await attempt(async () => (await api.withdraw(id), true))) !== null) await renew(feature);
}
