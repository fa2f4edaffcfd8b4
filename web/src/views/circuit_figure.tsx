// The drawn circuit: words, named groups with their bars, lines between them, the answer. Every group is a button.
import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { measure } from "../draw/palette";
import { t } from "../i18n/text";
import { type Box, type CircuitLayout, type Line, NAME_LINE, layOutCircuit } from "../model/circuit_layout";
import { percent, visibleText } from "../model/format";
import type { CircuitGroup, CircuitView } from "../types";
import { chooseGroup, chosenGroup, groupName } from "../state/circuit";

/** The present layout, shared with the shortcuts and the export. */
export const figure: { layout: CircuitLayout | null; drawing: SVGSVGElement | null } = { layout: null, drawing: null };

const SHOWN_SHARE = 0.2; // of a target: a line with less has its share written only where its group is chosen

export function CircuitFigure({ view }: { view: CircuitView }) {
  const paper = useRef<HTMLDivElement>(null);
  const width = useSignal(0);
  useLayoutEffect(() => {
    const watcher = new ResizeObserver(([entry]) => (width.value = Math.floor(entry!.contentRect.width)));
    watcher.observe(paper.current!);
    return () => watcher.disconnect();
  }, []);
  const layout = width.value ? layOutCircuit(view, width.value, groupName, (text) => measure(text, false)) : null;
  figure.layout = layout;
  return (
    <div class="circuitpaper" ref={paper}>
      {layout && <Drawing view={view} layout={layout} />}
    </div>
  );
}

function Drawing({ view, layout }: { view: CircuitView; layout: CircuitLayout }) {
  const chosen = chosenGroup.value;
  const touched = (line: Line) => !chosen || line.edge.source === chosen || line.edge.target === chosen;
  return (
    <svg
      class={`circuit${chosen ? " lit" : ""}`}
      ref={(element) => void (figure.drawing = element)}
      viewBox={`0 0 ${layout.width.toFixed(0)} ${layout.height.toFixed(0)}`}
      style={{ maxWidth: `${layout.width}px` }}
      role="group"
      aria-label={t("Groups of features and what makes what")}
    >
      {[...layout.lines]
        .sort((a, b) => Number(touched(a)) - Number(touched(b)))
        .map((line) => (
          <g key={line.key} class={`${line.edge.measured < 0 ? "minus" : "plus"}${touched(line) ? "" : " away"}`}>
            <path class="line" d={line.path} stroke-width={line.width} />
            <polygon class="tip" points={line.tip} />
          </g>
        ))}
      {layout.boxes.map((box) => (
        <BoxMark key={box.id} box={box} view={view} />
      ))}
      {layout.lines.map((line) => {
        const shown = chosen ? touched(line) : Math.abs(line.edge.measured) >= SHOWN_SHARE;
        return shown ? (
          <text key={line.key} class="linelabel" x={line.label[0]} y={line.label[1] + 4} text-anchor="middle">
            {whole(line.edge.measured)}
          </text>
        ) : null;
      })}
    </svg>
  );
}

function BoxMark({ box, view }: { box: Box; view: CircuitView }) {
  if (box.group) return <GroupMark box={box} group={box.group} view={view} />;
  const middle = box.x + box.width / 2;
  if (box.kind === "word")
    return (
      <g class="word">
        <rect x={box.x} y={box.y} width={box.width} height={box.height} rx={6} />
        <text x={middle} y={box.y + 20} text-anchor="middle">
          {visibleText(box.lines[0] ?? "")}
        </text>
      </g>
    );
  const fall = t("{share} without all", { share: percent(view.without) });
  return (
    <g class="answer">
      <rect x={box.x} y={box.y} width={box.width} height={box.height} rx={10} />
      {box.lines.map((line, i) => (
        <text key={i} class="answertext" x={middle} y={box.y + 26 + 22 * i} text-anchor="middle">
          {line}
        </text>
      ))}
      <text class="meta strong" x={middle} y={box.y + box.height - 27} text-anchor="middle">
        {percent(view.probability)}
      </text>
      <text class="meta" x={middle} y={box.y + box.height - 10} text-anchor="middle">
        {measure(fall, false) > box.width - 8 ? percent(view.without) : fall}
      </text>
    </g>
  );
}

const [PAD, NUMBERS] = [12, 52];

/** A share in whole percent, for places with little room. */
function whole(share: number): string {
  return Math.abs(share) < 0.01 ? percent(share) : `${share < 0 ? "−" : ""}${Math.round(100 * Math.abs(share))} %`;
}

function GroupMark({ box, group, view }: { box: Box; group: CircuitGroup; view: CircuitView }) {
  const chosen = chosenGroup.value === group.id;
  const foot = box.y + PAD + NAME_LINE * box.lines.length;
  const names = Math.max(measure(t("without it"), false), measure(t("it alone"), false)) + 8;
  const track = { x: box.x + PAD + names, width: box.width - 2 * PAD - names - NUMBERS };
  const share = (value: number) => track.width * Math.max(0, Math.min(1, value / view.probability));
  const place = t("at {word}", { word: `‘${visibleText(group.place)}’` });
  const [long, brief] = [t("{share} of influence", { share: whole(group.share) }), whole(group.share)];
  const room = box.width - 2 * PAD - measure(place, false) - 8;
  const random = group.random.mean;
  return (
    <g
      id={`group-${group.id}`}
      class={`groupbox ${group.role}${group.told ? " told" : ""}${chosen ? " chosen" : ""}`}
      role="button"
      tabindex={0}
      aria-pressed={chosen}
      aria-label={groupLine(group, view)}
      onClick={() => chooseGroup(chosen ? "" : group.id)}
    >
      <rect class="card" x={box.x} y={box.y} width={box.width} height={box.height} rx={10} />
      {group.told && <rect class="band" x={box.x} y={box.y + 10} width={3} height={box.height - 20} rx={1.5} />}
      {box.lines.map((line, i) => (
        <text key={i} class="name" x={box.x + PAD} y={box.y + PAD + 12 + NAME_LINE * i}>
          {line}
        </text>
      ))}
      {group.pinned && (
        <text class="meta pin" x={box.x + box.width - PAD} y={box.y + PAD + 11} text-anchor="end">
          ◆
        </text>
      )}
      <text class="meta" x={box.x + PAD} y={foot + 12}>
        {place}
      </text>
      <text class="meta" x={box.x + box.width - PAD} y={foot + 12} text-anchor="end">
        {measure(long, false) > room ? brief : long}
      </text>
      {[
        { name: t("without it"), value: group.without, y: foot + 30, mark: random },
        { name: t("it alone"), value: group.alone, y: foot + 49, mark: null },
      ].map(({ name, value, y, mark }) => (
        <g key={name}>
          <text class="meta" x={box.x + PAD} y={y + 4}>
            {name}
          </text>
          <rect class="track" x={track.x} y={y - 4} width={track.width} height={8} rx={2} />
          <rect class="left" x={track.x} y={y - 4} width={share(value)} height={8} rx={2} />
          {mark !== null && <path class="random" d={`M${track.x + share(mark)} ${y - 2}l-4 -6h8z`} />}
          <text class="meta number" x={box.x + box.width - PAD} y={y + 4} text-anchor="end">
            {percent(value)}
          </text>
        </g>
      ))}
    </g>
  );
}

/** What a screen reader says of a group. */
export function groupLine(group: CircuitGroup, view: CircuitView): string {
  const random = group.random.mean;
  return t(
    "{name}: {share} of the influence; without it {answer} is {without}, it alone {alone}, without random features {random}",
    {
      name: groupName(group),
      share: percent(group.share),
      answer: view.answer,
      without: percent(group.without),
      alone: percent(group.alone),
      random: random === null ? "–" : percent(random),
    },
  );
}
