"""How much each node matters: influence and scores; and what removing one would change, the total effect.

Every row is divided by the sum of its absolute inputs (a row without input stays zero), which turns |A| into shares.
Influence = w (Â + Â² + ...), w = the targets' weights. The graph has no cycle, because a source writes before its
target reads, so one pass over the rows from the last layer to the first gives the whole series.

A total effect runs the other way. With the active set held, a feature's activation moves with its pre-activation, so
the relative changes obey x = A' x + removed, A' being the adjacency with each feature's row divided by its
pre-activation. The same order makes that system triangular: it is solved layer by layer, never inverted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clew.kernels.shares import share
from clew.kernels.wide_rows import absolute_times, times_absolute

if TYPE_CHECKING:
    from clew.attribution.graph import Graph

_CHUNK = 1 << 22  # entries computed from a graph's rows held at once
_ROUNDED = 64  # times the rounding of one number: what two sums of a row may differ by


@dataclass(frozen=True)
class Scores:
    """Replacement: the share of end-to-end influence that starts at tokens and not at errors. Completeness: the share
    of the nodes' input that is not error, nodes weighted by influence. Both in [0, 1]; Ameisen et al. 2025, section 5.
    """

    replacement: float
    completeness: float


def flow(
    rows: Float[Tensor, "row col"],
    row_nodes: Int[Tensor, " row"],
    col_nodes: Int[Tensor, " col"],
    row_stages: Int[Tensor, " row"],
    input_mass: Float[Tensor, " row"],
    start: Float[Tensor, " node"],
) -> Float[Tensor, " node"]:
    """Push `start` along the row-normalised absolute edges until it ends: start (Â + Â² + ...).

    Rows of a higher stage are emptied first; an edge must lead from a row to nodes whose rows have a lower stage.
    """
    total = start.clone()
    shares = share(torch.ones_like(input_mass), input_mass)
    for stage in torch.unique(row_stages).flip(0).tolist():
        members = (row_stages == stage).nonzero()[:, 0]
        weights = total[row_nodes[members]] * shares[members]
        members, weights = members[weights != 0], weights[weights != 0]
        total.index_add_(0, col_nodes, times_absolute(weights, rows, members))
    return total - start


def total_effect(
    graph: Graph, sources: Sequence[int] | Int[Tensor, " source"], *, clamped: Bool[Tensor, " feature"] | None = None
) -> Float[Tensor, "node source"]:
    """What every node would lose if a source were removed: features pre-activation, targets centred logit.

    One column a source; a source loses itself, errors and tokens lose nothing else. Features marked in `clamped` keep
    their activation, whatever their pre-activation loses. Float64.
    """
    columns = torch.as_tensor(sources, dtype=torch.long)
    each = torch.arange(len(columns))
    removed = torch.zeros(graph.n_nodes, len(columns), dtype=torch.float64)
    removed[columns, each] = 1
    lost, _ = responses(graph, removed, clamped=clamped)
    is_feature = columns < graph.n_features
    lost[columns[is_feature], each[is_feature]] = graph.preactivations[columns[is_feature]].double()
    return lost


def responses(
    graph: Graph, removed: Float[Tensor, "node case"], *, clamped: Bool[Tensor, " feature"] | None = None
) -> tuple[Float[Tensor, "node case"], Float[Tensor, "node case"]]:
    """What every node loses when shares of some are removed, and the share of every node that is then gone.

    One column a case. A node of which something is removed loses that and no more; features marked in `clamped` keep
    their activation. Float64.
    """
    lost, gone, chosen = torch.zeros_like(removed), removed.clone(), removed != 0
    pre = torch.zeros(graph.n_nodes, dtype=torch.float64)
    pre[: graph.n_features] = graph.preactivations
    follows = pre != 0
    if clamped is not None:
        follows[: graph.n_features] &= ~clamped
    stages = _stages(graph)
    for stage in torch.unique(stages).tolist():
        for part in (stages == stage).nonzero()[:, 0].split(_at_once(graph)):
            nodes = graph.row_nodes[part]
            lost[nodes] = graph.rows[part].double() @ gone[graph.col_nodes]
            moving = nodes[follows[nodes]]
            gone[moving] += (lost[moving] / pre[moving, None]).masked_fill(chosen[moving], 0)
    return lost, gone


def over_left_out(graph: Graph, node: int, shown: Bool[Tensor, " node"]) -> Float[Tensor, " node"]:
    """What a node would lose if each other node were removed, on all paths but the edge itself whose nodes in between
    are features that are not shown.

    The other direction of `total_effect` with every shown feature held: one node's row in place of a source's column,
    so that all sources cost one pass. Float64.
    """
    start = torch.zeros(graph.n_nodes, dtype=torch.float64)
    start[node] = 1
    row = graph.row_of(node)
    lost = lost_of(graph, start, graph.mask("feature") & ~shown)
    if row >= 0:
        lost[graph.col_nodes] -= graph.rows[row].double()
    return lost


def lost_of(graph: Graph, start: Float[Tensor, " node"], passes: Bool[Tensor, " node"]) -> Float[Tensor, " node"]:
    """What some nodes, weighed by `start`, would lose together if each other node were removed: `total_effect` of all
    sources by one pass from the end. Only features marked in `passes` pass on what they lose. Float64.
    """
    pre = torch.zeros(graph.n_nodes, dtype=torch.float64)
    pre[graph.part("feature")] = graph.preactivations.double()
    follows = passes & (pre != 0)
    return _backwards(graph, lambda row, node, gain: start[node] + torch.where(follows, gain / pre, 0.0)[node])


def signed_influence(graph: Graph) -> Float[Tensor, " node"]:
    """Influence with the signs of the edges kept, so that what speaks for the targets and against them cancels: the
    weights of all paths from a node to the targets added up, times the targets' weights. Float64.
    """
    start, mass = start_of(graph).double(), graph.input_mass.double()
    return _backwards(graph, lambda row, node, gain: share(start[node] + gain[node], mass[row]))


def _backwards(
    graph: Graph, weight: Callable[[Tensor, Tensor, Float[Tensor, " node"]], Float[Tensor, " row"]]
) -> Float[Tensor, " node"]:
    """Every node's sum over its outgoing edges of the edge times its row's weight, the last stage first; a row's weight
    may depend on what its node has gathered. Float64.
    """
    gain = torch.zeros(graph.n_nodes, dtype=torch.float64)
    stages = _stages(graph)
    for stage in torch.unique(stages).flip(0).tolist():
        members = (stages == stage).nonzero()[:, 0]
        weights = weight(members, graph.row_nodes[members], gain)
        for part in (weights != 0).nonzero()[:, 0].split(_at_once(graph)):
            gain.index_add_(0, graph.col_nodes, weights[part] @ graph.rows[members[part]].double())
    return gain


def cumulative_share(values: Float[Tensor, " value"]) -> Float[Tensor, " value"]:
    """For each value, the share of the whole held by it and every larger one; equal to the threshold that keeps it."""
    order = torch.sort(values, descending=True, stable=True)
    reached = torch.cumsum(order.values.double(), 0)
    shares = torch.ones_like(reached)
    if len(values) and float(reached[-1]) > 0:
        shares[order.indices] = reached / reached[-1]
    return shares.to(values.dtype)


def _at_once(graph: Graph) -> int:
    """How many rows are worked on at once, so that what is computed of them stays small beside the graph itself."""
    return max(1, _CHUNK // max(1, graph.rows.shape[1]))


def _stages(graph: Graph) -> Int[Tensor, " row"]:
    """Targets come after every layer; a feature's stage is its read layer."""
    return graph.node_layers[graph.row_nodes]


def start_of(graph: Graph) -> Float[Tensor, " node"]:
    """The targets' weights, 0 elsewhere: what influence begins with."""
    start = graph.rows.new_zeros(graph.n_nodes)
    start[graph.part("target")] = graph.target_weights
    return start


def influence(graph: Graph) -> Float[Tensor, " node"]:
    """How much of the targets' weight passes through each node, over all paths."""
    return flow(graph.rows, graph.row_nodes, graph.col_nodes, _stages(graph), graph.input_mass, start_of(graph))


def top_features(graph: Graph, count: int) -> Int[Tensor, " feature"]:
    """The features through which the most influence passes, the most influential first."""
    through = influence(graph)[graph.part("feature")]
    return through.topk(min(count, len(through))).indices


def _lost(graph: Graph) -> Float[Tensor, " row"]:
    """The share of each row's input that pruning removed; it counts as error.

    Two ways to add up a row differ by rounding, which is no loss: it would be all there is where nothing else enters.
    """
    lost = 1 - share(row_sums(graph), graph.input_mass)
    rounding = _ROUNDED * torch.finfo(lost.dtype).eps
    return torch.where((graph.input_mass > 0) & (lost > rounding), lost, 0.0).clamp(0, 1)


def scores(graph: Graph) -> Scores:
    """Replacement and completeness of a whole or a pruned graph."""
    through = influence(graph)
    reach, entering = through + start_of(graph), inflow(graph)
    token = float(through[graph.part("token")].sum())
    error = float(through[graph.part("error")].sum())
    error += float((reach * entering.lost).sum())
    replacement = token / (token + error) if token + error > 0 else 1.0
    complete = 1 - (entering.error + entering.lost).clamp(0, 1)
    weight = float(reach.sum())
    completeness = float((complete * reach).sum()) / weight if weight > 0 else 1.0
    return Scores(min(1.0, max(0.0, replacement)), min(1.0, max(0.0, completeness)))


@dataclass(frozen=True)
class Inflow:
    """Where each node's absolute input comes from; 0 for nodes without a row.

    `error` and `lost` (removed by pruning) are shares of the absolute edges into a node, `offset` is the share of
    offsets in edges and offsets together. The means weigh nodes by influence plus target weight.
    """

    error: Float[Tensor, " node"]
    lost: Float[Tensor, " node"]
    offset: Float[Tensor, " node"]
    mean_error: float
    mean_offset: float


def inflow(graph: Graph) -> Inflow:
    """The shares of errors, of pruned edges and of offsets in what enters each node, and in the whole graph."""
    mass, offsets = graph.input_mass, graph.row_offsets.abs().sum(1)
    error = graph.over_nodes(share(graph.rows[:, graph.columns("error")].abs().sum(1), mass))
    offset = graph.over_nodes(share(offsets, mass + offsets))
    reach = (influence(graph) + start_of(graph))[graph.row_nodes]
    whole = float(reach.sum())
    means = [float((reach * part[graph.row_nodes]).sum()) / whole if whole > 0 else 0.0 for part in (error, offset)]
    return Inflow(error, graph.over_nodes(_lost(graph)), offset, means[0], means[1])


def row_sums(graph: Graph) -> Float[Tensor, " row"]:
    """The sum of each row's absolute edges."""
    return absolute_times(graph.rows, graph.rows.new_ones(graph.rows.shape[1]))


def edge_influence(graph: Graph) -> Float[Tensor, "row col"]:
    """The influence that each edge carries within the graph as it is: its share of the row times the row's reach."""
    carried = torch.empty_like(graph.rows)
    for rows, part in _carried(graph):
        carried[rows] = part
    return carried


def _carried(graph: Graph) -> Iterator[tuple[slice, Float[Tensor, "row col"]]]:
    """What `edge_influence` gives, some rows at a time."""
    mass = row_sums(graph)
    alone = replace(graph, input_mass=mass)
    reach = (influence(alone) + start_of(alone))[alone.row_nodes]
    for start in range(0, len(mass), _at_once(graph)):
        rows = slice(start, start + _at_once(graph))
        yield rows, share(graph.rows[rows].abs(), mass[rows, None]).mul_(reach[rows, None])


def strongest_edges(
    graph: Graph, count: int
) -> tuple[Int[Tensor, " edge"], Int[Tensor, " edge"], Float[Tensor, " edge"]]:
    """The edges that carry the most influence, the first of equals first: their rows, their columns, and the share of
    all edges' influence up to and with each. Needs no second copy of the graph.
    """
    n_cols, whole = graph.rows.shape[1], 0.0
    best, places = graph.rows.new_zeros(0), torch.zeros(0, dtype=torch.long)
    for rows, part in _carried(graph):
        whole += float(part.sum(dtype=torch.float64))
        is_edge = graph.rows[rows] != 0
        if 0 < count == len(best):
            is_edge &= part > best[-1]
        where = is_edge.flatten().nonzero()[:, 0]
        best = torch.cat([best, part.flatten()[where]])
        places = torch.cat([places, where + rows.start * n_cols])
        order = torch.sort(best, descending=True, stable=True).indices[:count]
        best, places = best[order], places[order]
    reached = torch.cumsum(best.double(), 0)
    shares = reached / whole if whole > 0 else torch.ones_like(reached)
    return places // max(1, n_cols), places % max(1, n_cols), shares.clamp_max(1.0)
