// The entries of an export menu that save a drawing: as SVG, and as PNG.
import { palette } from "../draw/palette";
import { t } from "../i18n/text";
import { fileName, pngFile, saveFile, svgFile } from "../model/figure_file";
import { attempt, dark } from "../state/app";

interface Props {
  /** The drawing as it is shown; null where there is none yet. */
  drawing: () => SVGSVGElement | null;
  /** The title inside the file. */
  title: string;
  /** What the file is named after. */
  prompt: string;
  close: () => void;
}

export function FigureExports({ drawing, title, prompt, close }: Props) {
  const save = (kind: "svg" | "png") => {
    close();
    const shown = drawing();
    if (!shown) return;
    const text = svgFile(shown, palette(dark.value).paper, title);
    void attempt(async () => {
      const content = kind === "svg" ? new Blob([text], { type: "image/svg+xml" }) : await pngFile(text);
      saveFile(content, fileName(prompt, kind));
    });
  };
  return (
    <>
      {(["svg", "png"] as const).map((kind) => (
        <li key={kind}>
          <button type="button" onClick={() => save(kind)}>
            <strong>{t(kind === "svg" ? "Figure as SVG" : "Figure as PNG")}</strong>
            <small>{t(kind === "svg" ? "lines and text, to any size" : "twice as fine as it is shown")}</small>
          </button>
        </li>
      ))}
    </>
  );
}
