// A scatter plot of predicted against measured effects, with the diagonal where both agree and lines where one is twice
// the other. The axes hold every point: none is drawn at a place that is not its own.
import { t } from "../i18n/text";
import { FAR, type SymmetricScale, symmetricPlace, symmetricTicks } from "../model/scale";
import type { AuditPoints } from "../types";
import { type Palette, SANS } from "./palette";

const [WIDE, HIGH] = [324, 300];
const [LEFT, BELOW, ASIDE] = [58, 34, 8]; // margins; the left one holds a signed number and the axis title

const CURVE_STEPS = 60;

export function scatter(canvas: HTMLCanvasElement, points: AuditPoints, scale: SymmetricScale, colours: Palette): void {
  const density = window.devicePixelRatio || 1;
  [canvas.width, canvas.height] = [WIDE * density, HIGH * density];
  Object.assign(canvas.style, { width: `${WIDE}px`, height: `${HIGH}px` });
  const pen = canvas.getContext("2d");
  if (!pen) return;
  pen.setTransform(density, 0, 0, density, 0, 0);
  const { max } = scale;
  const x = (value: number) => LEFT + symmetricPlace(scale, value) * (WIDE - ASIDE - LEFT);
  const y = (value: number) => HIGH - BELOW - symmetricPlace(scale, value) * (HIGH - ASIDE - BELOW);
  pen.lineWidth = 1;
  pen.font = SANS;
  for (const tick of symmetricTicks(scale)) {
    pen.strokeStyle = colours.line;
    pen.beginPath();
    pen.moveTo(x(tick), y(-max));
    pen.lineTo(x(tick), y(max));
    pen.moveTo(x(-max), y(tick));
    pen.lineTo(x(max), y(tick));
    pen.stroke();
    pen.fillStyle = colours.soft;
    pen.textAlign = "right";
    pen.fillText(axisNumber(tick), LEFT - 4, y(tick) + 4);
  }
  drawNumbersAcross(pen, symmetricTicks(scale), x);
  pen.textAlign = "center";
  pen.fillText(t("predicted"), x(0), HIGH - 3);
  pen.save();
  pen.translate(10, y(0));
  pen.rotate(-Math.PI / 2);
  pen.fillText(t("measured"), 0, 0);
  pen.restore();
  drawRatio(pen, scale, x, y, 1, [4, 3], colours.soft);
  drawRatio(pen, scale, x, y, FAR, [1, 3], colours.faint);
  drawRatio(pen, scale, x, y, 1 / FAR, [1, 3], colours.faint);
  drawPoints(pen, points, x, y, false, colours.named, 0.4);
  drawPoints(pen, points, x, y, true, colours.accent, 0.9);
}

function axisNumber(value: number): string {
  return (value < 0 ? "−" : "") + String(Math.abs(value));
}

/** Numbers below the plot, zero and the outer ones first: one that would run into another is left out. */
function drawNumbersAcross(pen: CanvasRenderingContext2D, ticks: readonly number[], x: (v: number) => number): void {
  const taken: [number, number][] = [];
  pen.textAlign = "center";
  for (const tick of [0, ...[...ticks].sort((a, b) => Math.abs(b) - Math.abs(a))]) {
    const half = pen.measureText(axisNumber(tick)).width / 2 + 3;
    const [from, to] = [x(tick) - half, x(tick) + half];
    if (taken.some(([start, end]) => from < end && to > start)) continue;
    taken.push([from, to]);
    pen.fillText(axisNumber(tick), x(tick), HIGH - 18);
  }
}

/** The line on which the prediction is this many times the measurement: a curve, as the axes are not linear. */
function drawRatio(
  pen: CanvasRenderingContext2D,
  scale: SymmetricScale,
  x: (v: number) => number,
  y: (v: number) => number,
  ratio: number,
  dashes: number[],
  colour: string,
): void {
  const end = scale.max / Math.max(1, ratio);
  pen.strokeStyle = colour;
  pen.setLineDash(dashes);
  pen.beginPath();
  for (const sign of [-1, 1]) {
    pen.moveTo(x(0), y(0));
    for (let step = 0; step <= CURVE_STEPS; step++) {
      // from the inner end of the linear part outward, evenly on the logarithmic axis
      const measured = sign * end * (scale.linear / 10 / end) ** (1 - step / CURVE_STEPS);
      pen.lineTo(x(ratio * measured), y(measured));
    }
  }
  pen.stroke();
  pen.setLineDash([]);
}

function drawPoints(
  pen: CanvasRenderingContext2D,
  points: AuditPoints,
  x: (v: number) => number,
  y: (v: number) => number,
  outputs: boolean,
  colour: string,
  strength: number,
): void {
  pen.fillStyle = colour;
  pen.globalAlpha = strength;
  pen.beginPath();
  points.predicted.forEach((predicted, i) => {
    if (points.is_output[i] !== outputs) return;
    const [px, py] = [x(predicted), y(points.measured[i]!)];
    if (outputs) {
      pen.moveTo(px, py - 4);
      pen.lineTo(px + 4, py);
      pen.lineTo(px, py + 4);
      pen.lineTo(px - 4, py);
      pen.closePath();
    } else {
      pen.moveTo(px + 2, py);
      pen.arc(px, py, 2, 0, 2 * Math.PI);
    }
  });
  pen.fill();
  pen.globalAlpha = 1;
}
