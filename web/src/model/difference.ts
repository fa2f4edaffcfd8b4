// One graph drawn from two: where its circles stand, and its table. Layers lie over one another, positions beside one
// another; where features stand for all their places, a layer is one row. Pure.
import { csv } from "./csv_file";
import type { DifferenceNode, DifferenceView } from "../types";

export interface Place {
  x: number;
  y: number;
  radius: number;
}

export interface DifferenceLayout {
  width: number;
  height: number;
  /** Of every node, in the view's order. */
  places: Place[];
  /** Names of rows beside the drawing. */
  layers: { text: string; y: number }[];
}

const [CELL, ROW, GAP, MARGIN, TOKEN] = [32, 34, 22, 28, 64];
const SIZES = [9, 14] as const; // radii of the least and of the most influential

/** Places for a drawing of at least this width. Positions without a node have no room. */
export function layOutDifference(view: DifferenceView, width: number): DifferenceLayout {
  const used = [...new Set(view.nodes.map((node) => node.column))].sort((a, b) => a - b);
  const layers = [...new Set(view.nodes.flatMap((node) => (node.layer === null ? [] : [node.layer])))].sort(
    (a, b) => b - a,
  );
  const members = (column: number, row: DifferenceNode["kind"] | number) =>
    view.nodes.flatMap((node, i) =>
      node.column === column && (typeof row === "number" ? node.layer === row : node.kind === row) ? [i] : [],
    );
  const rows = ["answer" as const, ...layers, "token" as const];
  const most = Math.max(1, Math.floor((width - MARGIN) / used.length / CELL));
  const perLine = used.length === 1 ? most : Math.min(6, Math.max(3, most));
  const needs = used.map((column) => {
    const counts = layers.map((layer) => Math.min(perLine, members(column, layer).length));
    const tokens = members(column, "token").length * TOKEN;
    return Math.max(CELL * Math.max(1, ...counts), tokens, members(column, "answer").length ? TOKEN : 0) + 8;
  });
  const spare = Math.max(0, width - MARGIN - needs.reduce((sum, need) => sum + need, 0)) / used.length;
  const places: Place[] = view.nodes.map(() => ({ x: 0, y: 0, radius: 0 }));
  const strongest = Math.max(1e-12, ...view.nodes.filter((node) => node.kind === "feature").map(reachOf));
  const names: DifferenceLayout["layers"] = [];
  let y = GAP;
  for (const row of rows) {
    const lines = Math.max(
      1,
      ...used.map((column) => Math.ceil(members(column, row).length / (typeof row === "number" ? perLine : 99))),
    );
    if (typeof row === "number") names.push({ text: `L${row}`, y: y + (lines * ROW) / 2 });
    let left = MARGIN;
    used.forEach((column, c) => {
      const [all, room] = [members(column, row), needs[c]! + spare];
      all.forEach((node, i) => {
        const line = typeof row === "number" ? Math.floor(i / perLine) : 0;
        const inLine = typeof row === "number" ? Math.min(perLine, all.length - line * perLine) : all.length;
        const step = typeof row === "number" ? CELL : Math.min(140, room / all.length);
        const share = Math.sqrt(Math.min(1, reachOf(view.nodes[node]!) / strongest));
        places[node] = {
          x: left + room / 2 + (i - line * perLine - (inLine - 1) / 2) * step,
          y: y + line * ROW + ROW / 2,
          radius: SIZES[0] + (SIZES[1] - SIZES[0]) * share,
        };
      });
      left += room;
    });
    y += lines * ROW + GAP;
  }
  const total = MARGIN + needs.reduce((sum, need) => sum + need + spare, 0);
  return { width: Math.max(width, total), height: y, places, layers: names };
}

function reachOf(node: DifferenceNode): number {
  return Math.max(node.a?.influence ?? 0, node.b?.influence ?? 0);
}

/** The table of nodes, then that of edges, as it is seen. */
export function differenceCsv(view: DifferenceView, nameOf: (node: DifferenceNode) => string): string {
  const nodes = view.nodes.map((node) => [
    ...[node.feature ?? node.kind, node.status, nameOf(node), node.a?.nodes.join(" "), node.b?.nodes.join(" ")],
    ...[node.a?.influence, node.b?.influence, node.a?.activation, node.b?.activation],
    ...[node.a?.effect, node.b?.effect, node.change],
  ]);
  const edges = view.edges.map(({ source, target, a, b }) => [
    ...[nameOf(view.nodes[source]!), nameOf(view.nodes[target]!), a, b, (b ?? 0) - (a ?? 0)],
  ]);
  const sides = (name: string) => [`${name}_a`, `${name}_b`];
  return csv([
    ["node", "status", "name", ...["nodes", "influence", "activation", "effect"].flatMap(sides), "change"],
    ...nodes,
    [],
    ["source", "target", "a", "b", "change"],
    ...edges,
  ]);
}
