"""What an exported file carries in place of a server. See `models`."""

from __future__ import annotations

from clew.web.schema.base import View
from clew.web.schema.features import FeatureView
from clew.web.schema.graphs import Arrangement, GraphView, NodeDetail


class LeftOut(View):
    """What a file had no room for; all 0 where it holds everything that its graph shows."""

    cards: int
    """Features of the graph whose cards are not there."""
    details: int
    """Nodes of the graph whose inputs and outputs in the whole graph are not there."""
    edges: int
    """The weakest edges of the graph."""
    nodes: int
    """The least influential nodes that were asked for; the graph's thresholds say which."""


class Embedded(View):
    title: str
    version: str
    graph: GraphView
    nodes: dict[str, NodeDetail]
    """Of the most influential nodes, by their ids."""
    cards: dict[str, FeatureView]
    """Of the features of the most influential nodes, by their ids."""
    arrangement: Arrangement | None
    left_out: LeftOut
