"""What the tools answer: small values by default, typed, so that a client knows their schema before it asks.

Probabilities are shares from 0 to 1. A field that only the full answer has is null in the small one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, PlainSerializer

Detail = Literal["small", "full"]
Number = Annotated[float, PlainSerializer(lambda value: round(value, 5), return_type=float)]
"""Five places: what is measured is not known better, and every digit costs a reader."""


class Reply(BaseModel):
    """A part of an answer; what stands below a field is its description in the schema."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class NextToken(Reply):
    """A next token and its probability."""

    token: str
    probability: Number


class Feature(Reply):
    """A feature at a position, such as L3/1207@4."""

    id: str
    token: str
    """The token that it stands at."""
    label: str
    activation: Number
    influence: Number
    """As a share of what the graph explains."""
    effect: Number | None
    """What the logit of the first output loses with it, predicted by the graph."""


class Traced(Reply):
    """An attribution graph, kept under `graph` for the other tools."""

    graph: str
    outputs: list[NextToken]
    explains: list[str]
    features: int
    """Active ones that the graph holds."""
    replacement: Number
    completeness: Number
    strongest: list[Feature]
    paths: list[str]
    """From a token to an output, the strongest first."""
    tokens: list[str] | None


class Numbers(Reply):
    """The answer's probability in runs of the model."""

    before: Number
    without: Number
    """With these features ablated."""
    alone: Number
    """With every other feature ablated."""
    random: Number
    """Without random features in their place, as heavy where that can be had; the mean of several draws."""
    random_mass: Number
    """What the random ones weigh (activation x decoder norm), as a share of these."""


class GroupReply(Reply):
    """Features that do the same."""

    id: str
    name: str
    at: str
    """The word at which most of it stands."""
    features: int
    influence: Number
    measured: Numbers
    members: list[str] | None


class EdgeReply(Reply):
    """What goes of the target, measured, with the source."""

    source: str
    target: str
    measured: Number
    heads: list[str]


class HeldDownReply(Reply):
    """A group, and what is left of the margin without it."""

    name: str
    margin: Number
    random: Number
    """The margin without random features in the group's place."""


class RivalReply(Reply):
    """Which groups hold another token down."""

    sentence: str
    margin: Number
    """How many logits the answer stands above it."""
    groups: list[HeldDownReply]


class Explained(Reply):
    """A circuit, kept under `circuit` for the other tools."""

    circuit: str
    graph: str
    sentence: str
    answer: str
    measured: Numbers
    coverage: Number
    """The share of all features' influence that the groups hold."""
    groups: list[GroupReply]
    why_not: RivalReply | None
    edges: list[EdgeReply] | None


class CardReply(Reply):
    """What is known of a feature from the atlas' corpus."""

    feature: str
    label: str
    density: Number
    """Share of the corpus' positions at which it fires."""
    max_activation: Number
    promotes: list[str]
    contexts: list[str]
    """Where it fires strongest, the token in « »."""
    whole: dict[str, Any] | None


class HitReply(Reply):
    """A feature that was found."""

    feature: str
    label: str
    by: str
    value: Number | None
    how: str


class Found(Reply):
    """What a search found; `total` counts what it would find without a limit."""

    total: int
    hits: list[HitReply]


class TokenChange(Reply):
    """A next token's probability."""

    token: str
    before: Number
    predicted: Number | None
    measured: Number


class ChangedFeature(Reply):
    """Another feature's activation."""

    feature: str
    label: str
    before: Number
    measured: Number


class Edited(Reply):
    """What edits do: predicted by the graph's effects, measured in the model."""

    edits: list[str]
    outputs: list[TokenChange]
    changed: int
    """Features whose activation moved."""
    changes: list[ChangedFeature]
    text: str | None
    """How the text goes on without edits."""
    edited_text: str | None


class ClaimReply(Reply):
    """A claim, checked in the model beside its null."""

    verdict: Literal["holds", "fails", "cannot say"]
    sentence: str
    before: Number
    without: Number
    random: Number
    """The same probability without random features in their place, the mean of the draws."""
    random_furthest: Number
    """The draw that moves it furthest in the claimed direction."""
    random_mass: Number
    elsewhere: Number
    """The share of the random features' mass that stands at other layers or positions than the claimed ones."""


class Audited(Reply):
    """How far to trust a graph, or a claim about it."""

    graph: str
    claim: ClaimReply | None
    verdict: str | None
    """Of the whole graph: how far its predicted effects are those that are measured."""
    features_ablated: int
    figures: dict[str, Any] | None


class StudyClaim(Reply):
    """A claim of a study beside its null; low and high bound 95 %."""

    text: str
    verdict: Literal["holds", "fails", "cannot say"]
    value: Number | None
    low: Number | None
    high: Number | None
    unit: str
    null_low: Number | None
    null_high: Number | None


class Studied(Reply):
    """What a study says of this kit, or, without a name, which studies there are."""

    study: str | None
    question: str | None
    studies: dict[str, str] | None
    """By name the question that each asks."""
    options: dict[str, str] | None
    """What may be set, by name, with what it means."""
    claims: list[StudyClaim]
    false_effects: int | None
    """Claims that hold where the effect must be absent: above 0 the study is not to be trusted here."""
    whole: dict[str, Any] | None
