// The panel beside the circuit: a chosen group with its features, edges and changes; else how many groups, saved ones.
import { useState } from "preact/hooks";
import { counted, t } from "../i18n/text";
import { percent, visibleText } from "../model/format";
import { featureOf } from "../model/graph";
import type { CircuitEdge, CircuitGroup, CircuitView } from "../types";
import { embedded, nameOf } from "../state/app";
import {
  chooseGroup,
  chosenMembers,
  groupLimit,
  groupName,
  groupShown,
  mergeGroups,
  moveMembers,
  openCircuit,
  pane,
  pinGroup,
  removeCircuit,
  renameCircuitGroup,
  savedCircuits,
  savedId,
  splitGroup,
  toggleMember,
} from "../state/circuit";
import { choose } from "../state/trace";
import { NoteOn } from "./note";
import { SheetHandle, sheetOpen } from "./sheet";
import { SwapForm } from "./swap";
import { Heading, KindMark } from "./widgets";

export function CircuitPanel({ view }: { view: CircuitView }) {
  const group = groupShown.value;
  return (
    <aside class={`panel${sheetOpen.value ? " open" : ""}`} id="panel" aria-label={t("Details")} tabIndex={-1}>
      <SheetHandle title={group ? groupName(group) : t("About this explanation")} />
      {group ? <Group key={group.id} group={group} view={view} /> : <Whole view={view} />}
    </aside>
  );
}

function Group({ group, view }: { group: CircuitGroup; view: CircuitView }) {
  const others = view.groups.filter((each) => each.id !== group.id);
  const into = edgesOf(view, "target", group.id);
  const out = edgesOf(view, "source", group.id);
  return (
    <>
      <p class="kind">
        <span>{t(ROLES[group.role])}</span>
        <button
          type="button"
          class="close"
          aria-label={t("Back to the whole explanation")}
          onClick={() => chooseGroup("")}
        >
          ✕
        </button>
      </p>
      <h2 class="unseen">{groupName(group)}</h2>
      {embedded ? (
        <p class="groupname">{groupName(group)}</p>
      ) : (
        <input
          class="groupname"
          id="groupname"
          type="text"
          maxLength={80}
          aria-label={t("Name of the group")}
          key={groupName(group)}
          defaultValue={groupName(group)}
          onChange={(event) => renameCircuitGroup(group, event.currentTarget.value)}
          onKeyDown={(event) => event.key === "Enter" && event.currentTarget.blur()}
        />
      )}
      <p class="note">
        {group.random.mean === null
          ? t(
              "Without it the answer goes from {before} to {without}; no other feature is active there to compare with.",
              {
                before: percent(view.probability),
                without: percent(group.without),
              },
            )
          : t(
              "Without it the answer goes from {before} to {without}, without random features in its place to {random}.",
              {
                before: percent(view.probability),
                without: percent(group.without),
                random: percent(group.random.mean),
              },
            )}
      </p>
      {!embedded && (
        <p class="actions">
          <button
            type="button"
            aria-pressed={group.pinned}
            title={t("The sentence tells of a pinned group")}
            onClick={() => pinGroup(group)}
          >
            {t("Pin")} <kbd>p</kbd>
          </button>
          {group.called && (
            <button type="button" onClick={() => renameCircuitGroup(group, "")}>
              {t("Name it by what it does")}
            </button>
          )}
          <GroupSelect name={t("Join with…")} groups={others} pick={(other) => mergeGroups(group.id, other)} />
        </p>
      )}
      {!embedded && <SwapForm group={group} />}
      <Edges title={t("Made by")} edges={into} side="source" view={view} />
      <Edges title={t("Makes")} edges={out} side="target" view={view} />
      <Heading note={t("activation")}>{counted(group.members.length, "feature|features|features")}</Heading>
      <ul class="members">
        {group.members.map((member) => (
          <li key={member.id}>
            {!embedded && group.members.length > 1 && (
              <input
                type="checkbox"
                aria-label={t("Mark {feature}", { feature: member.id })}
                checked={chosenMembers.value.has(member.id)}
                onChange={() => toggleMember(member.id)}
              />
            )}
            <button type="button" class="row two" onClick={() => showMember(member.id)}>
              <span class="what">
                <MemberName member={member} />
              </span>
              <span class="part">{member.activation.toFixed(2)}</span>
            </button>
          </li>
        ))}
      </ul>
      {!embedded && chosenMembers.value.size > 0 && (
        <p class="actions">
          <button
            type="button"
            disabled={chosenMembers.value.size >= group.members.length}
            onClick={() => splitGroup(group.id)}
          >
            {t("Make a group of the marked")}
          </button>
          <GroupSelect
            name={t("Move the marked to…")}
            groups={others}
            pick={moveMembers}
            out={t("out of all groups")}
          />
        </p>
      )}
    </>
  );
}

const ROLES = {
  reads: "Group · reads a word",
  carries: "Group · carries words",
  gathers: "Group · gathers words at the output",
  output: "Group · output",
  against: "Group · writes against the answer",
  rest: "Group · other words",
} as const;

/** Shows a feature in the graph behind the explanation. */
function showMember(id: string): void {
  pane.value = "graph";
  choose(id);
}

function edgesOf(view: CircuitView, side: "source" | "target", id: string): CircuitEdge[] {
  return view.edges.filter((each) => each[side] === id).sort((a, b) => Math.abs(b.measured) - Math.abs(a.measured));
}

function Edges({
  title,
  edges,
  side,
  view,
}: {
  title: string;
  edges: readonly CircuitEdge[];
  side: "source" | "target";
  view: CircuitView;
}) {
  if (!edges.length) return null;
  return (
    <>
      <Heading note={t("measured · straight · heads")}>{title}</Heading>
      <ul class="edges">
        {edges.map((edge) => (
          <li key={edge[side]}>
            <EndName id={edge[side]} view={view} />
            <span class="num">{percent(edge.measured)}</span>
            <span class="part">{edge.value.toFixed(2)}</span>
            <span class="part heads">{edge.heads.join(" ")}</span>
          </li>
        ))}
      </ul>
    </>
  );
}

function EndName({ id, view }: { id: string; view: CircuitView }) {
  const group = view.groups.find((each) => each.id === id);
  if (group)
    return (
      <button type="button" class="link" onClick={() => chooseGroup(id)}>
        {groupName(group)}
      </button>
    );
  const word = view.words.find((each) => each.id === id);
  return <span class="mono">{word ? visibleText(word.text) : view.answer}</span>;
}

function GroupSelect({
  name,
  groups,
  pick,
  out,
}: {
  name: string;
  groups: readonly CircuitGroup[];
  pick: (id: string) => void;
  out?: string;
}) {
  return (
    <select
      aria-label={name}
      value=""
      onChange={(event) => {
        const { value } = event.currentTarget;
        event.currentTarget.value = "";
        if (value) pick(value === "-" ? "" : value);
      }}
    >
      <option value="">{name}</option>
      {groups.map((each) => (
        <option key={each.id} value={each.id}>
          {groupName(each)}
        </option>
      ))}
      {out && <option value="-">{out}</option>}
    </select>
  );
}

function Whole({ view }: { view: CircuitView }) {
  return (
    <>
      <h2 class="unseen">{t("About this explanation")}</h2>
      {!embedded && (
        <label class="limit">
          <span>{t("At most {n} groups", { n: groupLimit.value })}</span>
          <input
            type="range"
            min={4}
            max={12}
            value={groupLimit.value}
            disabled={savedId.value !== "" || view.changes.length > 0}
            onChange={(event) => (groupLimit.value = Number(event.currentTarget.value))}
          />
        </label>
      )}
      <Heading note={t("a click opens one")}>{t("Groups")}</Heading>
      <ul class="edges grouplist">
        {view.groups.map((group) => (
          <li key={group.id}>
            <button type="button" class="link" onClick={() => chooseGroup(group.id)}>
              {groupName(group)}
            </button>
            <span class="num">{percent(group.share)}</span>
          </li>
        ))}
      </ul>
      <p class="note">
        {t(
          "{n} of {all} features that are active on this prompt are in groups. Choose a group to see its features, to change it, or to swap it with another prompt's.",
          {
            n: view.groups.reduce((sum, each) => sum + each.members.length, 0),
            all: view.n_features,
          },
        )}
      </p>
      {!embedded && <Saved view={view} />}
      <NoteOn address={`graphs/${view.graph}`} />
    </>
  );
}

function Saved({ view }: { view: CircuitView }) {
  const circuits = savedCircuits.value;
  if (!circuits.length && !view.changes.length && !savedId.value) return null;
  return (
    <>
      <Heading>{t("Saved under a name")}</Heading>
      <ul class="edges grouplist">
        {(savedId.value !== "" || view.changes.length > 0) && (
          <li>
            <button type="button" class="link" onClick={() => openCircuit("")}>
              {t("as it was found")}
            </button>
          </li>
        )}
        {circuits.map((each) => (
          <SavedRow key={each.id} id={each.id} name={each.name} groups={each.n_groups} />
        ))}
      </ul>
    </>
  );
}

function SavedRow({ id, name, groups }: { id: string; name: string; groups: number }) {
  const [asking, setAsking] = useState(false);
  if (asking)
    return (
      <li class="asking">
        <span>{t("Remove “{name}”?", { name })}</span>
        <button type="button" class="quiet" onClick={() => setAsking(false)}>
          {t("Do not remove")}
        </button>
        <button type="button" class="quiet wrong" onClick={() => void removeCircuit(id)}>
          {t("Remove")}
        </button>
      </li>
    );
  return (
    <li>
      <button
        type="button"
        class="link"
        aria-current={savedId.value === id ? "true" : undefined}
        onClick={() => openCircuit(id)}
      >
        {name}
      </button>
      <span class="part">{counted(groups, "group|groups|groups")}</span>
      <button type="button" class="close" aria-label={t("Remove “{name}”?", { name })} onClick={() => setAsking(true)}>
        ✕
      </button>
    </li>
  );
}

function MemberName({ member }: { member: CircuitGroup["members"][number] }) {
  const named = nameOf(featureOf(member.id) ?? member.id, member.label, member.label_kind);
  return (
    <>
      <KindMark kind={named.kind} /> {named.text || member.id} <em>{member.id}</em>
    </>
  );
}
