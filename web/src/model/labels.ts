// The labels of a feature by author. The workspace keeps one current label for each kind, author and method.
import type { LabelView } from "../types";

/** A person's current label of a feature; undefined if there is none. */
export function currentLabelOf(labels: readonly LabelView[], author: string): LabelView | undefined {
  return labels.find((each) => each.current && each.kind === "person" && each.author === author && !each.method);
}

/** Adds a label; its author's previous one becomes an earlier label. */
export function withLabel(labels: readonly LabelView[], label: LabelView): LabelView[] {
  const previous = currentLabelOf(labels, label.author);
  const rest = labels.filter((each) => each.id !== label.id);
  return [label, ...rest.map((each) => (each === previous ? { ...each, current: false, replaced: true } : each))];
}
