// A spatial index of the marks: square cells, so that the mark under the pointer is found without a scan of all marks.
import type { Mark } from "./scene";

const CELL = 48;

export class Grid {
  private readonly cells = new Map<string, Mark[]>();

  constructor(marks: readonly Mark[]) {
    for (const mark of marks) {
      const aside = Math.max(mark.half, mark.r);
      const left = Math.floor((mark.x - aside) / CELL);
      const right = Math.floor((mark.x + aside) / CELL);
      for (let column = left; column <= right; column++) {
        const key = `${column},${Math.floor(mark.y / CELL)}`;
        const cell = this.cells.get(key);
        if (cell) cell.push(mark);
        else this.cells.set(key, [mark]);
      }
    }
  }

  /** The mark nearest to a point, at most `reach` pixels from its edge. */
  nearest(x: number, y: number, reach = 10): Mark | null {
    let best: Mark | null = null;
    let bestGap = reach;
    const [column, row] = [Math.floor(x / CELL), Math.floor(y / CELL)];
    for (let dx = -1; dx <= 1; dx++) {
      for (let dy = -1; dy <= 1; dy++) {
        for (const mark of this.cells.get(`${column + dx},${row + dy}`) ?? []) {
          const gap = distance(mark, x, y);
          if (gap < bestGap) [best, bestGap] = [mark, gap];
        }
      }
    }
    return best;
  }
}

/** The distance from a mark's border to a point; negative inside a round mark. */
export function distance(mark: Mark, x: number, y: number): number {
  if (mark.half > 0)
    return Math.hypot(Math.max(0, Math.abs(mark.x - x) - mark.half), Math.max(0, Math.abs(mark.y - y) - mark.r));
  return Math.hypot(mark.x - x, mark.y - y) - mark.r;
}

/** The next mark in a direction: the nearest in the same row for left and right, else the nearest in the nearest
 *  row. */
export function neighbour(
  marks: readonly Mark[],
  from: Mark,
  direction: "left" | "right" | "up" | "down",
): Mark | null {
  const isAhead = (mark: Mark) => {
    if (mark === from) return false;
    if (direction === "left" || direction === "right") {
      return mark.row === from.row && (direction === "left" ? mark.x < from.x : mark.x > from.x);
    }
    return direction === "up" ? mark.row > from.row : mark.row < from.row;
  };
  const cost = (mark: Mark) =>
    mark.row === from.row
      ? Math.abs(mark.x - from.x) + 0.5 * Math.abs(mark.y - from.y)
      : 1e4 * Math.abs(mark.row - from.row) + Math.abs(mark.x - from.x);
  let best: Mark | null = null;
  for (const mark of marks) if (isAhead(mark) && (!best || cost(mark) < cost(best))) best = mark;
  return best;
}
