// What is lit: the links of the mark under the pointer, else of what is chosen, else a path, else what a search found.
import type { Link, Mark, Scene } from "./scene";

export interface Wanted {
  hovered: string | null;
  chosen: readonly string[];
  path: readonly string[] | null;
  found: readonly string[] | null;
}

export function light(scene: Scene, wanted: Wanted): { links: Link[]; marks: Map<Mark, number>; cursor: Mark | null } {
  const marks = new Map<Mark, number>();
  const links: Link[] = [];
  const cursor = wanted.hovered ? (scene.byKey.get(wanted.hovered) ?? null) : null;
  if (cursor) lightMark(cursor, marks, links);
  else if (wanted.found) for (const id of wanted.found) lightNode(scene, id, marks);
  else if (wanted.path) lightPath(scene, wanted.path, marks, links);
  else for (const key of wanted.chosen) lightMark(scene.byKey.get(key) ?? null, marks, links);
  for (const key of wanted.chosen) {
    const mark = scene.byKey.get(key);
    if (mark && marks.size && !marks.has(mark)) marks.set(mark, 0);
  }
  return { links, marks, cursor };
}

function lightMark(mark: Mark | null, marks: Map<Mark, number>, links: Link[]): void {
  if (!mark) return;
  for (const link of mark.links) {
    const other = link.from === mark ? link.to : link.from;
    links.push(link);
    if (!marks.has(other)) marks.set(other, Math.sign(link.weight));
  }
  marks.delete(mark);
  marks.set(mark, 0);
}

function lightNode(scene: Scene, id: string, marks: Map<Mark, number>): void {
  const mark = scene.ofNode.get(id);
  if (mark) marks.set(mark, 0);
}

function lightPath(scene: Scene, path: readonly string[], marks: Map<Mark, number>, links: Link[]): void {
  const steps = path.map((id) => scene.ofNode.get(id)).filter((mark) => mark !== undefined);
  for (const mark of steps) marks.set(mark, 0);
  for (let i = 1; i < steps.length; i++) {
    const [from, to] = [steps[i - 1]!, steps[i]!];
    const link = to.links.find((each) => each.from === from && each.to === to);
    if (link) links.push(link);
  }
}

/** The sign by which a mark is coloured: of its link with what is chosen, else with the likeliest output. */
export function signs(scene: Scene, towards: Mark | null): Map<Mark, number> {
  const main = towards ?? scene.marks.filter((mark) => mark.kind === "target").sort((a, b) => chance(b) - chance(a))[0];
  const found = new Map<Mark, number>();
  for (const link of main?.links ?? []) found.set(link.from === main ? link.to : link.from, Math.sign(link.weight));
  return found;
}

function chance(mark: Mark): number {
  return mark.members[0]?.probability ?? mark.members[0]?.weight ?? 0;
}
