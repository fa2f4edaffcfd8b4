"""Reading a graph: its strongest paths, which of its features speak for the input and which for the output, which go by
the same name."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch

from clew.attribution.graph import Graph
from clew.attribution.influence import influence, start_of
from clew.ids import FeatureId


@dataclass(frozen=True)
class Path:
    """Nodes from a token to a target. `weight` is the product of the edges' shares of their target's absolute input,
    signed by the product of the edges' signs.
    """

    nodes: tuple[int, ...]
    weight: float


@dataclass(frozen=True)
class Roles:
    """Features by what they stand next to, the most influential first; a feature may be in both lists or in neither.

    Input features get at least half of their absolute input from tokens; at least half of an output feature's influence
    goes straight to targets.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def roles(graph: Graph) -> Roles:
    """Input features and output features."""
    shares, through = graph.shares.abs(), influence(graph)
    from_tokens = graph.over_nodes(shares[:, graph.columns("token")].sum(1))
    is_target = graph.mask("target")[graph.row_nodes]
    direct = shares.new_zeros(graph.n_nodes)
    direct[graph.col_nodes] = start_of(graph)[graph.row_nodes[is_target]] @ shares[is_target]
    order = torch.sort(through[graph.part("feature")], descending=True, stable=True).indices.tolist()
    inputs = tuple(i for i in order if float(from_tokens[i]) >= 0.5)
    outputs = tuple(i for i in order if float(through[i]) > 0 and float(direct[i]) >= 0.5 * float(through[i]))
    return Roles(inputs, outputs)


def strongest_paths(graph: Graph, count: int = 10) -> list[Path]:
    """The `count` heaviest paths from tokens to targets, by absolute weight times the target's weight."""
    inputs, tokens = _inputs(graph), set(graph.token_range)
    weights = {node: graph.targets[rank].weight for rank, node in enumerate(graph.target_range)}
    return [Path(nodes, product) for nodes, product, _ in _heaviest(graph, inputs, tokens, weights, count)]


def paths_through(graph: Graph, node: int, count: int = 10) -> list[Path]:
    """The `count` heaviest paths from tokens to targets that pass one node, weighed as `strongest_paths` weighs them.

    A path's weight is that of its part up to the node times that of its part behind it, so the heaviest of each are
    enough.
    """
    inputs = _inputs(graph)
    weights = {target: graph.targets[rank].weight for rank, target in enumerate(graph.target_range)}
    before = _heaviest(graph, inputs, set(graph.token_range), {node: 1.0}, count)
    behind = _heaviest(graph, inputs, {node}, weights, count)
    weighted = [
        (gain * further, Path(first + rest[1:], product * more))
        for first, product, gain in before
        for rest, more, further in behind
    ]
    return [path for _, path in sorted(weighted, key=lambda pair: -pair[0])[:count]]


def _heaviest(
    graph: Graph, inputs: dict[int, list[tuple[int, float]]], begin: set[int], ends: dict[int, float], count: int
) -> list[tuple[tuple[int, ...], float, float]]:
    """The heaviest paths from some nodes to weighted ends: nodes, signed product of shares, absolute weight.

    Best-first search backwards from the ends. What a path can still gain is bounded by the heaviest path from any of
    the first nodes to where it is, found beforehand in one pass over the layers, so that paths come out in exact order.
    """
    best = _best_from(graph, inputs, begin)
    starts = [(-best[node] * weight, (node,), 1.0) for node, weight in ends.items()]
    queue: list[tuple[float, tuple[int, ...], float]] = [start for start in starts if start[0] < 0]
    heapq.heapify(queue)
    paths: list[tuple[tuple[int, ...], float, float]] = []
    while queue and len(paths) < count:
        gain, nodes, product = heapq.heappop(queue)
        if nodes[0] in begin:
            paths.append((nodes, product, -gain))
            continue
        for source, share in inputs.get(nodes[0], ()):
            gain = abs(product * share) * best[source] * ends[nodes[-1]]
            if gain > 0:
                heapq.heappush(queue, (-gain, (source, *nodes), product * share))
    return paths


def same_name_groups(graph: Graph, names: Mapping[FeatureId, str]) -> dict[tuple[int, str], tuple[int, ...]]:
    """Features at one position that go by the same name, by position and name; a name counts whatever its case.

    Groups of two or more, those with the most influence first, and so their members.
    """
    through = influence(graph)[graph.part("feature")].tolist()
    together: dict[tuple[int, str], list[int]] = {}
    written: dict[tuple[int, str], str] = {}
    for node in sorted(graph.feature_range, key=lambda i: -through[i]):
        layer, position, index = graph.feature_keys[node].tolist()
        name = names.get(FeatureId(layer, index), "").strip()
        if name:
            key = position, name.casefold()
            together.setdefault(key, []).append(node)
            written.setdefault(key, name)
    groups = [(key, nodes) for key, nodes in together.items() if len(nodes) > 1]
    groups.sort(key=lambda group: -sum(through[node] for node in group[1]))
    return {(key[0], written[key]): tuple(nodes) for key, nodes in groups}


@lru_cache(maxsize=1)
def _inputs(graph: Graph) -> dict[int, list[tuple[int, float]]]:
    """The nonzero inputs of every row's node, as (source, signed share); those of the last graph are kept."""
    shares = graph.shares
    inputs: dict[int, list[tuple[int, float]]] = {int(node): [] for node in graph.row_nodes}
    rows, cols = shares.nonzero(as_tuple=True)
    targets, sources = graph.row_nodes[rows].tolist(), graph.col_nodes[cols].tolist()
    for target, source, value in zip(targets, sources, shares[rows, cols].tolist(), strict=True):
        inputs[target].append((source, value))
    return inputs


def _best_from(graph: Graph, inputs: dict[int, list[tuple[int, float]]], begin: set[int]) -> list[float]:
    """The absolute weight of the heaviest path from any of some nodes to each node."""
    best = [0.0] * graph.n_nodes
    for node in begin:
        best[node] = 1.0
    layers = graph.node_layers.tolist()
    for node in [*sorted(graph.feature_range, key=lambda i: layers[i]), *graph.target_range]:
        if node not in begin:
            best[node] = max((abs(share) * best[source] for source, share in inputs.get(node, ())), default=0.0)
    return best
