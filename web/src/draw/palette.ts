// Colours and fonts for canvases. They are defined in the style sheet only, and read from it once for each theme.

export interface Palette {
  paper: string;
  raised: string;
  ink: string;
  soft: string;
  faint: string;
  line: string;
  feature: string;
  named: string;
  token: string;
  accent: string;
  plus: string;
  minus: string;
  groups: readonly string[];
}

export const SANS = '12px ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif';
export const MONO = '13px ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace';

let cached: { key: string; palette: Palette } | null = null;

export function palette(dark: boolean): Palette {
  const key = String(dark);
  if (cached?.key === key) return cached.palette;
  document.documentElement.dataset["theme"] = dark ? "dark" : "light";
  const style = getComputedStyle(document.documentElement);
  const cssColour = (name: string) => style.getPropertyValue(`--${name}`).trim();
  const colours: Palette = {
    paper: cssColour("paper"),
    raised: cssColour("raised"),
    ink: cssColour("ink"),
    soft: cssColour("soft"),
    faint: cssColour("faint"),
    line: cssColour("line"),
    feature: cssColour("feature"),
    named: cssColour("named"),
    token: cssColour("token"),
    accent: cssColour("accent"),
    plus: cssColour("plus"),
    minus: cssColour("minus"),
    groups: Array.from({ length: 8 }, (_, i) => cssColour(`group-${i}`)),
  };
  cached = { key, palette: colours };
  return colours;
}

/** A colour of the style sheet, `#rrggbb`, as three bytes. */
export function rgb(hex: string): [number, number, number] {
  const value = Number.parseInt(hex.slice(1), 16);
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}

let ruler: CanvasRenderingContext2D | null = null;
const widths = new Map<string, number>();

export function measure(text: string, mono: boolean): number {
  const key = `${mono ? "m" : "s"}${text}`;
  const cachedWidth = widths.get(key);
  if (cachedWidth !== undefined) return cachedWidth;
  ruler ??= document.createElement("canvas").getContext("2d");
  if (!ruler) return text.length * 8;
  ruler.font = mono ? MONO : SANS;
  const width = ruler.measureText(text).width;
  if (widths.size > 20000) widths.clear();
  widths.set(key, width);
  return width;
}

/** A colour chosen by a hash of the text, so that a label has the same colour in every graph. */
export function colourOf(text: string, colours: readonly string[]): string {
  let hash = 7;
  for (const letter of text) hash = (hash * 31 + letter.codePointAt(0)!) >>> 0;
  return colours[hash % colours.length]!;
}
