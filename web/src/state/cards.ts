// Feature cards, asked for once each, and labels written by the person: kept by the server, shown everywhere at once.
import { signal } from "@preact/signals";
import { api } from "../api_client";
import type { FeatureView } from "../types";
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
  if (!/^L\d+\/\d+$/.test(feature)) return refuse(feature, `“${feature}” is no feature: write a layer and a number, such as L3/1207`);
  asked.add(feature);
  api.feature(feature)
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

export async function writeLabel(feature: string, text: string, note = ""): Promise<boolean> {
  const by = author.peek().trim() || "me";
  remember("clew.author", by);
  const kept = await attempt(() => api.label(feature, text.trim(), by, note));
  if (!kept) return false;
  rename(feature, { text: kept.text, kind: "person" });
  labelling.value = null;
  written.value += 1;
  notify(`${feature} is now “${kept.text}”`);
  void renew(feature);
  return true;
}

export async function withdrawLabel(feature: string, id: number): Promise<void> {
  if ((await attempt(async () => (await api.withdraw(id), true))) !== null) await renew(feature);
}
