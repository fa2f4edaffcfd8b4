// The scene to draw, after filters and grouping: marks (one for a node or a group) and the links between them. A link
// of a group has the sum of the edges' weights; its share is that sum over the targets' total absolute input.
import type { Arrangement, Group } from "./arrangement";
import { type Graph, type Node, isInner } from "./graph";

export interface Mark {
  key: string;
  kind: "feature" | "error" | "token" | "target" | "group";
  members: Node[];
  group: Group | null;
  influence: number;
  position: number;
  /** 0 for tokens, 1 + layer for features and errors, 1 + the number of layers for outputs. */
  row: number;
  name: string;
  named: boolean;
  pinned: boolean;
  x: number;
  y: number;
  r: number;
  /** Half the width of a box (outputs and groups); 0 for round marks. */
  half: number;
  links: Link[];
}

export interface Link {
  from: Mark;
  to: Mark;
  weight: number;
  share: number;
  /** The target's influence relative to the strongest node: links into weak targets are drawn faint. */
  rank: number;
}

export interface Scene {
  marks: Mark[];
  links: Link[];
  byKey: Map<string, Mark>;
  /** The mark that stands for a node: its own or its group's. */
  ofNode: Map<string, Mark>;
}

export interface Filters {
  errors: boolean;
  pinnedOnly: boolean;
  /** Nodes and edges beyond these cumulative shares of the influence are left out; 1 shows all of the view. */
  node: number;
  edge: number;
}

export function rowOf(node: Node, layers: number): number {
  if (node.kind === "token") return 0;
  return node.kind === "target" ? layers + 1 : (node.layer ?? 0) + 1;
}

export function isSeen(node: Node, filters: Filters, alwaysSeen: ReadonlySet<string>): boolean {
  if (!isInner(node)) return true;
  if (filters.pinnedOnly) return alwaysSeen.has(node.id);
  if (alwaysSeen.has(node.id)) return true;
  if (node.kind === "error" && !filters.errors) return false;
  return node.held <= filters.node + 1e-9;
}

export function makeScene(
  graph: Graph,
  arrangement: Arrangement,
  filters: Filters,
  name: (node: Node) => { text: string; named: boolean },
): Scene {
  const layers = graph.view.n_layers;
  const grouped = new Map<string, Group>();
  for (const each of arrangement.groups) for (const node of each.nodes) grouped.set(node, each);
  const pins = new Set(arrangement.pins);
  const alwaysSeen = new Set([...pins, ...grouped.keys()]);
  const ofNode = new Map<string, Mark>();
  const byKey = new Map<string, Mark>();
  for (const node of graph.nodes) {
    if (!isSeen(node, filters, alwaysSeen)) continue;
    const nodeGroup = grouped.get(node.id) ?? null;
    const key = nodeGroup ? nodeGroup.id : node.id;
    const existing = byKey.get(key);
    if (existing) existing.members.push(node);
    const mark = existing ?? newMark(node, nodeGroup, key, rowOf(node, layers), name(node), pins.has(node.id));
    byKey.set(key, mark);
    ofNode.set(node.id, mark);
  }
  const marks = [...byKey.values()];
  for (const mark of marks) if (mark.group) placeGroup(mark, layers);
  const links = linksOf(graph, filters, ofNode);
  for (const link of links) {
    link.from.links.push(link);
    if (link.to !== link.from) link.to.links.push(link);
  }
  return { marks, links, byKey, ofNode };
}

function newMark(
  node: Node,
  group: Group | null,
  key: string,
  row: number,
  label: { text: string; named: boolean },
  pinned: boolean,
): Mark {
  return {
    key,
    kind: group ? "group" : node.kind,
    members: [node],
    group,
    influence: node.influence,
    position: node.position,
    row,
    name: group ? group.name : label.text,
    named: group ? true : label.named,
    pinned: pinned || group !== null,
    x: 0,
    y: 0,
    r: 0,
    half: 0,
    links: [],
  };
}

/** Puts a group at the place of its most influential member. */
function placeGroup(mark: Mark, layers: number): void {
  const main = mark.members.reduce((most, node) => (node.influence > most.influence ? node : most));
  mark.position = main.position;
  mark.row = rowOf(main, layers);
  mark.influence = mark.members.reduce((sum, node) => sum + node.influence, 0);
}

function linksOf(graph: Graph, filters: Filters, ofNode: ReadonlyMap<string, Mark>): Link[] {
  const links: Link[] = [];
  const sums = new Map<string, Link & { mass: number }>();
  const rank = (node: Node) => (node.kind === "target" ? 1 : Math.min(1, node.influence / graph.strongest));
  for (const edge of graph.edges) {
    if (edge.held > filters.edge + 1e-9) break;
    const from = ofNode.get(edge.from.id);
    const to = ofNode.get(edge.to.id);
    if (!from || !to || from === to) continue;
    if (!from.group && !to.group) {
      links.push({ from, to, weight: edge.weight, share: edge.share, rank: rank(edge.to) });
      continue;
    }
    const key = `${from.key} ${to.key}`;
    const sum = sums.get(key) ?? { from, to, weight: 0, share: 0, rank: 0, mass: massOf(to) };
    sum.weight += edge.weight;
    sum.share = sum.mass > 0 ? sum.weight / sum.mass : 0;
    sum.rank = Math.max(sum.rank, rank(edge.to));
    sums.set(key, sum);
  }
  return [...links, ...sums.values()];
}

/** The id under which a mark's offset is stored: the node's, or for a group that of its first node, which is not
 *  drawn. */
export function positionKey(mark: Mark): string {
  return mark.group?.nodes[0] ?? mark.key;
}

function massOf(mark: Mark): number {
  return mark.members.reduce((sum, node) => sum + (node.mass ?? 0), 0);
}
