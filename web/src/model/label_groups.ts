// Label groups: groups made by hand, and features with the same label. Each has a hue and a letter, because colour must
// not be the only sign; all other marks stay neutral. Pure functions.
import type { Mark, Scene } from "./scene";

export interface LabelGroup {
  letter: string;
  /** Index into the palette's group colours. */
  hue: number;
  name: string;
  marks: Mark[];
}

export const HUES = 8;
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/** Groups made by hand first, then equal labels, the most influential first; no more than there are letters. */
export function labelGroupsOf(scene: Scene): LabelGroup[] {
  const marksByKey = new Map<string, Mark[]>();
  for (const mark of scene.marks) {
    if (mark.kind !== "group" && !(mark.kind === "feature" && mark.named)) continue;
    const key = mark.group ? `group ${mark.key}` : `label ${mark.name.trim().toLowerCase()}`;
    marksByKey.set(key, [...(marksByKey.get(key) ?? []), mark]);
  }
  const influenceOf = (marks: readonly Mark[]) => marks.reduce((sum, mark) => sum + mark.influence, 0);
  const isManual = (marks: readonly Mark[]) => Number(marks[0]!.group !== null);
  return [...marksByKey.values()]
    .filter((marks) => isManual(marks) || marks.length > 1)
    .sort((a, b) => isManual(b) - isManual(a) || influenceOf(b) - influenceOf(a))
    .slice(0, LETTERS.length)
    .map((marks, i) => ({ letter: LETTERS[i]!, hue: i % HUES, name: marks[0]!.name, marks }));
}

export function groupByMark(list: readonly LabelGroup[]): ReadonlyMap<Mark, LabelGroup> {
  return new Map(list.flatMap((family) => family.marks.map((mark) => [mark, family] as const)));
}

/** The place of a mark's letter: in its middle, at the edge of a box, or beside a mark that is small or pinned. */
export function letterPlace(mark: Mark): { x: number; y: number; inside: boolean } {
  if (mark.half > 0) return { x: mark.x - mark.half, y: mark.y, inside: true };
  const inside = mark.r >= 7 && !mark.pinned;
  return { x: inside ? mark.x : mark.x + mark.r + 8, y: mark.y, inside };
}
