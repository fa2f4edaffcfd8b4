// All heads of the model, a row a layer: each a small picture of its pattern. Arrows move between them.
import { useLayoutEffect, useRef } from "preact/hooks";
import { rgb, palette } from "../draw/palette";
import { t } from "../i18n/text";
import { type HeadPattern, thumbnailOf } from "../model/attention";
import type { HeadKey } from "../model/explanations";
import { dark } from "../state/app";
import { type PromptAttention, patternKey } from "../state/attention";
import { text } from "./explanation_parts";

const SIDE = 32; // cells of a picture at most
type Head = Pick<HeadKey, "layer" | "head">;

export function HeadGrid({ view, open, choose }: { view: PromptAttention; open: Head; choose: (head: Head) => void }) {
  const layers = Array.from({ length: view.nLayers }, (_, layer) => layer);
  const heads = (layer: number) =>
    [...view.patterns.keys()]
      .map((key) => key.split(".").map(Number))
      .filter(([of]) => of === layer)
      .map(([, head]) => head!)
      .sort((a, b) => a - b);
  const move = (event: KeyboardEvent) => {
    const steps: Record<string, [number, number]> = {
      ArrowUp: [-1, 0],
      ArrowDown: [1, 0],
      ArrowLeft: [0, -1],
      ArrowRight: [0, 1],
    };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const next = { layer: open.layer + step[0], head: open.head + step[1] };
    if (!view.patterns.has(patternKey(next.layer, next.head))) return;
    choose(next);
    document.getElementById(`head-${next.layer}-${next.head}`)?.focus();
  };
  return (
    <section class="headgrid" aria-label={t("Heads by layer")} onKeyDown={move}>
      {layers.map((layer) => (
        <div key={layer} class="headrow">
          <span>L{layer}</span>
          {heads(layer).map((head) => (
            <button
              key={head}
              id={`head-${layer}-${head}`}
              type="button"
              aria-pressed={layer === open.layer && head === open.head}
              tabIndex={layer === open.layer && head === open.head ? 0 : -1}
              aria-label={text.value.headName(layer, head)}
              title={`L${layer}H${head}`}
              onClick={() => choose({ layer, head })}
            >
              <Thumbnail pattern={view.patterns.get(patternKey(layer, head))!} tokens={view.tokens.length} />
            </button>
          ))}
        </div>
      ))}
    </section>
  );
}

function Thumbnail({ pattern, tokens }: { pattern: HeadPattern; tokens: number }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const isDark = dark.value;
  const side = Math.min(SIDE, tokens);
  useLayoutEffect(() => {
    const pen = canvas.current?.getContext("2d");
    if (!pen) return;
    const [red, green, blue] = rgb(palette(isDark).accent);
    const image = new ImageData(side, side);
    thumbnailOf(pattern, tokens, side).forEach((weight, i) =>
      image.data.set([red, green, blue, Math.round(255 * Math.sqrt(weight))], 4 * i),
    );
    pen.putImageData(image, 0, 0);
  }, [pattern, tokens, side, isDark]);
  return <canvas ref={canvas} width={side} height={side} aria-hidden="true" />;
}
