// The graph as linked nodes and edges, with the lookups that the views need. All numbers come from the view that the
// server or the exported file gives; here they are only looked up, sorted and filtered.
import type { GraphView, NodeDetail, NodeRecord } from "../types";

export interface Node extends NodeRecord {
  index: number;
  inputs: Edge[];
  outputs: Edge[];
}

export interface Edge {
  from: Node;
  to: Node;
  weight: number;
  /** The edge's share of the target's total absolute input, with the sign of the weight. */
  share: number;
  /** Cumulative share of the edges' influence, down to and including this edge. The server's name for it. */
  held: number;
}

export interface Graph {
  view: GraphView;
  nodes: Node[];
  edges: Edge[];
  byId: Map<string, Node>;
  /** All nodes, the most influential first. */
  ranked: Node[];
  outputs: Node[];
  /** The largest influence of a feature or error: the unit of sizes. */
  strongest: number;
}

const byWeight = (a: Edge, b: Edge) => Math.abs(b.weight) - Math.abs(a.weight);

export function readGraph(view: GraphView): Graph {
  const nodes: Node[] = view.nodes.map((node, index) => ({ ...node, index, inputs: [], outputs: [] }));
  const edges: Edge[] = [];
  const { source, target, weight, held: cumulative } = view.edges;
  for (let i = 0; i < source.length; i++) {
    const from = nodes[source[i]!];
    const to = nodes[target[i]!];
    if (!from || !to) continue;
    const value = weight[i]!;
    const edge = { from, to, weight: value, share: to.mass ? value / to.mass : 0, held: cumulative[i] ?? 1 };
    edges.push(edge);
    from.outputs.push(edge);
    to.inputs.push(edge);
  }
  for (const node of nodes) {
    node.inputs.sort(byWeight);
    node.outputs.sort(byWeight);
  }
  const inner = nodes.filter(isInner);
  return {
    view,
    nodes,
    edges,
    byId: new Map(nodes.map((node) => [node.id, node])),
    ranked: [...nodes].sort((a, b) => b.influence - a.influence),
    outputs: nodes.filter((node) => node.kind === "target").sort((a, b) => (b.weight ?? 0) - (a.weight ?? 0)),
    strongest: inner.reduce((most, node) => Math.max(most, node.influence), 1e-12),
  };
}

/** Adds nodes below the thresholds to a view, with their edges to the nodes in it, so that pinned nodes stay
 *  visible. */
export function withNodes(view: GraphView, details: readonly NodeDetail[]): GraphView {
  const nodes = [...view.nodes];
  const indices = new Map(nodes.map((node, index) => [node.id, index]));
  const added: NodeDetail[] = [];
  for (const each of details) {
    if (indices.has(each.node.id)) continue;
    added.push(each);
    indices.set(each.node.id, nodes.push(each.node) - 1);
  }
  const edges = { source: [] as number[], target: [] as number[], weight: [] as number[], held: [] as number[] };
  const seen = new Set<string>();
  const add = (source: string, target: string, weight: number) => {
    const [from, to] = [indices.get(source), indices.get(target)];
    if (from === undefined || to === undefined || seen.has(`${from} ${to}`)) return;
    seen.add(`${from} ${to}`);
    edges.source.push(from);
    edges.target.push(to);
    edges.weight.push(weight);
    edges.held.push(0);
  };
  for (const { node, inputs, outputs } of added) {
    for (const link of inputs) add(link.id, node.id, link.weight);
    for (const link of outputs) add(node.id, link.id, link.weight);
  }
  const columns = ["source", "target", "weight", "held"] as const;
  for (const name of columns) edges[name] = [...edges[name], ...view.edges[name]];
  return { ...view, nodes, edges };
}

export function isInner(node: Node): boolean {
  return node.kind === "feature" || node.kind === "error";
}

/** `L3/1207@4` → `L3/1207`; null if the node is not a feature. */
export function featureOf(id: string): string | null {
  return /^L\d+\/\d+@/.test(id) ? id.slice(0, id.indexOf("@")) : null;
}

export function layerOf(feature: string): number {
  return Number(/^L(\d+)/.exec(feature)?.[1] ?? 0);
}

/** The nodes that match a query. Every word must occur in the id, name, token or kind; `L3` and `layer 3` match a
 *  layer. */
export function search(graph: Graph, query: string, name: (node: Node) => string): Node[] {
  const words = query
    .trim()
    .toLowerCase()
    .replace(/\blayer\s+(\d+)/g, "l$1")
    .split(/\s+/)
    .filter(Boolean);
  if (!words.length) return [];
  return graph.ranked.filter((node) => {
    const text = `${node.id} ${name(node)} ${graph.view.tokens[node.position] ?? ""} ${node.kind}`.toLowerCase();
    return words.every((word) => (/^l\d+$/.test(word) ? node.layer === Number(word.slice(1)) : text.includes(word)));
  });
}

/** A node's rank by influence among the nodes of its kind. */
export function rank(graph: Graph, node: Node): { place: number; of: number } {
  const kind = graph.ranked.filter((other) => other.kind === node.kind);
  return { place: kind.indexOf(node) + 1, of: kind.length };
}
