"""What parts two graphs of one kit: activations, effects on a target, edges, on top of `compare`.

Features stand for one another as `compare` aligns them. An effect is what the target's centred logit loses with the
feature, over all paths, by the graph's effects where both have some, else by its values: positive speaks for the
target. Only what differs is listed, the largest difference of effects first; a graph beside itself differs in nothing.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clew.attribution.compare import Comparison, compare
from clew.attribution.graph import Graph
from clew.attribution.influence import lost_of
from clew.attribution.merge import check_one_kit
from clew.errors import InputError
from clew.ids import FeatureId

_SAME = 1e-6  # of the largest number on either side: what two ways to add up may differ by


@dataclass(frozen=True, kw_only=True)
class FeatureChange:
    """One feature at positions that stand for one another. A graph that lacks it has node None and zeros."""

    feature: FeatureId
    node_a: str | None
    node_b: str | None
    activation_a: float
    activation_b: float
    effect_a: float
    effect_b: float
    influence_a: float
    influence_b: float

    @property
    def effect(self) -> float:
        """How much more of the target b loses with it than a."""
        return self.effect_b - self.effect_a

    @property
    def activation(self) -> float:
        """How much more active it is in b."""
        return self.activation_b - self.activation_a


@dataclass(frozen=True, kw_only=True)
class EdgeChange:
    """An edge between features, or from one to the target, that both graphs have the ends of."""

    source: str
    target: str
    """Both as the nodes are called in a."""
    a: float
    b: float


@dataclass(frozen=True, kw_only=True)
class GraphDiff:
    """What is not the same in two graphs: features and edges, the largest difference first."""

    target_a: str
    target_b: str
    kind: str
    """What effects and edges are by: `effects` or `values`."""
    value_a: float
    value_b: float
    """The target's centred logit in each."""
    changes: tuple[FeatureChange, ...]
    edges: tuple[EdgeChange, ...]
    comparison: Comparison

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.changes or self.edges)

    @property
    def only_a(self) -> tuple[FeatureChange, ...]:
        """What b lacks."""
        return tuple(change for change in self.changes if change.node_b is None)

    @property
    def only_b(self) -> tuple[FeatureChange, ...]:
        """What a lacks."""
        return tuple(change for change in self.changes if change.node_a is None)

    @property
    def sentence(self) -> str:
        """In one line: the targets, and the features whose effects differ most."""
        if not self:
            return f"{self.target_a!r} is explained alike: nothing differs."
        both = f"{self.target_a!r} at {self.value_a:.2f} against {self.target_b!r} at {self.value_b:.2f}"
        parts = [f"{change.node_b or change.node_a} {change.effect:+.2f}" for change in self.changes[:3]]
        return f"{both}: {len(self.changes):,} features differ, most {', '.join(parts) or 'none'} (by {self.kind})."

    def to_json(self) -> dict[str, Any]:
        """Everything but the alignment as plain values."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        changes = [{**dataclasses.asdict(each), "feature": str(each.feature)} for each in self.changes]
        plain |= {"changes": changes, "edges": [dataclasses.asdict(each) for each in self.edges]}
        plain["positions"] = [list(pair) for pair in plain.pop("comparison").positions]
        return plain | {"sentence": self.sentence}


def diff(a: Graph, b: Graph, *, target: str | int = 0, edges: int = 100) -> GraphDiff:
    """Set two graphs of one kit side by side; `target` is the label or the rank of the output that effects are on.

    At most `edges` edges are listed. MismatchError for graphs of different kits, InputError for an output that a graph
    does not have.
    """
    check_one_kit([a, b])
    rank_a, rank_b = _rank(a, target), _rank(b, target)
    by_effects = a.effect_rows is not None and b.effect_rows is not None
    found = compare(a, b)
    one, other = ((graph.effects if by_effects else graph) for graph in (a, b))
    lost_a, lost_b = effects_on(one, rank_a), effects_on(other, rank_b)
    return GraphDiff(
        target_a=a.targets[rank_a].label,
        target_b=b.targets[rank_b].label,
        kind="effects" if by_effects else "values",
        value_a=a.targets[rank_a].value,
        value_b=b.targets[rank_b].value,
        changes=_changes(a, b, found, lost_a, lost_b),
        edges=_edges(one, other, found, (rank_a, rank_b), edges),
        comparison=found,
    )


def _rank(graph: Graph, target: str | int) -> int:
    labels = [info.label for info in graph.targets]
    if isinstance(target, str) and target in labels:
        return labels.index(target)
    if isinstance(target, int) and 0 <= target < len(labels):
        return target
    raise InputError(f"the graph does not explain {target!r}, only {', '.join(map(repr, labels))}")


def effects_on(graph: Graph, rank: int) -> Float[Tensor, " feature"]:
    """What the target of this rank loses with each feature of a graph, over all paths. Float64."""
    start = torch.zeros(graph.n_nodes, dtype=torch.float64)
    start[graph.target_range[rank]] = 1
    return lost_of(graph, start, graph.mask("feature"))[graph.part("feature")]


def _changes(
    a: Graph, b: Graph, found: Comparison, lost_a: Float[Tensor, " a"], lost_b: Float[Tensor, " b"]
) -> tuple[FeatureChange, ...]:
    def side(graph: Graph, node: int | None, lost: Tensor) -> tuple[str | None, float, float]:
        if node is None:
            return None, 0.0, 0.0
        return str(graph.node(node).id), float(graph.activations[node]), float(lost[node])

    limits = [
        _SAME * max((float(values.abs().max()) for values in pair if len(values)), default=0.0)
        for pair in ((a.activations, b.activations), (lost_a, lost_b))
    ]
    changes = []
    for pair in found.pairs:
        node_a, activation_a, effect_a = side(a, pair.a, lost_a)
        node_b, activation_b, effect_b = side(b, pair.b, lost_b)
        moved = abs(activation_b - activation_a) > limits[0] or abs(effect_b - effect_a) > limits[1]
        if moved or node_a is None or node_b is None:
            changes.append(
                FeatureChange(
                    feature=pair.feature, node_a=node_a, node_b=node_b, activation_a=activation_a,
                    activation_b=activation_b, effect_a=effect_a, effect_b=effect_b,
                    influence_a=pair.influence_a, influence_b=pair.influence_b,
                )
            )  # fmt: skip
    return tuple(sorted(changes, key=lambda change: (-abs(change.effect), -abs(change.activation))))


def _edges(a: Graph, b: Graph, found: Comparison, ranks: tuple[int, int], most: int) -> tuple[EdgeChange, ...]:
    """The edges between shared features, and from them to the target, that differ most."""
    shared = [(pair.a, pair.b) for pair in found.shared]
    readers = [*shared, (a.target_range[ranks[0]], b.target_range[ranks[1]])]
    tables = [
        graph.between([nodes[side] or 0 for nodes in readers], [nodes[side] or 0 for nodes in shared])
        for side, graph in enumerate((a, b))
    ]
    limit = _SAME * max((float(table.abs().max()) for table in tables if table.numel()), default=0.0)
    moved = (tables[1] - tables[0]).abs()
    values, places = moved.flatten().topk(min(most, moved.numel()))
    return tuple(
        EdgeChange(
            source=str(a.node(shared[place % len(shared)][0] or 0).id),
            target=str(a.node(readers[place // len(shared)][0] or 0).id),
            a=float(tables[0].flatten()[place]),
            b=float(tables[1].flatten()[place]),
        )
        for value, place in zip(values.tolist(), places.tolist(), strict=True)
        if value > limit
    )
