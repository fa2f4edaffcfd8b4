"""The label store: what people, models and heuristics call the features of a Dictionary, in one SQLite file.

The file belongs to the user, not to an atlas: rows are keyed by the Dictionary's fingerprint, so that a new harvest
leaves every label as it is, and one file serves many dictionaries. A label is a row whose text never changes: a new one
by the same author and method is another row, and the old one stays as history. Several processes may write at once;
when `add` returns, its labels are on the disk.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from itertools import groupby, islice
from pathlib import Path
from types import TracebackType
from typing import Any

from clew import files
from clew.errors import InputError
from clew.features.label import KINDS, UNCLEAR, Label, Score, now
from clew.ids import FeatureId

ENVELOPE = files.Envelope(format="clew.labels.sqlite", schema=1, what="labels", mark=b"ClLb")
_BATCH = 1000  # labels a transaction: it takes milliseconds, so that other processes can write
_LABELS_A_FEATURE = 8  # that a search reads for every hit: a feature with more that match may displace others
_MATCHES_READ = 20_000  # labels that hold the words, of which a search returns the closest: words in more are no query
_TABLES = """
CREATE TABLE dictionaries (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, name TEXT NOT NULL);
CREATE TABLE labels (
    id INTEGER PRIMARY KEY, dictionary INTEGER NOT NULL REFERENCES dictionaries, layer INTEGER NOT NULL,
    feature INTEGER NOT NULL, text TEXT NOT NULL, kind TEXT NOT NULL, author TEXT NOT NULL, method TEXT NOT NULL,
    note TEXT NOT NULL, date TEXT NOT NULL, current INTEGER NOT NULL);
CREATE INDEX labels_of_feature ON labels (dictionary, layer, feature, current);
CREATE UNIQUE INDEX one_current ON labels (dictionary, layer, feature, kind, author, method) WHERE current;
CREATE INDEX labels_of_text ON labels (dictionary, text) WHERE current;
CREATE TABLE scores (
    id INTEGER PRIMARY KEY, label INTEGER NOT NULL REFERENCES labels, test TEXT NOT NULL, judge TEXT NOT NULL,
    value REAL NOT NULL, low REAL NOT NULL, high REAL NOT NULL, "null" REAL, contexts INTEGER NOT NULL,
    date TEXT NOT NULL);
CREATE INDEX scores_of_label ON scores (label);
CREATE TABLE members (
    dictionary INTEGER NOT NULL REFERENCES dictionaries, list TEXT NOT NULL, layer INTEGER NOT NULL,
    feature INTEGER NOT NULL, date TEXT NOT NULL, PRIMARY KEY (dictionary, list, layer, feature)) WITHOUT ROWID;
CREATE TABLE answers (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, text TEXT NOT NULL, tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL, date TEXT NOT NULL) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5 (
    text, content = 'labels', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2');
CREATE TRIGGER index_words AFTER INSERT ON labels BEGIN
    INSERT INTO words (rowid, text) VALUES (new.id, new.text); END;
"""
_RANK = f"""(kind <> 'person' AND text = '{UNCLEAR}'), instr('{" ".join(KINDS)}', kind)"""
# kinds are shown in the order of KINDS, but `unclear` stands before a clear label only where a person wrote it
_SHOWN_FIRST = f"{_RANK}, date DESC, author, method, id DESC"
_COLUMNS = "layer, feature, text, kind, author, method, note, date, current, id"
_SCORES = 'SELECT test, judge, value, low, high, "null", contexts FROM scores WHERE label = ? ORDER BY id'


@dataclass(frozen=True)
class Answer:
    """The reply of a language model to one prompt, and how many tokens it cost."""

    text: str
    tokens_in: int
    tokens_out: int
    cut: bool = False
    """Whether it ends because it had as many tokens as it may have."""


class LabelStore:
    """The labels and lists of one Dictionary in a file that may hold those of others.

    Used in a `with` block or closed by hand; several threads may share it.
    """

    def __init__(self, path: Path | str, dictionary: str, *, name: str = "") -> None:
        """Open or create the file; `dictionary` is a fingerprint. FileError when it is damaged, foreign or newer."""
        self.path = Path(path)
        self.cache: dict[Any, Any] = {}
        """What searches keep in memory from one to the next."""
        self._lock = threading.RLock()
        self._opened = self._connect()
        try:
            self._dictionary = self._number(dictionary, name)
        except BaseException:
            self._opened.close()
            raise

    def close(self) -> None:
        with self._lock:
            self._opened.close()

    def __enter__(self) -> LabelStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # --- labels -----------------------------------------------------------------------------------------------

    def add(self, labels: Iterable[Label]) -> list[int]:
        """Store labels, in transactions of a thousand; returns their numbers.

        A label that the same author and method gave the feature before in the same words is not stored twice, but its
        new scores are.
        """
        rest, numbers = iter(labels), list[int]()
        while part := list(islice(rest, _BATCH)):
            with self._write() as write:
                numbers += [self._add(write, label) for label in part]
        return numbers

    def _add(self, write: Any, label: Label) -> int:
        where = "dictionary = ? AND layer = ? AND feature = ? AND kind = ? AND author = ? AND method = ?"
        group = (self._dictionary, label.feature.layer, label.feature.index, label.kind, label.author, label.method)
        same = f"SELECT id FROM labels WHERE {where} AND text = ? AND (current OR date = ?) ORDER BY current DESC"
        existing = write(same, (*group, label.text, label.date)).fetchone()
        if existing is not None:
            number = existing[0]
        else:
            newer = f"SELECT 1 FROM labels WHERE {where} AND current AND date > ?"
            current = label.current and write(newer, (*group, label.date)).fetchone() is None
            if current:
                write(f"UPDATE labels SET current = 0 WHERE {where} AND current", group)
            row = (*group, label.text, label.note, label.date, current)
            added = """INSERT INTO labels (dictionary, layer, feature, kind, author, method, text, note, date, current)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
            number = write(added, row).lastrowid
        self._score(write, number, label.scores)
        return int(number)

    def score(self, scores_of: Mapping[int, Sequence[Score]]) -> None:
        """Add scores to labels, which are given by number; InputError when there is no such label."""
        with self._write() as write:
            for label, scores in scores_of.items():
                known = write("SELECT 1 FROM labels WHERE id = ? AND dictionary = ?", (label, self._dictionary))
                if known.fetchone() is None:
                    raise InputError(f"{self.path} has no label {label} of this dictionary")
                self._score(write, label, scores)

    def _score(self, write: Any, label: int, scores: Sequence[Score]) -> None:
        for score in scores:
            if score not in _scores(write, label):
                row = (label, *astuple(score), now())
                write(
                    """INSERT INTO scores (label, test, judge, value, low, high, "null", contexts, date)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                    row,
                )

    def withdraw(self, label: int) -> None:
        """Stop showing a label, which stays in the history; InputError when there is no such label."""
        with self._write() as write:
            updated = write("UPDATE labels SET current = 0 WHERE id = ? AND dictionary = ?", (label, self._dictionary))
        if updated.rowcount == 0:
            raise InputError(f"{self.path} has no label {label} of this dictionary")

    def of(self, feature: FeatureId, *, history: bool = False) -> tuple[Label, ...]:
        """The labels of a feature, the one to show first; with `history` also those that newer ones replaced."""
        where = "dictionary = ? AND layer = ? AND feature = ?" + ("" if history else " AND current")
        values = (self._dictionary, feature.layer, feature.index)
        return tuple(self._labels(where, values, f"current DESC, {_SHOWN_FIRST}"))

    def shown(self, features: Iterable[FeatureId] | None = None) -> dict[FeatureId, Label]:
        """The label to show of every feature that has one: a person's over a model's over a heuristic's, the latest."""
        if features is not None:
            labels_of = ((feature, self.of(feature)) for feature in dict.fromkeys(features))
            return {feature: labels[0] for feature, labels in labels_of if labels}
        grouped = groupby(self.all(), key=lambda label: label.feature)
        return {feature: next(labels) for feature, labels in grouped}

    def names(self, features: Iterable[FeatureId]) -> dict[FeatureId, tuple[str, str, str]]:
        """Text, kind and author of the label to show, for features whose label is clear."""
        names: dict[FeatureId, tuple[str, str, str]] = {}
        rest = iter(dict.fromkeys(features))
        while part := list(islice(rest, _BATCH)):
            pairs = ", ".join(f"({int(f.layer)}, {int(f.index)})" for f in part)
            query = f"""SELECT layer, feature, text, kind, author FROM labels WHERE dictionary = ? AND current
                AND (layer, feature) IN (VALUES {pairs}) ORDER BY {_SHOWN_FIRST}"""
            for layer, index, *name in self._read(query, (self._dictionary,)):
                names.setdefault(FeatureId(layer, index), tuple(name))
        return {feature: name for feature, name in names.items() if name[0] != UNCLEAR}

    def all(self, *, history: bool = False) -> Iterator[Label]:
        """Every label, by feature, the one to show first; with `history` the oldest of each feature first."""
        where, order = ("1", "date, id") if history else ("current", _SHOWN_FIRST)
        query = f"SELECT {_COLUMNS} FROM labels WHERE dictionary = ? AND {where} ORDER BY layer, feature, {order}"
        with files.database_errors(self.path), closing(self._connect()) as reader:
            # its own connection: one that still reads an old state could not write after another process has
            for row in reader.execute(query, (self._dictionary,)):
                yield _label(reader.execute, row)

    def matching(self, words: str, *, limit: int = 50) -> list[Label]:
        """Labels that hold all of some words, or words that begin with them, the closest first, one a feature.

        Words without a letter or digit are searched for literally. InputError when they are blank.
        """
        terms = re.findall(r"\w+", words)
        if not words.strip():
            raise InputError("the search is empty: give words that a label holds")
        if terms:
            query = " ".join(f'"{term}"*' for term in terms)
            hits = "words CROSS JOIN labels ON labels.id = words.rowid WHERE words MATCH ?"
        else:
            query, hits = words.strip(), "labels WHERE instr(text, ?)"
        order = f"length(text), {_SHOWN_FIRST}"  # the closest label has the fewest other words
        some = f"SELECT labels.id FROM {hits} AND dictionary = ? AND current LIMIT ?"
        first = f"SELECT id FROM labels WHERE id IN ({some}) ORDER BY {order} LIMIT ?"
        values = (query, self._dictionary, _MATCHES_READ, _LABELS_A_FEATURE * limit)
        matches: dict[FeatureId, Label] = {}
        for label in self._labels(f"id IN ({first})", values, order):
            matches.setdefault(label.feature, label)
        return list(matches.values())[:limit]

    def texts(self) -> list[str]:
        """The texts of all current labels, each once."""
        query = "SELECT DISTINCT text FROM labels WHERE dictionary = ? AND current ORDER BY text"
        return [text for (text,) in self._read(query, (self._dictionary,))]

    def state(self) -> tuple[int, int]:
        """Two numbers that change when a label is added or withdrawn, by whatever process."""
        query = "SELECT (SELECT max(id) FROM labels), count(*) FROM labels WHERE dictionary = ? AND current"
        ((last, count),) = self._read(query, (self._dictionary,))
        return last or 0, count

    def with_text(self, text: str, *, limit: int = 50) -> list[Label]:
        """The current labels with exactly this text."""
        where = "id IN (SELECT id FROM labels WHERE dictionary = ? AND text = ? AND current LIMIT ?)"
        return self._labels(where, (self._dictionary, text, limit), "layer, feature")

    def _labels(self, where: str, values: tuple[Any, ...], order: str) -> list[Label]:
        query = f"SELECT {_COLUMNS} FROM labels WHERE {where} ORDER BY {order}"
        with self._lock, files.database_errors(self.path):
            read = self._opened.execute
            return [_label(read, row) for row in read(query, values).fetchall()]

    # --- lists ------------------------------------------------------------------------------------------------

    def put_in_list(self, name: str, features: Iterable[FeatureId]) -> None:
        """Put features into a named list, which exists once it holds a feature; InputError when the name is blank."""
        if not name.strip():
            raise InputError("a list needs a name")
        rows = [(self._dictionary, name, feature.layer, feature.index, now()) for feature in features]
        with self._write() as write:
            for row in rows:
                write("INSERT OR IGNORE INTO members VALUES (?, ?, ?, ?, ?)", row)

    def take_from_list(self, name: str, features: Iterable[FeatureId]) -> None:
        """Take features out of a list, which is gone when it holds none."""
        rows = [(self._dictionary, name, feature.layer, feature.index) for feature in features]
        with self._write() as write:
            for row in rows:
                write("DELETE FROM members WHERE dictionary = ? AND list = ? AND layer = ? AND feature = ?", row)

    def lists(self) -> dict[str, tuple[FeatureId, ...]]:
        """Every list with its features in order."""
        query = "SELECT list, layer, feature FROM members WHERE dictionary = ? ORDER BY list, layer, feature"
        rows = self._read(query, (self._dictionary,))
        grouped = groupby(rows, key=lambda row: row[0])
        return {name: tuple(FeatureId(layer, index) for _, layer, index in members) for name, members in grouped}

    # --- answers of language models -----------------------------------------------------------------------------

    def answer(self, key: str) -> Answer | None:
        """The stored answer to a prompt; None when it was never asked."""
        rows = self._read("SELECT text, tokens_in, tokens_out FROM answers WHERE key = ?", (key,))
        return Answer(*rows[0]) if rows else None

    def keep_answer(self, key: str, model: str, answer: Answer) -> None:
        """Store what a model said, so that the same prompt is not paid for twice."""
        row = (key, model, answer.text, answer.tokens_in, answer.tokens_out, now())
        with self._write() as write:
            write("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)", row)

    # --- the file -----------------------------------------------------------------------------------------------

    def _number(self, dictionary: str, name: str) -> int:
        """The number of a dictionary, given to it where it has none; 0, which none has, if nothing can be written."""
        query = "SELECT id FROM dictionaries WHERE fingerprint = ?"
        if (rows := self._read(query, (dictionary,))) or files.read_only(self.path):
            return int(rows[0][0]) if rows else 0
        with self._write() as write:
            write("INSERT OR IGNORE INTO dictionaries (fingerprint, name) VALUES (?, ?)", (dictionary, name))
            return int(write(query, (dictionary,)).fetchone()[0])

    def _connect(self) -> sqlite3.Connection:
        return files.open_database(self.path, ENVELOPE, tables=_TABLES)

    def _read(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        with self._lock, files.database_errors(self.path):
            return self._opened.execute(query, values).fetchall()

    @contextmanager
    def _write(self) -> Iterator[Any]:
        """One transaction: all of the block is written, or nothing."""
        with self._lock, files.transaction(self._opened, self.path) as write:
            yield write


def _label(read: Callable[..., sqlite3.Cursor], row: tuple[Any, ...]) -> Label:
    layer, index, text, kind, author, method, note, date, current, number = row
    return Label(
        feature=FeatureId(layer, index),
        text=text,
        kind=kind,
        author=author,
        method=method,
        note=note,
        date=date,
        scores=_scores(read, number),
        current=bool(current),
        id=number,
    )


def _scores(read: Callable[..., sqlite3.Cursor], label: int) -> tuple[Score, ...]:
    """The latest score of every test and judge."""
    latest: dict[tuple[str, str], Score] = {}
    for test, judge, value, low, high, null, contexts in read(_SCORES, (label,)):
        latest.pop((test, judge), None)
        latest[test, judge] = Score(
            test=test, judge=judge, value=value, low=low, high=high, null=null, contexts=contexts
        )
    return tuple(latest.values())
