// A drawn SVG as a file of its own: what the style sheet gives its elements is written into them.
import { t } from "../i18n/text";

const WRITTEN = [
  "fill",
  "stroke",
  "stroke-width",
  "stroke-dasharray",
  "stroke-linejoin",
  "paint-order",
  "opacity",
  "font-family",
  "font-size",
  "font-weight",
  "font-style",
  "text-anchor",
] as const;

/** The text of an SVG file that looks as the figure does now, on the given paper, with a title for who reads it aloud. */
export function svgFile(figure: SVGSVGElement, paper: string, title: string): string {
  const copy = figure.cloneNode(true) as SVGSVGElement;
  const [originals, copies] = [figure.querySelectorAll("*"), copy.querySelectorAll("*")];
  originals.forEach((element, i) => {
    const style = getComputedStyle(element);
    const written = copies[i]!;
    for (const name of WRITTEN) {
      const value = style.getPropertyValue(name);
      if (value && value !== "none" && value !== "normal") written.setAttribute(name, value);
      else if (name === "fill" && value === "none") written.setAttribute(name, value);
    }
    for (const name of ["class", "tabindex", "role", "aria-label", "aria-pressed", "id"]) written.removeAttribute(name);
  });
  for (const unneeded of copy.querySelectorAll("[data-onscreen]")) unneeded.remove();
  const { width, height } = figure.viewBox.baseVal;
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("width", String(width));
  copy.setAttribute("height", String(height));
  for (const name of ["class", "role", "aria-label", "id"]) copy.removeAttribute(name);
  const background = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  for (const [name, value] of Object.entries({ width: "100%", height: "100%", fill: paper }))
    background.setAttribute(name, value);
  copy.prepend(background);
  const heading = document.createElementNS("http://www.w3.org/2000/svg", "title");
  heading.textContent = title;
  copy.prepend(heading);
  return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(copy)}\n`;
}

const SHARP = 2; // pixels of a PNG for one of the figure

/** The same as a PNG, twice as fine as the figure is shown. */
export async function pngFile(svg: string): Promise<Blob> {
  const address = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
  try {
    const image = new Image();
    await new Promise((done, failed) => {
      image.onload = done;
      image.onerror = () => failed(new Error(t("this browser cannot draw the figure as PNG: take the SVG")));
      image.src = address;
    });
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [SHARP * image.naturalWidth, SHARP * image.naturalHeight];
    canvas.getContext("2d")!.drawImage(image, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/png"));
    if (!blob) throw new Error(t("this browser cannot write a PNG of this size: take the SVG"));
    return blob;
  } finally {
    URL.revokeObjectURL(address);
  }
}

/** Lets the browser save a file. */
export function saveFile(content: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** A name for a file: the last words of the prompt. */
export function fileName(prompt: string, ending: string): string {
  const words = prompt.trim().split(/\s+/).slice(-4).join("-");
  return `${words.replace(/[^\p{L}\p{N}._]+/gu, "-").replace(/^[-.]+|[-.]+$/g, "") || "circuit"}.${ending}`;
}
