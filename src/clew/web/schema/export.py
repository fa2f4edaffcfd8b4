"""What an exported file carries in place of a server."""

from __future__ import annotations

from clew.web.schema.base import View
from clew.web.schema.circuits import CircuitView
from clew.web.schema.features import FeatureView
from clew.web.schema.graphs import Arrangement, GraphView, NodeDetail


class LeftOut(View):
    """What a file had no room for; all counts are 0 when it holds everything that its graph shows."""

    cards: int
    """Features of the graph whose cards are left out."""
    details: int
    """Nodes of the graph whose inputs and outputs are left out."""
    edges: int
    """Edges of the graph that are left out, the weakest."""
    nodes: int
    """Nodes at the requested thresholds that are left out, the least influential; the graph has its own thresholds."""


class Embedded(View):
    title: str
    version: str
    graph: GraphView
    nodes: dict[str, NodeDetail]
    """Details of the most influential nodes, by their ids."""
    cards: dict[str, FeatureView]
    """Cards of the features of the most influential nodes, by their ids."""
    arrangement: Arrangement | None
    source: str | None
    """The graph as graph JSON, gzip in base64, for the workbench to take in again; none where it has no room."""
    left_out: LeftOut
    circuit: CircuitView | None = None
    """The explanation of the graph, which is shown first; none where none was asked for, or it has no room."""
    fingerprint: str = ""
    """Of the dictionary with which the graph was traced, so that an imported page is known as this kit's."""
