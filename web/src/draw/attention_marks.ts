// Draws one head's attention: a matrix of queries and keys, or lines between two columns of tokens. Both are drawn once
// for a head; what is pointed at or chosen is drawn on a second canvas above.
import { type AttentionLine, type HeadPattern, type Pair, attentionWeight } from "../model/attention";
import { visibleText } from "../model/format";
import { MONO, type Palette, rgb } from "./palette";

export interface Place {
  width: number;
  height: number;
  /** Pixels of a token's row. */
  row: number;
  /** Where tokens end and cells or lines begin. */
  left: number;
  top: number;
  /** Where lines end; of a matrix, its right border. */
  right: number;
}

const LABEL = 118; // pixels of a token's name
const NAMED = 11; // pixels of a row from which tokens have names in a matrix
const LONGEST = 14; // letters of a name

export function matrixPlace(tokens: number): Place {
  const row = Math.max(2, Math.min(24, Math.floor(480 / tokens)));
  const margin = row >= NAMED ? LABEL : 4;
  const size = tokens * row;
  return { width: margin + size + 2, height: margin + size + 2, row, left: margin, top: margin, right: margin + size };
}

export function linesPlace(tokens: number): Place {
  const row = tokens > 40 ? 15 : 24;
  return { width: 640, height: tokens * row + 8, row, left: LABEL + 6, top: 4, right: 640 - LABEL - 6 };
}

/** Makes a canvas sharp on this screen, empties it, and gives its pen. */
export function penOf(canvas: HTMLCanvasElement, place: Place): CanvasRenderingContext2D {
  const scale = Math.min(window.devicePixelRatio || 1, Math.sqrt(16e6 / (place.width * place.height)));
  const [width, height] = [Math.round(place.width * scale), Math.round(place.height * scale)];
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  canvas.style.width = `${place.width}px`;
  canvas.style.height = `${place.height}px`;
  const pen = canvas.getContext("2d")!;
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, place.width, place.height);
  return pen;
}

const nameOf = (token: string) => {
  const text = visibleText(token);
  return text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text;
};

/** Cells as an image of one pixel each, which the browser enlarges: 300 tokens are 90,000 cells. */
export function drawMatrix(
  pen: CanvasRenderingContext2D,
  pattern: HeadPattern,
  tokens: readonly string[],
  place: Place,
  colours: Palette,
): void {
  const n = tokens.length;
  const [red, green, blue] = rgb(colours.accent);
  const image = new ImageData(n, n);
  for (let query = 0; query < n; query++)
    for (let key = 0; key <= query; key++) {
      const offset = 4 * (query * n + key);
      image.data[offset] = red;
      image.data[offset + 1] = green;
      image.data[offset + 2] = blue;
      image.data[offset + 3] = 255 * Math.sqrt(attentionWeight(pattern, query, key));
    }
  const cells = document.createElement("canvas");
  [cells.width, cells.height] = [n, n];
  cells.getContext("2d")!.putImageData(image, 0, 0);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(cells, place.left, place.top, n * place.row, n * place.row);
  pen.strokeStyle = colours.line;
  pen.strokeRect(place.left - 0.5, place.top - 0.5, n * place.row + 1, n * place.row + 1);
  if (place.row < NAMED) return;
  pen.font = MONO;
  pen.fillStyle = colours.ink;
  pen.textBaseline = "middle";
  tokens.forEach((token, i) => {
    pen.textAlign = "right";
    pen.fillText(nameOf(token), place.left - 6, place.top + (i + 0.5) * place.row);
    pen.save();
    pen.translate(place.left + (i + 0.5) * place.row, place.top - 6);
    pen.rotate(-Math.PI / 2);
    pen.textAlign = "left";
    pen.fillText(nameOf(token), 0, 0);
    pen.restore();
  });
}

export function drawTokenColumns(
  pen: CanvasRenderingContext2D,
  tokens: readonly string[],
  place: Place,
  colours: Palette,
): void {
  pen.font = MONO;
  pen.fillStyle = colours.ink;
  pen.textBaseline = "middle";
  tokens.forEach((token, i) => {
    const y = place.top + (i + 0.5) * place.row;
    pen.textAlign = "right";
    pen.fillText(nameOf(token), place.left - 6, y);
    pen.textAlign = "left";
    pen.fillText(nameOf(token), place.right + 6, y);
  });
}

const WIDTHS = 8; // classes of lines, each stroked at once

export function drawAttentionLines(
  pen: CanvasRenderingContext2D,
  lines: readonly AttentionLine[],
  place: Place,
  colour: string,
  strength = 1,
): void {
  pen.strokeStyle = colour;
  const classes = Array.from({ length: WIDTHS }, () => new Path2D());
  for (const { query, key, weight } of lines) {
    const path = classes[Math.min(WIDTHS - 1, Math.floor(weight * WIDTHS))]!;
    path.moveTo(place.left, place.top + (query + 0.5) * place.row);
    path.lineTo(place.right, place.top + (key + 0.5) * place.row);
  }
  classes.forEach((path, i) => {
    const weight = (i + 0.5) / WIDTHS;
    pen.globalAlpha = Math.min(1, strength * (0.12 + 0.75 * weight));
    pen.lineWidth = 0.6 + 4 * weight;
    pen.stroke(path);
  });
  pen.globalAlpha = 1;
}

/** A frame around a query's row, a key's column, and where they cross. */
export function frameCell(pen: CanvasRenderingContext2D, { query, key }: Pair, place: Place, colour: string): void {
  const { left, top, row, right } = place;
  pen.fillStyle = pen.strokeStyle = colour;
  pen.globalAlpha = 0.14;
  pen.fillRect(left, top + query * row, right - left, row);
  pen.fillRect(left + key * row, top, row, right - left);
  pen.globalAlpha = 1;
  pen.lineWidth = 2;
  pen.strokeRect(left + key * row - 1, top + query * row - 1, row + 2, row + 2);
}

/** Marks a query at the left and a key at the right. */
export function frameTokens(pen: CanvasRenderingContext2D, { query, key }: Pair, place: Place, colour: string): void {
  pen.fillStyle = colour;
  pen.globalAlpha = 0.18;
  pen.fillRect(0, place.top + query * place.row, place.left, place.row);
  pen.fillRect(place.right, place.top + key * place.row, place.width - place.right, place.row);
  pen.globalAlpha = 1;
}
