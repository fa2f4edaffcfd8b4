"""What a person did to a graph, on a later graph of the same prompt: pins, groups and places of nodes that it has."""

from __future__ import annotations

from collections.abc import Iterable

from clew.attribution.graph import Graph
from clew.errors import InputError
from clew.ids import NodeId
from clew.web.schema.graphs import Arrangement


def carried(arrangement: Arrangement, before: Graph, after: Graph) -> Arrangement | None:
    """An arrangement of one graph for a later one; None when nothing of it is left.

    An output is the same node where it has the same rank and the same name.
    """

    def in_both(nodes: Iterable[str]) -> list[str]:
        return [node for node in nodes if _is_in(node, before, after)]

    groups = [group.model_copy(update={"nodes": in_both(group.nodes)}) for group in arrangement.groups]
    groups = [group for group in groups if group.nodes]
    pins = in_both(arrangement.pins)
    positions = {node: arrangement.positions[node] for node in in_both(arrangement.positions)}
    if not (pins or groups or positions):
        return None
    return arrangement.model_copy(update={"pins": pins, "groups": groups, "positions": positions})


def _is_in(node: str, before: Graph, after: Graph) -> bool:
    id = NodeId.parse(node)
    try:
        after.index(id)
        before.index(id)
    except InputError:
        return False
    return id.kind != "target" or before.targets[id.index or 0].label == after.targets[id.index or 0].label
