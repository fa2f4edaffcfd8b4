"""What the page is sent of two graphs: side by side, and drawn as one."""

from __future__ import annotations

from typing import Literal

from clew.web.schema.base import NameKind, Row, View
from clew.web.schema.graphs import Output, ScorePair


class ComparedGraph(View):
    id: str
    prompt: str
    tokens: list[str]
    shown: Row = None
    first_position: int
    outputs: list[Output]
    scores: ScorePair
    of_kit: bool


class ComparedFeature(View):
    """A feature at aligned positions; what one graph does not have is null there."""

    feature: str
    label: str
    label_kind: NameKind
    where: Literal["shared", "only_a", "only_b"]
    position_a: int | None = None
    position_b: int | None = None
    influence_a: float | None = None
    influence_b: float | None = None
    activation_a: float | None = None
    activation_b: float | None = None


class ComparedOutput(View):
    label: str
    probability_a: float | None = None
    probability_b: float | None = None


class InfluenceShares(View):
    """Shares of the influence of all features."""

    shared: float
    only: float


class CompareView(View):
    a: ComparedGraph
    b: ComparedGraph
    aligned: list[tuple[int, int]]
    """Positions that stand for one another, in a and in b."""
    outputs: list[ComparedOutput]
    features: list[ComparedFeature]
    """The largest change in influence first."""
    n_shared: int
    n_only_a: int
    n_only_b: int
    influence_a: InfluenceShares
    influence_b: InfluenceShares


class DifferenceSideView(View):
    """What one graph has of a node of both."""

    nodes: list[str]
    """The most influential first."""
    text: str
    """A token, or an answer; empty for a feature."""
    position: int
    influence: float
    activation: float
    effect: float
    """What the answer's centred logit loses with it, to first order."""


class DifferenceNodeView(View):
    kind: Literal["feature", "token", "answer"]
    feature: str | None
    label: str
    label_kind: NameKind
    here: str | None
    """What the feature does in these prompts, where that is not its name in general."""
    layer: int | None
    column: int
    """Among the columns; -1 where places are not told apart."""
    status: Literal["kept", "changed", "gone", "new"]
    change: float
    """Of its effect on the answer, from a to b."""
    a: DifferenceSideView | None
    b: DifferenceSideView | None


class DifferenceEdgeView(View):
    source: int
    target: int
    a: float | None
    """What it adds to its target in a; null where a has not both of its ends."""
    b: float | None
    influence_a: float
    influence_b: float


class DifferenceView(View):
    """Two graphs as one: what both have, what went from a, what came in b."""

    by: Literal["position", "feature"]
    kind: Literal["effects", "values"]
    """What effects are by; edges are values."""
    columns: list[tuple[int | None, int | None]]
    """Positions of a and of b that stand for one another."""
    nodes: list[DifferenceNodeView]
    """Features, the largest change first; then tokens, then the answer."""
    edges: list[DifferenceEdgeView]
    n_features: int
