"""Pins and groups as graph JSON has them, so that what a person did to a graph goes to other programs and comes back.

`qParams` holds `pinnedIds` and `supernodes`, each a name and its nodes; those programs show a supernode's nodes only
where they are pinned, so they are. What was pinned beside that, and what their readers do not know (notes, places),
stands with our own keys.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from clew.attribution.graph import Graph
from clew.attribution.graph_json import ids_by_name
from clew.web.schema.graphs import Arrangement, Group, Thresholds

_MOST_MARKED, _MOST_GROUPS, _LONGEST, _FARTHEST = 10_000, 1000, 300, 1e7  # as bodies may have them


def with_marks(value: Mapping[str, Any], graph: Graph, arrangement: Arrangement) -> dict[str, Any]:
    """Graph JSON of this graph with a person's pins and groups, as far as their nodes are in it."""
    names = {str(node.id): there["node_id"] for node, there in zip(graph.nodes, value["nodes"], strict=False)}

    def known(nodes: Iterable[str]) -> list[str]:
        return [names[node] for node in nodes if node in names]

    pins, groups = known(arrangement.pins), [(group, known(group.nodes)) for group in arrangement.groups]
    groups = [(group, nodes) for group, nodes in groups if nodes]
    pinned = dict.fromkeys([*pins, *(node for _, nodes in groups for node in nodes)])
    asked = value["qParams"] | {
        "pinnedIds": [*pinned],
        "supernodes": [[group.name, *nodes] for group, nodes in groups],
    }
    own = {
        "pins": pins,
        "notes": {group.name: group.note for group, _ in groups if group.note},
        "positions": {names[node]: list(at) for node, at in arrangement.positions.items() if node in names},
    }
    metadata = value["metadata"]
    info = metadata["info"] | {"clew": metadata["info"]["clew"] | {"marks": own}}
    return {**value, "metadata": metadata | {"info": info}, "qParams": asked}


def marks_of(value: Mapping[str, Any]) -> Arrangement | None:
    """The pins and groups in graph JSON that could be read as a graph; None where there are none that mean anything."""
    ids, asked = ids_by_name(value), _mapping(value.get("qParams"))
    own = _mapping(_mapping(_mapping(value["metadata"].get("info")).get("clew")).get("marks"))
    notes, places = _mapping(own.get("notes")), _mapping(own.get("positions"))
    groups: list[Group] = []
    grouped: set[str] = set()
    for given in _list(asked.get("supernodes"))[:_MOST_GROUPS]:
        name, *rest = _list(given) or [""]
        nodes = [node for node in _known(rest, ids) if node not in grouped]
        if nodes:
            note = _text(notes.get(name) if isinstance(name, str) else None, _MOST_MARKED)
            groups.append(Group(id=f"supernode-{len(groups)}", name=_text(name, _LONGEST), nodes=nodes, note=note))
            grouped.update(nodes)
    alone = {*_known(_list(own.get("pins")), ids)}
    pins = [node for node in _known(_list(asked.get("pinnedIds")), ids) if node in alone or node not in grouped]
    positions = {ids[name]: at for name, given in places.items() if name in ids and (at := _place(given)) is not None}
    if not (pins or groups or positions):
        return None
    start = Thresholds(node=0.8, edge=0.98)
    return Arrangement(revision=0, pins=pins, groups=groups, positions=positions, thresholds=start)


def _known(names: Iterable[Any], ids: Mapping[str, str]) -> list[str]:
    """Nodes of these names, each once, as many as an arrangement may have."""
    found = dict.fromkeys(ids[name] for name in names if isinstance(name, str) and name in ids)
    return [*found][:_MOST_MARKED]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any, longest: int) -> str:
    """A name as it can be kept: half of a character becomes a question mark."""
    return str("" if value is None else value).encode("utf-8", "replace").decode()[:longest]


def _place(value: Any) -> tuple[float, float] | None:
    pair = [float(x) for x in _list(value) if isinstance(x, int | float) and abs(x) <= _FARTHEST]
    return (pair[0], pair[1]) if len(pair) == 2 and all(map(math.isfinite, pair)) else None
