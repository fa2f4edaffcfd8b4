// A scatter plot of predicted against measured effects, with the diagonal on which they agree.
import { ticks } from "../model/scale";
import { amount } from "../model/text";
import type { AuditPoints } from "../types";
import { type Palette, SANS } from "./palette";

const SIZE = 300;
const EDGE = 34;

export function scatter(canvas: HTMLCanvasElement, points: AuditPoints, most: number, colours: Palette): void {
  const scale = window.devicePixelRatio || 1;
  canvas.width = canvas.height = SIZE * scale;
  canvas.style.width = canvas.style.height = `${SIZE}px`;
  const pen = canvas.getContext("2d");
  if (!pen) return;
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  const [low, high] = [EDGE, SIZE - 8];
  const x = (value: number) => low + ((Math.max(-most, Math.min(most, value)) + most) / (2 * most)) * (high - low);
  const y = (value: number) => SIZE - x(value);
  pen.lineWidth = 1;
  pen.font = SANS;
  for (const tick of [0, ...ticks(most).flatMap((each) => [each, -each])]) {
    pen.strokeStyle = colours.line;
    pen.beginPath();
    pen.moveTo(x(tick), y(-most));
    pen.lineTo(x(tick), y(most));
    pen.moveTo(x(-most), y(tick));
    pen.lineTo(x(most), y(tick));
    pen.stroke();
    pen.fillStyle = colours.soft;
    pen.textAlign = "center";
    pen.fillText(amount(tick), x(tick), SIZE - 18);
    pen.textAlign = "right";
    if (tick !== 0) pen.fillText(amount(tick), low - 4, y(tick) + 4);
  }
  pen.textAlign = "center";
  pen.fillText("predicted", SIZE / 2 + 12, SIZE - 3);
  pen.save();
  pen.translate(10, SIZE / 2 - 12);
  pen.rotate(-Math.PI / 2);
  pen.fillText("measured", 0, 0);
  pen.restore();
  pen.strokeStyle = colours.faint;
  pen.setLineDash([4, 3]);
  pen.beginPath();
  pen.moveTo(x(-most), y(-most));
  pen.lineTo(x(most), y(most));
  pen.stroke();
  pen.setLineDash([]);
  drawPoints(pen, points, x, y, false, colours.named, 0.4);
  drawPoints(pen, points, x, y, true, colours.accent, 0.9);
}

function drawPoints(pen: CanvasRenderingContext2D, points: AuditPoints, x: (v: number) => number, y: (v: number) => number, outputs: boolean, colour: string, strength: number): void {
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
