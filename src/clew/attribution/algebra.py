"""Reading a graph: its strongest paths, which of its features speak for the input and which for the output, which go by
the same name."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.influence import influence, start_of
from clew.ids import FeatureId
from clew.kernels.shares import share

_ROWS = 256  # of a graph that are worked on at once


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
    through, is_target = influence(graph), graph.mask("target")[graph.row_nodes]
    tokens = share(graph.rows[:, graph.columns("token")].abs().sum(1), graph.input_mass)
    from_tokens = graph.over_nodes(tokens)
    to_targets = share(graph.rows[is_target].abs(), graph.input_mass[is_target, None])
    direct = graph.rows.new_zeros(graph.n_nodes)
    direct[graph.col_nodes] = start_of(graph)[graph.row_nodes[is_target]] @ to_targets
    order = torch.sort(through[graph.part("feature")], descending=True, stable=True).indices.tolist()
    inputs = tuple(i for i in order if float(from_tokens[i]) >= 0.5)
    outputs = tuple(i for i in order if float(through[i]) > 0 and float(direct[i]) >= 0.5 * float(through[i]))
    return Roles(inputs, outputs)


def strongest_paths(graph: Graph, count: int = 10) -> list[Path]:
    """The `count` heaviest paths from tokens to targets, by absolute weight times the target's weight."""
    weights = {node: graph.targets[rank].weight for rank, node in enumerate(graph.target_range)}
    return [Path(nodes, product) for nodes, product, _ in _heaviest(graph, set(graph.token_range), weights, count)]


def paths_through(graph: Graph, node: int, count: int = 10) -> list[Path]:
    """The `count` heaviest paths from tokens to targets that pass one node, weighed as `strongest_paths` weighs them.

    A path's weight is that of its part up to the node times that of its part behind it, so the heaviest of each are
    enough.
    """
    weights = {target: graph.targets[rank].weight for rank, target in enumerate(graph.target_range)}
    before = _heaviest(graph, set(graph.token_range), {node: 1.0}, count)
    behind = _heaviest(graph, {node}, weights, count)
    weighted = [
        (gain * further, Path(first + rest[1:], product * more))
        for first, product, gain in before
        for rest, more, further in behind
    ]
    return [path for _, path in sorted(weighted, key=lambda pair: -pair[0])[:count]]


def _heaviest(
    graph: Graph, begin: set[int], ends: dict[int, float], count: int
) -> list[tuple[tuple[int, ...], float, float]]:
    """The heaviest paths from some nodes to weighted ends: nodes, signed product of shares, absolute weight.

    Best-first search backwards from the ends. What a path can still gain is bounded by the heaviest path from any of
    the first nodes to where it is, found beforehand in one pass over the layers, so that paths come out in exact order.
    Of the ways on from a node only as many as there are paths to find can be among them.
    """
    best = _best_from(graph, begin)
    starts = [(-float(best[node]) * weight, (node,), 1.0) for node, weight in ends.items()]
    queue: list[tuple[float, tuple[int, ...], float]] = [start for start in starts if start[0] < 0]
    heapq.heapify(queue)
    paths: list[tuple[tuple[int, ...], float, float]] = []
    ways: dict[int, list[tuple[int, float, float]]] = {}
    while queue and len(paths) < count:
        gain, nodes, product = heapq.heappop(queue)
        if nodes[0] in begin:
            paths.append((nodes, product, -gain))
            continue
        if nodes[0] not in ways:
            ways[nodes[0]] = _ways_to(graph, nodes[0], best, count)
        for source, share_of, further in ways[nodes[0]]:
            gain = abs(product * share_of) * further * ends[nodes[-1]]
            if gain > 0:
                heapq.heappush(queue, (-gain, (source, *nodes), product * share_of))
    return paths


def _ways_to(graph: Graph, node: int, best: Tensor, count: int) -> list[tuple[int, float, float]]:
    """The sources of a node that the heaviest paths come by: source, signed share, heaviest path to the source."""
    row = graph.row_of(node)
    if row < 0:
        return []
    shares = share(graph.rows[row], graph.input_mass[row]).double()
    further = best[graph.col_nodes]
    cols = (shares.abs() * further).topk(min(count, len(shares))).indices
    return list(zip(graph.col_nodes[cols].tolist(), shares[cols].tolist(), further[cols].tolist(), strict=True))


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


def _best_from(graph: Graph, begin: set[int]) -> Tensor:
    """The absolute weight of the heaviest path from any of some nodes to each node, in double precision."""
    best = torch.zeros(graph.n_nodes, dtype=torch.float64)
    is_first = torch.zeros(graph.n_nodes, dtype=torch.bool)
    is_first[list(begin)] = True
    best[is_first] = 1.0
    stages = graph.node_layers[graph.row_nodes]
    for stage in torch.unique(stages).tolist():
        for rows in (stages == stage).nonzero()[:, 0].split(_ROWS):
            rows = rows[~is_first[graph.row_nodes[rows]]]
            if len(rows) and graph.rows.shape[1]:
                shares = share(graph.rows[rows].abs(), graph.input_mass[rows, None]).double()
                best[graph.row_nodes[rows]] = (shares * best[graph.col_nodes]).amax(1)
    return best
