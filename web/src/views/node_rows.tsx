// Rows of the panel for nodes and links. Pointing at a row previews its node in the graph, a click chooses it; the sign
// behind a link opens the edge.
import { t } from "../i18n/text";
import type { EdgeKey } from "../model/explanations";
import { type Node, featureOf } from "../model/graph";
import { percent, visibleText, signed } from "../model/format";
import { pinAndChoose, chooseNode, graph, hovered, nodeName, query, scene } from "../state/trace";
import { embedded, nameAt } from "../state/app";
import { explainable, openEdge } from "../state/explanations";
import type { NameKind } from "../types";
import { text } from "./explanation_parts";
import { Bar, PlainBar, TokenText } from "./widgets";

export function preview(id: string) {
  const key = () => scene.peek()?.ofNode.get(id)?.key ?? (scene.peek()?.byKey.has(id) ? id : null);
  return { onPointerEnter: () => (hovered.value = key()), onPointerLeave: () => (hovered.value = null) };
}

/** What stands behind a name that a feature has at its place only. */
export function NameNote({ note }: { note: string }) {
  return note ? <small class="general">{note}</small> : null;
}

export function NodeRow({ node }: { node: Node }) {
  const [view, name] = [graph.value!, nodeName(node)];
  const word =
    node.kind === "token"
      ? t("token")
      : node.kind === "target"
        ? t("output")
        : visibleText(view.view.tokens[node.position] ?? "");
  return (
    <button type="button" class="row" onClick={() => chooseNode(node.id)} {...preview(node.id)}>
      <PlainBar share={node.influence / view.strongest} />
      <span class="what" title={`${node.id} ${name.text} ${name.note}`.trim()}>
        {node.kind === "token" ? <TokenText text={view.view.tokens[node.position] ?? ""} /> : name.text} <em>{word}</em>
        <NameNote note={name.note} />
      </span>
      <span class="num">{node.layer === null || node.layer === undefined ? "" : `L${node.layer}`}</span>
      <span class="part">{percent(node.influence)}</span>
    </button>
  );
}

/** A node below the thresholds. */
export function HiddenRow({ node }: { node: Node }) {
  const word = visibleText(graph.value!.view.tokens[node.position] ?? "");
  return (
    <button
      type="button"
      class="row away"
      title={t("{a}, not shown at these thresholds; a click pins it, so that it is", { a: node.id })}
      onClick={() => ((query.value = ""), pinAndChoose(node.id))}
    >
      <PlainBar share={node.influence / graph.value!.strongest} />
      <span class="what">
        {nodeName(node).text} <em>{word}</em>
        <NameNote note={nodeName(node).note} />
      </span>
      <span class="num">{node.layer === null || node.layer === undefined ? "" : `L${node.layer}`}</span>
      <span class="part">{percent(node.influence)}</span>
    </button>
  );
}

interface LinkProps {
  id: string;
  name: string;
  /** What is to be said of the name. */
  note?: string;
  place: string;
  weight: number;
  max: number;
  shown: boolean;
  /** Of the target's input: the second number, where `numbers` are not given. */
  share?: number;
  numbers?: readonly [string, string];
  /** Where the bar is marked, in units of the weight. */
  mark?: number | null | undefined;
  /** The edge that the row stands for. */
  edge?: EdgeKey;
}

/** A link, with a button that opens its edge where that can be explained. */
export function LinkRow(props: LinkProps) {
  const { edge } = props;
  if (!edge || !explainable.value) return <LinkButton {...props} />;
  return (
    <div class="linkrow">
      <LinkButton {...props} />
      <button
        type="button"
        class="icon"
        aria-label={`${text.value.openEdge}: ${props.name}`}
        title={text.value.openEdge}
        onClick={() => openEdge(edge)}
      >
        ›
      </button>
    </div>
  );
}

function LinkButton({
  id,
  name,
  note = "",
  place,
  weight,
  max,
  share = NaN,
  shown: visible,
  numbers,
  mark,
}: LinkProps) {
  const [first, second] = numbers ?? [signed(weight), percent(Math.abs(share))];
  const content = (
    <>
      <Bar share={weight / max} mark={typeof mark === "number" ? mark / max : null} />
      <span class="what" title={`${id} ${name} ${note}`.trim()}>
        {name} <em>{place}</em>
        <NameNote note={note} />
      </span>
      <span class="num">{first}</span>
      <span class="part">{second}</span>
    </>
  );
  if (!visible) {
    if (embedded)
      return (
        <div class="row away" title={t("Not in this file")}>
          {content}
        </div>
      );
    return (
      <button
        type="button"
        class="row away"
        title={t("Not shown at these thresholds; a click pins it, so that it is")}
        onClick={() => pinAndChoose(id)}
      >
        {content}
      </button>
    );
  }
  return (
    <button type="button" class="row" onClick={() => chooseNode(id)} {...preview(id)}>
      {content}
    </button>
  );
}

/** The name and place of a link's other node, which may be below the thresholds. */
export function linkName(
  id: string,
  label: string,
  kind: NameKind,
  here?: string | null,
): { name: string; note: string; place: string } {
  const node = graph.value?.byId.get(id);
  const tokens = graph.value?.view.tokens ?? [];
  const position = Number(id.slice(id.indexOf("@") + 1));
  const word = visibleText(tokens[position] ?? "");
  if (node) {
    const { text, note } = nodeName({ ...node, here: node.here ?? here ?? null });
    const place =
      node.kind === "token" ? t("token") : node.kind === "target" ? t("output") : `${word} · L${node.layer}`;
    return { name: text, note, place };
  }
  const feature = featureOf(id);
  if (feature) {
    const named = nameAt(feature, label, kind, here);
    return { name: named.text || feature, note: named.note, place: `${word} · ${feature.split("/")[0]}` };
  }
  if (id.startsWith("E")) return { name: t("error L{a}", { a: id.slice(1, id.indexOf("@")) }), note: "", place: word };
  return { name: label || word, note: "", place: id };
}
