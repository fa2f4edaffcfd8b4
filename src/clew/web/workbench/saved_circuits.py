"""Circuits that a person saved, under names: a table of the workspace's index, several of a graph."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from clew import files
from clew.circuit.circuit import ENVELOPE, Circuit
from clew.features.label import now
from clew.web.errors import NotFoundError, RefusedError

TABLE = """CREATE TABLE IF NOT EXISTS circuits (
    id TEXT PRIMARY KEY, graph TEXT NOT NULL, name TEXT NOT NULL, date TEXT NOT NULL, value TEXT NOT NULL,
    UNIQUE (graph, name))"""


class NameTakenError(RefusedError):
    """Another circuit of the graph has the name: it is never overwritten unless that is asked for."""

    status = 409


class SavedCircuits:
    """The table, read and written as the workspace does."""

    def __init__(
        self,
        read: Callable[[str, tuple[Any, ...]], list[Any]],
        write: Callable[[], AbstractContextManager[Callable[..., Any]]],
    ) -> None:
        self._read, self._write = read, write

    def keep(self, graph: str, name: str, circuit: Circuit, *, replace: bool) -> str:
        """Keep a circuit under a name, and return its id; NameTakenError where the name has one and may not lose it."""
        id = secrets.token_hex(8)
        value = json.dumps(ENVELOPE.head(circuit=circuit.to_json(), provenance=files.provenance()), ensure_ascii=False)
        with self._write() as write:
            known = write("SELECT id FROM circuits WHERE graph = ? AND name = ?", (graph, name)).fetchone()
            if known is not None and not replace:
                raise NameTakenError(f"a circuit {name!r} of this graph is kept: take another name, or replace it")
            write("DELETE FROM circuits WHERE graph = ? AND name = ?", (graph, name))
            write("INSERT INTO circuits VALUES (?, ?, ?, ?, ?)", (id, graph, name, now(), value))
        return id

    def of(self, graph: str) -> list[tuple[str, str, str, Circuit]]:
        """Id, name, date and circuit of all that are kept of a graph, the latest first."""
        query = "SELECT id, name, date, value FROM circuits WHERE graph = ? ORDER BY date DESC, rowid DESC"
        return [(id, name, date, _circuit(name, value)) for id, name, date, value in self._read(query, (graph,))]

    def get(self, graph: str, id: str) -> tuple[str, Circuit]:
        """Name and circuit; NotFoundError when the graph has none of this id."""
        name, value = self._row(graph, id)
        return name, _circuit(name, value)

    def content(self, graph: str, id: str) -> tuple[str, bytes]:
        """Name and file of a circuit, as `Circuit.load` reads it; NotFoundError when the graph has none of this id."""
        name, value = self._row(graph, id)
        return name, json.dumps(json.loads(value), ensure_ascii=False, indent=1).encode()

    def remove(self, graph: str, id: str) -> None:
        """NotFoundError when the graph has none of this id."""
        self._row(graph, id)
        with self._write() as write:
            write("DELETE FROM circuits WHERE graph = ? AND id = ?", (graph, id))

    def _row(self, graph: str, id: str) -> tuple[str, str]:
        rows = self._read("SELECT name, value FROM circuits WHERE graph = ? AND id = ?", (graph, id))
        if not rows:
            raise NotFoundError(f"there is no circuit {id[:60]!r} of this graph")
        return rows[0]


def _circuit(name: str, value: str) -> Circuit:
    head = json.loads(value)
    ENVELOPE.check(head, f"the circuit {name!r}")
    return Circuit.from_json(head.get("circuit") or {})
