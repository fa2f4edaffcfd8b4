// The two canvases behind the marks: all links below, the highlighted marks and links above. The lower one is drawn
// once and scrolled by the browser as a bitmap. When there are many links, the weak ones are drawn as a density image.
import type { Layout } from "../model/layout";
import type { Link, Mark, Scene } from "../model/scene";
import { drawLinks } from "./links";
import { drawLinkDensity } from "./link_density";
import { type Colouring, drawMark, drawTags } from "./canvas_marks";
import type { Palette } from "./palette";

const MAX_PIXELS = 24e6; // pixels of one canvas; beyond them the resolution is reduced
export const MANY_MARKS = 500; // above this count marks are drawn on the canvas instead of as SVG
export const MANY_LINKS = 2500; // above this count weak links are drawn as a density image
const CURVED_LINKS = 500; // how many of the strongest links are curves then

export interface Lit {
  links: readonly Link[];
  /** Marks and the sign of their link: 1 adds, -1 takes away, 0 for a match, a chosen mark or one on a path. */
  marks: ReadonlyMap<Mark, number>;
  cursor: Mark | null;
  chosen: ReadonlySet<string>;
}

export class Stage {
  private dirty: [number, number, number, number] | null = null;
  private scale = 1;
  /** Milliseconds of the last full drawing, for the benchmark. */
  took = 0;

  constructor(
    private readonly base: HTMLCanvasElement,
    private readonly lit: HTMLCanvasElement,
  ) {}

  private prepare(canvas: HTMLCanvasElement, layout: Layout): CanvasRenderingContext2D {
    this.scale = Math.min(
      window.devicePixelRatio || 1,
      Math.sqrt(MAX_PIXELS / Math.max(1, layout.width * layout.height)),
    );
    const [width, height] = [Math.round(layout.width * this.scale), Math.round(layout.height * this.scale)];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const pen = canvas.getContext("2d", { willReadFrequently: true })!;
    pen.setTransform(this.scale, 0, 0, this.scale, 0, 0);
    return pen;
  }

  /** Draws the background, the links (weak ones as a density image when there are many), and the marks if `marks`. */
  drawBase(
    scene: Scene,
    layout: Layout,
    colours: Palette,
    colouring: Colouring,
    first: number,
    marks = scene.marks.length > MANY_MARKS,
  ): void {
    const started = performance.now();
    const pen = this.prepare(this.base, layout);
    pen.clearRect(0, 0, layout.width, layout.height);
    drawBackground(pen, layout, colours, first);
    const { links } = scene;
    const strength = links.length > 3000 ? 0.4 : links.length > 800 ? 0.65 : 0.9;
    const curves = links.length > MANY_LINKS ? strongest(links) : links;
    if (curves !== links) {
      const curveSet = new Set(curves);
      drawLinkDensity(
        pen,
        links.filter((link) => !curveSet.has(link)),
        colours,
        layout.width,
        layout.height,
        strength,
      );
    }
    drawLinks(pen, curves, colours, layout.scale, curves === links ? strength : 0.65);
    if (marks) {
      for (const mark of scene.marks) drawMark(pen, mark, colours, colouring);
      drawTags(pen, layout, colours, () => true);
    }
    this.took = performance.now() - started;
  }

  drawLit(layout: Layout, colours: Palette, colouring: Colouring, lit: Lit): void {
    const pen = this.prepare(this.lit, layout);
    if (this.dirty) pen.clearRect(...this.dirty);
    this.dirty = null;
    if (!lit.marks.size) return;
    if (lit.links.length) drawLinks(pen, lit.links, colours, layout.scale, 1.25, false);
    for (const [mark, sign] of lit.marks) {
      const [cursor, chosen] = [mark === lit.cursor, lit.chosen.has(mark.key)];
      const ring = cursor || chosen ? colours.accent : sign > 0 ? colours.plus : sign < 0 ? colours.minus : "";
      drawMark(pen, mark, colours, colouring, ring, sign < 0 && !cursor && !chosen, chosen);
    }
    drawTags(pen, layout, colours, (mark) => lit.marks.has(mark));
    this.dirty = litBounds(lit, layout);
  }
}

/** The rectangle that contains all that is highlighted: only this is cleared before the next drawing. */
function litBounds(lit: Lit, layout: Layout): [number, number, number, number] {
  let [left, top, right, bottom] = [layout.width, layout.height, 0, 0];
  for (const mark of lit.marks.keys()) {
    const aside = Math.max(mark.half, mark.r) + 12;
    left = Math.min(left, mark.x - aside);
    right = Math.max(right, mark.x + aside);
    top = Math.min(top, mark.y - mark.r - 24);
    bottom = Math.max(bottom, mark.y + mark.r + 24);
  }
  for (const tag of layout.tags) {
    if (!lit.marks.has(tag.mark)) continue;
    left = Math.min(left, tag.x - 6);
    right = Math.max(right, tag.x + 240);
  }
  return [left, top, right - left, bottom - top];
}

/** The widest and most opaque links, the strongest first. */
function strongest(links: readonly Link[]): Link[] {
  const size = (link: Link) => Math.abs(link.share) * (0.2 + link.rank);
  return [...links].sort((a, b) => size(b) - size(a)).slice(0, CURVED_LINKS);
}

/** The background: every other column tinted, folded and left-out columns more so, and a line above every row. */
function drawBackground(pen: CanvasRenderingContext2D, layout: Layout, colours: Palette, first: number): void {
  pen.fillStyle = colours.line;
  pen.globalAlpha = 0.7;
  for (const row of layout.rows) pen.fillRect(0, Math.round(row.top), layout.width, 1);
  layout.columns.forEach((column, i) => {
    pen.globalAlpha = column.to < first ? 0.5 : column.folded ? 0.6 : 0.3;
    if (i % 2 === 1 || column.folded || column.to < first) pen.fillRect(column.left, 0, column.width, layout.height);
  });
  pen.globalAlpha = 1;
}
