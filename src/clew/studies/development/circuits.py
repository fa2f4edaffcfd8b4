"""Circuits of a trained model as sets of neurons and heads, and how strong they are in any snapshot of it.

1. A question's circuit is found in the last snapshot: the groups of its graph by exact neurons (`kit.circuit`), those
   that speak against the answer left out, and one group more, the heads without which a fifth of the gain goes.
2. The *gain* of a snapshot: how much likelier the right answer is behind its own prompt than behind the other prompts
   of the family. A model that knows of the prompt only its family gains nothing.
3. The *strength* of a set in a snapshot is the gain that goes when it is silent; a gain below zero counts as none.

Beside every circuit stand random neurons that write as much at the same layers and positions, and random other heads.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from clew.attribution.graph import Graph
from clew.circuit.random_sets import heavy_set
from clew.ids import NodeId
from clew.intervention.matched_sets import mass_of
from clew.kit import Kit
from clew.studies.development.lessons import LessonQuestion
from clew.studies.development.silencing import NOTHING, Silent, probabilities
from clew.subject.subject import Subject

RANDOM_SETS = 3
"""Random sets beside every circuit."""
HEADS_TAKE = 0.2
"""The share of the gain that a head of the circuit must take away."""
HEADS = "heads"


@dataclass(frozen=True, kw_only=True)
class SilentGroup:
    """A group of a circuit."""

    name: str
    stage: str
    silent: Silent


@dataclass(frozen=True, kw_only=True)
class QuestionCircuit:
    """The circuit of one question, and random sets in its place."""

    question: LessonQuestion
    groups: tuple[SilentGroup, ...]
    whole: Silent
    random: tuple[Silent, ...]

    @property
    def sets(self) -> tuple[Silent, ...]:
        """What is silenced: the whole, random sets, then the groups."""
        return self.whole, *self.random, *(group.silent for group in self.groups)


def gains(
    said: Float[Tensor, "question vocab"], questions: Sequence[LessonQuestion]
) -> tuple[Float[Tensor, " question"], Float[Tensor, " question"]]:
    """How likely each right answer is behind its own prompt, and on average behind the other prompts."""
    right = torch.zeros_like(said)
    for row, question in zip(right, questions, strict=True):
        row[list(question.right)] = 1
    behind = said @ right.T
    own = behind.diagonal()
    return own, (behind.sum(0) - own) / (len(questions) - 1)


def strengths(subject: Subject, circuit: QuestionCircuit, elsewhere: float) -> Float[Tensor, " set"]:
    """The gain that goes with each set; `elsewhere` is how likely the right answer is behind other prompts."""
    silent = [NOTHING, *circuit.sets]
    said = probabilities(subject, [circuit.question] * len(silent), silent)
    gain = (said[:, list(circuit.question.right)].sum(1) - elsewhere).clamp_min(0)
    return gain[0] - gain[1:]


def find_question_circuit(kit: Kit, question: LessonQuestion, elsewhere: float, seed: int) -> QuestionCircuit:
    """The circuit of a question in the kit's model."""
    graph = kit.trace(list(question.token_ids), targets=list(question.right))
    circuit = kit.circuit(graph, draws=1)
    groups = [
        SilentGroup(name=group.name, stage=group.role, silent=_silent(group.members))
        for group in circuit.groups
        if group.role != "against"
    ]
    heads = _heads(kit.subject, question, elsewhere)
    groups += [SilentGroup(name=_named(heads), stage=HEADS, silent=Silent(heads=heads))] if heads else []
    whole = NOTHING
    for group in groups:
        whole = whole | group.silent
    return QuestionCircuit(
        question=question, groups=tuple(groups), whole=whole, random=_random(kit, graph, whole, seed)
    )


def _silent(members: Sequence[str]) -> Silent:
    nodes = [NodeId.parse(member) for member in members]
    return Silent(neurons=frozenset((n.feature.layer, n.position, n.feature.index) for n in nodes))


def _named(heads: frozenset[tuple[int, int]]) -> str:
    return ", ".join(f"L{layer}H{head}" for layer, head in sorted(heads))


def all_heads(subject: Subject) -> list[tuple[int, int]]:
    """Layer and head of every head."""
    return [(layer, head) for layer in range(subject.n_layers) for head in range(subject.config.num_attention_heads)]


def _heads(subject: Subject, question: LessonQuestion, elsewhere: float) -> frozenset[tuple[int, int]]:
    """The heads without which enough of the gain goes."""
    listed = all_heads(subject)
    silent = [NOTHING, *(Silent(heads=frozenset({head})) for head in listed)]
    right = probabilities(subject, [question] * len(silent), silent)[:, list(question.right)].sum(1)
    gain = (right - elsewhere).clamp_min(0)
    taken = ((gain[0] - gain[1:]) >= HEADS_TAKE * gain[0]) & (gain[0] > 0)
    return frozenset(head for head, takes in zip(listed, taken.tolist(), strict=True) if takes)


def _random(kit: Kit, graph: Graph, whole: Silent, seed: int) -> tuple[Silent, ...]:
    """Neurons that write as much as those of the circuit, and as many other heads as there are, drawn at random."""
    keys = [tuple(key) for key in graph.feature_keys.tolist()]
    chosen = torch.tensor([(layer, position, index) in whole.neurons for layer, position, index in keys])
    mass, generator, rng = mass_of(kit.dictionary, graph), torch.Generator().manual_seed(seed), random.Random(seed)
    others = [head for head in all_heads(kit.subject) if head not in whole.heads]
    sets = []
    for _ in range(RANDOM_SETS):
        members = heavy_set(chosen, graph, mass, generator).members.nonzero()[:, 0].tolist()
        heads = rng.sample(others, min(len(whole.heads), len(others)))
        neurons = frozenset((keys[node][0], keys[node][1], keys[node][2]) for node in members)
        sets.append(Silent(neurons=neurons, heads=frozenset(heads)))
    return tuple(sets)
