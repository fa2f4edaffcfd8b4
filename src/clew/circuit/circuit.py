"""The Circuit: what a person reads of a graph. Groups, the edges between them, what was measured, one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from clew import files
from clew.circuit.answer import CircuitAnswer
from clew.circuit.measuring import LiveRuns
from clew.circuit.naming import GroupName
from clew.circuit.random_sets import RandomSets
from clew.circuit.rival import NamedFeatures, Rival, why_not
from clew.circuit.telling import Story, checked, group_text, sentence
from clew.circuit.words import Word, shown
from clew.displays import Displayed, brief
from clew.errors import FileError, InputError, MismatchError
from clew.ids import NodeId
from clew.intervention.edit import Edit

MATTERS = 0.05  # of the answer's probability: a circuit without which less of it goes does not matter
ENVELOPE = files.Envelope(format="clew.circuit", schema=1, what="circuit")


@dataclass(frozen=True, kw_only=True)
class Group:
    """Some features that do the same thing, and what the answer owes to them."""

    id: str
    named: GroupName
    role: str
    """Its stage: reads a word, carries words, gathers them at the output, output, against, rest."""
    members: tuple[str, ...]
    """Features at their positions, the most influential first."""
    activations: tuple[float, ...]
    """Of the members."""
    positions: tuple[int, ...]
    words: tuple[str, ...]
    """The words of the prompt that it depends on."""
    share: float
    """Of all features' influence."""
    without: float
    """The answer's probability with the group ablated."""
    alone: float
    """The answer's probability with every other feature ablated."""
    before: float
    """The answer's probability in the run as it was."""
    null: RandomSets
    pinned: bool = False
    """Whether a person wants the sentence to tell of it."""

    @property
    def name(self) -> str:
        """What it is called, in English."""
        return group_text(self.named, "en")

    @property
    def necessity(self) -> float:
        """How far the answer's probability falls without it."""
        return self.before - self.without

    @property
    def sufficiency(self) -> float:
        """The share of the answer's probability that stands with it alone."""
        return self.alone / self.before if self.before > 0 else float("nan")

    def edits(self) -> list[Edit]:
        """Edits that ablate its members, one each, for `kit.edit`: there clamped layers hold their other features."""
        nodes = [NodeId.parse(member) for member in self.members]
        return [Edit.ablate(node.feature, positions=node.position) for node in nodes]


@dataclass(frozen=True, kw_only=True)
class GroupEdge:
    """What one group, or a word of the prompt, does to another group, or to the answer."""

    source: str
    """The id of a group, or a token's node such as `T@4`."""
    target: str
    """The id of a group, or `answer`."""
    value: float
    """The share of the target's absolute input that comes straight from the source, signed."""
    effect: float | None
    """The share of what the target reads that goes with the source, straight, to first order; None without effects."""
    measured: float
    """The share of the target that was measured to go: with a group ablated, or a word replaced; over all paths."""
    heads: tuple[str, ...] = ()
    """The attention heads that carry most of the value, the strongest first: `L0H2`."""


@dataclass(frozen=True, kw_only=True)
class Circuit(Displayed):
    """A graph's features in a few named groups; made by `kit.circuit(graph)`."""

    prompt: str
    tokens: tuple[str, ...]
    token_ids: tuple[int, ...]
    words: tuple[Word, ...]
    answer: CircuitAnswer
    groups: tuple[Group, ...]
    """The most influential first."""
    edges: tuple[GroupEdge, ...]
    coverage: float
    """The share of all features' influence that the groups hold."""
    without: float
    """The answer's probability with all groups ablated."""
    alone: float
    """With everything but the groups ablated."""
    nothing: float
    """With every feature ablated: what no group has to explain."""
    null: RandomSets
    chain: tuple[str, ...] = ()
    """The groups that the sentence tells of."""
    chain_without: float
    """The answer's probability with these ablated together."""
    n_features: int
    subject: str = ""
    dictionary: str = ""
    dictionary_fingerprint: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    runs: LiveRuns | None = field(default=None, repr=False, compare=False)
    """Runs of its prompt, by which more is measured; None in a circuit that was read from a file."""

    def __repr__(self) -> str:
        return f"Circuit({brief(self.prompt)}: {len(self.groups)} groups; {self.sentence})"

    @property
    def necessity(self) -> float:
        """How far the answer's probability falls with all groups ablated."""
        return self.answer.probability - self.without

    @property
    def sufficiency(self) -> float:
        """The share of the answer's probability that stands with everything else ablated."""
        return self.alone / self.answer.probability if self.answer.probability > 0 else float("nan")

    @property
    def sentence(self) -> str:
        """The answer to "how did it come to that", in English."""
        return self.tell("en")

    def tell(self, language: str = "en") -> str:
        """The sentence in a language, `en` or `ru`; InputError for another."""
        return sentence(self.story, checked(language))

    @property
    def matters(self) -> bool:
        """Whether the answer goes without the groups."""
        return bool(self.groups) and self.necessity >= MATTERS * self.answer.probability

    @property
    def story(self) -> Story:
        """What the sentence says, as values."""
        if not self.matters or not self.chain:
            return Story(answer=self.answer.text, before=self.answer.probability, after=self.without)
        groups = [self.group(each) for each in self.chain]
        into = [edge for edge in self.edges_into(groups[0].id) if edge.source.startswith("T@")]
        places = sorted(NodeId.parse(edge.source).position for edge in into)
        sources = dict.fromkeys(self.word_at(f"T@{place}") for place in places)
        first, last = groups[0], groups[-1]
        sources = {} if first.named.does == "reads" else sources  # it is called by the word at which it stands
        makes = len(groups) > 1 and last.named.does in ("says", "gives")
        moved = makes and first.positions[0] != last.positions[0]
        heads = [edge.heads for edge in self.edges_into(last.id) if edge.source == first.id]
        return Story(
            answer=self.answer.text,
            before=self.answer.probability,
            after=self.chain_without,
            after_all=self.without,
            n_groups=len(self.groups),
            sources=tuple(sources),
            place=self.place_of(first),
            heads=into[0].heads if into else (),
            last_place=self.place_of(last) if moved else "",
            last_heads=heads[0] if moved and heads else (),
            names=tuple(group.named for group in groups),
            makes=makes,
        )

    def place_of(self, group: Group) -> str:
        """The word at which a group stands, most of its influence."""
        return self.word_at(f"T@{group.positions[0]}")

    def word_at(self, node: str) -> str:
        """The word of the prompt that a token's node, such as `T@4`, is a part of."""
        position = NodeId.parse(node).position
        texts = [word.text for word in self.words if position in word.positions]
        return shown(texts[0] if texts else self.tokens[position])

    def group(self, name: str) -> Group:
        """A group by its id or its name; InputError when there is none."""
        for group in self.groups:
            if name in (group.id, group.name):
                return group
        raise InputError(f"there is no group {name!r}: they are {', '.join(repr(g.name) for g in self.groups)}")

    def swap(self, name: str, other: Circuit, other_name: str) -> list[Edit]:
        """Edits that put a group of another prompt's circuit in the place of one of this prompt.

            kit.edit("The capital of France is", france.swap("country: France", italy, "country: Italy"))

        Its features get the activations that they have there, the others of the own group are ablated. Positions count
        from the end of both prompts. MismatchError for a circuit of another dictionary, InputError where a position
        lies before this prompt, or a group is none.
        """
        if self.dictionary_fingerprint != other.dictionary_fingerprint:
            raise MismatchError(f"the other circuit is of {other.dictionary}, this one of {self.dictionary}")
        group, theirs = self.group(name), other.group(other_name)
        shift = len(self.tokens) - len(other.tokens)
        edits = []
        for member, activation in zip(theirs.members, theirs.activations, strict=True):
            node = NodeId.parse(member)
            if node.position + shift < 0:
                raise InputError(f"{other_name} stands at position {node.position}, which this prompt is too short for")
            edits.append(Edit.set(node.feature, activation, positions=node.position + shift))
        given = {(edit.feature, edit.positions) for edit in edits}
        own = [edit for edit in group.edits() if (edit.feature, edit.positions) not in given]
        return [*edits, *own]

    def why_not(self, token: str) -> Rival:
        """Which groups hold another token down, measured: `circuit.why_not("Rome").sentence`.

        InputError for a token that is none or is the answer, and in a circuit that was read from a file.
        """
        if self.runs is None:
            raise InputError("this circuit was read from a file, and nothing more can be measured: find it anew")
        graph = self.runs.graph
        places = [torch.tensor([graph.index(member) for member in group.members]) for group in self.groups]
        named = [
            NamedFeatures(id=group.id, named=group.named, nodes=nodes)
            for group, nodes in zip(self.groups, places, strict=True)
        ]
        return why_not(self.runs, named, token)

    def edges_into(self, target: str) -> list[GroupEdge]:
        """The edges into a group, by its id, or into `answer`: the strongest measured first."""
        into = [edge for edge in self.edges if edge.target == target]
        return sorted(into, key=lambda edge: -abs(edge.measured))

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values, names and sentence beside what they are made of."""
        value = {name: getattr(self, name) for name in _stored()}
        value["answer"] = self.answer.to_json()
        value["groups"] = [_group_json(group) for group in self.groups]
        value["edges"] = [dict(vars(edge)) for edge in self.edges]
        value["null"] = dict(vars(self.null))
        value["words"] = [{"text": word.text, "positions": [*word.positions]} for word in self.words]
        derived = {"necessity": self.necessity, "sufficiency": self.sufficiency, "sentence": self.sentence}
        return {**value, "settings": dict(self.settings), **derived}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Circuit:
        """Read what `to_json` gave; FileError when it is no circuit."""
        try:
            known = {name: value[name] for name in _stored()}
            known["answer"] = CircuitAnswer.from_json(value["answer"])
            known["groups"] = tuple(_group_of(each) for each in value["groups"])
            known["edges"] = tuple(GroupEdge(**{**each, "heads": tuple(each["heads"])}) for each in value["edges"])
            known["null"] = _null_of(value["null"])
            known["words"] = tuple(Word(text=w["text"], positions=tuple(w["positions"])) for w in value["words"])
            for name in ("tokens", "token_ids", "chain"):
                known[name] = tuple(known[name])
            return cls(**known)
        except (KeyError, TypeError, ValueError) as error:
            raise FileError(f"this is no circuit, or a damaged one: {error!r}") from error

    def save(self, path: Path | str) -> None:
        """Write the circuit as JSON, atomically."""
        files.write_json(path, ENVELOPE.head(circuit=self.to_json(), provenance=files.provenance()))

    @classmethod
    def load(cls, path: Path | str) -> Circuit:
        """Read a circuit's file; FileError when it is truncated, foreign or of a newer schema."""
        head = files.read_json(path)
        ENVELOPE.check(head, path)
        return cls.from_json(head.get("circuit") or {})


def _stored() -> list[str]:
    """The fields that a file has: all but the runs, which hold a model."""
    return [each.name for each in fields(Circuit) if each.name != "runs"]


def _group_json(group: Group) -> dict[str, Any]:
    value = dict(vars(group)) | {"named": group.named.to_json(), "null": dict(vars(group.null)), "name": group.name}
    return value | {"necessity": group.necessity, "sufficiency": group.sufficiency}


def _group_of(value: Mapping[str, Any]) -> Group:
    known = {each.name: value[each.name] for each in fields(Group) if each.name in value or each.name != "pinned"}
    known |= {name: tuple(known[name]) for name in ("members", "activations", "positions", "words")}
    return Group(**{**known, "named": GroupName.from_json(known["named"]), "null": _null_of(known["null"])})


def _null_of(value: Mapping[str, Any]) -> RandomSets:
    elsewhere = float(value.get("elsewhere", 0.0))  # which files of an older program lack: there it was 0
    return RandomSets(
        probabilities=tuple(value["probabilities"]), size=value["size"], mass=value["mass"], elsewhere=elsewhere
    )
