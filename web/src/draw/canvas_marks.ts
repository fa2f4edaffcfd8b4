// Draws marks on a canvas: the highlighted ones above the dimmed graph, and all of them when there are too many for
// SVG.
import { type LabelGroup, letterPlace } from "../model/label_groups";
import type { Layout } from "../model/layout";
import type { Mark } from "../model/scene";
import { chanceOf, outputAmount } from "../model/format";
import { MONO, type Palette, SANS, colourOf } from "./palette";

export interface Colouring {
  colour: "plain" | "sign" | "label" | "group";
  /** The sign that colours a mark; 0 for none. */
  sign: (mark: Mark) => number;
  /** The label group that gives a mark its colour and letter. */
  labelGroup: (mark: Mark) => LabelGroup | undefined;
}

export const LETTER = `600 ${SANS}`;

export interface Paint {
  fill: string;
  stroke: string;
  width: number;
  dash: boolean;
}

/** Fill and outline of a mark: filled if positive, hollow and dashed if negative, so that colour is not the only
 *  sign. */
export function paint(mark: Mark, colours: Palette, colouring: Colouring): Paint {
  if (mark.kind === "error") return { fill: colours.raised, stroke: colours.faint, width: 1.5, dash: false };
  if (mark.kind === "token") return { fill: colours.token, stroke: colours.paper, width: 1.5, dash: false };
  const hue = colouring.colour === "group" ? colours.groups[colouring.labelGroup(mark)?.hue ?? -1] : undefined;
  if (mark.half > 0 && hue) return { fill: colours.raised, stroke: hue, width: 2, dash: false };
  if (mark.half > 0) return { fill: colours.raised, stroke: colours.line, width: 1.2, dash: false };
  if (colouring.colour === "sign") {
    const sign = colouring.sign(mark);
    if (sign > 0) return { fill: colours.plus, stroke: colours.paper, width: 1.5, dash: false };
    if (sign < 0) return { fill: colours.paper, stroke: colours.minus, width: 2.5, dash: true };
  }
  if (colouring.colour === "label" && mark.named)
    return { fill: colourOf(mark.name, colours.groups), stroke: colours.paper, width: 1.5, dash: false };
  if (colouring.colour === "group")
    return { fill: hue ?? colours.feature, stroke: colours.paper, width: 1.5, dash: false };
  return { fill: mark.named ? colours.named : colours.feature, stroke: colours.paper, width: 1.5, dash: false };
}

export function outline(pen: CanvasRenderingContext2D, mark: Mark, grow = 0): void {
  pen.beginPath();
  if (mark.half > 0) {
    pen.roundRect(
      mark.x - mark.half - grow,
      mark.y - mark.r - grow,
      2 * (mark.half + grow),
      2 * (mark.r + grow),
      mark.kind === "group" ? 13 + grow : 7 + grow,
    );
  } else if (mark.kind === "token")
    pen.roundRect(mark.x - 6 - grow, mark.y - 6 - grow, 12 + 2 * grow, 12 + 2 * grow, 3);
  else if (mark.kind === "error") {
    const r = mark.r + 1 + grow;
    pen.moveTo(mark.x, mark.y - r);
    for (const [x, y] of [
      [r, 0],
      [0, r],
      [-r, 0],
    ] as const)
      pen.lineTo(mark.x + x, mark.y + y);
    pen.closePath();
  } else pen.arc(mark.x, mark.y, mark.r + grow, 0, 2 * Math.PI);
}

export function drawMark(
  pen: CanvasRenderingContext2D,
  mark: Mark,
  colours: Palette,
  colouring: Colouring,
  ring = "",
  dashed = false,
  heavy = false,
): void {
  const style = paint(mark, colours, colouring);
  outline(pen, mark);
  pen.fillStyle = style.fill;
  pen.fill();
  pen.strokeStyle = style.stroke;
  pen.lineWidth = style.width;
  pen.setLineDash(style.dash ? [3, 2] : []);
  pen.stroke();
  if (mark.pinned && mark.half === 0) drawPinDot(pen, mark, colours);
  if (mark.half > 0) writeBox(pen, mark, colours);
  if (ring) {
    outline(pen, mark, 2);
    pen.setLineDash(dashed ? [3, 2] : []);
    pen.strokeStyle = ring;
    pen.lineWidth = heavy ? 3 : 2;
    pen.stroke();
  }
  if (colouring.colour === "group") writeLetter(pen, mark, colours, colouring.labelGroup(mark));
  pen.setLineDash([]);
}

function drawPinDot(pen: CanvasRenderingContext2D, mark: Mark, colours: Palette): void {
  pen.beginPath();
  pen.arc(mark.x, mark.y, Math.max(1.5, mark.r * 0.35), 0, 2 * Math.PI);
  pen.fillStyle = colours.paper;
  pen.fill();
}

function writeLetter(
  pen: CanvasRenderingContext2D,
  mark: Mark,
  colours: Palette,
  labelGroup: LabelGroup | undefined,
): void {
  if (!labelGroup) return;
  const { x, y, inside } = letterPlace(mark);
  const hue = colours.groups[labelGroup.hue]!;
  pen.setLineDash([]);
  pen.font = LETTER;
  pen.textAlign = "center";
  if (mark.half > 0) {
    pen.beginPath();
    pen.arc(x, y, 9, 0, 2 * Math.PI);
    pen.fillStyle = hue;
    pen.fill();
  } else if (!inside) {
    pen.lineJoin = "round";
    pen.lineWidth = 4;
    pen.strokeStyle = colours.paper;
    pen.strokeText(labelGroup.letter, x, y + 4.5);
  }
  pen.fillStyle = inside ? colours.paper : hue;
  pen.fillText(labelGroup.letter, x, y + 4.5);
  pen.textAlign = "left";
}

function writeBox(pen: CanvasRenderingContext2D, mark: Mark, colours: Palette): void {
  const [left, wide] = [mark.x - mark.half, 2 * mark.half];
  if (mark.kind === "target") {
    const node = mark.members[0]!;
    const chance = chanceOf(node);
    pen.save();
    outline(pen, mark);
    pen.clip();
    pen.globalAlpha = 0.17;
    pen.fillStyle = colours.accent;
    pen.fillRect(left, mark.y - mark.r, Math.max(3, wide * Math.min(1, chance)), 2 * mark.r);
    pen.restore();
    pen.fillStyle = colours.ink;
    pen.font = `600 ${MONO}`;
    pen.textAlign = "left";
    pen.fillText(mark.name, left + 9, mark.y + 4.5);
    pen.font = SANS;
    pen.fillStyle = colours.soft;
    pen.textAlign = "right";
    pen.fillText(outputAmount(node), left + wide - 9, mark.y + 4.5);
    pen.textAlign = "left";
    return;
  }
  pen.font = SANS;
  pen.fillStyle = colours.ink;
  pen.textAlign = "left";
  pen.fillText(mark.name, left + 11, mark.y + 4, wide - 34);
  pen.fillStyle = colours.soft;
  pen.textAlign = "right";
  pen.fillText(String(mark.members.length), left + wide - 9, mark.y + 4);
  pen.textAlign = "left";
}

export function drawTags(
  pen: CanvasRenderingContext2D,
  layout: Layout,
  colours: Palette,
  isDrawn: (mark: Mark) => boolean,
): void {
  pen.font = SANS;
  pen.lineJoin = "round";
  for (const tag of layout.tags) {
    if (!isDrawn(tag.mark)) continue;
    pen.strokeStyle = colours.paper;
    pen.lineWidth = 4;
    pen.strokeText(tag.text, tag.x, tag.y);
    pen.fillStyle = colours.ink;
    pen.fillText(tag.text, tag.x, tag.y);
  }
}
