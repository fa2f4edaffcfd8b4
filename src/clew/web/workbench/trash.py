"""Graphs that were removed, for as long as they can be brought back: the last few of this server."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST_KEPT = 20
_A_DAY = 86_400.0  # after which what a killed server has left goes too

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Removed:
    """What the index said of a graph: rows of its tables, and where its file was."""

    path: Path
    rows: dict[str, Rows]


class Bin:
    """A folder of removed files. Several threads may share it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._lock = folder, threading.Lock()
        self._kept: OrderedDict[str, Removed] = OrderedDict()
        for left in folder.glob("*.graph"):
            if time.time() - left.stat().st_mtime > _A_DAY:
                left.unlink(missing_ok=True)

    def put(self, id: str, removed: Removed) -> None:
        """Take a graph's file; the oldest goes for good."""
        self.folder.mkdir(exist_ok=True)
        with self._lock:
            removed.path.replace(self._at(id))
            self._at(id).touch()
            self._kept[id] = removed
            while len(self._kept) > MOST_KEPT:
                gone, _ = self._kept.popitem(last=False)
                self._at(gone).unlink(missing_ok=True)

    def take(self, id: str) -> Removed | None:
        """Put a graph's file back where it was; None when it is not here."""
        with self._lock:
            removed = self._kept.pop(id, None)
            if removed is None or not self._at(id).is_file():
                return None
            self._at(id).replace(removed.path)
            return removed

    def close(self) -> None:
        """Nothing comes back once the server has ended."""
        with self._lock:
            for id in self._kept:
                self._at(id).unlink(missing_ok=True)
            self._kept.clear()

    def _at(self, id: str) -> Path:
        return self.folder / f"{id}.graph"
