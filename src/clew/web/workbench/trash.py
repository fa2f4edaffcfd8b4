"""Graphs that were removed, for as long as they can be brought back: the last few of a workspace, for a day.

What the index held of them lies in a table of the index, so that every server of the workspace, and one that is
started later, can bring them back. Their files lie in a folder of their own, or where they were if nothing could be
moved.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

MOST_KEPT = 20
DAY = 86_400.0  # seconds after which a removed graph is deleted
_TABLE = "CREATE TABLE IF NOT EXISTS removed (graph TEXT PRIMARY KEY, time REAL NOT NULL, rows TEXT NOT NULL)"

TableRows = dict[str, list[list[Any]]]
"""Rows of the index by their tables."""
Write = Callable[..., Any]
"""What executes a statement in a transaction of the index."""


class Trash:
    """The removed graphs of an index, and the folder of their files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # --- in a transaction of the index --------------------------------------------------------------------------

    def put(self, write: Write, graph: str, rows: TableRows) -> None:
        """Keep what the index held of a graph."""
        write(_TABLE)
        write("INSERT OR REPLACE INTO removed VALUES (?, ?, ?)", (graph, time.time(), json.dumps(rows)))

    def take(self, write: Write, graph: str) -> TableRows | None:
        """What the index held of a graph, which leaves the trash; None when the trash has none of this id."""
        write(_TABLE)
        row = write("SELECT rows FROM removed WHERE graph = ?", (graph,)).fetchone()
        write("DELETE FROM removed WHERE graph = ?", (graph,))
        return None if row is None else json.loads(row[0])

    def drop(self, write: Write, *, keep: int | None = None) -> list[str]:
        """Forget graphs that are older than a day, and all but the last ones: the ids of those whose files may go."""
        write(_TABLE)
        newest = "SELECT graph FROM removed ORDER BY time DESC, rowid DESC LIMIT ?"
        old = f"time < ? OR graph NOT IN ({newest})"
        values = (time.time() - DAY, MOST_KEPT if keep is None else keep)
        graphs = [row[0] for row in write(f"SELECT graph FROM removed WHERE {old}", values).fetchall()]
        write(f"DELETE FROM removed WHERE {old}", values)
        return graphs

    def graphs(self, write: Write) -> set[str]:
        """The ids of all removed graphs."""
        write(_TABLE)
        return {row[0] for row in write("SELECT graph FROM removed").fetchall()}

    # --- files ----------------------------------------------------------------------------------------------------

    def path(self, graph: str) -> Path:
        """Where the file of a removed graph lies, unless it could not be moved."""
        return self.folder / f"{graph}.graph"

    def take_file(self, graph: str, path: Path) -> None:
        """Move a graph's file into the trash. Where nothing can be moved it stays, and `give_file` finds it there."""
        with suppress(OSError):
            self.folder.mkdir(exist_ok=True)
            path.replace(self.path(graph))

    def give_file(self, graph: str, path: Path) -> bool:
        """Put a graph's file back where it was; False when there is none."""
        if self.path(graph).is_file():
            self.path(graph).replace(path)
        return path.is_file()

    def empty(self) -> None:
        """Delete all files in the trash, whose graphs cannot be brought back then."""
        for path in self.folder.glob("*.graph"):
            path.unlink(missing_ok=True)
