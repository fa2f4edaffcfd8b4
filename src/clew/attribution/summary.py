"""A graph in short, as values: outputs, scores, strongest paths, input and output features."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from clew.attribution.algebra import roles, strongest_paths
from clew.attribution.graph import Graph
from clew.attribution.influence import inflow, influence, total_effect
from clew.attribution.nodes import FeatureNode, signed_label


@dataclass(frozen=True, kw_only=True)
class PathSummary:
    """A path from a token to an output in words, and its signed weight (Path.weight)."""

    nodes: tuple[str, ...]
    words: tuple[str, ...]
    weight: float


@dataclass(frozen=True, kw_only=True)
class FeatureSummary:
    """A feature at one position. `share` is its influence as a share of the targets' whole weight.

    `effect` is what the first target's centred logit loses with the feature, over all paths; None without effects.
    """

    id: str
    token: str
    label: str
    activation: float
    share: float
    effect: float | None = None


@dataclass(frozen=True, kw_only=True)
class GraphSummary:
    """The scores, paths and features that a reader of a graph wants first.

    `error_share` is the share of errors in the absolute edges into features and targets, `offset_share` that of offsets
    in edges and offsets together; both weighted by influence. `first` says whether the first position is left out, and
    why.
    """

    prompt: str
    tokens: tuple[str, ...]
    outputs: tuple[tuple[str, float], ...]
    targets: tuple[str, ...]
    subject: str
    dictionary: str
    first: str
    n_features: int
    n_left_out: int
    replacement: float
    completeness: float
    error_share: float
    error_name: str
    offset_share: float
    paths: tuple[PathSummary, ...]
    input_features: tuple[FeatureSummary, ...]
    output_features: tuple[FeatureSummary, ...]
    strongest: tuple[FeatureSummary, ...] = ()
    """In a graph of neurons with effects: those that the first target loses the most with."""

    def to_json(self) -> dict[str, Any]:
        """The summary as plain values."""
        return dataclasses.asdict(self)


def first_in_words(graph: Graph) -> str:
    """Whether a graph's first position is left out, and why."""
    done = "left out" if graph.first_position else "kept"
    return f"the first position is {done}" + (f" ({graph.first_reason})" if graph.first_reason else "")


def summarise(graph: Graph, *, paths: int = 6, features: int = 6) -> GraphSummary:
    """Describe a whole graph; paths are those of its pruned form."""
    through = influence(graph)
    weight = float(graph.target_weights.sum())
    role, scores = roles(graph), graph.scores()
    shares = inflow(graph)
    listed = [*role.inputs[:features], *role.outputs[:features]]
    lost: dict[int, float] = {}
    strongest: list[int] = []
    if graph.effect_rows is not None:
        of_neurons = graph.error_name == "rest"
        asked = list(graph.feature_range) if of_neurons else listed
        first = total_effect(graph.effects, asked)[graph.target_range.start]
        lost = dict(zip(asked, first.tolist(), strict=True))
        strongest = sorted(asked, key=lambda i: -abs(lost[i]))[:features] if of_neurons else []

    def described(index: int) -> FeatureSummary:
        node = graph.node(index)
        assert isinstance(node, FeatureNode)
        return FeatureSummary(
            id=str(node.id),
            token=graph.tokens[node.position],
            label=signed_label(graph.labels.get(node.id.feature, ""), node.activation),
            activation=node.activation,
            share=float(through[index]) / weight if weight > 0 else 0.0,
            effect=lost.get(index),
        )

    pruned = graph.prune()
    return GraphSummary(
        prompt=graph.prompt,
        tokens=graph.tokens,
        outputs=graph.next_tokens,
        targets=tuple(target.label for target in graph.targets),
        subject=graph.subject,
        dictionary=graph.dictionary,
        first=first_in_words(graph),
        n_features=graph.n_features,
        n_left_out=int(graph.settings.get("n_active", graph.n_features)) - graph.n_features,
        replacement=scores.replacement,
        completeness=scores.completeness,
        error_share=shares.mean_error,
        error_name=graph.error_name,
        offset_share=shares.mean_offset,
        paths=tuple(
            PathSummary(
                nodes=tuple(str(pruned.node(i).id) for i in path.nodes),
                words=tuple(pruned.node_label(i) for i in path.nodes),
                weight=path.weight,
            )
            for path in strongest_paths(pruned, paths)
        ),
        input_features=tuple(described(i) for i in role.inputs[:features]),
        output_features=tuple(described(i) for i in role.outputs[:features]),
        strongest=tuple(described(i) for i in strongest),
    )
