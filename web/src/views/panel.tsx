// The panel beside the graph: the matches of a search, a group, one node, or the whole graph if nothing is chosen.
import { embedded } from "../state/app";
import { type Node, featureOf } from "../model/graph";
import { percent, plural, visibleText } from "../model/format";
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
import { Few, Heading, PlainBar, TokenText } from "./widgets";
import { EdgePanel } from "./edge_panel";
import { text } from "./explanation_parts";
import { HeadPanel } from "./head_panel";
import { NodePanel } from "./node_panel";
import { HiddenRow, LinkRow, NodeRow, preview } from "./node_rows";

export function Panel() {
  const view = graph.value;
  if (!view) return <aside class="panel" aria-label="Details" />;
  let content;
  if (query.value) content = <Results />;
  else if (head.value && explainable.value) content = <HeadPanel />;
  else if (edge.value && explainable.value) content = <EdgePanel />;
  else if (primaryMark.value?.group) content = <GroupPanel />;
  else if (primaryNode.value) content = <NodePanel key={primaryNode.value.id} node={primaryNode.value} />;
  else if (primary.value) content = <NotShown id={primary.value} />;
  else content = <WholeGraph />;
  return (
    <aside class="panel" id="panel" aria-label="Details" tabIndex={-1}>
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
        {plural(nodes.length, "node matches", "nodes match")}
        {hidden.length > 0 && `, ${hidden.length} more below the thresholds`}
      </h2>
      <Heading note="Enter takes the first">Shown, by influence</Heading>
      <Few items={nodes} few={24} empty="Nothing shown has this label, token, layer or id.">
        {(node) => <NodeRow node={node} />}
      </Few>
      {searchingHidden.value && (
        <p class="note" role="status">
          Looking below the thresholds…
        </p>
      )}
      {hidden.length > 0 && (
        <>
          <Heading note="a click pins it">Below the thresholds, hidden</Heading>
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
        <span>Below the thresholds</span>
        <Close />
      </p>
      <h2>
        <code>{id}</code>
      </h2>
      <p class="note">
        This node is not shown at the present thresholds. Move the Nodes slider to the right, or pin it.
      </p>
      {!embedded && (
        <p class="actions">
          <button type="button" onClick={() => pinAndChoose(id)}>
            Pin it <kbd>p</kbd>
          </button>
        </p>
      )}
    </>
  );
}

export function Close() {
  return (
    <button type="button" class="close" aria-label="Back to the whole graph" onClick={() => choose(null)}>
      ✕
    </button>
  );
}

function WholeGraph() {
  const { view, outputs } = graph.value!;
  const { pins, groups } = arrangement.value;
  return (
    <>
      <h2 class="unseen">The whole graph</h2>
      <Heading note="probability">Outputs</Heading>
      <ul class="outs">
        {outputs.map((node) => (
          <li key={node.id}>
            <button type="button" onClick={() => chooseNode(node.id)} {...preview(node.id)}>
              <i style={{ width: `${100 * Math.min(1, node.probability ?? node.weight ?? 0)}%` }} />
              <span>
                <TokenText text={node.label ?? ""} />
              </span>
              <span>{percent(node.probability ?? node.weight)}</span>
            </button>
          </li>
        ))}
      </ul>
      {view.shares && (
        <p class="note">
          Of what enters the nodes, {percent(view.shares.error)} is error and {percent(view.shares.offset)} comes beside
          the edges (biases, positions, sink).
        </p>
      )}
      {(pins.length > 0 || groups.length > 0) && <Heading>Pinned and grouped</Heading>}
      {groups.map((each) => (
        <button
          key={each.id}
          type="button"
          class="row two"
          onClick={() => choose(each.id)}
          {...preview(each.nodes[0] ?? "")}
        >
          <span class="what">{each.name}</span>
          <span class="part">{plural(each.nodes.length, "node")}</span>
        </button>
      ))}
      {pins.map((id) => (
        <Pinned key={id} id={id} />
      ))}
      {colour.value === "group" && <LabelGroups />}
      <Paths paths={view.paths} title="Strongest paths" />
      <Role title="Input features" note="mostly from tokens" ids={view.roles.inputs} />
      <Role title="Output features" note="mostly direct" ids={view.roles.outputs} />
      {!embedded && (
        <p class="actions">
          <button type="button" onClick={() => void suggestGroups("label")}>
            Group by label
          </button>
          <button type="button" onClick={() => void suggestGroups("token")}>
            Group by token
          </button>
          {explainable.value && (
            <button type="button" onClick={openAnyHead}>
              {text.value.anyHead} <kbd>h</kbd>
            </button>
          )}
        </p>
      )}
      <p class="note">
        Point at a mark to preview what it reads and writes; click to keep it. <kbd>?</kbd> shows every key.
      </p>
    </>
  );
}

/** The legend of the letters in the graph. */
function LabelGroups() {
  return (
    <>
      <Heading note="a click chooses all of one">Label groups</Heading>
      <Few items={labelGroups.value} few={12} empty="Nothing is grouped, and no label stands here twice.">
        {(family) => (
          <button type="button" class="row two" onClick={() => chooseAll(family.marks.map((mark) => mark.key))}>
            <span class="what">
              <b class="letterkey" style={{ background: `var(--group-${family.hue})` }}>
                {family.letter}
              </b>{" "}
              {family.name}
            </span>
            <span class="part">
              {family.marks[0]!.group ? "group of " : ""}
              {plural(
                family.marks.reduce((sum, mark) => sum + mark.members.length, 0),
                "node",
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
      <code>{id}</code> is pinned, and below the thresholds
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
              choose all
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

const NO_PATH = "No path leads from a token to an output at these thresholds.";

export function Paths({
  paths,
  title,
  few = 5,
  empty = NO_PATH,
}: {
  paths: readonly PathView[];
  title: string;
  few?: number;
  empty?: string;
}) {
  return (
    <>
      <Heading note="product of shares">{title}</Heading>
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
          <span class={`step${node.kind === "token" || node.kind === "target" ? " word" : ""}`}>
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
    <span class={`go ${weight < 0 ? "minus" : "plus"}`} aria-label={weight < 0 ? "takes from" : "adds to"} role="img">
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
      <h2 class="unseen">Group {group.name}</h2>
      <p class="kind">
        <span>Group · {plural(mark.members.length, "node")}</span>
        <Close />
      </p>
      <input
        class="groupname"
        type="text"
        aria-label="Name of the group"
        key={group.id}
        defaultValue={group.name}
        onChange={(event) => renameGroup(group.id, event.currentTarget.value)}
        onKeyDown={(event) => event.key === "Enter" && event.currentTarget.blur()}
      />
      <p class="actions">
        <button type="button" onClick={() => ungroupById(group.id)}>
          Take apart <kbd>g</kbd>
        </button>
        {!embedded && view.of_kit && (
          <button type="button" onClick={editChosen}>
            Edit all <kbd>e</kbd>
          </button>
        )}
      </p>
      <Heading note="influence">Members</Heading>
      <Few items={[...mark.members].sort((a, b) => b.influence - a.influence)} few={12}>
        {(node) => <MemberRow node={node} />}
      </Few>
      <Heading note="summed weight · share of its input">Inputs</Heading>
      <Few items={inputs} empty="Nothing shown enters it.">
        {(link) => (
          <LinkRow
            id={link.from.key}
            name={link.from.name}
            place={link.from.group ? "group" : link.from.key}
            weight={link.weight}
            max={max}
            share={link.share}
            shown
          />
        )}
      </Few>
      <Heading note="summed weight · share of their input">Outputs</Heading>
      <Few items={outputs} empty="Nothing shown reads it.">
        {(link) => (
          <LinkRow
            id={link.to.key}
            name={link.to.name}
            place={link.to.group ? "group" : link.to.key}
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
      </span>
      <span class="num">{featureOf(node.id) ?? node.id}</span>
      <span class="part">{percent(node.influence)}</span>
    </button>
  );
}
