"""A circuit changed by a person: features moved, groups split, merged, renamed, pinned; then measured anew.

1. The changes are made one after the other; groups keep their ids, a new one gets the next free id.
2. A group whose features changed is named anew, by what it does now, unless a person named it.
3. All that the circuit says is measured again (`find_circuit.measured_circuit`): no number of the circuit before stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from jaxtyping import Int
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.local_model import LocalModel, check_traced_with
from clew.circuit.circuit import Circuit, Group
from clew.circuit.find_circuit import CircuitSettings, material_of, measured_circuit, named_cell, place_of
from clew.circuit.grouping import STAGES, Cell, FeatureEvidence, Stage, deciding_words, role_of
from clew.circuit.naming import GroupName, told_apart
from clew.circuit.words import Lexicon
from clew.dictionary.dictionary import Dictionary
from clew.errors import InputError, MismatchError
from clew.features.atlas import Atlas
from clew.subject.subject import Subject

Verb = Literal["move", "split", "merge", "rename", "pin", "unpin"]
LONGEST_NAME = 80  # characters


@dataclass(frozen=True, kw_only=True)
class GroupChange:
    """One change of a circuit's groups, as a value. Groups go by their ids or their names."""

    verb: Verb
    group: str = ""
    """The group that is changed; of a move the one that the features come into, out of all groups where it is empty."""
    members: tuple[str, ...] = ()
    """Features at their positions: those that are moved, or split off."""
    other: str = ""
    """Of a merge: the group that goes into `group`."""
    name: str = ""

    @classmethod
    def move(cls, members: Sequence[str], group: str = "") -> GroupChange:
        """Features of the graph go into a group, or out of all groups."""
        return cls(verb="move", members=tuple(members), group=group)

    @classmethod
    def split(cls, group: str, members: Sequence[str], name: str = "") -> GroupChange:
        """Some features of a group become a group of their own; without a name it is called by what it does."""
        return cls(verb="split", group=group, members=tuple(members), name=name)

    @classmethod
    def merge(cls, group: str, other: str) -> GroupChange:
        """Another group goes into this one."""
        return cls(verb="merge", group=group, other=other)

    @classmethod
    def rename(cls, group: str, name: str) -> GroupChange:
        """A person's name; an empty one gives the group back to what it does."""
        return cls(verb="rename", group=group, name=name)

    @classmethod
    def pin(cls, group: str) -> GroupChange:
        """The sentence tells of the group in any case."""
        return cls(verb="pin", group=group)

    @classmethod
    def unpin(cls, group: str) -> GroupChange:
        """The sentence tells of the group where it matters."""
        return cls(verb="unpin", group=group)

    def to_json(self) -> dict[str, Any]:
        """Its fields as plain values."""
        return {**vars(self), "members": [*self.members]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> GroupChange:
        """Read what `to_json` gave; InputError when it is no change."""
        if value.get("verb") not in get_args(Verb):
            raise InputError(
                f"a circuit cannot be changed by {value.get('verb')!r}: choose from {', '.join(get_args(Verb))}"
            )
        try:
            return cls(**{**value, "members": tuple(map(str, value.get("members", ())))})
        except TypeError as error:
            raise InputError(f"this is no change of a circuit's groups: {error}") from error


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """A group while it is changed; `named` is None where it is to be named by what it does."""

    id: str
    nodes: frozenset[int]
    stage: Stage
    words: tuple[int, ...]
    named: GroupName | None
    pinned: bool
    called: str


def regroup(
    subject: Subject,
    dictionary: Dictionary,
    graph: Graph,
    circuit: Circuit,
    changes: Sequence[GroupChange],
    lexicon: Lexicon | None = None,
    atlas: Atlas | None = None,
) -> Circuit:
    """The circuit with changed groups, measured anew with its own settings; lexicon and atlas serve the groups' names.

        graph = kit.trace("The capital of France is", effects=True)
        circuit = kit.circuit(graph)
        changes = [GroupChange.merge("G1", "G5"), GroupChange.rename("G1", "the country")]
        regroup(kit.subject, kit.dictionary, graph, circuit, changes).sentence

    InputError for a change that is impossible, MismatchError for a graph of another prompt or dictionary than the
    circuit's.
    """
    check_traced_with(subject, dictionary, graph)
    if (graph.token_ids, graph.dictionary_fingerprint) != (circuit.token_ids, circuit.dictionary_fingerprint):
        raise MismatchError(f"the circuit is of {circuit.prompt!r}, and the graph of {graph.prompt!r}")
    known = {name: value for name, value in circuit.settings.items() if name != "changes"}
    settings = CircuitSettings(**known, lexicon=lexicon or {})
    with torch.no_grad():
        material = material_of(subject, dictionary, graph)
        drafts = {group.id: _draft(material, graph, circuit, group) for group in circuit.groups}
        for change in changes:
            drafts = _changed(material, graph, drafts, change, _ids(circuit, drafts))
        listed = sorted(drafts.values(), key=lambda draft: -float(material.influence[[*draft.nodes]].sum()))
        local = LocalModel.of_graph(subject, dictionary, graph)
        cells, names = _named(material, dictionary, listed, local, settings.lexicon, atlas)
        pinned = [place for place, draft in enumerate(listed) if draft.pinned]
        made = measured_circuit(material, dictionary, cells, names, local, settings, pinned)
    kept = replace(made, settings={**made.settings, "changes": [*_earlier(circuit), *(c.to_json() for c in changes)]})
    return _with_ids(kept, [draft.id for draft in listed])


def _earlier(circuit: Circuit) -> list[Any]:
    return list(circuit.settings.get("changes", ()))


def _ids(circuit: Circuit, drafts: Mapping[str, _Draft]) -> dict[str, str]:
    """Ids of groups by what they may be called in a change: their ids, and names that one group alone has."""
    names = {group.id: group.name for group in circuit.groups if group.id in drafts}
    names |= {draft.id: draft.called for draft in drafts.values() if draft.called}
    counts = Counter(names.values())
    return {name: id for id, name in names.items() if counts[name] == 1} | {id: id for id in drafts}


def _draft(material: FeatureEvidence, graph: Graph, circuit: Circuit, group: Group) -> _Draft:
    into = {edge.source for edge in circuit.edges_into(group.id)}
    words = []
    for text in group.words:
        places = [place for place, word in enumerate(material.words) if word.text == text]
        own = [place for place in places if f"T@{material.words[place].positions[-1]}" in into]
        words.extend((own or places)[:1])
    return _Draft(
        id=group.id,
        nodes=frozenset(graph.index(member) for member in group.members),
        stage=next(stage for stage in STAGES if stage == group.role),
        words=tuple(words),
        named=group.named,
        pinned=group.pinned,
        called=group.named.called,
    )


def _changed(
    material: FeatureEvidence, graph: Graph, drafts: dict[str, _Draft], change: GroupChange, ids: Mapping[str, str]
) -> dict[str, _Draft]:
    """Drafts after one change."""

    def known(name: str) -> _Draft:
        if name not in ids:
            raise InputError(f"there is no group {name!r}: they are {', '.join(map(repr, drafts))}")
        return drafts[ids[name]]

    if change.verb == "move":
        nodes = _nodes(graph, change.members)
        into = known(change.group) if change.group else None
        drafts = _without(drafts, nodes, keep=into.id if into else "")
        if into is not None:
            drafts[into.id] = replace(into, nodes=into.nodes | nodes, named=None)
        if not drafts:
            raise InputError("no group is left: a circuit has one at least")
        return drafts
    draft = known(change.group)
    match change.verb:
        case "split":
            nodes = _nodes(graph, change.members)
            if not nodes < draft.nodes:
                raise InputError(f"split off some features of {change.group!r}, not all of them and no others")
            id = _next_id(drafts)
            stage, words = _role(material, nodes)
            rest = replace(draft, nodes=draft.nodes - nodes, named=None)
            new = _Draft(id=id, nodes=nodes, stage=stage, words=words, named=None, pinned=False, called="")
            return {**drafts, draft.id: rest, id: replace(new, called=_checked_name(change.name))}
        case "merge":
            other = known(change.other)
            if other.id == draft.id:
                raise InputError(f"{change.group!r} and {change.other!r} are one group")
            words = tuple(sorted({*draft.words, *other.words}))
            both = replace(draft, nodes=draft.nodes | other.nodes, words=words, named=None)
            both = replace(both, pinned=draft.pinned or other.pinned)
            return {id: both if id == draft.id else each for id, each in drafts.items() if id != other.id}
        case "rename":
            return {**drafts, draft.id: replace(draft, called=_checked_name(change.name), named=None)}
        case "pin" | "unpin":
            if change.verb == "pin" and draft.stage == "against":
                raise InputError(f"{change.group!r} writes against the answer: the sentence tells what makes it")
            return {**drafts, draft.id: replace(draft, pinned=change.verb == "pin")}
    raise InputError(f"a circuit cannot be changed by {change.verb!r}: choose from {', '.join(get_args(Verb))}")


def _nodes(graph: Graph, members: Sequence[str]) -> frozenset[int]:
    """InputError when a member is no feature of the graph, or there is none."""
    nodes = frozenset(graph.index(member) for member in members)
    strangers = [member for member in members if graph.index(member) >= graph.n_features]
    if strangers or not nodes:
        raise InputError(
            f"groups are of features: {strangers[0]} is none" if strangers else "name at least one feature"
        )
    return nodes


def _without(drafts: Mapping[str, _Draft], nodes: frozenset[int], keep: str) -> dict[str, _Draft]:
    """Drafts without some features; one that has none left goes, unless it is to be kept."""
    left = {
        id: replace(draft, nodes=draft.nodes - nodes, named=None) if draft.nodes & nodes else draft
        for id, draft in drafts.items()
    }
    return {id: draft for id, draft in left.items() if draft.nodes or id == keep}


def _next_id(drafts: Mapping[str, _Draft]) -> str:
    return f"G{1 + max(int(id.removeprefix('G')) for id in drafts)}"


def _checked_name(name: str) -> str:
    name = " ".join(name.split())
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise InputError(f"a group's name has at most {LONGEST_NAME} characters, all of them visible: {name[:40]!r}")
    return name


def _role(material: FeatureEvidence, nodes: frozenset[int]) -> tuple[Stage, tuple[int, ...]]:
    """The stage of most of some features, weighted by influence, and the words that these depend on."""
    deciding = deciding_words(material)
    weights: Counter[tuple[Stage, tuple[int, ...]]] = Counter()
    for node in sorted(nodes):
        weights[role_of(material, node, deciding)] += float(material.influence[node])  # type: ignore[assignment]
    return weights.most_common(1)[0][0]


def _cell(material: FeatureEvidence, draft: _Draft) -> Cell:
    nodes: Int[Tensor, " node"] = torch.tensor(sorted(draft.nodes))
    return Cell(stage=draft.stage, words=draft.words, nodes=nodes, share=float(material.influence[nodes].sum()))


def _named(
    material: FeatureEvidence,
    dictionary: Dictionary,
    drafts: Sequence[_Draft],
    local: LocalModel,
    lexicon: Lexicon,
    atlas: Atlas | None,
) -> tuple[list[Cell], list[GroupName]]:
    """The groups with their names: as they were, or by what they do now; over it the name that a person gave."""
    cells, names = [], []
    for draft in drafts:
        name, cell = draft.named, _cell(material, draft)
        if name is None:
            name, cell = named_cell(cell, material, dictionary, local, lexicon, atlas)
            name = replace(name, called=draft.called)
        cells.append(cell)
        names.append(name)
    return cells, told_apart(names, [place_of(material, cell) for cell in cells])


def _with_ids(circuit: Circuit, ids: Sequence[str]) -> Circuit:
    """The circuit with these ids in the place of `G1`, `G2`, ...: a group keeps its id from change to change."""
    new = {group.id: id for group, id in zip(circuit.groups, ids, strict=True)}
    return replace(
        circuit,
        groups=tuple(replace(group, id=new[group.id]) for group in circuit.groups),
        edges=tuple(
            replace(edge, source=new.get(edge.source, edge.source), target=new.get(edge.target, edge.target))
            for edge in circuit.edges
        ),
        chain=tuple(new[each] for each in circuit.chain),
    )
