// Which marks and links are highlighted: those of the mark under the pointer; else the matches of a search; else a
// path; else those of the chosen marks.
import { chanceOf } from "./format";
import type { Link, Mark, Scene } from "./scene";

export interface Selection {
  hovered: string | null;
  chosen: readonly string[];
  path: readonly string[] | null;
  matches: readonly string[] | null;
}

export function highlight(
  scene: Scene,
  selection: Selection,
): { links: Link[]; marks: Map<Mark, number>; cursor: Mark | null } {
  const marks = new Map<Mark, number>();
  const links: Link[] = [];
  const cursor = selection.hovered ? (scene.byKey.get(selection.hovered) ?? null) : null;
  if (cursor) highlightMark(cursor, marks, links);
  else if (selection.matches) for (const id of selection.matches) highlightNode(scene, id, marks);
  else if (selection.path) highlightPath(scene, selection.path, marks, links);
  else for (const key of selection.chosen) highlightMark(scene.byKey.get(key) ?? null, marks, links);
  for (const key of selection.chosen) {
    const mark = scene.byKey.get(key);
    if (mark && marks.size && !marks.has(mark)) marks.set(mark, 0);
  }
  return { links, marks, cursor };
}

function highlightMark(mark: Mark | null, marks: Map<Mark, number>, links: Link[]): void {
  if (!mark) return;
  for (const link of mark.links) {
    const other = link.from === mark ? link.to : link.from;
    links.push(link);
    if (!marks.has(other)) marks.set(other, Math.sign(link.weight));
  }
  marks.delete(mark);
  marks.set(mark, 0);
}

function highlightNode(scene: Scene, id: string, marks: Map<Mark, number>): void {
  const mark = scene.ofNode.get(id);
  if (mark) marks.set(mark, 0);
}

function highlightPath(scene: Scene, path: readonly string[], marks: Map<Mark, number>, links: Link[]): void {
  const steps = path.map((id) => scene.ofNode.get(id)).filter((mark) => mark !== undefined);
  for (const mark of steps) marks.set(mark, 0);
  for (let i = 1; i < steps.length; i++) {
    const [from, to] = [steps[i - 1]!, steps[i]!];
    const link = to.links.find((each) => each.from === from && each.to === to);
    if (link) links.push(link);
  }
}

/** The sign of each mark's link with the given mark, by default the likeliest output: the marks are coloured by it. */
export function linkSigns(scene: Scene, towards: Mark | null): Map<Mark, number> {
  const main =
    towards ??
    scene.marks.filter((mark) => mark.kind === "target").sort((a, b) => probabilityOf(b) - probabilityOf(a))[0];
  const signs = new Map<Mark, number>();
  for (const link of main?.links ?? []) signs.set(link.from === main ? link.to : link.from, Math.sign(link.weight));
  return signs;
}

function probabilityOf(mark: Mark): number {
  return mark.members[0] ? chanceOf(mark.members[0]) : 0;
}
