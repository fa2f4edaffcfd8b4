// Where a circuit's words, groups and answer stand in the figure, and the lines between them. On a wide page stages go
// from left to right; on a narrow one everything stands below one another, with the lines at the left.
import type { CircuitEdge, CircuitGroup, CircuitView } from "../types";

export interface Box {
  id: string;
  kind: "word" | "group" | "answer";
  x: number;
  y: number;
  width: number;
  height: number;
  /** Its place from left to right; 0 for all where they stand below one another. */
  column: number;
  /** The name in lines that fit. */
  lines: readonly string[];
  group: CircuitGroup | null;
}

export interface Line {
  key: string;
  edge: CircuitEdge;
  /** An SVG path. */
  path: string;
  /** The tip of the arrow, as the points of a polygon. */
  tip: string;
  width: number;
  /** Where its share is written. */
  label: readonly [number, number];
}

export interface CircuitLayout {
  width: number;
  height: number;
  narrow: boolean;
  boxes: readonly Box[];
  lines: readonly Line[];
}

export const ANSWER = "answer";
export const NARROW = 700; // pixels of width below which the figure goes from top to bottom
export const NAME_LINE = 18;
export const FOOT = 74; // below a group's name: where it stands, two bars
const [LEAST_GROUP, MOST_GROUP] = [184, 228];
const [PAD, ROW_GAP, LEAST_GAP, MOST_GAP, MARGIN] = [12, 26, 72, 150, 8];
const LANE = 20; // above and below a column, where lines pass it
const BULGE = 44; // of a line between two groups of one column
const [WORD_HEIGHT, ANSWER_WIDTH, ANSWER_HEIGHT, GUTTER] = [30, 124, 78, 62];
const INTO = 3; // lines into one group, the strongest
const LEAST = 0.1; // of a group, or of the answer: what must go with a source for a line to be drawn
const THICK = 7; // pixels of a line with which all goes

type Measure = (text: string) => number;

/** The lines that are drawn: the strongest into every group and into the answer. */
export function drawnEdges(view: CircuitView): CircuitEdge[] {
  const targets = [...view.groups.filter((each) => each.role !== "rest").map((each) => each.id), ANSWER];
  return targets.flatMap((target) =>
    view.edges
      .filter((each) => each.target === target && Math.abs(each.measured) >= LEAST)
      .sort((a, b) => Math.abs(b.measured) - Math.abs(a.measured))
      .slice(0, INTO),
  );
}

export function layOutCircuit(
  view: CircuitView,
  width: number,
  nameOf: (group: CircuitGroup) => string,
  measure: Measure,
): CircuitLayout {
  const edges = drawnEdges(view);
  const narrow = width < NARROW;
  const stagesShown = stages(view, edges);
  const groupWidth = narrow ? width - GUTTER - 8 : widthOfGroups(width, stagesShown.length);
  const columns = stagesShown.map((items) => items.map((item) => sized(item, view, nameOf, measure, groupWidth)));
  const inColumn = new Map(columns.flatMap((column, i) => column.map((box) => [box.id, i] as const)));
  const bulges = edges.some((each) => inColumn.get(each.source) === 0 && inColumn.get(each.target) === 0);
  const placed = narrow ? stacked(columns) : sideBySide(columns, width, bulges);
  const byId = new Map(placed.boxes.map((box) => [box.id, box]));
  const lines = edges.flatMap((edge) => {
    const [from, to] = [byId.get(edge.source), byId.get(edge.target)];
    return from && to ? [{ edge, from, to }] : [];
  });
  return { ...placed, narrow, lines: narrow ? arcs(lines) : curves(lines, placed.boxes) };
}

/** As wide as the page lets groups be, between bounds. */
function widthOfGroups(width: number, columns: number): number {
  const taken = ANSWER_WIDTH + (columns - 1) * LEAST_GAP + 2 * MARGIN;
  return Math.max(LEAST_GROUP, Math.min(MOST_GROUP, (width - taken) / Math.max(1, columns - 1)));
}

/** What stands in each column: words and groups that read or carry them, groups that gather, outputs, the answer. */
function stages(view: CircuitView, edges: readonly CircuitEdge[]): (string | CircuitGroup)[][] {
  const drawn = new Set(edges.map((each) => each.source));
  const words = view.words.filter((each) => drawn.has(each.id)).map((each) => each.id);
  const ordered = (...roles: CircuitGroup["role"][]) =>
    roles.flatMap((role) => view.groups.filter((each) => each.role === role));
  const early = [...words, ...ordered("reads", "carries", "rest")];
  const columns = [early, ordered("gathers"), ordered("output", "against")];
  return [...columns.filter((each) => each.length), [ANSWER]];
}

function sized(
  item: string | CircuitGroup,
  view: CircuitView,
  nameOf: (group: CircuitGroup) => string,
  measure: Measure,
  groupWidth: number,
): Box {
  const place = { x: 0, y: 0, column: 0 };
  if (typeof item !== "string") {
    const lines = wrapped(nameOf(item), groupWidth - 2 * PAD - 14, (text) => 1.16 * measure(text));
    const height = PAD + NAME_LINE * lines.length + FOOT;
    return { id: item.id, kind: "group", ...place, width: groupWidth, height, lines, group: item };
  }
  if (item === ANSWER) {
    const lines = wrapped(view.answer, ANSWER_WIDTH - 2 * PAD, (text) => 1.4 * measure(text));
    const height = ANSWER_HEIGHT + 22 * (lines.length - 1);
    return { id: item, kind: "answer", ...place, width: ANSWER_WIDTH, height, lines, group: null };
  }
  const text = view.words.find((each) => each.id === item)?.text ?? item;
  const width = Math.min(160, Math.ceil(1.2 * measure(text)) + 2 * PAD);
  return { id: item, kind: "word", ...place, width, height: WORD_HEIGHT, lines: [text], group: null };
}

/** A text in at most three lines that fit; a word that is too long is broken. */
export function wrapped(text: string, width: number, measure: Measure): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
    if (measure(longer) <= width || !lines.at(-1)) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  const fitted = lines.map((line) => {
    let end = line.length;
    while (end > 1 && measure(line.slice(0, end) + (end < line.length ? "…" : "")) > width) end--;
    return end < line.length ? `${line.slice(0, end)}…` : line;
  });
  return fitted.length > 3 ? [...fitted.slice(0, 2), `${fitted[2]}…`] : fitted;
}

type Placed = Pick<CircuitLayout, "width" | "height" | "boxes">;

function sideBySide(columns: readonly Box[][], width: number, bulges: boolean): Placed {
  const margin = MARGIN + (bulges ? BULGE : 0);
  const widths = columns.map((boxes) => Math.max(...boxes.map((box) => box.width)));
  const heights = columns.map((boxes) => boxes.reduce((sum, box) => sum + box.height + ROW_GAP, -ROW_GAP));
  const taken = widths.reduce((sum, each) => sum + each, margin + MARGIN);
  const gap = Math.max(LEAST_GAP, Math.min(MOST_GAP, (width - taken) / Math.max(1, columns.length - 1)));
  const height = Math.max(...heights) + 2 * (LANE + 8);
  let x = margin;
  const boxes = columns.flatMap((column, i) => {
    let y = (height - heights[i]!) / 2;
    const left = x;
    x += widths[i]! + gap;
    return column.map((box) => {
      const top = y;
      y += box.height + ROW_GAP;
      return { ...box, x: box.kind === "word" && !bulges ? left + widths[i]! - box.width : left, y: top, column: i };
    });
  });
  return { width: x - gap + MARGIN, height, boxes };
}

function stacked(columns: readonly Box[][]): Placed {
  let y = 8;
  const boxes = columns.flat().map((box) => {
    const top = y;
    y += box.height + ROW_GAP;
    return { ...box, x: GUTTER, y: top };
  });
  return { width: Math.max(...boxes.map((box) => box.x + box.width)) + 8, height: y, boxes };
}

interface Ends {
  edge: CircuitEdge;
  from: Box;
  to: Box;
}

/** The side at which a line leaves or enters a box, from its source to its target. */
function sides({ from, to }: Ends): ["left" | "right", "left" | "right"] {
  if (to.x >= from.x + from.width) return ["right", "left"];
  return from.x >= to.x + to.width ? ["left", "right"] : ["left", "left"];
}

function curves(lines: readonly Ends[], boxes: readonly Box[]): Line[] {
  const ports = portsOf(lines, sides);
  const lanes = new Lanes(boxes);
  return lines.map((line) => {
    const [start, end] = ports(line);
    const [outward, inward] = sides(line);
    const passed = lanes.past(line, start, end);
    const bend = outward === inward ? BULGE : Math.max(32, Math.abs((passed[0]?.[0] ?? end[0]) - start[0]) / 2);
    return drawn(
      line.edge,
      start,
      end,
      [outward === "right" ? bend : -bend, inward === "right" ? bend : -bend],
      passed,
      THICK,
    );
  });
}

/** The free heights at which lines pass the columns between their ends; lines in one lane lie beside one another. */
class Lanes {
  private readonly used = new Map<string, number>();

  constructor(private readonly boxes: readonly Box[]) {}

  /** Both ends of the lane in every column that a line passes, from left to right. */
  past({ from, to }: Ends, start: Point, end: Point): Point[] {
    const columns = Array.from({ length: Math.max(0, to.column - from.column - 1) }, (_, i) => from.column + 1 + i);
    return columns.flatMap((column) => {
      const boxes = this.boxes.filter((box) => box.column === column).sort((a, b) => a.y - b.y);
      const [left, right] = [
        Math.min(...boxes.map((box) => box.x)),
        Math.max(...boxes.map((box) => box.x + box.width)),
      ];
      const wanted = start[1] + ((end[1] - start[1]) * (left - start[0])) / (end[0] - start[0]);
      const free = [boxes[0]!.y - LANE, ...boxes.map((box, i) => laneBelow(box, boxes[i + 1]))];
      const lane = free.reduce((best, each) => (Math.abs(each - wanted) < Math.abs(best - wanted) ? each : best));
      const key = `${column} ${lane}`;
      const before = this.used.get(key) ?? 0;
      this.used.set(key, before + 1);
      const y = lane + (before % 2 ? 1 : -1) * 5 * Math.ceil(before / 2);
      return [[left, y] as const, [right, y] as const];
    });
  }
}

function laneBelow(box: Box, next: Box | undefined): number {
  const foot = box.y + box.height;
  return next ? (foot + next.y) / 2 : foot + LANE;
}

function arcs(lines: readonly Ends[]): Line[] {
  const ports = portsOf(lines, () => ["left", "left"]);
  return lines.map((line) => {
    const [start, end] = ports(line);
    const bend = Math.min(GUTTER + 12, 18 + Math.abs(end[1] - start[1]) / 9);
    return drawn(line.edge, start, end, [-bend, -bend], [], THICK / 2);
  });
}

type Point = readonly [number, number];

/** Lines at one side of a box leave it at places of their own, in the order of their other ends. */
function portsOf(
  lines: readonly Ends[],
  sidesOf: (line: Ends) => ["left" | "right", "left" | "right"],
): (line: Ends) => [Point, Point] {
  const atSide = new Map<string, { line: Ends; isStart: boolean; other: number }[]>();
  const middle = (box: Box) => box.y + box.height / 2;
  for (const line of lines) {
    const [outward, inward] = sidesOf(line);
    for (const [box, side, isStart, other] of [
      [line.from, outward, true, line.to],
      [line.to, inward, false, line.from],
    ] as const) {
      const key = `${box.id} ${side}`;
      atSide.set(key, [...(atSide.get(key) ?? []), { line, isStart, other: middle(other) }]);
    }
  }
  const points = new Map<string, Point>();
  const name = (line: Ends, isStart: boolean) => `${line.edge.source} ${line.edge.target} ${isStart}`;
  for (const [key, ends] of atSide) {
    const side = key.split(" ").at(-1);
    ends.sort((a, b) => a.other - b.other);
    ends.forEach(({ line, isStart }, i) => {
      const box = isStart ? line.from : line.to;
      const y = box.y + (box.height * (i + 1)) / (ends.length + 1);
      points.set(name(line, isStart), [side === "right" ? box.x + box.width : box.x, y]);
    });
  }
  return (line) => [points.get(name(line, true))!, points.get(name(line, false))!];
}

const number = (value: number) => value.toFixed(1);
const xy = (point: Point) => `${number(point[0])} ${number(point[1])}`;

/** A line that leaves and enters boxes horizontally, `bends` to the right of its ends, by way of the ends of lanes. */
function drawn(
  edge: CircuitEdge,
  start: Point,
  end: Point,
  bends: Point,
  passed: readonly Point[],
  thick: number,
): Line {
  const width = Math.max(1.2, thick * Math.min(1, Math.abs(edge.measured)));
  const direction = bends[1] < 0 ? 1 : -1;
  const size = 4 + width * 0.9;
  const back: Point = [end[0] - direction * size, end[1]];
  const stops = [start, ...passed, back];
  const parts: string[] = [];
  for (let i = 0; i < stops.length; i += 2) {
    const [from, to] = [stops[i]!, stops[i + 1]!];
    const [out, into] = passed.length ? halves(from, to) : [bends[0], bends[1]];
    parts.push(`C${xy([from[0] + out, from[1]])} ${xy([to[0] + into, to[1]])} ${xy(to)}`);
    if (stops[i + 2]) parts.push(`L${xy(stops[i + 2]!)}`);
  }
  return {
    key: `${edge.source} ${edge.target}`,
    edge,
    path: `M${xy(start)}${parts.join("")}`,
    tip: [end, [back[0], back[1] - size * 0.62] as Point, [back[0], back[1] + size * 0.62] as Point]
      .map((point) => point.map(number).join(","))
      .join(" "),
    width,
    label: [back[0] - direction * 17, end[1] - width / 2 - 8],
  };
}

function halves(from: Point, to: Point): Point {
  const half = (to[0] - from[0]) / 2;
  return [half, -half];
}

/** The group that an arrow key leads to: the nearest in its direction. */
export function groupTowards(
  boxes: readonly Box[],
  from: string,
  direction: "left" | "right" | "up" | "down",
): string | null {
  const groups = boxes.filter((box) => box.group);
  const start = groups.find((box) => box.id === from);
  if (!start) return groups[0]?.id ?? null;
  const [dx, dy] = { left: [-1, 0], right: [1, 0], up: [0, -1], down: [0, 1] }[direction] as [number, number];
  const centre = (box: Box) => [box.x + box.width / 2, box.y + box.height / 2] as const;
  const [x, y] = centre(start);
  let best: { id: string; cost: number } | null = null;
  for (const box of groups) {
    const [ax, ay] = [centre(box)[0] - x, centre(box)[1] - y];
    const along = ax * dx + ay * dy;
    const aside = Math.abs(ax * dy) + Math.abs(ay * dx);
    const cost = along + 2 * aside;
    if (box.id !== from && along > 1 && (!best || cost < best.cost)) best = { id: box.id, cost };
  }
  return best?.id ?? null;
}
