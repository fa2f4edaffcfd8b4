"""A smaller graph: the nodes that matter most by some measure, the edges with most influence, nothing that dangles."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clew.attribution.influence import edge_influence
from clew.attribution.rankings import node_scores
from clew.errors import InputError

if TYPE_CHECKING:
    from clew.attribution.graph import Graph

_CHUNK = 1 << 22  # values counted at once
_SORTED = 1 << 23  # values of which a sorted copy is made
_BUCKETS = 1 << 17
_TIE = 1e-6  # relative difference below which two shares of influence are the same


def prune(graph: Graph, *, node: float | int = 0.8, edge: float | int = 0.98, by: str | Tensor = "influence") -> Graph:
    """Keep the smallest node set with `node` of the influence, then the edges with `edge` of theirs; drop what dangles.

    Tokens and targets stay. With `by` another measure, one of `RANKINGS` or a number for every node, decides about
    nodes: those that speak against the targets go first, and `node` is a share of what speaks for them; edges are
    always by influence. The result keeps the whole graph's normalisation. InputError unless both shares lie in (0, 1],
    and see `node_scores`.
    """
    for name, value in (("node", node), ("edge", edge)):
        if not 0 < value <= 1:
            raise InputError(f"{name} threshold {value} is not in (0, 1]: give a share such as 0.8")
    kept = _smallest_set(_scores(graph, by).clamp_min(0), float(node))
    kept |= graph.mask("token", "target")
    row_kept, col_kept = kept[graph.row_nodes], kept[graph.col_nodes]
    small = replace(
        graph,
        rows=_picked(graph.rows, row_kept, col_kept),
        effect_rows=_picked_effects(graph, row_kept, col_kept),
        row_nodes=graph.row_nodes[row_kept],
        col_nodes=graph.col_nodes[col_kept],
        row_offsets=graph.row_offsets[row_kept],
        input_mass=graph.input_mass[row_kept],
    )
    if edge < 1:
        carried = edge_influence(small)
        edges = _smallest_set(carried.flatten(), float(edge)).view_as(carried)
        effects = None if small.effect_rows is None else small.effect_rows * edges
        small = replace(small, rows=small.rows * edges, effect_rows=effects)
    if node < 1 or edge < 1:
        kept &= _alive(small, kept)
    return _only(small, kept)


def without(graph: Graph, kept: Bool[Tensor, " node"], edges: Bool[Tensor, "row col"] | None = None) -> Graph:
    """The graph on some of its nodes, and with some of its edges only; tokens and targets must be kept.

    Nothing else is dropped, and the whole graph's normalisation stays.
    """
    if edges is not None:
        effects = None if graph.effect_rows is None else graph.effect_rows * edges
        graph = replace(graph, rows=graph.rows * edges, effect_rows=effects)
    return _only(graph, kept)


def _scores(graph: Graph, by: str | Tensor) -> Float[Tensor, " node"]:
    """How much every node matters; InputError for numbers that are not one a node, or not finite."""
    if isinstance(by, str):
        return node_scores(graph, by)
    if by.shape != (graph.n_nodes,) or not bool(torch.isfinite(by).all()):
        raise InputError(f"by has shape {tuple(by.shape)}: give {graph.n_nodes} finite numbers, one a node, or a name")
    return by.detach().cpu()


def _smallest_set(values: Float[Tensor, " value"], share: float) -> Bool[Tensor, " value"]:
    """The fewest values, largest first, whose sum reaches `share` of the whole, and what ties with the least of them.

    Ties are structural (all that enters a node by one edge leaves it by another), so breaking them would cut paths.
    """
    if share >= 1:
        return torch.ones_like(values, dtype=torch.bool)
    if len(values) == 0 or float(values.max()) == 0:
        return torch.zeros_like(values, dtype=torch.bool)
    if len(values) > _SORTED:
        return values >= _least_of(values, share) * (1 - _TIE)
    ordered = torch.sort(values, descending=True).values
    reached = torch.cumsum(ordered.double(), 0)
    least = ordered[int((reached < share * reached[-1]).sum())]
    return values >= least * (1 - _TIE)


def _least_of(values: Float[Tensor, " value"], share: float) -> float:
    """The least of the smallest set, without a sorted copy of the values, which takes seven times their memory.

    Values are counted by their leading bits, which for positive numbers are in the order of the numbers; only those are
    sorted that share them with the least.
    """
    sums = torch.zeros(_BUCKETS, dtype=torch.float64)
    for part in values.split(_CHUNK):
        sums += torch.bincount(_bucket(part), weights=part.double(), minlength=_BUCKETS)
    from_top = sums.flip(0).cumsum(0)
    wanted = share * from_top[-1]
    before = int((from_top < wanted).sum())
    bucket, above = _BUCKETS - 1 - before, float(from_top[before - 1]) if before else 0.0
    members = torch.cat([part[_bucket(part) == bucket] for part in values.split(_CHUNK)])
    ordered = torch.sort(members, descending=True).values
    reached = above + torch.cumsum(ordered.double(), 0)
    return float(ordered[min(int((reached < wanted).sum()), len(ordered) - 1)])


def _bucket(values: Float[Tensor, " value"]) -> Int[Tensor, " value"]:
    return values.float().view(torch.int32).long() >> 14


def _picked(matrix: Tensor, rows: Bool[Tensor, " row"], cols: Bool[Tensor, " col"]) -> Tensor:
    """The marked rows and columns; the matrix itself, and no copy, where all are."""
    if bool(rows.all()) and bool(cols.all()):
        return matrix
    return matrix[rows.nonzero(), cols.nonzero()[:, 0]]


def _picked_effects(graph: Graph, rows: Bool[Tensor, " row"], cols: Bool[Tensor, " col"]) -> Tensor | None:
    return None if graph.effect_rows is None else _picked(graph.effect_rows, rows, cols)


def _alive(graph: Graph, kept: Bool[Tensor, " node"]) -> Bool[Tensor, " node"]:
    """Nodes that still lead somewhere: features need an input and an output, errors an output."""
    edges = graph.rows != 0
    alive = kept.clone()
    while True:
        edges = edges & alive[graph.row_nodes][:, None] & alive[graph.col_nodes][None, :]
        has_input = torch.zeros_like(alive).index_fill_(0, graph.row_nodes[edges.any(1)], True)
        has_output = torch.zeros_like(alive).index_fill_(0, graph.col_nodes[edges.any(0)], True)
        now = alive.clone()
        features, errors = graph.part("feature"), graph.part("error")
        now[features] &= (has_input & has_output)[features]
        now[errors] &= has_output[errors]
        if torch.equal(now, alive):
            return alive
        alive = now


def _only(graph: Graph, kept: Bool[Tensor, " node"]) -> Graph:
    """The graph on the kept nodes alone, renumbered."""
    number = torch.cumsum(kept.long(), 0) - 1
    rows, cols = kept[graph.row_nodes], kept[graph.col_nodes]
    features, errors = kept[graph.part("feature")], kept[graph.part("error")]
    return replace(
        graph,
        feature_keys=graph.feature_keys[features],
        activations=graph.activations[features],
        preactivations=graph.preactivations[features],
        error_keys=graph.error_keys[errors],
        rows=_picked(graph.rows, rows, cols),
        effect_rows=_picked_effects(graph, rows, cols),
        row_nodes=number[graph.row_nodes[rows]],
        col_nodes=number[graph.col_nodes[cols]],
        row_offsets=graph.row_offsets[rows],
        input_mass=graph.input_mass[rows],
    )
