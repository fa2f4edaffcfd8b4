"""What features do at their places of a prompt, beside what they are called in general."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clew.features.atlas import Atlas
from clew.labels.display_names import Name
from clew.labels.in_prompt import NameHere, by_rule, names_here
from clew.web.views.open_graph import OpenGraph

Here = Callable[[OpenGraph, Sequence[int]], Mapping[int, NameHere]]
"""The names of some of a graph's features where they stand, by node."""
MOST_NAMED = 200  # features of one view: a second's work


def nothing_here(open_graph: OpenGraph, nodes: Sequence[int]) -> Mapping[int, NameHere]:
    """No names at places: where no atlas tells of the graph's features."""
    return {}


def names_by(atlas: Atlas | None, fingerprint: str) -> Here:
    """By an atlas of the dictionary with this fingerprint; none for graphs of other dictionaries."""

    def here(open_graph: OpenGraph, nodes: Sequence[int]) -> Mapping[int, NameHere]:
        graph, names = open_graph.graph, open_graph.names_here
        if atlas is None or graph.dictionary_fingerprint != fingerprint:
            return {}
        features = [node for node in nodes if node < graph.n_features]
        new = [node for node in features if (atlas.path, node) not in names]
        named = names_here(atlas, graph, new)
        names.update({(atlas.path, node): named.get(node) for node in new})
        listed = {node: names[atlas.path, node] for node in features}
        return {node: name for node, name in listed.items() if name is not None}

    return here


def here_field(name: Name, here: NameHere | None) -> dict[str, Any]:
    """The field `here` of a node or a link; left out where its name holds at this place, or nothing is known.

    What a person or a model wrote stays the name, wherever the feature fires.
    """
    if here is None or here.here == here.general or not by_rule(name, here):
        return {}
    return {"here": here.here}
