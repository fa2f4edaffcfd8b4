// A person's lists of features, as the workspace has them. They are changed by one feature at a time, so that nothing that
// another tab or the command line puts in is lost.
import { signal } from "@preact/signals";
import { api } from "../api_client";
import { t } from "../i18n/text";
import type { FeaturesOfList } from "../types";
import { attempt, embedded, notify } from "./app";

/** Null until they were asked for. */
export const lists = signal<readonly FeaturesOfList[] | null>(null);

export async function loadLists(): Promise<void> {
  if (embedded) return;
  const answer = await attempt(() => api.lists());
  if (answer) lists.value = answer.lists;
}

export async function putInList(name: string, feature: string): Promise<void> {
  const answer = await attempt(() => api.changeList(name, [feature], []));
  if (answer) lists.value = answer.lists;
}

/** Takes a feature out; a notice brings it back. A list is gone with its last feature. */
export async function takeFromList(name: string, feature: string): Promise<void> {
  const answer = await attempt(() => api.changeList(name, [], [feature]));
  if (!answer) return;
  lists.value = answer.lists;
  const undo = { name: t("Undo"), run: () => void putInList(name, feature) };
  notify(t("{a} is out of the list “{b}”.", { a: feature, b: name }), "say", undo);
}
