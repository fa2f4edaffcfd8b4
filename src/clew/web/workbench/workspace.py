"""A folder that keeps what a person has made: graphs, arrangements, results, labels.

labels.sqlite    labels and lists (`labels.store`), of any dictionary
bench.sqlite     the index of graphs, arrangements, results of jobs, atlases that were harvested here
graphs/          a file a graph, under its id
atlases/         harvested atlases
removed/         graphs that were removed, for a day

Ids are made here and looked up in the index, so that no text of a request ever becomes part of a path. A file is
written whole before the index names it, and leaves the index before it is removed: a server that is killed leaves at
worst a file too many, which the next one deletes. Several servers may use one workspace: all that changes is in SQLite,
and graphs never change.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clew import files
from clew.attribution.graph import Graph
from clew.errors import FileError
from clew.features.label import now
from clew.labels.store import LabelStore
from clew.web.errors import NotFoundError, disk_is_full
from clew.web.schema.graphs import Arrangement, GraphEntry, Output, ScorePair, Thresholds
from clew.web.schema.jobs import Job
from clew.web.workbench.notes import TABLE as NOTES_TABLE
from clew.web.workbench.notes import Notes, carry
from clew.web.workbench.retraced import carried
from clew.web.workbench.saved_circuits import TABLE as CIRCUITS_TABLE
from clew.web.workbench.saved_circuits import SavedCircuits
from clew.web.workbench.trash import DAY, TableRows, Trash

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
_ID = "[0-9a-f]{16}"  # of a graph or an atlas, as this module makes them
_LITTLE = 16 << 20  # bytes that are left on a disk which is as good as full
_FRESH = 600.0  # seconds in which a written file may not be in the index yet
_OF_GRAPH = {
    "graphs": "id",
    "arrangements": "graph",
    "results": "graph",
    "circuits": "graph",
    "notes": "graph",
}
"""Tables that hold something of a graph, and their column with its id."""


class Workspace:
    """An open folder. Several threads may share it.

    Methods that take the id of a graph raise NotFoundError when there is none; FileError tells of a damaged file.
    """

    def __init__(self, folder: Path | str, fingerprint: str, *, name: str = "") -> None:
        """Open the folder, or make it; labels are those of the dictionary with this fingerprint.

        FileError when it cannot be written.
        """
        self.folder, self.fingerprint = Path(folder), fingerprint
        self._lock = threading.RLock()
        if self.folder.exists() and not self.folder.is_dir():
            raise FileError(f"the workspace {self.folder} is a file: give a folder")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"cannot make the workspace {self.folder}: {error.strerror or error}") from error
        self._trash = Trash(self.folder / "removed")
        self.circuits = SavedCircuits(self._read, self._write)
        self.notes = Notes(self._read, self._write)
        self._database = files.open_database(self.folder / INDEX, ENVELOPE, tables=_TABLES)
        try:
            with self._write() as write:  # refuse a read-only folder now, before work is lost
                write(CIRCUITS_TABLE)
                write(NOTES_TABLE)
            self.labels = LabelStore(self.folder / LABELS, fingerprint, name=name)
            self._clear_unless_full()
        except BaseException:
            self._database.close()
            raise

    def _clear_unless_full(self) -> None:
        """A disk that is full is no reason not to open: what is to be removed can be removed by hand."""
        try:
            self.clear()
        except FileError as error:
            if not disk_is_full(error):
                raise

    def close(self) -> None:
        self.labels.close()
        with self._lock:
            self._database.close()

    # --- graphs -------------------------------------------------------------------------------------------------

    def keep(
        self,
        graph: Graph,
        origin: str,
        *,
        arrangement: Arrangement | None = None,
        check: Callable[[Path], object] | None = None,
    ) -> str:
        """Keep a graph, with an arrangement of it; returns its id once both are on the disk.

        `check` may look at the written file, and refuse it by an error. FileError when it cannot be written.
        """
        id, scores = secrets.token_hex(8), graph.scores()
        top = [[t.label, t.probability] for t in graph.targets[:1]]
        row = (
            id, now(), origin, graph.prompt, json.dumps(graph.tokens), json.dumps(top[0]) if top else None,
            graph.n_nodes, scores.replacement, scores.completeness, graph.subject, graph.dictionary,
            graph.dictionary_fingerprint,
        )  # fmt: skip
        path = self._graph_path(id)
        graph.save(path)
        try:
            if check is not None:
                check(path)
            with self._write() as write:
                write(f"INSERT INTO graphs ({_ENTRY}) VALUES ({', '.join('?' * len(row))})", row)
                if origin == "trace":
                    carry(write, id, (row[3], row[4], row[-1]))
                if arrangement is not None:
                    _put(write, id, arrangement.model_copy(update={"revision": 1}))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return id

    def load(self, graph: str) -> Graph:
        """The whole graph."""
        return Graph.load(self._graph_path(self._known(graph)))

    def content(self, graph: str) -> bytes:
        """The bytes of a graph's file."""
        return files.read_bytes(self._graph_path(self._known(graph)))

    @contextmanager
    def incoming(self, content: bytes) -> Iterator[Path]:
        """Bytes from elsewhere as a file, for as long as they are read."""
        path = self.folder / "graphs" / f"{secrets.token_hex(8)}.incoming"
        files.write_bytes(path, content)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def remove(self, graph: str) -> None:
        """Remove a graph, its arrangement, and its results; `restore` brings them back for a day.

        On a full disk they are deleted for good, because only that makes room.
        """
        known = self._known(graph)
        if files.free_bytes(self.folder) < _LITTLE:
            return self._delete(known)
        try:
            with self._write() as write:
                rows = _take_rows(write, known)
                if not rows["graphs"]:
                    raise NotFoundError(f"graph {known} was removed by another server meanwhile")
                self._trash.put(write, known, rows)
                dropped = self._trash.drop(write)
        except FileError as error:
            if not disk_is_full(error):
                raise
            return self._delete(known)
        self._trash.take_file(known, self._graph_path(known))
        self._delete_files(dropped)

    def _delete(self, known: str) -> None:
        """Delete a graph and the trash for good, the files first: the index cannot be written without room."""
        self._trash.empty()
        self._graph_path(known).unlink(missing_ok=True)
        with self._write() as write:
            _take_rows(write, known)
            dropped = self._trash.drop(write, keep=0)
        self._delete_files(dropped)

    def _delete_files(self, graphs: Iterable[str]) -> None:
        for graph in graphs:
            self._graph_path(graph).unlink(missing_ok=True)
            self._trash.path(graph).unlink(missing_ok=True)

    def restore(self, graph: str) -> GraphEntry:
        """Bring back a graph that a server of this workspace has removed; NotFoundError when the trash has none."""
        with self._write() as write:
            removed = self._trash.take(write, graph)
            if removed is None or not self._trash.give_file(graph, self._graph_path(graph)):
                raise NotFoundError(
                    f"no graph {graph[:60]!r} was removed here lately, or the disk was full and it was deleted for good"
                )
            for table, rows in removed.items():
                for row in rows:
                    write(f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(row))})", tuple(row))
        return self.entry(graph)

    def clear(self) -> None:
        """Delete what servers that were killed have left: temporary files, and files that the index does not name.

        Also graphs that have lost their file, which happens where a disk was full. A file that was only just written
        may be another server's, which is about to enter it.
        """
        for part in ("", "graphs", "atlases", "removed"):
            files.clear_orphans(self.folder / part)
        with self._write() as write:
            dropped = self._trash.drop(write)
            removed = self._trash.graphs(write)
            graphs = {row[0] for row in write("SELECT id FROM graphs").fetchall()}
            for graph in graphs:
                if not self._graph_path(graph).is_file():
                    _take_rows(write, graph)
            atlases = {row[0] for row in write("SELECT id FROM atlases").fetchall()}
        self._delete_files(dropped)
        for part, known in (("graphs", graphs | removed), ("removed", removed), ("atlases", atlases)):
            for path in (self.folder / part).glob("*"):
                id = path.name.partition(".")[0]
                alive = DAY if path.suffix == ".part" else _FRESH  # a harvest goes on for hours
                if re.fullmatch(_ID, id) and id not in known and time.time() - path.stat().st_mtime > alive:
                    path.unlink(missing_ok=True)

    def entry(self, graph: str) -> GraphEntry:
        """What the index holds of a graph."""
        rows = self._read(f"SELECT {_ENTRY} FROM graphs WHERE id = ?", (graph,))
        if not rows:
            raise NotFoundError(f"there is no graph {graph[:60]!r} in this workspace")
        return self._entry(rows[0])

    def history(self, offset: int, limit: int) -> tuple[int, list[GraphEntry]]:
        """How many graphs there are, and a part of them, the latest first."""
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
        """The id as the index has it: only this one becomes part of a path."""
        return self.entry(graph).id

    def _graph_path(self, known: str) -> Path:
        return self.folder / "graphs" / f"{known}.graph"

    # --- arrangements -------------------------------------------------------------------------------------------

    def arrangement(self, graph: str) -> Arrangement:
        """The newest arrangement; an empty one of revision 0 when there is none."""
        known = self._known(graph)
        rows = self._read("SELECT revision, value FROM arrangements WHERE graph = ?", (known,))
        if not rows:
            start = Thresholds(node=0.8, edge=0.98)
            return Arrangement(revision=0, pins=[], groups=[], positions={}, thresholds=start)
        revision, value = rows[0]
        return Arrangement.model_validate_json(value).model_copy(update={"revision": revision})

    def arrange(self, graph: str, changed: Arrangement) -> tuple[bool, Arrangement]:
        """Keep an arrangement if it was made from the newest one; whether it was kept, and the newest one now."""
        known = self._known(graph)
        with self._write() as write:
            newest = write("SELECT revision FROM arrangements WHERE graph = ?", (known,)).fetchone()
            is_newest = (newest[0] if newest else 0) == changed.revision
            if is_newest:
                changed = changed.model_copy(update={"revision": changed.revision + 1})
                _put(write, known, changed)
        return is_newest, changed if is_newest else self.arrangement(known)

    def earlier_arrangement(self, graph: Graph) -> Arrangement | None:
        """What was done to a graph of the same prompt and dictionary last, as far as this graph has its nodes."""
        query = """SELECT graphs.id, arrangements.value FROM graphs JOIN arrangements ON arrangements.graph = graphs.id
            WHERE prompt = ? AND tokens = ? AND fingerprint = ? ORDER BY arrangements.date DESC LIMIT 1"""
        rows = self._read(query, (graph.prompt, json.dumps(graph.tokens), graph.dictionary_fingerprint))
        if not rows:
            return None
        return carried(Arrangement.model_validate_json(rows[0][1]), self.load(rows[0][0]), graph)

    # --- results ------------------------------------------------------------------------------------------------

    def keep_result(self, job: Job) -> None:
        """Keep a job that is done, with its result."""
        graph = getattr(job.result, "graph", None)
        with self._write() as write:
            row = (job.id, job.kind, job.date, graph, job.model_dump_json())
            write("INSERT OR REPLACE INTO results (id, kind, date, graph, job) VALUES (?, ?, ?, ?, ?)", row)

    def result(self, job: str) -> Job:
        """A job that was kept; NotFoundError when there is none, or it is of a version with other fields."""
        rows = self._read("SELECT job FROM results WHERE id = ?", (job,))
        if not rows:
            raise NotFoundError(f"there is no job {job[:60]!r}")
        try:
            return Job.model_validate_json(rows[0][0])
        except ValidationError as error:
            raise NotFoundError(f"job {job[:60]!r} was kept by another version of clew: ask for it again") from error

    # --- atlases ------------------------------------------------------------------------------------------------

    def new_atlas(self) -> tuple[str, Path]:
        """A new id, and the path to which the atlas is to be written."""
        id = secrets.token_hex(8)
        return id, self._atlas_path(id)

    def keep_atlas(self, id: str) -> None:
        """Enter a written atlas of this dictionary into the index."""
        with self._write() as write:
            row = (id, self.fingerprint, now())
            write("INSERT INTO atlases (id, fingerprint, date) VALUES (?, ?, ?)", row)

    def drop_atlas(self, id: str) -> None:
        """Remove the files that a harvest has left which did not end well."""
        for path in (self.folder / "atlases").glob(f"*{id}*"):
            path.unlink(missing_ok=True)

    def atlas(self) -> Path | None:
        """The file of the latest atlas of this dictionary that was harvested here."""
        query = "SELECT id FROM atlases WHERE fingerprint = ? ORDER BY date DESC LIMIT 1"
        rows = self._read(query, (self.fingerprint,))
        path = self._atlas_path(rows[0][0]) if rows else None
        return path if path is not None and path.is_file() else None

    def _atlas_path(self, id: str) -> Path:
        return self.folder / "atlases" / f"{id}.sqlite"

    # --- the index ----------------------------------------------------------------------------------------------

    def _read(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        with self._lock, files.database_errors(self.folder / INDEX):
            return self._database.execute(query, values).fetchall()

    @contextmanager
    def _write(self) -> Iterator[Any]:
        """One transaction: all that the block writes is kept, or nothing."""
        with self._lock, files.transaction(self._database, self.folder / INDEX) as write:
            yield write


def _take_rows(write: Any, graph: str) -> TableRows:
    """Take out of the index all that it holds of a graph."""
    rows: TableRows = {}
    for table, key in _OF_GRAPH.items():
        rows[table] = [list(row) for row in write(f"SELECT * FROM {table} WHERE {key} = ?", (graph,)).fetchall()]
        write(f"DELETE FROM {table} WHERE {key} = ?", (graph,))
    return rows


def _put(write: Any, graph: str, arrangement: Arrangement) -> None:
    row = (graph, arrangement.revision, arrangement.model_dump_json(), now())
    write("INSERT OR REPLACE INTO arrangements (graph, revision, value, date) VALUES (?, ?, ?, ?)", row)
