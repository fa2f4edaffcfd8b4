// The chosen head, drawn: what is under the pointer is said above, a click or the arrows choose, Enter asks why.
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import * as marks from "../draw/attention_marks";
import { palette } from "../draw/palette";
import { t } from "../i18n/text";
import { type HeadPattern, type Pair, movedPair, nearestLine, queryWeights, strongLines } from "../model/attention";
import { type HeadKey, byAttention } from "../model/explanations";
import { percent } from "../model/format";
import { announcement, dark } from "../state/app";
import { pointed } from "../state/attention";

const LEAST = 0.02; // weight of a line that is drawn

export function AttentionPlot({
  as,
  name,
  pattern,
  tokens,
  chosen,
  choose,
}: {
  as: "matrix" | "lines";
  name: Pick<HeadKey, "layer" | "head">;
  pattern: HeadPattern;
  tokens: readonly string[];
  chosen: Pair;
  choose: (pair: Pair) => void;
}) {
  const [base, lit, box] = [
    useRef<HTMLCanvasElement>(null),
    useRef<HTMLCanvasElement>(null),
    useRef<HTMLDivElement>(null),
  ];
  const n = tokens.length;
  const place = useMemo(() => (as === "matrix" ? marks.matrixPlace(n) : marks.linesPlace(n)), [as, n]);
  const lines = useMemo(() => (as === "lines" ? strongLines(pattern, n, LEAST) : []), [as, pattern, n]);
  const colours = palette(dark.value);
  useLayoutEffect(() => {
    const started = performance.now();
    const pen = marks.penOf(base.current!, place);
    if (as === "matrix") marks.drawMatrix(pen, pattern, tokens, place, colours);
    else {
      marks.drawTokenColumns(pen, tokens, place, colours);
      marks.drawAttentionLines(pen, lines, place, colours.accent, 0.6);
    }
    box.current!.dataset["took"] = (performance.now() - started).toFixed(1);
  }, [as, pattern, tokens, place, lines, colours]);
  useLayoutEffect(() => void (pointed.value = null), [as, pattern, chosen.query, chosen.key]);
  const now = pointed.value ?? chosen;
  useLayoutEffect(() => {
    const pen = marks.penOf(lit.current!, place);
    if (as === "matrix") return marks.frameCell(pen, now, place, colours.ink);
    const ofQuery = queryWeights(pattern, now.query).map((weight, key) => ({ query: now.query, key, weight }));
    marks.drawAttentionLines(
      pen,
      ofQuery.filter((line) => line.weight >= LEAST / 4),
      place,
      colours.ink,
      1,
    );
    marks.frameTokens(pen, now, place, colours.ink);
  }, [as, pattern, place, colours, now.query, now.key]);
  useLayoutEffect(() => {
    const area = box.current!;
    const [x, y] = [as === "matrix" ? place.left + chosen.key * place.row : 0, place.top + chosen.query * place.row];
    if (y < area.scrollTop || y > area.scrollTop + area.clientHeight - place.row)
      area.scrollTop = y - area.clientHeight / 2;
    if (x < area.scrollLeft || x > area.scrollLeft + area.clientWidth) area.scrollLeft = x - area.clientWidth / 2;
  }, [as, place, chosen.query, chosen.key]);

  const pairUnder = (event: MouseEvent): Pair | null => {
    const frame = base.current!.getBoundingClientRect();
    const [x, row] = [event.clientX - frame.left, (event.clientY - frame.top - place.top) / place.row];
    const position = Math.floor(row);
    if (position < 0 || position >= n) return null;
    if (as === "matrix") {
      const key = Math.floor((x - place.left) / place.row);
      return key >= 0 && key <= position ? { query: position, key } : null;
    }
    if (x < place.left) return { query: position, key: byAttention(queryWeights(pattern, position), position)[0] ?? 0 };
    if (x > place.right) return position <= chosen.query ? { query: chosen.query, key: position } : null;
    return nearestLine(lines, (x - place.left) / (place.right - place.left), row - 0.5);
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const next = movedPair(chosen, event.key, n);
    if (event.key === "Enter") document.getElementById("whythere")?.click();
    else if (next) {
      pointed.value = null;
      choose(next);
      requestAnimationFrame(() => (announcement.value = document.getElementById("pair")?.innerText ?? ""));
    } else return;
    event.preventDefault();
  };
  return (
    <>
      <div
        ref={box}
        id="attentionplot"
        class="attentionplot"
        tabIndex={0}
        role="group"
        aria-label={t("Attention of layer {a}, head {b}. Arrows move, Enter asks why.", {
          a: name.layer,
          b: name.head,
        })}
        aria-describedby="pair"
        onKeyDown={onKey}
        onMouseMove={(event) => (pointed.value = pairUnder(event))}
        onMouseLeave={() => (pointed.value = null)}
        onClick={(event) => {
          const pair = pairUnder(event);
          if (pair) choose({ query: pair.query, key: pair.key });
        }}
      >
        <canvas ref={base} />
        <canvas ref={lit} class="above" />
      </div>
      <p class="note">
        {as === "matrix"
          ? t(
              "Rows look (query), columns are looked at (key). The shade is the root of the weight, so that small ones are seen.",
            )
          : t("Left looks (query), right is looked at (key). Lines under {a} are left out.", { a: percent(LEAST) })}
      </p>
    </>
  );
}
