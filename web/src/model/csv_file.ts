// Tables as CSV, as spreadsheets read it.
import type { Scene } from "./scene";
import type { CircuitGroup, CircuitView } from "../types";

type Cell = string | number | null | undefined;

/** Rows as CSV (RFC 4180). A text that a spreadsheet would take for a formula is written with an apostrophe in front. */
export function csv(rows: readonly (readonly Cell[])[]): string {
  return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

function cell(value: Cell): string {
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value ?? "") ? `'${value}` : (value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** The groups of a circuit with their numbers, then its edges, one table below the other. */
export function circuitCsv(view: CircuitView, nameOf: (group: CircuitGroup) => string): string {
  const names = new Map<string, string>([
    ...view.groups.map((group) => [group.id, nameOf(group)] as const),
    ...view.words.map((word) => [word.id, word.text] as const),
    ["answer", view.answer],
  ]);
  const groups = view.groups.map((group) => [
    ...[group.id, nameOf(group), group.role, group.place, group.members.length, group.share],
    ...[group.without, group.alone, group.random.mean, group.necessity, group.sufficiency],
    group.members.map((member) => member.id).join(" "),
  ]);
  const hasEffects = view.edges.some((edge) => typeof edge.effect === "number"); // of a graph that was traced without them: none
  const edges = view.edges.map((edge) => [
    ...[names.get(edge.source), names.get(edge.target), edge.measured, edge.value],
    ...(hasEffects ? [edge.effect] : []),
    edge.heads.join(" "),
  ]);
  return csv([
    [
      "group",
      "name",
      "role",
      "at",
      "features",
      "share",
      "without",
      "alone",
      "random",
      "necessity",
      "sufficiency",
      "members",
    ],
    ...groups,
    [],
    ["source", "target", "measured", "value", ...(hasEffects ? ["effect"] : []), "heads"],
    ...edges,
  ]);
}

/** What is seen of a graph: its marks, then its links. */
export function graphCsv(scene: Scene): string {
  const marks = scene.marks.map((mark) => [mark.key, mark.kind, mark.name, mark.position, mark.influence]);
  const links = scene.links.map((link) => [link.from.key, link.to.key, link.weight, link.share]);
  return csv([
    ["node", "kind", "name", "position", "influence"],
    ...marks,
    [],
    ["source", "target", "weight", "share"],
    ...links,
  ]);
}
