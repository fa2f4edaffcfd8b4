"""Graphs at hand: those looked at last, with what is worked out of them once, within a bound of memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from clew.attribution.graph import Graph
from clew.web.views.open_graph import Held

MOST_BYTES = 512 << 20


class Shelf:
    """The graphs looked at last. Several threads may share it."""

    def __init__(self, load: Callable[[str], Graph]) -> None:
        self._load = load
        self._graphs: OrderedDict[str, Held] = OrderedDict()
        self._lock = threading.Lock()

    def __getitem__(self, graph: str) -> Held:
        with self._lock:
            if graph in self._graphs:
                self._graphs.move_to_end(graph)
                return self._graphs[graph]
        held = Held(self._load(graph))
        with self._lock:
            held = self._graphs.setdefault(graph, held)
            while len(self._graphs) > 1 and sum(h.graph.rows.nbytes for h in self._graphs.values()) > MOST_BYTES:
                self._graphs.popitem(last=False)
        return held

    def drop(self, graph: str) -> None:
        """Forget a graph that was removed."""
        with self._lock:
            self._graphs.pop(graph, None)
