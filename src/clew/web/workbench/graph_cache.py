"""The graphs looked at last, with what views have worked out of them, within a bound of memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from clew.attribution.graph import Graph
from clew.web.views.open_graph import OpenGraph

MOST_BYTES = 512 << 20


class GraphCache:
    """Open graphs by their ids. Several threads may share it."""

    def __init__(self, load: Callable[[str], Graph]) -> None:
        self._load = load
        self._graphs: OrderedDict[str, OpenGraph] = OrderedDict()
        self._lock = threading.Lock()

    def __getitem__(self, graph: str) -> OpenGraph:
        with self._lock:
            if graph in self._graphs:
                self._graphs.move_to_end(graph)
                return self._graphs[graph]
        loaded = OpenGraph(self._load(graph))  # outside the lock: a large graph takes seconds
        with self._lock:
            open_graph = self._graphs.setdefault(graph, loaded)
            while len(self._graphs) > 1 and sum(edge_bytes(g.graph) for g in self._graphs.values()) > MOST_BYTES:
                self._graphs.popitem(last=False)
        return open_graph

    def drop(self, graph: str) -> None:
        """Forget a graph that was removed."""
        with self._lock:
            self._graphs.pop(graph, None)


def edge_bytes(graph: Graph) -> int:
    """What the edges of a graph take in memory: their values, and their effects where it has some."""
    return graph.rows.nbytes + (0 if graph.effect_rows is None else graph.effect_rows.nbytes)
