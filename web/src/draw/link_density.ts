// Draws thousands of weak links as an image of their density: they are summed in a coarse grid, which is coloured in
// one pass. To stroke them on a canvas takes ten times as long, and they could not be told apart. Negative links are
// dashed.
import type { Link } from "../model/scene";
import { endpoints } from "./links";
import { type Palette, rgb } from "./palette";

const OPAQUE_INK = 255 * 16;

export function drawLinkDensity(
  pen: CanvasRenderingContext2D,
  links: readonly Link[],
  colours: Palette,
  width: number,
  height: number,
  strength: number,
): void {
  const cell = links.length > 20_000 ? 3 : 2; // pixels of the plot in one cell of the grid
  const [columns, rows] = [Math.ceil(width / cell), Math.ceil(height / cell)];
  const [plus, minus] = [new Uint16Array(columns * rows), new Uint16Array(columns * rows)];
  for (const link of links) {
    const size = Math.sqrt(Math.min(1, Math.abs(link.share)));
    const ink = Math.round(16 * 255 * strength * (0.06 + 0.3 * size) * (0.3 + 0.7 * Math.sqrt(link.rank)));
    accumulate(link.weight < 0 ? minus : plus, columns, cell, link, Math.max(6, ink));
  }
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [columns, rows];
  const context = canvas.getContext("2d");
  if (!context) return;
  context.putImageData(
    new ImageData(toPixels(plus, minus, rgb(colours.plus), rgb(colours.minus)), columns, rows),
    0,
    0,
  );
  pen.imageSmoothingEnabled = true;
  pen.drawImage(canvas, 0, 0, columns * cell, rows * cell);
}

/** Adds a link's ink to the grid along the curve that `links.ts` draws. Forward differences cost six additions a
 *  cell. */
function accumulate(grid: Uint16Array, columns: number, cell: number, link: Link, ink: number): void {
  const dashed = link.weight < 0;
  const linkEnds = endpoints(link);
  const [x1, y1, x2, y2] = [linkEnds.x1 / cell, linkEnds.y1 / cell, linkEnds.x2 / cell, linkEnds.y2 / cell];
  const steps = Math.max(1, Math.ceil(Math.max(0.8 * Math.abs(x2 - x1), Math.abs(y2 - y1))));
  const bend = (y1 - y2) * 0.5;
  const h = 1 / steps;
  // x: x1 x1 x2 x2; y: y1, y1 - bend, y2 + bend, y2, as cubics a t³ + b t² + c t + d
  const [ax, bx] = [2 * (x1 - x2), 3 * (x2 - x1)];
  const cy = -3 * bend;
  const by = 3 * (y2 - y1) + 9 * bend;
  const ay = 2 * (y1 - y2) - 6 * bend;
  let [x, y] = [x1, y1];
  let dx = ax * h * h * h + bx * h * h;
  let dy = ay * h * h * h + by * h * h + cy * h;
  let ddx = 6 * ax * h * h * h + 2 * bx * h * h;
  let ddy = 6 * ay * h * h * h + 2 * by * h * h;
  const [dddx, dddy] = [6 * ax * h * h * h, 6 * ay * h * h * h];
  for (let i = 0; i <= steps; i++) {
    if (!dashed || (i & 7) < 5) {
      const cellIndex = (y | 0) * columns + (x | 0); // in range: both ends lie in the plot, hence the whole curve does
      const sum = grid[cellIndex]! + ink;
      grid[cellIndex] = sum > 65535 ? 65535 : sum;
    }
    x += dx;
    y += dy;
    dx += ddx;
    dy += ddy;
    ddx += dddx;
    ddy += dddy;
  }
}

/** Turns sums of ink into pixels. Opacity saturates: many faint links in one cell add up, but never to a full cover. */
function toPixels(
  plus: Uint16Array,
  minus: Uint16Array,
  plusColour: readonly number[],
  minusColour: readonly number[],
): Uint8ClampedArray<ArrayBuffer> {
  const pixels = new Uint8ClampedArray(plus.length * 4);
  const opacity = Float32Array.from({ length: 1024 }, (_, i) => 0.75 * (1 - Math.exp((-i * 64) / OPAQUE_INK)));
  for (let i = 0; i < plus.length; i++) {
    const [p, m] = [plus[i]!, minus[i]!];
    if (p + m === 0) continue;
    const [a, b] = [opacity[p >> 6]!, opacity[m >> 6]!];
    const alpha = a + b - a * b;
    if (alpha <= 0) continue;
    const plusShare = a / (a + b || 1);
    const offset = i * 4;
    pixels[offset] = plusColour[0]! * plusShare + minusColour[0]! * (1 - plusShare);
    pixels[offset + 1] = plusColour[1]! * plusShare + minusColour[1]! * (1 - plusShare);
    pixels[offset + 2] = plusColour[2]! * plusShare + minusColour[2]! * (1 - plusShare);
    pixels[offset + 3] = 255 * alpha;
  }
  return pixels;
}
