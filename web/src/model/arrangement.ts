// A person's arrangement of a graph: pins, groups and moved marks. It is a value and every change returns a new one, so
// that undo, the address and the workspace can each keep theirs. Changes of two tabs are merged against their common
// base.

export interface Group {
  readonly id: string;
  readonly name: string;
  readonly nodes: readonly string[];
  readonly note?: string;
}

export interface Arrangement {
  readonly pins: readonly string[];
  readonly groups: readonly Group[];
  /** Offsets in pixels from the place that the layout gives a mark, by node id; a group's is under its first node. */
  readonly positions: Readonly<Record<string, readonly [number, number]>>;
}

export const EMPTY: Arrangement = { pins: [], groups: [], positions: {} };

export function togglePin(arrangement: Arrangement, id: string): Arrangement {
  const pins = arrangement.pins.includes(id) ? arrangement.pins.filter((pin) => pin !== id) : [...arrangement.pins, id];
  return { ...arrangement, pins };
}

/** Adds a group of these nodes. They are taken out of their former groups, and groups without nodes are removed. */
export function group(
  arrangement: Arrangement,
  nodes: readonly string[],
  name: string,
  id = freshId(arrangement),
): Arrangement {
  const chosen = new Set(nodes);
  if (!chosen.size) return arrangement;
  const rest = arrangement.groups
    .map((each) => ({ ...each, nodes: each.nodes.filter((node) => !chosen.has(node)) }))
    .filter((each) => each.nodes.length > 0);
  return { ...arrangement, groups: [...rest, { id, name, nodes: [...chosen], note: "" }] };
}

export function addToGroup(arrangement: Arrangement, id: string, nodes: readonly string[]): Arrangement {
  const existing = arrangement.groups.find((each) => each.id === id);
  if (!existing) return arrangement;
  const regrouped = group(arrangement, [...existing.nodes, ...nodes], existing.name, id);
  return {
    ...regrouped,
    groups: regrouped.groups.map((each) => (each.id === id ? { ...each, note: existing.note } : each)),
  };
}

export function ungroup(arrangement: Arrangement, id: string): Arrangement {
  const first = arrangement.groups.find((each) => each.id === id)?.nodes[0];
  const positions = Object.fromEntries(Object.entries(arrangement.positions).filter(([key]) => key !== first));
  return { ...arrangement, groups: arrangement.groups.filter((each) => each.id !== id), positions };
}

export function rename(arrangement: Arrangement, id: string, name: string): Arrangement {
  return { ...arrangement, groups: arrangement.groups.map((each) => (each.id === id ? { ...each, name } : each)) };
}

export function move(arrangement: Arrangement, id: string, by: readonly [number, number]): Arrangement {
  return { ...arrangement, positions: { ...arrangement.positions, [id]: [Math.round(by[0]), Math.round(by[1])] } };
}

/** Adds suggested groups. A node that already is in a group stays there. */
export function addSuggested(arrangement: Arrangement, suggested: readonly Group[]): Arrangement {
  const groupedNodes = new Set(arrangement.groups.flatMap((each) => each.nodes));
  let extended = arrangement;
  for (const each of suggested) {
    const ungrouped = each.nodes.filter((node) => !groupedNodes.has(node));
    if (ungrouped.length > 1) extended = group(extended, ungrouped, each.name);
  }
  return extended;
}

export function groupOf(arrangement: Arrangement, node: string): Group | undefined {
  return arrangement.groups.find((each) => each.nodes.includes(node));
}

function freshId(arrangement: Arrangement): string {
  const used = new Set(arrangement.groups.map((each) => each.id));
  for (let n = 1; ; n++) if (!used.has(`g${n}`)) return `g${n}`;
}

export function sameArrangement(a: Arrangement, b: Arrangement): boolean {
  return JSON.stringify([a.pins, a.groups, a.positions]) === JSON.stringify([b.pins, b.groups, b.positions]);
}

/** Whether a value parsed from stored text is an arrangement. */
export function isArrangement(value: unknown): value is Arrangement {
  const { pins, groups, positions } = (value ?? {}) as Partial<Arrangement>;
  return Array.isArray(pins) && Array.isArray(groups) && typeof positions === "object";
}

/** Three-way merge: applies the changes from `base` to `local` to `remote`. In a conflict the local change wins. */
export function merge(base: Arrangement, local: Arrangement, remote: Arrangement): Arrangement {
  const pins = remote.pins.filter((pin) => !base.pins.includes(pin) || local.pins.includes(pin));
  for (const pin of local.pins) if (!base.pins.includes(pin) && !pins.includes(pin)) pins.push(pin);
  const baseGroups = new Map(base.groups.map((each) => [each.id, JSON.stringify(each)]));
  let groups = remote.groups.filter(
    (each) => !baseGroups.has(each.id) || local.groups.some((localGroup) => localGroup.id === each.id),
  );
  for (const localGroup of local.groups) {
    if (baseGroups.get(localGroup.id) === JSON.stringify(localGroup)) continue;
    const remoteGroup = groups.find((each) => each.id === localGroup.id);
    const clash = remoteGroup !== undefined && !baseGroups.has(localGroup.id);
    const mergedGroup = clash
      ? { ...localGroup, id: freshId({ pins, groups: [...groups, ...local.groups], positions: {} }) }
      : localGroup;
    groups = [...groups.filter((each) => each.id !== mergedGroup.id), mergedGroup];
  }
  const positions = { ...remote.positions };
  for (const [id, offset] of Object.entries(local.positions)) {
    if (JSON.stringify(base.positions[id]) !== JSON.stringify(offset)) positions[id] = offset;
  }
  for (const id of Object.keys(base.positions)) if (!(id in local.positions)) delete positions[id];
  return { pins, groups, positions };
}

/** The selection after a change of arrangement: a removed group becomes its nodes, a grouped node becomes its group. */
export function carrySelection(chosen: readonly string[], before: Arrangement, after: Arrangement): string[] {
  const dissolvedGroup = (key: string) =>
    before.groups.find((each) => each.id === key && !after.groups.some((other) => other.id === key));
  const nodes = chosen.flatMap((key) => dissolvedGroup(key)?.nodes ?? [key]);
  return [...new Set(nodes.map((node) => groupOf(after, node)?.id ?? node))];
}

export interface Thresholds {
  readonly node: number;
  readonly edge: number;
}

export function sameThresholds(a: Thresholds, b: Thresholds): boolean {
  return a.node === b.node && a.edge === b.edge;
}

/** Groups as text for the address: name~node~node|name~node. Ids and notes are left out. */
export function writeGroups(groups: readonly Group[]): string {
  return groups.map((each) => [each.name.replace(/[~|]/g, " "), ...each.nodes].join("~")).join("|");
}

/** Offsets of moved marks as text for the address: node~x~y|node~x~y. */
export function writeMoved(positions: Arrangement["positions"]): string {
  return Object.entries(positions)
    .map(([node, [x, y]]) => `${node}~${x}~${y}`)
    .join("|");
}

export function readMoved(text: string): Arrangement["positions"] {
  const matches = text.split("|").map((part) => /^([A-Z][\w/]*@\d+)~(-?\d{1,6})~(-?\d{1,6})$/.exec(part));
  return Object.fromEntries(
    matches.filter((each) => each !== null).map(([, node, x, y]) => [node!, [Number(x), Number(y)] as const]),
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
