"""A group of another prompt's circuit in the place of one of this prompt's: does the answer follow?

The features of the other group get the activations that they have there, the own group's others are ablated
(`Circuit.swap`), and the real model is run. Beside it stand random features of the other prompt in the group's place:
of the same layers and positions, matched on what they write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from clew.attribution.graph import Graph
from clew.circuit.answer import CircuitAnswer
from clew.circuit.circuit import Circuit, Group
from clew.circuit.telling import percent
from clew.dictionary.dictionary import Dictionary
from clew.errors import InputError
from clew.intervention.edit import Edit
from clew.intervention.matched_sets import mass_of, matched_set
from clew.intervention.run import EditSettings, Effect, Outcome, effects_with
from clew.subject.subject import Subject

FEW = 0.5
"""Of a group's size: random sets that are smaller are said to be few."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupSwap:
    """What a swap did to both answers, at the place where each circuit reads its own."""

    group: Group
    other_group: Group
    answer: CircuitAnswer
    other_answer: CircuitAnswer
    own: tuple[float, float]
    """The probability of this prompt's answer before and with the swap."""
    others: tuple[float, float]
    """That of the other prompt's answer, in this prompt."""
    null: tuple[float, ...]
    """The other prompt's answer with random features of the other prompt in the group's place."""
    null_size: float
    """How many features these random sets have, as a share of the group's: below 1 where too few others are active.

    0 where none is: then there is no null, and `null` has what the group's ablation alone does.
    """
    edits: tuple[Edit, ...]
    effect: Effect

    @property
    def follows(self) -> bool:
        """Whether the other answer is the likelier one with the swap, and was not before."""
        return self.others[1] > self.own[1] and self.others[0] <= self.own[0]

    @property
    def sentence(self) -> str:
        """What the swap did beside its null, and how much of a null that is."""
        own, others = (f"{percent(before)} to {percent(after)}" for before, after in (self.own, self.others))
        mean = percent(sum(self.null) / len(self.null))
        if self.null_size == 0:
            null = (
                "no other feature of that prompt is active at the group's layers and positions, so that there is no "
                f"random set to compare with: with the group gone alone {self.other_answer.text!r} is {mean}"
            )
        else:
            null = f"with random features of that prompt {self.other_answer.text!r} is {mean}"
        if 0 < self.null_size < FEW:
            null += f", though they are few: {self.null_size:.0%} of the group's size"
        return (
            f"With '{self.other_group.name}' in the place of '{self.group.name}' {self.answer.text!r} goes from {own} "
            f"and {self.other_answer.text!r} from {others}; {null}."
        )


def counterpart(group: Group, circuit: Circuit, other: Circuit) -> Group:
    """The group of another circuit that does what this one does, at best of a word of the same kind at the same place.

    InputError where it has none.
    """

    def likeness(each: Group) -> tuple[bool, bool, bool, float]:
        place = len(circuit.tokens) - group.positions[0] == len(other.tokens) - each.positions[0]
        return each.named.kind == group.named.kind, each.role == group.role, place, each.share

    alike = [each for each in other.groups if each.named.does == group.named.does or each.role == group.role]
    same = [each for each in alike if each.named.does == group.named.does] or alike
    if not same:
        raise InputError(
            f"no group of {other.prompt!r} does what {group.name!r} does: they are "
            f"{', '.join(repr(each.name) for each in other.groups)}"
        )
    return max(same, key=likeness)


@torch.no_grad()
def swap_groups(
    subject: Subject,
    dictionary: Dictionary,
    circuit: Circuit,
    group: str,
    other: Circuit,
    other_graph: Graph,
    other_group: str = "",
) -> GroupSwap:
    """Put a group of another circuit, its `counterpart` unless it is named, in the place of one of this circuit.

        swap_groups(kit.subject, kit.dictionary, france, "country: France", italy, italy_graph).follows

    `other_graph` is that of the other circuit; random features are drawn from it, as often and with the seed that this
    circuit was found with. Errors are those of `Circuit.swap`; InputError where the other answer is read at a position
    that this prompt does not have.
    """
    own = circuit.group(group)
    theirs = other.group(other_group) if other_group else counterpart(own, circuit, other)
    shift = len(circuit.tokens) - len(other.tokens)
    if any(position + shift < 0 for position, _ in other.answer.tokens):
        raise InputError(f"{other.answer.text!r} is read at a position that {circuit.prompt!r} is too short for")

    def run(edits: Sequence[Edit]) -> Effect:
        ids = torch.tensor(circuit.token_ids)
        return effects_with(subject, dictionary, [ids], edits, EditSettings(predict=None, add_bos=False))[0]

    edits = circuit.swap(own.id, other, theirs.id)
    effect = run(edits)
    draws = int(circuit.settings.get("draws", 5))
    generator = torch.Generator().manual_seed(int(circuit.settings.get("seed", 0)))
    mass = mass_of(dictionary, other_graph)
    marks = torch.zeros(other_graph.n_features, dtype=torch.bool)
    marks[[other_graph.index(member) for member in theirs.members]] = True
    null, sizes = [], []
    for _ in range(draws):
        nodes = matched_set(marks, other_graph, mass, generator).members.nonzero()[:, 0].tolist()
        sizes.append(len(nodes) / len(theirs.members))
        random = replace(
            theirs,
            members=tuple(str(other_graph.node(node).id) for node in nodes),
            activations=tuple(other_graph.activations[nodes].tolist()),
        )
        drawn = circuit.swap(own.id, replace(other, groups=(random,)), random.id)
        null.append(_probability(other.answer, run(drawn).measured, shift))
    return GroupSwap(
        group=own,
        other_group=theirs,
        answer=circuit.answer,
        other_answer=other.answer,
        own=(_probability(circuit.answer, effect.before), _probability(circuit.answer, effect.measured)),
        others=(_probability(other.answer, effect.before, shift), _probability(other.answer, effect.measured, shift)),
        null=tuple(null),
        null_size=sum(sizes) / draws,
        edits=tuple(edits),
        effect=effect,
    )


def _probability(answer: CircuitAnswer, outcome: Outcome, shift: int = 0) -> float:
    """An answer's probability in a run, read `shift` positions later than in its own prompt."""
    product = 1.0
    for position, tokens in answer.tokens:
        product *= float(outcome.probabilities[position + shift, list(tokens)].double().sum())
    return product
