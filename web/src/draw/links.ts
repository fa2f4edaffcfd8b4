// Draws links on a canvas in batches of equal sign, width and opacity, so that thousands of links need a few dozen
// changes of style. Width shows the share of the target's input, opacity the target's influence. Negative links are
// dashed; thin dashes are drawn piece by piece, which software rendering does far faster than a dash pattern.
import type { Link, Mark } from "../model/scene";
import type { Palette } from "./palette";

export interface Endpoints {
  x1: number;
  y1: number;
  x2: number;
  y2: number;
}

export function endpoints(link: Link): Endpoints {
  const { from, to } = link;
  return { x1: from.x, y1: from.y - borderOffset(from), x2: to.x, y2: to.y + borderOffset(to) };
}

function borderOffset(mark: Mark): number {
  if (mark.half > 0) return mark.r;
  return mark.kind === "token" ? 6 : mark.r * 0.6;
}

const OPACITIES = [0.3, 0.5, 0.75, 1];

export function drawLinks(
  pen: CanvasRenderingContext2D,
  links: readonly Link[],
  colours: Palette,
  scale: number,
  strength: number,
  fade = true,
): void {
  const batches = new Map<number, Link[]>();
  for (const link of links) {
    const level = Math.min(7, Math.floor(8 * Math.sqrt(Math.min(1, Math.abs(link.share)))));
    const opacityLevel = fade ? Math.min(3, Math.ceil(3 * Math.sqrt(link.rank))) : 3;
    const key = level * 8 + opacityLevel * 2 + (link.weight < 0 ? 1 : 0);
    const batch = batches.get(key);
    if (batch) batch.push(link);
    else batches.set(key, [link]);
  }
  pen.lineCap = "butt";
  for (const [key, batch] of [...batches].sort((a, b) => a[0] - b[0])) {
    const level = key >> 3;
    const minus = (key & 1) === 1;
    const width = level < 2 ? 0.9 : 0.7 + 0.13 * scale * level ** 2;
    pen.strokeStyle = minus ? colours.minus : colours.plus;
    pen.lineWidth = width;
    pen.globalAlpha = Math.min(1, strength * (0.22 + 0.11 * level) * OPACITIES[(key >> 1) & 3]!);
    const thin = width <= 1;
    pen.setLineDash(minus && !thin ? [5 + width, 4 + 0.6 * width] : []);
    pen.beginPath();
    for (const link of batch) {
      (minus && thin ? dashedCurve : curve)(pen, endpoints(link));
      if (thin) continue;
      pen.stroke(); // wide strokes are faster one at a time, thin ones in one path
      pen.beginPath();
    }
    if (thin) pen.stroke();
  }
  pen.setLineDash([]);
  pen.globalAlpha = 1;
}

function curve(pen: CanvasRenderingContext2D, { x1, y1, x2, y2 }: Endpoints): void {
  const bend = (y1 - y2) * 0.5;
  pen.moveTo(x1, y1);
  pen.bezierCurveTo(x1, y1 - bend, x2, y2 + bend, x2, y2);
}

/** Adds every other piece of the curve to the path. */
function dashedCurve(pen: CanvasRenderingContext2D, { x1, y1, x2, y2 }: Endpoints): void {
  const bend = (y1 - y2) * 0.5;
  const count = Math.max(5, Math.min(161, Math.round((Math.abs(x2 - x1) + Math.abs(y2 - y1)) / 7) | 1));
  for (let i = 0; i < count; i++) {
    const t = i / count;
    const s = 1 - t;
    const [a, b, c, d] = [s * s * s, 3 * s * s * t, 3 * s * t * t, t * t * t];
    const x = (a + b) * x1 + (c + d) * x2;
    const y = a * y1 + b * (y1 - bend) + c * (y2 + bend) + d * y2;
    if (i % 2 === 0) pen.moveTo(x, y);
    else pen.lineTo(x, y);
  }
  if (count % 2 === 1) pen.lineTo(x2, y2);
}
