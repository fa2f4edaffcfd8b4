// Which link is under the pointer. A link is drawn as a curve that rises steadily from its source to its target, so a
// short row of points along it is enough.
import type { Link } from "../model/scene";
import { endpoints } from "./links";

const PIECES = 24;

/** The link nearest to a point, at most `reach` pixels from it; of links that lie together, the widest. */
export function nearestLink(links: readonly Link[], x: number, y: number, reach: number): Link | null {
  let best: Link | null = null;
  let bestGap = reach;
  for (const link of links) {
    const { x1, y1, x2, y2 } = endpoints(link);
    if (x < Math.min(x1, x2) - reach || x > Math.max(x1, x2) + reach) continue;
    if (y < Math.min(y1, y2) - reach || y > Math.max(y1, y2) + reach) continue;
    const gap = distanceToLink(link, x, y);
    const together = best !== null && Math.abs(gap - bestGap) < 1;
    if (together ? Math.abs(link.share) > Math.abs(best!.share) : gap < bestGap) [best, bestGap] = [link, gap];
  }
  return bestGap <= reach ? best : null;
}

/** The distance from a point to the curve of a link. */
export function distanceToLink(link: Link, x: number, y: number): number {
  const { x1, y1, x2, y2 } = endpoints(link);
  let least = Infinity;
  let [fromX, fromY] = [x1, y1];
  for (let i = 1; i <= PIECES; i++) {
    const t = i / PIECES;
    const s = 1 - t;
    const across = 3 * s * t * t + t * t * t; // the curve leaves and arrives upright
    const up = 1.5 * s * s * t + 1.5 * s * t * t + t * t * t;
    const [toX, toY] = [x1 + (x2 - x1) * across, y1 + (y2 - y1) * up];
    least = Math.min(least, distanceToPiece(x, y, fromX, fromY, toX, toY));
    [fromX, fromY] = [toX, toY];
  }
  return least;
}

function distanceToPiece(x: number, y: number, x1: number, y1: number, x2: number, y2: number): number {
  const [dx, dy] = [x2 - x1, y2 - y1];
  const along = Math.max(0, Math.min(1, ((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy || 1)));
  return Math.hypot(x - x1 - along * dx, y - y1 - along * dy);
}
