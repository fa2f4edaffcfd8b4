// The marks as elements with names: drawn as SVG, or only listed for screen readers and tests if the canvas draws them.
import { type Colouring, paint } from "../draw/canvas_marks";
import { type Palette, measure } from "../draw/palette";
import { letterPlace } from "../model/label_groups";
import type { Layout } from "../model/layout";
import type { Mark, Scene } from "../model/scene";
import { chanceOf, outputAmount } from "../model/format";
import { chosen, describe } from "../state/trace";

interface Props {
  scene: Scene;
  layout: Layout;
  colours: Palette;
  colouring: Colouring;
}

/** The list of marks for screen readers, if a canvas draws them. */
export function MarkList({ scene }: { scene: Scene }) {
  const chosenKeys = new Set(chosen.peek());
  return (
    <ul class="unseen" role="presentation">
      {scene.marks.map((mark) => (
        <li key={mark.key} id={`node-${mark.key}`} role="option" aria-selected={chosenKeys.has(mark.key)}>
          {describe(mark)}
        </li>
      ))}
    </ul>
  );
}

export function Marks({ scene, layout, colours, colouring }: Props) {
  const chosenKeys = new Set(chosen.peek());
  return (
    <svg class="marks" viewBox={`0 0 ${layout.width} ${layout.height}`} role="presentation">
      {scene.marks.map((mark) => (
        <g
          key={mark.key}
          id={`node-${mark.key}`}
          class={mark.kind}
          role="option"
          aria-selected={chosenKeys.has(mark.key)}
          aria-label={describe(mark)}
        >
          {mark.half > 0 ? (
            <Box mark={mark} stroke={colouring.labelGroup(mark) && paint(mark, colours, colouring).stroke} />
          ) : (
            <Shape mark={mark} colours={colours} colouring={colouring} />
          )}
          <Letter mark={mark} colours={colours} colouring={colouring} />
        </g>
      ))}
      <g aria-hidden="true">
        {layout.tags.map((tag) => (
          <text key={tag.mark.key} class="tag" x={tag.x} y={tag.y}>
            {tag.text}
          </text>
        ))}
      </g>
    </svg>
  );
}

function Shape({ mark, colours, colouring }: { mark: Mark; colours: Palette; colouring: Colouring }) {
  const style = paint(mark, colours, colouring);
  const attributes = {
    fill: style.fill,
    stroke: style.stroke,
    "stroke-width": style.width,
    "stroke-dasharray": style.dash ? "3 2" : undefined,
  };
  if (mark.kind === "token")
    return <rect {...attributes} x={mark.x - 6} y={mark.y - 6} width={12} height={12} rx={3} />;
  if (mark.kind === "error") {
    const r = mark.r + 1;
    return <path {...attributes} d={`M${mark.x} ${mark.y - r}l${r} ${r}l${-r} ${r}l${-r} ${-r}z`} />;
  }
  return (
    <>
      <circle {...attributes} cx={mark.x} cy={mark.y} r={mark.r} />
      {mark.pinned && <circle cx={mark.x} cy={mark.y} r={Math.max(1.5, mark.r * 0.35)} fill={colours.paper} />}
    </>
  );
}

/** The letter of a mark's label group. */
function Letter({ mark, colours, colouring }: { mark: Mark; colours: Palette; colouring: Colouring }) {
  const labelGroup = colouring.labelGroup(mark);
  if (!labelGroup) return null;
  const { x, y, inside } = letterPlace(mark);
  const hue = colours.groups[labelGroup.hue]!;
  return (
    <>
      {mark.half > 0 && <circle cx={x} cy={y} r={9} fill={hue} />}
      <text
        class={inside ? "letter" : "letter tag"}
        x={x}
        y={y + 4.5}
        text-anchor="middle"
        style={{ fill: inside ? colours.paper : hue }}
      >
        {labelGroup.letter}
      </text>
    </>
  );
}

function Box({ mark, stroke }: { mark: Mark; stroke: string | undefined }) {
  const [left, top, wide, high] = [mark.x - mark.half, mark.y - mark.r, 2 * mark.half, 2 * mark.r];
  if (mark.kind === "group") {
    return (
      <>
        <rect
          class="box"
          x={left}
          y={top}
          width={wide}
          height={high}
          rx={13}
          style={stroke ? { stroke, strokeWidth: 2 } : undefined}
        />
        <text class="groupname" x={left + 11} y={mark.y + 4}>
          {clipped(mark.name, wide - 40)}
        </text>
        <text class="share" x={left + wide - 9} y={mark.y + 4} text-anchor="end">{` ${mark.members.length}`}</text>
      </>
    );
  }
  const node = mark.members[0]!;
  const chance = chanceOf(node);
  return (
    <>
      <rect class="box" x={left} y={top} width={wide} height={high} rx={7} />
      <rect class="fill" x={left} y={top} width={Math.max(3, wide * Math.min(1, chance))} height={high} rx={7} />
      <text class="output" x={left + 9} y={mark.y + 4.5}>
        {mark.name}
      </text>
      <text class="share" x={left + wide - 9} y={mark.y + 4.5} text-anchor="end">{` ${outputAmount(node)}`}</text>
    </>
  );
}

function clipped(text: string, width: number): string {
  const maxLetters = Math.floor(width / 6.3);
  return measure(text, false) > width + 1 ? `${text.slice(0, Math.max(1, maxLetters - 1))}…` : text;
}
