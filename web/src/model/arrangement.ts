// What a person did to a graph: pins, groups, moved marks. Every change gives a new value, so that undo, the address
// and the workspace can all hold it; two tabs' changes are merged against what both began with.

export interface Group {
  readonly id: string;
  readonly name: string;
  readonly nodes: readonly string[];
  readonly note?: string;
}

export interface Arrangement {
  readonly pins: readonly string[];
  readonly groups: readonly Group[];
  /** Pixels away from where the layout puts a mark, by node; a group's stand under its first node. */
  readonly positions: Readonly<Record<string, readonly [number, number]>>;
}

export const EMPTY: Arrangement = { pins: [], groups: [], positions: {} };

export function togglePin(now: Arrangement, id: string): Arrangement {
  const pins = now.pins.includes(id) ? now.pins.filter((pin) => pin !== id) : [...now.pins, id];
  return { ...now, pins };
}

/** A new group of these nodes; they leave the groups they were in, and a group left with fewer than one node goes. */
export function group(now: Arrangement, nodes: readonly string[], name: string, id = freshId(now)): Arrangement {
  const chosen = new Set(nodes);
  if (!chosen.size) return now;
  const rest = now.groups
    .map((each) => ({ ...each, nodes: each.nodes.filter((node) => !chosen.has(node)) }))
    .filter((each) => each.nodes.length > 0);
  return { ...now, groups: [...rest, { id, name, nodes: [...chosen], note: "" }] };
}

export function addToGroup(now: Arrangement, id: string, nodes: readonly string[]): Arrangement {
  const found = now.groups.find((each) => each.id === id);
  if (!found) return now;
  const after = group(now, [...found.nodes, ...nodes], found.name, id);
  return { ...after, groups: after.groups.map((each) => (each.id === id ? { ...each, note: found.note } : each)) };
}

export function ungroup(now: Arrangement, id: string): Arrangement {
  const first = now.groups.find((each) => each.id === id)?.nodes[0];
  const positions = Object.fromEntries(Object.entries(now.positions).filter(([key]) => key !== first));
  return { ...now, groups: now.groups.filter((each) => each.id !== id), positions };
}

export function rename(now: Arrangement, id: string, name: string): Arrangement {
  return { ...now, groups: now.groups.map((each) => (each.id === id ? { ...each, name } : each)) };
}

export function move(now: Arrangement, id: string, by: readonly [number, number]): Arrangement {
  return { ...now, positions: { ...now.positions, [id]: [Math.round(by[0]), Math.round(by[1])] } };
}

/** Suggested groups, beside those that exist: a node that is in one already stays there. */
export function adopt(now: Arrangement, suggested: readonly Group[]): Arrangement {
  const taken = new Set(now.groups.flatMap((each) => each.nodes));
  let after = now;
  for (const each of suggested) {
    const free = each.nodes.filter((node) => !taken.has(node));
    if (free.length > 1) after = group(after, free, each.name);
  }
  return after;
}

export function groupOf(now: Arrangement, node: string): Group | undefined {
  return now.groups.find((each) => each.nodes.includes(node));
}

function freshId(now: Arrangement): string {
  const used = new Set(now.groups.map((each) => each.id));
  for (let n = 1; ; n++) if (!used.has(`g${n}`)) return `g${n}`;
}

export function same(a: Arrangement, b: Arrangement): boolean {
  return JSON.stringify([a.pins, a.groups, a.positions]) === JSON.stringify([b.pins, b.groups, b.positions]);
}

/** Whether a value that was kept as text is an arrangement. */
export function isArrangement(value: unknown): value is Arrangement {
  const { pins, groups, positions } = (value ?? {}) as Partial<Arrangement>;
  return Array.isArray(pins) && Array.isArray(groups) && typeof positions === "object";
}

/** What both tabs did since `base`: one's additions and removals are made to the other's state; mine win a conflict. */
export function merge(base: Arrangement, mine: Arrangement, theirs: Arrangement): Arrangement {
  const pins = theirs.pins.filter((pin) => !base.pins.includes(pin) || mine.pins.includes(pin));
  for (const pin of mine.pins) if (!base.pins.includes(pin) && !pins.includes(pin)) pins.push(pin);
  const was = new Map(base.groups.map((each) => [each.id, JSON.stringify(each)]));
  let groups = theirs.groups.filter((each) => !was.has(each.id) || mine.groups.some((own) => own.id === each.id));
  for (const own of mine.groups) {
    if (was.get(own.id) === JSON.stringify(own)) continue;
    const other = groups.find((each) => each.id === own.id);
    const clash = other !== undefined && !was.has(own.id);
    const kept = clash ? { ...own, id: freshId({ pins, groups: [...groups, ...mine.groups], positions: {} }) } : own;
    groups = [...groups.filter((each) => each.id !== kept.id), kept];
  }
  const positions = { ...theirs.positions };
  for (const [id, at] of Object.entries(mine.positions)) {
    if (JSON.stringify(base.positions[id]) !== JSON.stringify(at)) positions[id] = at;
  }
  for (const id of Object.keys(base.positions)) if (!(id in mine.positions)) delete positions[id];
  return { pins, groups, positions };
}

/** What stays chosen when an arrangement gives way to another: a vanished group's nodes, a node's new group. */
export function rechosen(chosen: readonly string[], was: Arrangement, now: Arrangement): string[] {
  const left = (key: string) =>
    was.groups.find((each) => each.id === key && !now.groups.some((other) => other.id === key));
  const nodes = chosen.flatMap((key) => left(key)?.nodes ?? [key]);
  return [...new Set(nodes.map((node) => groupOf(now, node)?.id ?? node))];
}

export interface Cut {
  readonly node: number;
  readonly edge: number;
}

export function sameCut(a: Cut, b: Cut): boolean {
  return a.node === b.node && a.edge === b.edge;
}

/** Groups in one line for the address: name~node~node.name~node. Only what a link must carry. */
export function writeGroups(groups: readonly Group[]): string {
  return groups.map((each) => [each.name.replace(/[~|]/g, " "), ...each.nodes].join("~")).join("|");
}

/** Where marks were dragged to, in one line for the address: node~x~y|node~x~y. */
export function writeMoved(positions: Arrangement["positions"]): string {
  return Object.entries(positions)
    .map(([node, [x, y]]) => `${node}~${x}~${y}`)
    .join("|");
}

export function readMoved(text: string): Arrangement["positions"] {
  const found = text.split("|").map((part) => /^([A-Z][\w/]*@\d+)~(-?\d{1,6})~(-?\d{1,6})$/.exec(part));
  return Object.fromEntries(
    found.filter((each) => each !== null).map(([, node, x, y]) => [node!, [Number(x), Number(y)] as const]),
  );
}

export function readGroups(text: string): Group[] {
  return text
    .split("|")
    .map((part, i) => {
      const [name = "", ...nodes] = part.split("~");
      return { id: `g${i + 1}`, name, nodes: nodes.filter((node) => /^[A-Z]/.test(node)), note: "" };
    })
    .filter((each) => each.nodes.length > 0);
}
