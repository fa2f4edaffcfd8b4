// Lays out the marks: a column for each token, as wide as its fullest cell needs; a row for each layer; runs of tokens
// with little influence folded into one narrow column. Pure: the caller gives the function that measures text.
import { type Mark, type Scene, positionKey } from "./scene";

export interface Column {
  /** The first and last token of the column: the same one, or a folded run. */
  from: number;
  to: number;
  folded: boolean;
  left: number;
  width: number;
  middle: number;
  across: number;
}

export interface Row {
  top: number;
  height: number;
  middle: number;
}

export interface Layout {
  width: number;
  height: number;
  columns: Column[];
  columnOf: number[];
  rows: Row[];
  tags: Tag[];
  /** The size of marks relative to the usual: they shrink when cells are full. */
  scale: number;
}

export interface Tag {
  mark: Mark;
  text: string;
  x: number;
  y: number;
}

export interface LayoutOptions {
  width: number;
  height: number;
  zoom: number;
  labels: boolean;
  folds: readonly (readonly [number, number])[];
  measure: (text: string, mono: boolean) => number;
  /** Offsets in pixels from the place that the layout gives a mark, by `positionKey`. */
  moved: Readonly<Record<string, readonly [number, number]>>;
  token: (position: number) => string;
  strongest: number;
}

const CHIP = 128;
const FOLD = 44;
export const BOX = 13; // half the height of an output's or a group's box

/** The total influence of the marks at each token; an output counts as 1. */
export function influenceByToken(scene: Scene, tokens: number): number[] {
  const sums = Array<number>(tokens).fill(0);
  for (const mark of scene.marks)
    for (const node of mark.members) sums[node.position]! += node.kind === "target" ? 1 : node.influence;
  return sums;
}

/** Runs of at least three tokens with little influence, in a prompt that is too long to show in full. */
export function quietRuns(influence: readonly number[], maxShown = 40): [number, number][] {
  if (influence.length <= maxShown) return [];
  const order = influence.map((value, i) => [value, i] as const).sort((a, b) => b[0] - a[0]);
  const influential = new Set(order.slice(0, Math.floor(maxShown * 0.6)).map(([, i]) => i));
  influential.add(0).add(influence.length - 1);
  const runs: [number, number][] = [];
  let start = -1;
  for (let i = 0; i <= influence.length; i++) {
    const quiet = i < influence.length && !influential.has(i);
    if (quiet && start < 0) start = i;
    if (!quiet && start >= 0) {
      if (i - start >= 3) runs.push([start, i - 1]);
      start = -1;
    }
  }
  return runs;
}

export function layOut(scene: Scene, tokens: number, layers: number, options: LayoutOptions): Layout {
  const layout: Layout = { width: 0, height: 0, columns: [], columnOf: [], rows: [], tags: [], scale: 1 };
  foldColumns(layout, tokens, options.folds);
  const cells = new Map<string, Mark[]>();
  for (const mark of scene.marks) {
    if (mark.kind === "token" || mark.kind === "target") continue;
    const key = `${mark.row},${layout.columnOf[mark.position]}`;
    const cell = cells.get(key);
    if (cell) cell.push(mark);
    else cells.set(key, [mark]);
  }
  const fullest = Math.max(1, ...[...cells.values()].map((cell) => cell.length));
  const pitch = Math.round((fullest > 40 ? 14 : fullest > 14 ? 17 : fullest > 7 ? 21 : 26) * options.zoom);
  layout.scale = Math.max(0.6, pitch / 26);
  measureBoxes(scene, options);
  placeColumns(layout, cells, pitch, options);
  const outputs = groupOutputs(scene, layout);
  placeRows(layout, cells, layers, pitch, options, Math.max(1, ...[...outputs.values()].map((lines) => lines.length)));
  for (const [key, cell] of cells) placeCell(layout, key, cell, pitch, options);
  for (const mark of scene.marks) {
    if (mark.kind !== "token") continue;
    const column = layout.columns[layout.columnOf[mark.position]!]!;
    Object.assign(mark, { x: column.middle, y: layout.rows[0]!.middle, r: 6 });
  }
  placeOutputs(layout, layers, outputs);
  for (const mark of scene.marks) {
    const by = options.moved[positionKey(mark)];
    if (!by) continue;
    mark.x = Math.max(8, Math.min(layout.width - 8, mark.x + by[0]));
    mark.y = Math.max(8, Math.min(layout.height - 8, mark.y + by[1]));
  }
  if (options.labels) layout.tags = placeTags(scene, layout, pitch, options);
  return layout;
}

function foldColumns(layout: Layout, tokens: number, folds: LayoutOptions["folds"]): void {
  for (let position = 0; position < tokens; position++) {
    const run = folds.find(([from]) => from === position);
    const to = run ? Math.min(run[1], tokens - 1) : position;
    const index = layout.columns.length;
    layout.columns.push({ from: position, to, folded: run !== undefined, left: 0, width: 0, middle: 0, across: 1 });
    for (; position < to; position++) layout.columnOf.push(index);
    layout.columnOf.push(index);
  }
}

function measureBoxes(scene: Scene, options: LayoutOptions): void {
  for (const mark of scene.marks) {
    if (mark.kind === "target") mark.half = Math.max(33, (options.measure(mark.name, true) + 72) / 2);
    else if (mark.kind === "group")
      mark.half = Math.min(150, Math.max(28, (options.measure(mark.name, false) + 40) / 2));
  }
}

function placeColumns(layout: Layout, cells: ReadonlyMap<string, Mark[]>, pitch: number, options: LayoutOptions): void {
  const boxWidths = layout.columns.map(() => 0);
  const fullestCells = layout.columns.map(() => 0);
  for (const [key, cell] of cells) {
    const column = Number(key.split(",")[1]);
    fullestCells[column] = Math.max(fullestCells[column]!, cell.length);
    boxWidths[column] = Math.max(
      boxWidths[column]!,
      ...cell.filter((mark) => mark.half > 0).map((mark) => 2 * mark.half + 12),
    );
  }
  layout.columns.forEach((column, i) => {
    const marks = fullestCells[i]!;
    column.across = Math.max(1, marks <= 5 ? marks : Math.ceil(Math.sqrt(marks * 2.4)));
    const chip = column.folded ? FOLD : Math.min(CHIP, options.measure(options.token(column.from), true) + 22);
    column.width = column.folded
      ? FOLD + 8
      : Math.max(chip + 8, marks ? column.across * pitch + 14 : 0, boxWidths[i]!, 34);
    if (column.folded) column.across = Math.max(1, Math.floor(FOLD / Math.max(8, pitch * 0.6)));
  });
  const open = layout.columns.filter((column) => !column.folded);
  const spare =
    options.width * Math.max(1, options.zoom) - layout.columns.reduce((sum, column) => sum + column.width, 0);
  const weightOf = (column: Column) => (open.length > 24 ? 1 : column.across + 1);
  const totalWeight = open.reduce((sum, column) => sum + weightOf(column), 0);
  let left = 0;
  for (const column of layout.columns) {
    if (spare > 0 && !column.folded) column.width += (spare * weightOf(column)) / totalWeight;
    column.left = left;
    column.middle = left + column.width / 2;
    left += column.width;
  }
  layout.width = Math.floor(left);
}

function placeRows(
  layout: Layout,
  cells: ReadonlyMap<string, Mark[]>,
  layers: number,
  pitch: number,
  options: LayoutOptions,
  outputLines: number,
): void {
  const lines: number[] = Array<number>(layers + 2).fill(0);
  for (const [key, cell] of cells) {
    const [row, column] = key.split(",").map(Number) as [number, number];
    lines[row] = Math.max(lines[row]!, Math.ceil(cell.length / layout.columns[column]!.across));
  }
  const heights = lines.map((count) => Math.max(layers > 16 ? 20 : 26, count * pitch + 12));
  heights[0] = 30;
  heights[layers + 1] = outputLines * 32 + 12;
  const spare = options.height - heights.reduce((sum, height) => sum + height, 0);
  const totalWeight = lines.slice(1, -1).reduce((sum, count) => sum + 0.6 + count, 0);
  let bottom = 0;
  const placed = heights.map((height, row) => {
    const layer = row > 0 && row <= layers;
    const full = height + (spare > 0 && layer ? (spare * (0.6 + lines[row]!)) / totalWeight : 0);
    bottom += full;
    return { bottom, height: full };
  });
  layout.height = Math.floor(Math.max(bottom, options.height));
  layout.rows = placed.map(({ bottom: from, height }) => {
    const top = layout.height - from;
    return { top, height, middle: top + height / 2 };
  });
}

function placeCell(layout: Layout, key: string, cell: Mark[], pitch: number, options: LayoutOptions): void {
  const [rowIndex, columnIndex] = key.split(",").map(Number) as [number, number];
  const column = layout.columns[columnIndex]!;
  const row = layout.rows[rowIndex]!;
  const largest = Math.min(12 * Math.max(1, options.zoom), pitch / 2 - 0.5);
  const boxes = cell.filter((mark) => mark.half > 0);
  const round = cell.filter((mark) => mark.half === 0);
  const lines = Math.ceil(round.length / column.across) + boxes.length;
  const across = Math.ceil(round.length / Math.max(1, lines - boxes.length));
  const step = Math.min((column.width - 10) / Math.max(1, across), pitch * 1.9);
  const lineHeight = Math.max(Math.min(pitch, row.height / lines), Math.min(pitch * 1.4, (row.height - 16) / lines));
  round.sort((a, b) => Number(a.kind === "error") - Number(b.kind === "error") || b.influence - a.influence);
  const lineY = (line: number) => row.middle + (line - (lines - 1) / 2) * lineHeight;
  boxes.forEach((mark, i) => Object.assign(mark, { x: column.middle, y: lineY(i), r: BOX }));
  round.forEach((mark, i) => {
    const line = Math.floor(i / across);
    const inLine = Math.min(across, round.length - line * across);
    mark.x = column.middle + ((i % across) - (inLine - 1) / 2) * step;
    mark.y = lineY(line + boxes.length);
    mark.r = 3 + (largest - 3) * Math.sqrt(Math.min(1, mark.influence / options.strongest));
  });
}

/** Outputs by position, wrapped into lines of boxes. */
function groupOutputs(scene: Scene, layout: Layout): Map<number, Mark[][]> {
  const places = new Map<number, Mark[]>();
  for (const mark of scene.marks) {
    if (mark.kind !== "target") continue;
    places.set(mark.position, [...(places.get(mark.position) ?? []), mark]);
  }
  const linesByPosition = new Map<number, Mark[][]>();
  for (const [position, marks] of places) {
    const column = layout.columns[layout.columnOf[position]!]!;
    const availableWidth = places.size === 1 ? Math.max(300, Math.min(layout.width - 16, 560)) : column.width;
    const lines: Mark[][] = [[]];
    let wide = 0;
    for (const mark of marks) {
      if (lines.at(-1)!.length && wide + 2 * mark.half + 8 > availableWidth) {
        lines.push([]);
        wide = 0;
      }
      lines.at(-1)!.push(mark);
      wide += 2 * mark.half + 8;
    }
    linesByPosition.set(position, lines);
  }
  return linesByPosition;
}

function placeOutputs(layout: Layout, layers: number, outputs: ReadonlyMap<number, Mark[][]>): void {
  const row = layout.rows[layers + 1]!;
  for (const [position, lines] of outputs) {
    const column = layout.columns[layout.columnOf[position]!]!;
    const wide = Math.max(...lines.map((line) => line.reduce((sum, mark) => sum + 2 * mark.half + 8, -8)));
    const left = Math.max(8, Math.min(column.middle - wide / 2, layout.width - wide - 8));
    lines.forEach((line, i) => {
      let x = left;
      const y = row.middle + (i - (lines.length - 1) / 2) * 32;
      for (const mark of line) {
        Object.assign(mark, { x: x + mark.half, y, r: BOX });
        x += 2 * mark.half + 8;
      }
    });
  }
}

type Box = readonly [number, number, number, number];

/** Places names beside the most influential marks where they overlap neither marks nor other names. */
function placeTags(scene: Scene, layout: Layout, pitch: number, options: LayoutOptions): Tag[] {
  const occupied: Box[] = scene.marks.map((mark) => {
    const aside = Math.max(mark.half, mark.r + 1);
    return [mark.x - aside, mark.y - mark.r, mark.x + aside, mark.y + mark.r];
  });
  const limit = pitch < 17 ? 24 : 60;
  const tags: Tag[] = [];
  const candidates = scene.marks.filter((mark) => mark.kind === "feature" && mark.named);
  candidates.sort((a, b) => Number(b.pinned) - Number(a.pinned) || b.influence - a.influence);
  for (const mark of candidates.slice(0, limit * 3)) {
    if (tags.length >= limit) break;
    const text = mark.name.length > 30 ? `${mark.name.slice(0, 28)}…` : mark.name;
    const wide = options.measure(text, false) + 4;
    const [left, right] = [mark.x - 8, mark.x + 8 - wide];
    const [above, below] = [mark.y - mark.r - 16, mark.y + mark.r + 2];
    const spots = [
      [mark.x - wide / 2, above],
      [mark.x - wide / 2, below],
      [mark.x + mark.r + 4, mark.y - 7],
      [mark.x - mark.r - 4 - wide, mark.y - 7],
      [left, above],
      [right, above],
      [left, below],
      [right, below],
    ] as const;
    for (const [x, y] of spots) {
      const box: Box = [x, y, x + wide, y + 14];
      if (box[0] < 2 || box[2] > layout.width - 2 || box[1] < 2 || box[3] > layout.height) continue;
      if (occupied.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1]))
        continue;
      occupied.push(box);
      tags.push({ mark, text, x: x + 2, y: y + 11 });
      break;
    }
  }
  return tags;
}
