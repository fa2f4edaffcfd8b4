// The panel of one node: facts, the parts of its value, inputs and outputs in the whole graph, the strongest paths
// through it, what reaches it through nodes that are not shown, and its card.
import { type Text, counted, known, t } from "../i18n/text";
import { groupOf } from "../model/arrangement";
import { type EdgeKey, largest } from "../model/explanations";
import { type Node, featureOf, rank } from "../model/graph";
import { amount, isToken, percent, signed } from "../model/format";
import type { NodeLink } from "../types";
import { embedded, notify, refuse } from "../state/app";
import { cards, requestCard } from "../state/cards";
import { NoCard } from "./missing_card";
import { go } from "../state/route";
import {
  arrangement,
  choose,
  chosen,
  detail,
  graph,
  groupChosen,
  nodeName,
  cardsAvailable,
  pinChosen,
  primaryMark,
  query,
  tab,
} from "../state/trace";
import { editChosen } from "../state/edit";
import { Card } from "./card";
import { FeatureName, writeLabelOf } from "./label_editor";
import { Close, Paths } from "./panel";
import { Facts, Few, Heading, TokenText, placeName } from "./widgets";
import { NodeEffectsPart, effectsOf } from "./node_effects";
import { text } from "./explanation_parts";
import { HowToRead, READ_OFFSETS } from "./how_to_read";
import { ExplainFollowing } from "./explain_following";
import { LinkRow, linkName } from "./node_rows";

const KINDS = { feature: "Feature", error: "Error", token: "Token embedding", target: "Output" } as const;
const OFFSETS: Record<string, Text> = {
  bias: "biases",
  position: "position",
  sink: "sink (left-out first position)",
  left_out: "left-out features",
};

export function NodePanel({ node }: { node: Node }) {
  const view = graph.value!.view;
  const feature = featureOf(node.id);
  const nodeGroup = groupOf(arrangement.value, node.id);
  const chosenCount = chosen.value.length;
  const here = (detail.value?.node.id === node.id ? detail.value.node.here : null) ?? node.here;
  return (
    <>
      <p class="kind">
        <span>
          {t(KINDS[node.kind])} · {placeName(view, node)}
        </span>
        <Close />
      </p>
      {feature && cardsAvailable.value ? (
        <FeatureName feature={feature} label={node.label ?? ""} kind={node.label_kind ?? ""} here={here} />
      ) : (
        <h2>{node.kind === "token" ? <TokenText text={view.tokens[node.position] ?? ""} /> : nodeName(node).text}</h2>
      )}
      <p class="kind">
        <code>{node.id}</code>
        {nodeGroup && (
          <span>
            {" "}
            {t("in group")}{" "}
            <button type="button" class="link" onClick={() => choose(nodeGroup.id)}>
              {nodeGroup.name}
            </button>
          </span>
        )}
      </p>
      {chosenCount > 1 && (
        <p class="note">
          {counted(chosenCount, "mark|marks")} {t("are chosen, this one last:")} <kbd>g</kbd> {t("groups and")}{" "}
          <kbd>e</kbd> {t("edits all of them.")}
        </p>
      )}
      {(node.kind === "feature" || node.kind === "error") && <Actions node={node} />}
      {node.kind === "token" && <ExplainFollowing position={node.position} />}
      {feature && cardsAvailable.value && <Tabs />}
      {feature && cardsAvailable.value && tab.value === "card" ? (
        <NodeCard feature={feature} node={node} />
      ) : (
        <Links node={node} />
      )}
    </>
  );
}

const TABS = [
  ["links", "In this graph"],
  ["card", "Card"],
] as const;

function Tabs() {
  const onKey = (event: KeyboardEvent) => {
    if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
    event.preventDefault();
    tab.value = event.key === "ArrowRight" ? "card" : "links";
    document.getElementById(`tab-${tab.value}`)?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label={t("What is shown of the feature")} onKeyDown={onKey}>
      {TABS.map(([name, title]) => (
        <button
          key={name}
          id={`tab-${name}`}
          type="button"
          role="tab"
          aria-selected={tab.value === name}
          tabIndex={tab.value === name ? 0 : -1}
          onClick={() => (tab.value = name)}
        >
          {t(title)}
        </button>
      ))}
    </div>
  );
}

function Actions({ node }: { node: Node }) {
  const pinned = arrangement.value.pins.includes(node.id);
  const feature = featureOf(node.id);
  return (
    <p class="actions">
      <button type="button" aria-pressed={pinned} onClick={pinChosen}>
        {pinned ? t("Pinned") : t("Pin")} <kbd>p</kbd>
      </button>
      <button type="button" onClick={() => groupWithHint()}>
        {t("Group")} <kbd>g</kbd>
      </button>
      {feature && !embedded && (
        <button type="button" disabled={!graph.value!.view.of_kit} onClick={editChosen}>
          {t("Edit")} <kbd>e</kbd>
        </button>
      )}
      {feature && cardsAvailable.value && (
        <button type="button" onClick={() => go("feature", feature, { at: amountOf(node), from: "trace" })}>
          {t("Open")}
        </button>
      )}
    </p>
  );
}

function groupWithHint(): void {
  if (chosen.peek().length < 2)
    notify(t("Shift-click more nodes to group them together; a group of one is fine, too."));
  groupChosen();
}

function amountOf(node: Node): string {
  return node.activation === null || node.activation === undefined ? "" : String(node.activation);
}

function NodeCard({ feature, node }: { feature: string; node: Node }) {
  requestCard(feature);
  const view = cards.value.get(feature);
  if (!view) return <NoCard feature={feature} />;
  return <Card view={view} activation={node.activation ?? null} narrow />;
}

function Links({ node }: { node: Node }) {
  const loaded = detail.value?.node.id === node.id ? detail.value : null;
  const inputs = loaded ? loaded.inputs : node.inputs.map((edge) => asLink(edge.from, edge.weight, edge.share));
  const outputs = loaded ? loaded.outputs : node.outputs.map((edge) => asLink(edge.to, edge.weight, edge.share));
  const reads = node.kind === "feature" || node.kind === "target";
  const effects = effectsOf(node);
  return (
    <>
      <Facts facts={factsOf(node)} />
      {reads && <ValueParts node={node} />}
      <NodeEffectsPart node={node} />
      {reads && (
        <Side
          title={t("Inputs")}
          note={t("weight · share of input")}
          links={inputs}
          effects={effects?.inputs}
          edgeOf={(source) => ({ source, target: node.id })}
          all={loaded?.n_inputs}
          empty={t("No edge into it is known here.")}
        />
      )}
      {node.kind !== "target" && (
        <Side
          title={t("Outputs")}
          note={t("weight · share of their input")}
          links={outputs}
          effects={effects?.outputs}
          edgeOf={(target) => ({ source: node.id, target })}
          all={loaded?.n_outputs}
          empty={t("No edge out of it is known here.")}
        />
      )}
      {loaded && (
        <Paths
          paths={loaded.paths}
          title={t("Strongest paths through it")}
          few={4}
          empty={t("No path from a token to an output runs through it here.")}
        />
      )}
      {loaded && reads && <HiddenFlow />}
    </>
  );
}

function asLink(node: Node, weight: number, share: number): NodeLink {
  return {
    id: node.id,
    label: node.label ?? "",
    label_kind: node.label_kind ?? "",
    here: node.here ?? null,
    weight,
    share,
    influence: node.influence,
    shown: true,
  };
}

function Side({
  title,
  note,
  links,
  effects = {},
  edgeOf,
  all,
  empty,
}: {
  title: string;
  note: string;
  links: readonly NodeLink[];
  /** Effects by the other node, where the links themselves have none. */
  effects: Readonly<Record<string, number>> | undefined;
  edgeOf: (other: string) => EdgeKey;
  all: number | undefined;
  empty: string;
}) {
  const effectOf = (link: NodeLink) => link.effect ?? effects[link.id];
  const max = largest(...links.flatMap((link) => [link.weight, effectOf(link) ?? 0]));
  const plus = links.filter((link) => link.weight > 0).length;
  const hasEffects = links.some((link) => effectOf(link) !== undefined);
  return (
    <>
      <Heading note={hasEffects ? <span title={text.value.effectMeans}>{text.value.valueAndEffect}</span> : note}>
        {title}
      </Heading>
      <p class="note tally">
        {counted(all ?? links.length, "edge|edges")}
        {all !== undefined && all > links.length ? t("; of the {a} strongest ", { a: links.length }) : ": "}
        {plus} {t("add,")} {links.length - plus} {t("take away")}
        {links.some((link) => !link.shown) && t("; a click on a faint one brings it into the graph")}
      </p>
      <Few items={links} few={10} empty={empty}>
        {(link) => (
          <LinkRow
            id={link.id}
            {...linkName(link.id, link.label, link.label_kind, link.here)}
            weight={link.weight}
            max={max}
            share={link.share}
            {...(hasEffects && { numbers: [signed(link.weight), signed(effectOf(link))], mark: effectOf(link) })}
            shown={link.shown}
            edge={edgeOf(link.id)}
          />
        )}
      </Few>
    </>
  );
}

function factsOf(node: Node): [string, string, string?][] {
  const influence: [string, string, string] = [
    t("Influence"),
    percent(node.influence),
    t("Share of the outputs' weight that passes through this node"),
  ];
  const { place, of } = rank(graph.value!, node);
  if (node.kind === "feature") {
    return [
      [t("Activation"), amount(node.activation)],
      [t("Before its gate"), amount(node.value)],
      influence,
      [t("Error share"), percent(node.error), t("Part of its absolute input that comes from errors")],
      [t("Layer"), String(node.layer)],
      [t("Rank"), t("{a} of {b}", { a: place, b: of })],
    ];
  }
  if (node.kind === "target" && !isToken(node))
    return [
      [t("Difference of logits"), amount(node.value)],
      [t("Error share"), percent(node.error)],
    ];
  if (node.kind === "target")
    return [
      [t("Probability"), percent(node.probability)],
      [t("Centred logit"), amount(node.value)],
      [t("Error share"), percent(node.error)],
    ];
  if (node.kind === "error")
    return [influence, [t("Layer"), String(node.layer)], [t("Rank"), t("{a} of {b}", { a: place, b: of })]];
  return [influence, [t("Position"), String(node.position)], [t("Token id"), String(node.token_id ?? "–")]];
}

/** The parts of a node's value: shown edges + pruned edges + offsets = value. */
function ValueParts({ node }: { node: Node }) {
  const featureShare = Math.max(0, 1 - node.error - node.lost);
  const sum = node.inputs.reduce((total, edge) => total + edge.weight, 0);
  const offsets = node.offsets.reduce((total, value) => total + value, 0);
  const prunedSum = (node.value ?? 0) - sum - offsets;
  const names = graph.value!.view.offset_names;
  const offsetRows = node.offsets
    .map((value, i) => [known(OFFSETS[names[i] ?? ""] ?? names[i] ?? ""), value] as const)
    .filter(([, value]) => value !== 0);
  return (
    <>
      <Heading note={t("shares of its absolute input")}>{t("What its value is made of")}</Heading>
      <div
        class="stack"
        role="img"
        aria-label={t("{a} features and tokens, {b} errors, {c} pruned", {
          a: percent(featureShare),
          b: percent(node.error),
          c: percent(node.lost),
        })}
      >
        <i class="known" style={{ width: `${100 * featureShare}%` }} />
        <i class="missed" style={{ width: `${100 * node.error}%` }} />
        <i class="lost" style={{ width: `${100 * node.lost}%` }} />
      </div>
      <p class="split">
        <span>
          {t("features and tokens")} <b>{percent(featureShare)}</b>
        </span>
        <span>
          {t("errors")} <b>{percent(node.error)}</b>
        </span>
        <span>
          {t("pruned")} <b>{percent(node.lost)}</b>
        </span>
      </p>
      <p class="split">
        <span>
          {t("edges shown")} <b>{signed(sum)}</b>
        </span>
        {Math.abs(prunedSum) > 1e-3 * Math.abs(node.value ?? 1) && (
          <span>
            {t("edges pruned")} <b>{signed(prunedSum)}</b>
          </span>
        )}
        {offsetRows.map(([name, value]) => (
          <span key={name}>
            {name} <b>{signed(value)}</b>
          </span>
        ))}
        <span>
          {t("sum")} <b>{amount(node.value)}</b>
        </span>
      </p>
      <HowToRead text={READ_OFFSETS} />
    </>
  );
}

function HiddenFlow() {
  const links = detail.value!.left_out.filter((link) => link.through !== 0);
  const max = Math.max(1e-12, ...links.map((link) => Math.max(Math.abs(link.through), Math.abs(link.direct))));
  return (
    <>
      <Heading note={t("direct · through nodes not shown")}>{t("What flows through what is left out")}</Heading>
      <Few items={links} few={6} empty={t("Nothing reaches it through nodes that are not shown.")}>
        {(link) => {
          const { name, note, place } = linkName(link.id, link.label, link.label_kind, link.here);
          return (
            <LinkRow
              id={link.id}
              name={name}
              note={note}
              place={t("{a} · direct {b}", { a: place, b: signed(link.direct) })}
              weight={link.through}
              max={max}
              share={NaN}
              shown={graph.value!.byId.has(link.id)}
            />
          );
        }}
      </Few>
    </>
  );
}

/** Opens the label editor of the chosen feature, or says why there is none. */
export function labelChosen(): void {
  const key = chosen.peek().at(-1);
  const feature = key ? featureOf(key) : null;
  query.value = ""; // the matches of a search stand where the editor opens
  if (feature) writeLabelOf(feature);
  else if (primaryMark.peek()?.group) refuse(t("A group has its name, not a label: write it at the top of the panel."));
  else
    refuse(key ? t("Only features have labels: choose a feature first.") : t("Choose a feature first, to label it."));
}
