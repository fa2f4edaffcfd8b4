// A scatter plot of predicted against measured effects, with the diagonal where both agree.
import { ticks } from "../model/scale";
import { amount } from "../model/format";
import type { AuditPoints } from "../types";
import { type Palette, SANS } from "./palette";

const [WIDE, HIGH] = [324, 300];
const [LEFT, BELOW, ASIDE] = [58, 34, 8]; // margins; the left one holds a signed number and the axis title

export function scatter(canvas: HTMLCanvasElement, points: AuditPoints, max: number, colours: Palette): void {
  const scale = window.devicePixelRatio || 1;
  [canvas.width, canvas.height] = [WIDE * scale, HIGH * scale];
  Object.assign(canvas.style, { width: `${WIDE}px`, height: `${HIGH}px` });
  const pen = canvas.getContext("2d");
  if (!pen) return;
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  const axisShare = (value: number) => (Math.max(-max, Math.min(max, value)) + max) / (2 * max);
  const x = (value: number) => LEFT + axisShare(value) * (WIDE - ASIDE - LEFT);
  const y = (value: number) => HIGH - BELOW - axisShare(value) * (HIGH - ASIDE - BELOW);
  pen.lineWidth = 1;
  pen.font = SANS;
  for (const tick of [0, ...ticks(max).flatMap((each) => [each, -each])]) {
    pen.strokeStyle = colours.line;
    pen.beginPath();
    pen.moveTo(x(tick), y(-max));
    pen.lineTo(x(tick), y(max));
    pen.moveTo(x(-max), y(tick));
    pen.lineTo(x(max), y(tick));
    pen.stroke();
    pen.fillStyle = colours.soft;
    pen.textAlign = "center";
    pen.fillText(amount(tick), x(tick), HIGH - 18);
    pen.textAlign = "right";
    if (tick !== 0) pen.fillText(amount(tick), LEFT - 4, y(tick) + 4);
  }
  pen.textAlign = "center";
  pen.fillText("predicted", x(0), HIGH - 3);
  pen.save();
  pen.translate(10, y(0));
  pen.rotate(-Math.PI / 2);
  pen.fillText("measured", 0, 0);
  pen.restore();
  pen.strokeStyle = colours.faint;
  pen.setLineDash([4, 3]);
  pen.beginPath();
  pen.moveTo(x(-max), y(-max));
  pen.lineTo(x(max), y(max));
  pen.stroke();
  pen.setLineDash([]);
  drawPoints(pen, points, x, y, false, colours.named, 0.4);
  drawPoints(pen, points, x, y, true, colours.accent, 0.9);
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
