// The tooltip of the mark under the pointer or the keyboard's cursor. It is a preview and takes no clicks.
import { t } from "../i18n/text";
import type { Signal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import type { Layout } from "../model/layout";
import { amount, isToken, percent } from "../model/format";
import { graph, hovered, nodeName, primaryMark, scene } from "../state/trace";
import { placeName } from "./widgets";
import { dragSteps } from "./pointer";

export function Tooltip({ plot, layout }: { plot: { current: HTMLElement | null }; layout: Signal<Layout | null> }) {
  const box = useRef<HTMLDivElement>(null);
  void layout.value; // read so that the tooltip follows the mark when the layout changes or a drag moves it
  void dragSteps.value;
  const mark = hovered.value ? scene.value?.byKey.get(hovered.value) : null;
  useLayoutEffect(() => {
    const [tip, area] = [box.current, plot.current];
    if (!tip || !area || !mark) return;
    const frame = area.getBoundingClientRect();
    const [x, y] = [frame.left + mark.x + Math.max(mark.half, mark.r), frame.top + mark.y];
    const tipBox = tip.getBoundingClientRect();
    // The right border of the graph: the tooltip must not cover the panel.
    const right = (area.closest(".scroller")?.getBoundingClientRect().right ?? window.innerWidth) - 8;
    const preferredLeft =
      x + tipBox.width + 12 > right ? x - 2 * Math.max(mark.half, mark.r) - tipBox.width - 12 : x + 12;
    const left = Math.min(preferredLeft, right - tipBox.width);
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${Math.max(8, Math.min(y - 12, window.innerHeight - tipBox.height - 8))}px`;
  });
  if (!mark || !graph.value) return null;
  const node = mark.members[0]!;
  const chosenMark = primaryMark.value;
  const link =
    chosenMark && chosenMark !== mark
      ? mark.links.find((each) => each.from === chosenMark || each.to === chosenMark)
      : null;
  return (
    <div class="tip" role="tooltip" ref={box}>
      <strong>{mark.name}</strong>
      {!mark.group && nodeName(node).note && <p>{nodeName(node).note}</p>}
      <p>
        {mark.group
          ? t("{a} nodes as one", { a: mark.members.length })
          : `${placeName(graph.value.view, node)} · ${node.id}`}
      </p>
      {mark.kind === "feature" && (
        <p>
          {t("activation")} {amount(node.activation)}
        </p>
      )}
      {mark.kind === "target" ? (
        <p>
          {t(isToken(node) ? "centred logit" : "Difference of logits")} {amount(node.value)}
        </p>
      ) : (
        <p>
          {t("influence")} {percent(mark.influence)}
        </p>
      )}
      {!mark.group && (mark.kind === "feature" || mark.kind === "target") && (
        <p>
          {percent(node.error)} {t("of its input is error")}
        </p>
      )}
      {link && (
        <p class="edge">
          {link.weight < 0 ? "− takes " : "+ adds "}
          {amount(Math.abs(link.weight))} {link.to === chosenMark ? t("to what is chosen") : t("from what is chosen")} (
          {percent(Math.abs(link.share))} {t("of the input)")}
        </p>
      )}
    </div>
  );
}
