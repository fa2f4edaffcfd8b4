"""What is sent of circuits: groups, edges, the sentence, in every language; saved ones; swaps, claims, rivals."""

from __future__ import annotations

from typing import Literal

from clew.circuit.ablation_claim import Outcome
from clew.web.schema.base import NameKind, View
from clew.web.schema.bodies import GroupChangeBody

Role = Literal["reads", "carries", "gathers", "output", "against", "rest"]


class Told(View):
    """A text in every language."""

    en: str
    ru: str


class RandomView(View):
    """The answer's probability without random features in the place of those that are tested."""

    mean: float | None
    """Null where no other feature is active there."""
    each: list[float]
    size: float
    """How many features the random sets have, as a share of those that are tested."""


class MemberView(View):
    """A feature of a group at its position."""

    id: str
    label: str
    label_kind: NameKind
    activation: float


class CircuitGroup(View):
    """Some features that do the same thing, and what the answer owes to them."""

    id: str
    name: Told
    called: str
    """The name that a person gave it."""
    role: Role
    place: str
    """The word at which most of its influence stands."""
    position: int
    members: list[MemberView]
    """The most influential first."""
    share: float
    """Of all features' influence."""
    without: float
    """The answer's probability with the group ablated."""
    alone: float
    """The answer's probability with every other feature ablated."""
    necessity: float
    sufficiency: float | None
    random: RandomView
    pinned: bool
    told: bool
    """Whether the sentence tells of it."""


class CircuitEdge(View):
    """What a group, or a word, does to a group, or to the answer."""

    source: str
    """The id of a group, or a token's node."""
    target: str
    """The id of a group, or `answer`."""
    value: float
    effect: float | None
    measured: float
    heads: list[str]


class CircuitWord(View):
    """A word of the prompt from which an edge comes."""

    id: str
    text: str
    position: int


class CircuitView(View):
    kind: Literal["circuit"] = "circuit"
    graph: str
    saved: str | None = None
    """The id under which it is saved, with the changes that are listed, or null."""
    name: str = ""
    """Its name, where it was saved."""
    prompt: str
    sentence: Told
    matters: bool
    """Whether the answer goes without the groups."""
    answer: str
    probability: float
    without: float
    alone: float
    nothing: float
    random: RandomView
    coverage: float
    chain_without: float
    """The answer's probability without the groups that the sentence tells of."""
    groups: list[CircuitGroup]
    """The most influential first."""
    words: list[CircuitWord]
    edges: list[CircuitEdge]
    n_features: int
    changes: list[GroupChangeBody]
    """What a person changed of the circuit as it was found."""


class CircuitEntry(View):
    id: str
    name: str
    date: str
    sentence: Told
    n_groups: int


class CircuitList(View):
    circuits: list[CircuitEntry]
    """The latest first."""


class SwapView(View):
    """What a swap did: both answers' probabilities before and with it, in this prompt."""

    kind: Literal["swap"] = "swap"
    graph: str
    prompt: str
    other_prompt: str
    group: Told
    other_group: Told
    other_groups: list[tuple[str, str]]
    """Ids and English names of the groups of the other circuit."""
    answer: str
    other_answer: str
    own: tuple[float, float]
    others: tuple[float, float]
    random: list[float]
    """The other answer with random features of the other prompt in the group's place."""
    random_size: float
    follows: bool
    """Whether the other answer is the likelier one with the swap, and was not before."""
    n_edits: int


class AblationClaimView(View):
    """A claim about features of a graph, checked in the model beside random features."""

    graph: str
    verdict: Outcome
    sentence: str
    answer: str
    """The token whose probability was measured."""
    before: float
    without: float
    """Without the features."""
    moved: float
    """How far it moved in the claimed direction, in percentage points."""
    random: list[float]
    """The same probability without each random set."""
    random_furthest: float
    """That of the random set which moves it furthest in the claimed direction."""
    random_size: float
    random_mass: float
    """Of the random sets: features and activation x decoder norm, as shares of what the claimed ones have."""
    elsewhere: float
    """The share of the random features' mass that stands at other layers or positions than the claimed ones."""


class RivalGroup(View):
    """What is left of the margin without one group."""

    id: str
    """Of the circuit's group; `R` for what writes against the rival and is in none."""
    name: Told
    features: int
    margin: float
    answer: float
    rival: float
    """Probabilities without the group."""
    random: float
    """The margin without random features in its place."""
    holds: bool
    """Whether a good part of the margin goes with it, and not with random features."""


class RivalView(View):
    """Why the answer and not another token: the margin between their logits, and what is left of it."""

    graph: str
    sentence: Told
    answer: str
    rival: str
    margin: float
    probabilities: tuple[float, float]
    """Of the answer and of the rival."""
    groups: list[RivalGroup]
    """The one that holds most first."""
    without_all: tuple[float, float, float]
    """Margin and both probabilities without all of them."""
