"""What several settings or wordings agree on: in how many of them a node and an edge survive.

A pruned graph depends on its thresholds, and on how the prompt happens to be put. `consensus` merges graphs, means over
those that have an edge, so that an edge keeps its size however few of them it survives in.
"""

from __future__ import annotations

from collections.abc import Sequence

from clew.attribution.graph import Graph
from clew.attribution.merge import Slots, merge, position_slots
from clew.attribution.merged_graph import MergedGraph
from clew.errors import InputError

NODES, EDGES = (0.6, 0.7, 0.8, 0.9), (0.9, 0.95, 0.98)
"""Thresholds over which a graph is pruned unless others are given."""


def prunings(
    graph: Graph, nodes: Sequence[float | int] = NODES, edges: Sequence[float | int] = EDGES, by: str = "influence"
) -> list[Graph]:
    """The graph pruned with each pair of thresholds; errors are those of `Graph.prune`, and InputError for no pair."""
    if not nodes or not edges:
        raise InputError("there is no setting to prune with: give at least one threshold for nodes and one for edges")
    return [graph.prune(node=node, edge=edge, by=by) for node in nodes for edge in edges]


def consensus(graphs: Sequence[Graph], slots: Slots | None = None, *, share: float | int = 0.0) -> MergedGraph:
    """How many of some graphs have each node and edge (`node_share`, `edge_share`); at least `share` of them are kept.

    Prunings of one graph, or graphs of paraphrases with the slots of their positions. Without slots, graphs of prompts
    of the same tokens are laid over each other position by position, others by feature alone. Errors are those of
    `merge` and `MergedGraph.present_in`.
    """
    graphs = list(graphs)
    if slots is None and len({graph.token_ids for graph in graphs}) == 1:
        slots = position_slots(graphs)
    return merge(graphs, slots, over="present").present_in(share)
