// The panel beside the graph: the matches of a search, a group, one node, or the whole graph if nothing is chosen.
import { embedded } from "../state/app";
import { type Node, featureOf } from "../model/graph";
import { chanceOf, isToken, outputAmount, percent, visibleText } from "../model/format";
import type { PathView } from "../types";
import {
  arrangement,
  pinAndChoose,
  choose,
  chooseAll,
  chooseNode,
  chooseNodes,
  choosePath,
  colour,
  edge,
  head,
  matches,
  hiddenMatches,
  graph,
  labelGroups,
  searchingHidden,
  nodeName,
  path,
  primary,
  primaryMark,
  primaryNode,
  query,
  renameGroup,
  suggestGroups,
  ungroupById,
} from "../state/trace";
import { editChosen } from "../state/edit";
import { explainable, openAnyHead } from "../state/explanations";
import { type Text, counted, t } from "../i18n/text";
import { SheetHandle, sheetOpen } from "./sheet";
import { HowToRead, READ_SCORES } from "./how_to_read";
import { Few, Heading, PlainBar, TokenText } from "./widgets";
import { EdgePanel } from "./edge_panel";
import { text } from "./explanation_parts";
import { HeadPanel } from "./head_panel";
import { NodePanel } from "./node_panel";
import { NoteOn } from "./note";
import { HiddenRow, LinkRow, NameNote, NodeRow, preview } from "./node_rows";

export function Panel() {
  const view = graph.value;
  if (!view) return <aside class="panel" aria-label={t("Details")} />;
  let content;
  if (query.value) content = <Results />;
  else if (head.value && explainable.value) content = <HeadPanel />;
  else if (edge.value && explainable.value) content = <EdgePanel />;
  else if (primaryMark.value?.group) content = <GroupPanel />;
  else if (primaryNode.value) content = <NodePanel key={primaryNode.value.id} node={primaryNode.value} />;
  else if (primary.value) content = <NotShown id={primary.value} />;
  else content = <WholeGraph />;
  return (
    <aside class={`panel${sheetOpen.value ? " open" : ""}`} id="panel" aria-label={t("Details")} tabIndex={-1}>
      <SheetHandle title={primary.value ? t("What is chosen") : t("The whole graph")} />
      {content}
    </aside>
  );
}

function Results() {
  const nodes = matches.value;
  const hidden = hiddenMatches.value;
  return (
    <>
      <h2>
        {counted(nodes.length, "node matches|nodes match")}
        {hidden.length > 0 && `, ${t("{a} more below the thresholds", { a: hidden.length })}`}
      </h2>
      <Heading note={t("Enter takes the first")}>{t("Shown, by influence")}</Heading>
      <Few items={nodes} few={24} empty={t("Nothing shown has this label, token, layer or id.")}>
        {(node) => <NodeRow node={node} />}
      </Few>
      {searchingHidden.value && (
        <p class="note" role="status">
          {t("Looking below the thresholds…")}
        </p>
      )}
      {hidden.length > 0 && (
        <>
          <Heading note={t("a click pins it")}>{t("Below the thresholds, hidden")}</Heading>
          <Few items={hidden} few={24}>
            {(node) => <HiddenRow node={node} />}
          </Few>
        </>
      )}
    </>
  );
}

function NotShown({ id }: { id: string }) {
  return (
    <>
      <p class="kind">
        <span>{t("Below the thresholds")}</span>
        <Close />
      </p>
      <h2>
        <code>{id}</code>
      </h2>
      <p class="note">
        {t("This node is not shown at the present thresholds. Move the Nodes slider to the right, or pin it.")}
      </p>
      {!embedded && (
        <p class="actions">
          <button type="button" onClick={() => pinAndChoose(id)}>
            {t("Pin it")} <kbd>p</kbd>
          </button>
        </p>
      )}
    </>
  );
}

export function Close() {
  return (
    <button type="button" class="close" aria-label={t("Back to the whole graph")} onClick={() => choose(null)}>
      ✕
    </button>
  );
}

function WholeGraph() {
  const { view, outputs } = graph.value!;
  const { pins, groups } = arrangement.value;
  return (
    <>
      <h2 class="unseen">{t("The whole graph")}</h2>
      <Heading note={t(outputs.every(isToken) ? "probability" : "probability, or difference of logits")}>
        {t("Outputs")}
      </Heading>
      <ul class="outs">
        {outputs.map((node) => (
          <li key={node.id}>
            <button type="button" onClick={() => chooseNode(node.id)} {...preview(node.id)}>
              <i style={{ width: `${100 * Math.min(1, chanceOf(node))}%` }} />
              <span>
                <TokenText text={node.label ?? ""} />
              </span>
              <span>{outputAmount(node)}</span>
            </button>
          </li>
        ))}
      </ul>
      {view.shares && (
        <p class="note">
          {" "}
          {t(
            "Of what enters the nodes, {error} is error and {offset} comes beside the edges (biases, positions, sink).",
            {
              error: percent(view.shares.error),
              offset: percent(view.shares.offset),
            },
          )}
        </p>
      )}{" "}
      <HowToRead text={READ_SCORES} />
      {(pins.length > 0 || groups.length > 0) && <Heading>{t("Pinned and grouped")}</Heading>}
      {groups.map((each) => (
        <button
          key={each.id}
          type="button"
          class="row two"
          onClick={() => choose(each.id)}
          {...preview(each.nodes[0] ?? "")}
        >
          <span class="what">{each.name}</span>
          <span class="part">{counted(each.nodes.length, "node|nodes")}</span>
        </button>
      ))}
      {pins.map((id) => (
        <Pinned key={id} id={id} />
      ))}
      {colour.value === "group" && <LabelGroups />}
      <Paths paths={view.paths} title={t("Strongest paths")} />
      <Role title={t("Input features")} note={t("mostly from tokens")} ids={view.roles.inputs} />
      <Role title={t("Output features")} note={t("mostly direct")} ids={view.roles.outputs} />
      {!embedded && (
        <p class="actions">
          <button type="button" onClick={() => void suggestGroups("label")}>
            {t("Group by label")}
          </button>
          <button type="button" onClick={() => void suggestGroups("token")}>
            {t("Group by token")}
          </button>
          {explainable.value && (
            <button type="button" onClick={openAnyHead}>
              {text.value.anyHead} <kbd>h</kbd>
            </button>
          )}
        </p>
      )}
      <NoteOn address={`graphs/${view.id}`} />
      <p class="note">
        {t("Point at a mark to preview what it reads and writes; click to keep it.")} <kbd>?</kbd>{" "}
        {t("shows every key.")}
      </p>
    </>
  );
}

/** The legend of the letters in the graph. */
function LabelGroups() {
  return (
    <>
      <Heading note={t("a click chooses all of one")}>{t("Label groups")}</Heading>
      <Few items={labelGroups.value} few={12} empty={t("Nothing is grouped, and no label stands here twice.")}>
        {(family) => (
          <button type="button" class="row two" onClick={() => chooseAll(family.marks.map((mark) => mark.key))}>
            <span class="what">
              <b class="letterkey" style={{ background: `var(--group-${family.hue})` }}>
                {family.letter}
              </b>{" "}
              {family.name}
            </span>
            <span class="part">
              {family.marks[0]!.group ? t("group of ") : ""}
              {counted(
                family.marks.reduce((sum, mark) => sum + mark.members.length, 0),
                "node|nodes",
              )}
            </span>
          </button>
        )}
      </Few>
    </>
  );
}

function Pinned({ id }: { id: string }) {
  const node = graph.value!.byId.get(id);
  return node ? (
    <NodeRow node={node} />
  ) : (
    <p class="note">
      <code>{id}</code> {t("is pinned, and below the thresholds")}
    </p>
  );
}

function Role({ title, note, ids }: { title: string; note: string; ids: readonly string[] }) {
  const nodes = ids.map((id) => graph.value!.byId.get(id)).filter((node) => node !== undefined);
  if (!nodes.length) return null;
  return (
    <>
      <Heading
        note={
          <>
            {note} ·{" "}
            <button type="button" class="link" onClick={() => chooseNodes(ids)}>
              {t("choose all")}
            </button>
          </>
        }
      >
        {title}
      </Heading>
      <Few items={nodes} few={6}>
        {(node) => <NodeRow node={node} />}
      </Few>
    </>
  );
}

const NO_PATH: Text = "No path leads from a token to an output at these thresholds.";

export function Paths({
  paths,
  title,
  few = 5,
  empty = t(NO_PATH),
}: {
  paths: readonly PathView[];
  title: string;
  few?: number;
  empty?: string;
}) {
  return (
    <>
      <Heading note={t("product of shares")}>{title}</Heading>
      <Few items={paths} few={few} empty={empty}>
        {(each) => <PathRow path={each} />}
      </Few>
    </>
  );
}

function PathRow({ path: each }: { path: PathView }) {
  const nodes = each.nodes.map((id) => graph.value!.byId.get(id)).filter((node): node is Node => node !== undefined);
  const pressed = path.value?.join() === each.nodes.join();
  return (
    <button type="button" class="path" aria-pressed={pressed} onClick={() => choosePath(pressed ? null : each.nodes)}>
      <span class="sum">
        {each.weight < 0 ? "−" : "+"}
        {percent(Math.abs(each.weight))}
      </span>
      {nodes.map((node, i) => (
        <span key={node.id}>
          {i > 0 && <Arrow from={nodes[i - 1]!} to={node} />}
          <span
            title={nodeName(node).note || undefined}
            class={`step${node.kind === "token" || node.kind === "target" ? " word" : ""}`}
          >
            {nodeName(node).text}
          </span>
        </span>
      ))}
    </button>
  );
}

function Arrow({ from, to }: { from: Node; to: Node }) {
  const weight = to.inputs.find((edge) => edge.from === from)?.weight ?? 0;
  return (
    <span
      class={`go ${weight < 0 ? "minus" : "plus"}`}
      aria-label={weight < 0 ? t("takes from") : t("adds to")}
      role="img"
    >
      {weight < 0 ? "⊣" : "→"}
    </span>
  );
}

function GroupPanel() {
  const { view } = graph.value!;
  const mark = primaryMark.value!;
  const group = mark.group!;
  const links = [...mark.links].sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
  const [inputs, outputs] = [links.filter((link) => link.to === mark), links.filter((link) => link.from === mark)];
  const max = Math.max(1e-12, ...links.map((link) => Math.abs(link.weight)));
  return (
    <>
      <h2 class="unseen">
        {t("Group")} {group.name}
      </h2>
      <p class="kind">
        <span>
          {t("Group ·")} {counted(mark.members.length, "node|nodes")}
        </span>
        <Close />
      </p>
      <input
        class="groupname"
        type="text"
        aria-label={t("Name of the group")}
        key={group.id}
        defaultValue={group.name}
        onChange={(event) => renameGroup(group.id, event.currentTarget.value)}
        onKeyDown={(event) => event.key === "Enter" && event.currentTarget.blur()}
      />
      <p class="actions">
        <button type="button" onClick={() => ungroupById(group.id)}>
          {t("Take apart")} <kbd>g</kbd>
        </button>
        {!embedded && view.of_kit && (
          <button type="button" onClick={editChosen}>
            {t("Edit all")} <kbd>e</kbd>
          </button>
        )}
      </p>
      <Heading note={t("influence")}>{t("Members")}</Heading>
      <Few items={[...mark.members].sort((a, b) => b.influence - a.influence)} few={12}>
        {(node) => <MemberRow node={node} />}
      </Few>
      <Heading note={t("summed weight · share of its input")}>{t("Inputs")}</Heading>
      <Few items={inputs} empty={t("Nothing shown enters it.")}>
        {(link) => (
          <LinkRow
            id={link.from.key}
            name={link.from.name}
            place={link.from.group ? t("group") : link.from.key}
            weight={link.weight}
            max={max}
            share={link.share}
            shown
          />
        )}
      </Few>
      <Heading note={t("summed weight · share of their input")}>{t("Outputs")}</Heading>
      <Few items={outputs} empty={t("Nothing shown reads it.")}>
        {(link) => (
          <LinkRow
            id={link.to.key}
            name={link.to.name}
            place={link.to.group ? t("group") : link.to.key}
            weight={link.weight}
            max={max}
            share={link.share}
            shown
          />
        )}
      </Few>
    </>
  );
}

function MemberRow({ node }: { node: Node }) {
  const named = nodeName(node);
  return (
    <button type="button" class="row" onClick={() => choose(node.id)} {...preview(node.id)}>
      <PlainBar share={node.influence / graph.value!.strongest} />
      <span class="what">
        {named.text} <em>{visibleText(graph.value!.view.tokens[node.position] ?? "")}</em>
        <NameNote note={named.note} />
      </span>
      <span class="num">{featureOf(node.id) ?? node.id}</span>
      <span class="part">{percent(node.influence)}</span>
    </button>
  );
}
