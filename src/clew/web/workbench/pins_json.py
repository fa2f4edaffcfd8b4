"""Pins and groups in graph JSON, so that what a person did to a graph can be exported to other programs and imported.

`qParams` holds `pinnedIds` and `supernodes`, each a name and its nodes. Other programs show a supernode's nodes only
when they are pinned, so all of them are pinned. Which nodes were pinned by a person, notes and positions are written
under keys of our own, which other programs ignore.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from clew.attribution.graph import Graph
from clew.attribution.graph_json import ids_by_name
from clew.web.schema.graphs import Arrangement, NodeGroup, Thresholds

_MOST_MARKED, _MOST_GROUPS, _LONGEST, _FARTHEST = 10_000, 1000, 300, 1e7  # the bounds of an ArrangementBody


def with_marks(value: Mapping[str, Any], graph: Graph, arrangement: Arrangement) -> dict[str, Any]:
    """Graph JSON of this graph with a person's pins and groups, without nodes that are not in it."""
    names = {str(node.id): json_node["node_id"] for node, json_node in zip(graph.nodes, value["nodes"], strict=False)}

    def named(nodes: Iterable[str]) -> list[str]:
        return [names[node] for node in nodes if node in names]

    pins, groups = named(arrangement.pins), [(group, named(group.nodes)) for group in arrangement.groups]
    groups = [(group, nodes) for group, nodes in groups if nodes]
    pinned = dict.fromkeys([*pins, *(node for _, nodes in groups for node in nodes)])
    q_params = value["qParams"] | {
        "pinnedIds": [*pinned],
        "supernodes": [[group.name, *nodes] for group, nodes in groups],
    }
    marks = {
        "pins": pins,
        "notes": {group.name: group.note for group, _ in groups if group.note},
        "positions": {names[node]: list(point) for node, point in arrangement.positions.items() if node in names},
    }
    metadata = value["metadata"]
    info = metadata["info"] | {"clew": metadata["info"]["clew"] | {"marks": marks}}
    return {**value, "metadata": metadata | {"info": info}, "qParams": q_params}


def marks_of(value: Mapping[str, Any]) -> Arrangement | None:
    """The pins, groups and positions in graph JSON that could be read as a graph; None when it has none."""
    ids, q_params = ids_by_name(value), _mapping(value.get("qParams"))
    marks = _mapping(_mapping(_mapping(value["metadata"].get("info")).get("clew")).get("marks"))
    notes, places = _mapping(marks.get("notes")), _mapping(marks.get("positions"))
    groups: list[NodeGroup] = []
    grouped: set[str] = set()
    for supernode in _list(q_params.get("supernodes"))[:_MOST_GROUPS]:
        name, *members = _list(supernode) or [""]
        nodes = [node for node in _node_ids(members, ids) if node not in grouped]
        if nodes:
            note = _text(notes.get(name) if isinstance(name, str) else None, _MOST_MARKED)
            groups.append(NodeGroup(id=f"supernode-{len(groups)}", name=_text(name, _LONGEST), nodes=nodes, note=note))
            grouped.update(nodes)
    pinned_by_person = {*_node_ids(_list(marks.get("pins")), ids)}
    pinned = _node_ids(_list(q_params.get("pinnedIds")), ids)
    pins = [node for node in pinned if node in pinned_by_person or node not in grouped]
    points = {ids[name]: _point(place) for name, place in places.items() if name in ids}
    positions = {node: point for node, point in points.items() if point is not None}
    if not (pins or groups or positions):
        return None
    start = Thresholds(node=0.8, edge=0.98)
    return Arrangement(revision=0, pins=pins, groups=groups, positions=positions, thresholds=start)


def _node_ids(names: Iterable[Any], ids: Mapping[str, str]) -> list[str]:
    """The ids of nodes with these names, each once, as many as an arrangement may have."""
    nodes = dict.fromkeys(ids[name] for name in names if isinstance(name, str) and name in ids)
    return [*nodes][:_MOST_MARKED]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any, longest: int) -> str:
    """A text that can be kept: a lone surrogate becomes a question mark."""
    return str("" if value is None else value).encode("utf-8", "replace").decode()[:longest]


def _point(value: Any) -> tuple[float, float] | None:
    pair = [float(x) for x in _list(value) if isinstance(x, int | float) and abs(x) <= _FARTHEST]
    return (pair[0], pair[1]) if len(pair) == 2 and all(map(math.isfinite, pair)) else None
