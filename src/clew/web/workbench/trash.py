"""Graphs that were removed, for as long as they can be brought back: the last few of this server."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST_KEPT = 20
_DAY = 86_400.0  # seconds after which files of a server that was killed are deleted

TableRows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class RemovedGraph:
    """What the index held of a graph: rows of its tables, and where its file was."""

    path: Path
    rows: dict[str, TableRows]


class Trash:
    """A folder of removed graphs. Several threads may share it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._lock = folder, threading.Lock()
        self._graphs: OrderedDict[str, RemovedGraph] = OrderedDict()
        for path in folder.glob("*.graph"):
            if time.time() - path.stat().st_mtime > _DAY:
                path.unlink(missing_ok=True)

    def put(self, id: str, removed: RemovedGraph) -> None:
        """Take a graph's file; beyond `MOST_KEPT` graphs the oldest is deleted. OSError when it cannot be moved."""
        self.folder.mkdir(exist_ok=True)
        with self._lock:
            removed.path.replace(self._path(id))
            self._path(id).touch()  # a day counts from now, not from when the graph was written
            self._graphs[id] = removed
            while len(self._graphs) > MOST_KEPT:
                oldest, _ = self._graphs.popitem(last=False)
                self._path(oldest).unlink(missing_ok=True)

    def take(self, id: str) -> RemovedGraph | None:
        """Put a graph's file back where it was; None when the trash has none of this id."""
        with self._lock:
            removed = self._graphs.pop(id, None)
            if removed is None or not self._path(id).is_file():
                return None
            self._path(id).replace(removed.path)
            return removed

    def close(self) -> None:
        """Delete all of them: nothing can be brought back once the server has ended."""
        with self._lock:
            for id in self._graphs:
                self._path(id).unlink(missing_ok=True)
            self._graphs.clear()

    def _path(self, id: str) -> Path:
        return self.folder / f"{id}.graph"
