"""What the page is sent of circuits: groups, edges, the sentence, in every language; saved ones; swaps."""

from __future__ import annotations

from typing import Literal

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
