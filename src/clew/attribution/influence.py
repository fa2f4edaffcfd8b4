"""How much each node matters: influence, scores, pruning; and what removing one would change, the total effect.

Every row is divided by the sum of its absolute inputs (a row without input stays zero), which turns |A| into shares.
Influence = w (Â + Â² + ...), w = the targets' weights. The graph has no cycle, because a source writes before its
target reads, so one pass over the rows from the last layer to the first gives the whole series.

A total effect runs the other way. With the active set held, a feature's activation moves with its pre-activation, so
the relative changes obey x = A' x + removed, A' being the adjacency with each feature's row divided by its
pre-activation. The same order makes that system triangular: it is solved layer by layer, never inverted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clew.errors import InputError
from clew.kernels.shares import share

if TYPE_CHECKING:
    from clew.attribution.graph import Graph

_CHUNK = 1 << 22  # entries of |rows| held at once
_SORTED = 1 << 23  # values of which a sorted copy is made
_BUCKETS = 1 << 17
_TIE = 1e-6  # relative difference below which two shares of influence are the same


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
    step = max(1, _CHUNK // max(1, rows.shape[1]))
    for stage in torch.unique(row_stages).flip(0).tolist():
        members = (row_stages == stage).nonzero()[:, 0]
        members = members[(total[row_nodes[members]] != 0) & (shares[members] != 0)]
        for part in members.split(step):
            pushed = (total[row_nodes[part]] * shares[part]) @ rows[part].abs_()
            total.index_add_(0, col_nodes, pushed)
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
    pre = torch.zeros(graph.n_nodes, dtype=torch.float64)
    pre[graph.part("feature")] = graph.preactivations
    passes = pre != 0
    passes &= ~shown
    row_of = torch.full((graph.n_nodes,), -1)
    row_of[graph.row_nodes] = torch.arange(len(graph.row_nodes))
    if int(row_of[node]) < 0:
        return torch.zeros(graph.n_nodes, dtype=torch.float64)
    stages = _stages(graph)
    gain = torch.zeros(graph.n_nodes, dtype=torch.float64)  # lost with one part of each activation
    gain[graph.col_nodes] = graph.rows[row_of[node]].double()
    direct = gain.clone()
    for stage in torch.unique(stages[stages < stages[row_of[node]]]).flip(0).tolist():
        members = (stages == stage).nonzero()[:, 0]
        nodes = graph.row_nodes[members]
        for part in members[passes[nodes] & (gain[nodes] != 0)].split(_at_once(graph)):
            nodes = graph.row_nodes[part]
            gain.index_add_(0, graph.col_nodes, (gain[nodes] / pre[nodes]) @ graph.rows[part].double())
    return gain - direct


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
    """The share of each row's input that pruning removed; it counts as error."""
    left = share(row_sums(graph), graph.input_mass)
    return torch.where(graph.input_mass > 0, 1 - left, 0.0).clamp(0, 1)


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
    parts = [part.abs().sum(1) for part in graph.rows.split(_at_once(graph))]
    return torch.cat(parts) if parts else graph.rows.new_zeros(0)


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


def prune(graph: Graph, *, node: float | int = 0.8, edge: float | int = 0.98) -> Graph:
    """Keep the smallest node set with `node` of the influence, then the edges with `edge` of theirs; drop what dangles.

    Tokens and targets stay. The result keeps the whole graph's normalisation; InputError unless both lie in (0, 1].
    """
    for name, value in (("node", node), ("edge", edge)):
        if not 0 < value <= 1:
            raise InputError(f"{name} threshold {value} is not in (0, 1]: give a share such as 0.8")
    kept = _smallest_set(influence(graph), float(node))
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
