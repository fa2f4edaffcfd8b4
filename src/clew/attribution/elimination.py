"""Edges between kept nodes through everything that is left out: exact, by elimination.

Pruning drops what flows through dropped nodes. Here each kept node is given every path to it whose nodes in between are
dropped features: E = A_kk + A_kd (I - A'_dd)^-1 A'_dk, with A' the edges into features divided by their pre-activation
(a Schur complement of I - A'). The graph has no cycle, so that the system is solved layer by layer. Then

- incoming edges plus offsets still equal every pre-activation: what reached a node from dropped errors and from
  dropped features' offsets goes to its offset `left_out`;
- total effects between kept nodes are those of the whole graph.

Shares of absolute input do not add up along signed paths; `flow_of_influence` eliminates them instead, and conserves
the influence of every kept node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clew.attribution.influence import responses
from clew.attribution.nodes import OFFSETS, NodeOrder
from clew.attribution.pruning import without
from clew.errors import InputError
from clew.ids import NodeId
from clew.kernels.shares import share
from clew.memory import check_room

if TYPE_CHECKING:
    from clew.attribution.graph import Graph

Kept = NodeOrder | Sequence[NodeId | str | int]
"""A pruned form of the graph, or its nodes; tokens and targets are always kept."""


def flow(graph: Graph, kept: Kept) -> Graph:
    """The graph on its kept nodes, edges between them through all that is left out; effects too, where it has some.

    InputError for a node that the graph does not have.
    """
    mask = kept_nodes(graph, kept)
    rows, lost = _eliminated(graph, mask)
    effects = None if graph.effect_rows is None else _eliminated(graph.effects, mask)[0]
    offsets = graph.row_offsets.clone()
    sums = graph.rows.double().sum(1) - rows[:, mask[graph.col_nodes]].sum(1)
    is_left_out = OFFSETS.index("left_out")
    offsets[:, is_left_out] += sums.to(offsets)
    mass = rows[:, mask[graph.col_nodes]].abs().sum(1) + lost
    through = replace(
        graph,
        rows=rows.to(graph.rows),
        effect_rows=None if effects is None else effects.to(graph.rows),
        row_offsets=offsets,
        input_mass=mass.to(graph.input_mass),
    )
    return without(through, mask)


def kept_nodes(graph: Graph, kept: Kept) -> Bool[Tensor, " node"]:
    """True for kept nodes, tokens and targets; InputError for a node that the graph does not have."""
    names: Sequence[NodeId | str | int] = [node.id for node in kept.nodes] if isinstance(kept, NodeOrder) else kept
    mask = graph.mask("token", "target")
    for name in names:
        if isinstance(name, int) and not 0 <= name < graph.n_nodes:
            raise InputError(f"node {name} is not one of this graph's {graph.n_nodes}")
        mask[name if isinstance(name, int) else graph.index(name)] = True
    return mask


def _eliminated(graph: Graph, kept: Bool[Tensor, " node"]) -> tuple[Float[Tensor, "row col"], Float[Tensor, " row"]]:
    """The edges of every row in place of its own, and the absolute input that came from dropped errors."""
    held = kept | graph.mask("error")  # nothing flows into these, so that they only cause
    causes = held[graph.col_nodes].nonzero()[:, 0]
    check_room(16 * graph.n_nodes * len(causes), f"the flow of {len(causes):,} nodes", "keep fewer nodes")
    removed = torch.zeros(graph.n_nodes, len(causes), dtype=torch.float64)
    removed[graph.col_nodes[causes], torch.arange(len(causes))] = 1
    lost, _ = responses(graph, removed, clamped=kept[graph.part("feature")])
    rows = torch.zeros(graph.rows.shape, dtype=torch.float64)
    rows[:, causes] = lost[graph.row_nodes]
    dropped = ~kept[graph.col_nodes]
    return rows, rows[:, dropped].abs().sum(1)


def flow_of_influence(graph: Graph, kept: Kept) -> tuple[Float[Tensor, "kept kept"], list[int]]:
    """How much of each kept node's absolute input comes from each other, through all that is left out; and those nodes.

    Row = target, column = source. Influence along these shares is that of the whole graph. Float64.
    """
    mask = kept_nodes(graph, kept)
    nodes = mask.nonzero()[:, 0]
    reach = torch.zeros(graph.n_nodes, len(nodes), dtype=torch.float64)  # of every node, from kept ones
    stages = graph.node_layers[graph.row_nodes]
    passing = torch.zeros(graph.n_nodes, len(nodes), dtype=torch.float64)
    passing[nodes, torch.arange(len(nodes))] = 1
    for stage in torch.unique(stages).tolist():
        members = (stages == stage).nonzero()[:, 0]
        part = share(graph.rows[members].abs(), graph.input_mass[members, None]).double()
        reach[graph.row_nodes[members]] = part @ passing[graph.col_nodes]
        rest = members[~mask[graph.row_nodes[members]]]
        passing[graph.row_nodes[rest]] = reach[graph.row_nodes[rest]]
    return reach[nodes], nodes.tolist()
