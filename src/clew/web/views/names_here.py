"""What features do at their places of a prompt, beside what they are called in general."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clew.features.atlas import Atlas
from clew.labels.display_names import Name
from clew.labels.in_prompt import NameHere, names_here
from clew.web.views.open_graph import OpenGraph

Here = Callable[[OpenGraph, Sequence[int]], Mapping[int, NameHere]]
"""The names of some of a graph's features where they stand, by node."""
MOST_NAMED = 200  # features of one view: a second's work


def nothing_here(open_graph: OpenGraph, nodes: Sequence[int]) -> Mapping[int, NameHere]:
    """No names at places: where no atlas tells of the graph's features."""
    return {}


def names_by(atlas: Atlas | None, fingerprint: str) -> Here:
    """By an atlas of the dictionary with this fingerprint; none for graphs of other dictionaries.

    A negative neuron has none either: its contexts are those where it is positive.
    """

    def here(open_graph: OpenGraph, nodes: Sequence[int]) -> Mapping[int, NameHere]:
        graph, names = open_graph.graph, open_graph.names_here
        if atlas is None or graph.dictionary_fingerprint != fingerprint:
            return {}
        firing = [node for node in nodes if node < graph.n_features and float(graph.activations[node]) > 0]
        new = [node for node in firing if (atlas.path, node) not in names]
        names.update({(atlas.path, node): name for node, name in names_here(atlas, graph, new).items()})
        return {node: names[atlas.path, node] for node in firing}

    return here


def here_field(name: Name, here: NameHere | None) -> dict[str, Any]:
    """The field `here` of a node or a link; left out where its name holds at this place, or nothing is known.

    What a person or a model wrote stays the name, wherever the feature fires.
    """
    if here is None or here.here == here.general or not _by_rule(name, here):
        return {}
    return {"here": here.here}


def _by_rule(name: Name, here: NameHere) -> bool:
    if name.kind in ("heuristic", "promoted") or not name.text:
        return True
    texts = ("promotes ", f"{here.general}, writes ")  # of a graph's own labels it is not known who gave them
    return name.kind == "" and (name.text == here.general or name.text.startswith(texts))
