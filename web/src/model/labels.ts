// Whose label of a feature is whose, as the workspace tells voices apart: by kind, author and method.
import type { LabelView } from "../types";

/** What a person says of a feature now; undefined where they say nothing. */
export function ownLabel(labels: readonly LabelView[], author: string): LabelView | undefined {
  return labels.find((each) => each.current && each.kind === "person" && each.author === author && !each.method);
}

/** The labels once another is kept: what its author said before is an earlier one now. */
export function withLabel(labels: readonly LabelView[], kept: LabelView): LabelView[] {
  const before = ownLabel(labels, kept.author);
  const rest = labels.filter((each) => each.id !== kept.id);
  return [kept, ...rest.map((each) => (each === before ? { ...each, current: false, replaced: true } : each))];
}
