"""A folder that keeps what a person has made: graphs, arrangements, results, labels.

labels.sqlite    labels and lists (`features.labels`), of any dictionary
bench.sqlite     the index of graphs, arrangements, results of jobs, atlases that were harvested here
graphs/          a file a graph, under its id
atlases/         harvested atlases
removed/         graphs that were removed, until the server ends

Ids are made here and looked up in the index; nothing that is asked for ever becomes part of a path. A file is written
whole before the index names it, and leaves the index before it is removed, so that a kill leaves a file too many at
worst. Several servers may use one workspace: all that changes is in SQLite, and graphs never change.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clew import files
from clew.attribution.graph import Graph
from clew.errors import FileError
from clew.features.label import now
from clew.labels.store import LabelStore
from clew.web.errors import NotFoundError
from clew.web.schema.graphs import Arrangement, GraphEntry, Output, ScorePair, Thresholds
from clew.web.schema.jobs import Job
from clew.web.workbench.trash import Bin, Removed, Rows

LABELS, INDEX = "labels.sqlite", "bench.sqlite"
ENVELOPE = files.Envelope(format="clew.workbench", schema=1, what="a workbench", mark=b"ClWb")
_TABLES = """
CREATE TABLE graphs (
    id TEXT PRIMARY KEY, date TEXT NOT NULL, origin TEXT NOT NULL, prompt TEXT NOT NULL, tokens TEXT NOT NULL,
    top TEXT, n_nodes INTEGER NOT NULL, replacement REAL NOT NULL, completeness REAL NOT NULL, subject TEXT NOT NULL,
    dictionary TEXT NOT NULL, fingerprint TEXT NOT NULL);
CREATE INDEX graphs_by_date ON graphs (date, id);
CREATE TABLE arrangements (graph TEXT PRIMARY KEY, revision INTEGER NOT NULL, value TEXT NOT NULL, date TEXT NOT NULL);
CREATE TABLE results (id TEXT PRIMARY KEY, kind TEXT NOT NULL, date TEXT NOT NULL, graph TEXT, job TEXT NOT NULL);
CREATE TABLE atlases (id TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, date TEXT NOT NULL);
"""
_ENTRY = "id, date, origin, prompt, tokens, top, n_nodes, replacement, completeness, subject, dictionary, fingerprint"
_OF_GRAPH = {"graphs": "id", "arrangements": "graph", "results": "graph"}  # tables, and which column names a graph


class Workspace:
    """An open folder; several threads may share it. FileError when it cannot be written."""

    def __init__(self, folder: Path | str, fingerprint: str, *, name: str = "") -> None:
        """Open it, or make it; labels are those of the dictionary with this fingerprint."""
        self.folder, self.fingerprint = Path(folder), fingerprint
        self._lock = threading.RLock()
        if self.folder.exists() and not self.folder.is_dir():
            raise FileError(f"the workspace {self.folder} is a file: give a folder")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"cannot make the workspace {self.folder}: {error.strerror or error}") from error
        self._bin = Bin(self.folder / "removed")
        self._opened = files.open_database(self.folder / INDEX, ENVELOPE, tables=_TABLES)
        try:
            with self._write():  # a folder that can only be read is refused now, and not when something is lost
                pass
            self.labels = LabelStore(self.folder / LABELS, fingerprint, name=name)
        except BaseException:
            self._opened.close()
            raise

    def close(self) -> None:
        self._bin.close()
        self.labels.close()
        with self._lock:
            self._opened.close()

    # --- graphs -------------------------------------------------------------------------------------------------

    def keep(self, graph: Graph, origin: str) -> str:
        """Keep a graph; returns its id once it is on the disk."""
        found, scores = secrets.token_hex(8), graph.scores()
        top = [[t.label, t.probability] for t in graph.targets[:1]]
        row = (
            found, now(), origin, graph.prompt, json.dumps(graph.tokens), json.dumps(top[0]) if top else None,
            graph.n_nodes, scores.replacement, scores.completeness, graph.subject, graph.dictionary,
            graph.dictionary_fingerprint,
        )  # fmt: skip
        graph.save(self._graph_path(found))
        try:
            with self._write() as write:
                write(f"INSERT INTO graphs ({_ENTRY}) VALUES ({', '.join('?' * len(row))})", row)
        except BaseException:
            self._graph_path(found).unlink(missing_ok=True)
            raise
        return found

    def load(self, graph: str) -> Graph:
        """NotFoundError when there is none of this id."""
        return Graph.load(self._graph_path(self._known(graph)))

    def content(self, graph: str) -> bytes:
        """A graph's file as it is."""
        return files.read_bytes(self._graph_path(self._known(graph)))

    @contextmanager
    def taken_in(self, content: bytes) -> Iterator[Path]:
        """What came from elsewhere as a file, for as long as it is looked at."""
        path = self.folder / "graphs" / f".{secrets.token_hex(8)}.incoming"
        files.write_bytes(path, content)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def remove(self, graph: str) -> None:
        """A graph, its arrangement, and results made of it; `restore` brings them back while this server runs."""
        known, rows = self._known(graph), dict[str, Rows]()
        with self._write() as write:
            for table, key in _OF_GRAPH.items():
                rows[table] = write(f"SELECT * FROM {table} WHERE {key} = ?", (known,)).fetchall()
                write(f"DELETE FROM {table} WHERE {key} = ?", (known,))
        path = self._graph_path(known)
        try:
            self._bin.put(known, Removed(path, rows))
        except OSError:  # a disk on which nothing can be moved: the graph is gone all the same
            path.unlink(missing_ok=True)

    def restore(self, graph: str) -> GraphEntry:
        """Bring back a graph that this server has removed; NotFoundError when there is none of this id."""
        removed = self._bin.take(graph)
        if removed is None:
            raise NotFoundError(f"no graph {graph[:60]!r} was removed here lately: nothing to bring back")
        try:
            with self._write() as write:
                for table, rows in removed.rows.items():
                    for row in rows:
                        write(f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(row))})", tuple(row))
        except BaseException:
            self._bin.put(graph, removed)
            raise
        return self.entry(graph)

    def entry(self, graph: str) -> GraphEntry:
        """What the index says of a graph."""
        rows = self._read(f"SELECT {_ENTRY} FROM graphs WHERE id = ?", (graph,))
        if not rows:
            raise NotFoundError(f"there is no graph {graph[:60]!r} in this workspace")
        return self._entry(rows[0])

    def history(self, offset: int, limit: int) -> tuple[int, list[GraphEntry]]:
        """How many graphs there are, and some of them, the latest first."""
        query = f"SELECT {_ENTRY} FROM graphs ORDER BY date DESC, id LIMIT ? OFFSET ?"
        (total,) = self._read("SELECT count(*) FROM graphs", ())[0]
        return total, [self._entry(row) for row in self._read(query, (limit, offset))]

    def _entry(self, row: tuple[Any, ...]) -> GraphEntry:
        id, date, origin, prompt, tokens, top, n_nodes, replacement, completeness, subject, dictionary, mark = row
        first = json.loads(top) if top else None
        return GraphEntry(
            id=id,
            prompt=prompt,
            tokens=json.loads(tokens),
            date=date,
            top=None if first is None else Output(label=first[0], probability=first[1]),
            n_nodes=n_nodes,
            scores=ScorePair(replacement=replacement, completeness=completeness),
            subject=subject,
            dictionary=dictionary,
            of_kit=mark == self.fingerprint,
            origin=origin,
        )

    def _known(self, graph: str) -> str:
        """The id as the index has it, which alone is ever part of a path."""
        return self.entry(graph).id

    def _graph_path(self, known: str) -> Path:
        return self.folder / "graphs" / f"{known}.graph"

    # --- arrangements -------------------------------------------------------------------------------------------

    def arrangement(self, graph: str) -> Arrangement:
        """The newest; an empty one of revision 0 when nobody has arranged anything."""
        known = self._known(graph)
        rows = self._read("SELECT revision, value FROM arrangements WHERE graph = ?", (known,))
        if not rows:
            start = Thresholds(node=0.8, edge=0.98)
            return Arrangement(revision=0, pins=[], groups=[], positions={}, thresholds=start)
        revision, value = rows[0]
        return Arrangement.model_validate_json(value).model_copy(update={"revision": revision})

    def arrange(self, graph: str, changed: Arrangement) -> tuple[bool, Arrangement]:
        """Keep an arrangement made of the newest one; whether it was kept, and what is the newest now."""
        known = self._known(graph)
        with self._write() as write:
            found = write("SELECT revision FROM arrangements WHERE graph = ?", (known,)).fetchone()
            kept = (found[0] if found else 0) == changed.revision
            if kept:
                changed = changed.model_copy(update={"revision": changed.revision + 1})
                row = (known, changed.revision, changed.model_dump_json(), now())
                write("INSERT OR REPLACE INTO arrangements (graph, revision, value, date) VALUES (?, ?, ?, ?)", row)
        return kept, changed if kept else self.arrangement(known)

    # --- results ------------------------------------------------------------------------------------------------

    def keep_result(self, job: Job) -> None:
        """Keep what a job came to."""
        graph = getattr(job.result, "graph", None)
        with self._write() as write:
            row = (job.id, job.kind, job.date, graph, job.model_dump_json())
            write("INSERT OR REPLACE INTO results (id, kind, date, graph, job) VALUES (?, ?, ?, ?, ?)", row)

    def result(self, job: str) -> Job:
        """A job that was done some time; NotFoundError when there is none."""
        rows = self._read("SELECT job FROM results WHERE id = ?", (job,))
        if not rows:
            raise NotFoundError(f"there is no job {job[:60]!r}")
        try:
            return Job.model_validate_json(rows[0][0])
        except ValidationError as error:
            raise NotFoundError(f"job {job[:60]!r} was kept by another version of clew: ask for it again") from error

    # --- atlases ------------------------------------------------------------------------------------------------

    def new_atlas(self) -> tuple[str, Path]:
        """An id, and where the atlas may be written."""
        found = secrets.token_hex(8)
        return found, self._atlas_path(found)

    def keep_atlas(self, made: str) -> None:
        """An atlas of this dictionary is written."""
        with self._write() as write:
            row = (made, self.fingerprint, now())
            write("INSERT INTO atlases (id, fingerprint, date) VALUES (?, ?, ?)", row)

    def drop_atlas(self, made: str) -> None:
        """Remove what a harvest that was ended has left."""
        for left in (self.folder / "atlases").glob(f"*{made}*"):
            left.unlink(missing_ok=True)

    def atlas(self) -> Path | None:
        """The latest atlas of this dictionary that was harvested here."""
        query = "SELECT id FROM atlases WHERE fingerprint = ? ORDER BY date DESC LIMIT 1"
        rows = self._read(query, (self.fingerprint,))
        path = self._atlas_path(rows[0][0]) if rows else None
        return path if path is not None and path.is_file() else None

    def _atlas_path(self, known: str) -> Path:
        return self.folder / "atlases" / f"{known}.sqlite"

    # --- the index ----------------------------------------------------------------------------------------------

    def _read(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        with self._lock, files.database_errors(self.folder / INDEX):
            return self._opened.execute(query, values).fetchall()

    @contextmanager
    def _write(self) -> Iterator[Any]:
        """One transaction: all of the block is kept, or nothing."""
        with self._lock, files.transaction(self._opened, self.folder / INDEX) as write:
            yield write
