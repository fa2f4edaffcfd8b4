"""Notes of a person on graphs and on features: a table of the workspace's index. None is ever overwritten unseen."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from clew.features.label import now
from clew.web.schema.notes import Note

TABLE = """CREATE TABLE IF NOT EXISTS notes (
    graph TEXT NOT NULL, fingerprint TEXT NOT NULL, feature TEXT NOT NULL, revision INTEGER NOT NULL,
    text TEXT NOT NULL, date TEXT NOT NULL, PRIMARY KEY (graph, fingerprint, feature))"""


class Notes:
    """The table, read and written as the workspace does. A note is on a graph, or on a feature of a dictionary."""

    def __init__(
        self,
        read: Callable[[str, tuple[Any, ...]], list[Any]],
        write: Callable[[], AbstractContextManager[Callable[..., Any]]],
    ) -> None:
        self._read, self._write = read, write

    def get(self, *, graph: str = "", fingerprint: str = "", feature: str = "") -> Note:
        """The newest note; an empty one of revision 0 when there is none."""
        query = "SELECT revision, text, date FROM notes WHERE graph = ? AND fingerprint = ? AND feature = ?"
        rows = self._read(query, (graph, fingerprint, feature))
        if not rows:
            return Note(revision=0, text="", date=None)
        revision, text, date = rows[0]
        return Note(revision=revision, text=text, date=date)

    def put(
        self, text: str, revision: int, *, graph: str = "", fingerprint: str = "", feature: str = ""
    ) -> tuple[bool, Note]:
        """Keep a note if it was written over the newest one; whether it was kept, and the newest one now."""
        key = (graph, fingerprint, feature)
        with self._write() as write:
            query = "SELECT revision FROM notes WHERE graph = ? AND fingerprint = ? AND feature = ?"
            newest = write(query, key).fetchone()
            is_newest = (newest[0] if newest else 0) == revision
            if is_newest:
                write("INSERT OR REPLACE INTO notes VALUES (?, ?, ?, ?, ?, ?)", (*key, revision + 1, text, now()))
        return is_newest, self.get(graph=graph, fingerprint=fingerprint, feature=feature)


def carry(write: Callable[..., Any], graph: str, row: tuple[str, str, str]) -> None:
    """Give a new graph the latest note on another of its prompt, tokens and dictionary; in a transaction."""
    write(
        """INSERT INTO notes SELECT ?, '', '', 1, notes.text, notes.date FROM notes JOIN graphs
        ON graphs.id = notes.graph WHERE prompt = ? AND tokens = ? AND graphs.fingerprint = ? AND notes.text <> ''
        ORDER BY notes.date DESC LIMIT 1""",
        (graph, *row),
    )
