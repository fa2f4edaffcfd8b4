// Whose label of a feature is whose, as the workspace tells voices apart: by kind, author and method.
import type { LabelView } from "../types";

/** What a person says of a feature now; undefined where they say nothing. */
export function currentLabelOf(labels: readonly LabelView[], author: string): LabelView | undefined {
  return labels.find((each) => each.current && each.kind === "person" && each.author === author && !each.method);
}

/** The labels once another is kept: what its author said before is an earlier one now. */
export function withLabel(labels: readonly LabelView[], label: LabelView): LabelView[] {
  const previous = currentLabelOf(labels, label.author);
  const rest = labels.filter((each) => each.id !== label.id);
  return [label, ...rest.map((each) => (each === previous ? { ...each, current: false, replaced: true } : each))];
}
