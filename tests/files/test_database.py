"""A database keeps all of a transaction or nothing, and is open for the next one after a failure."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from clew import files
from clew.errors import FileError

ENVELOPE = files.Envelope(format="test.notes", schema=1, what="notes", mark=b"Note")
TABLE = "CREATE TABLE notes (text TEXT NOT NULL UNIQUE)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notes.sqlite"


@pytest.fixture
def database(path: Path) -> Iterator[sqlite3.Connection]:
    opened = files.open_database(path, ENVELOPE, tables=TABLE)
    yield opened
    opened.close()


def notes(opened: sqlite3.Connection) -> list[str]:
    return [text for (text,) in opened.execute("SELECT text FROM notes ORDER BY text")]


def write(opened: sqlite3.Connection, path: Path, *texts: str, fail: Exception | None = None) -> None:
    with files.transaction(opened, path) as execute:
        for text in texts:
            execute("INSERT INTO notes VALUES (?)", (text,))
        if fail is not None:
            raise fail


def test_nothing_of_a_block_that_fails_is_kept_and_the_next_one_is(database: sqlite3.Connection, path: Path) -> None:
    write(database, path, "before")
    with pytest.raises(KeyError):
        write(database, path, "first", "second", fail=KeyError("a bug in the block"))
    assert not database.in_transaction
    write(database, path, "after")
    reader = files.open_database(path, ENVELOPE, tables=TABLE)
    assert notes(reader) == notes(database) == ["after", "before"]
    reader.close()


def test_a_statement_that_fails_undoes_those_before_it_and_names_the_file(
    database: sqlite3.Connection, path: Path
) -> None:
    with pytest.raises(FileError, match=r"cannot use .*notes\.sqlite as a database \(UNIQUE"):
        write(database, path, "a", "b", "a")
    assert notes(database) == []


def test_where_the_disk_is_full_that_is_what_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clew.files.database.free_bytes", lambda path: 4096)
    with pytest.raises(FileError, match=r"the disk of .*notes\.sqlite is full: make"), files.database_errors(path):
        raise sqlite3.OperationalError("disk I/O error")  # as SQLite says of the file it maps
    with pytest.raises(FileError, match="UNIQUE"), files.database_errors(path):
        raise sqlite3.IntegrityError("UNIQUE constraint failed")


def test_nobody_sees_a_block_before_its_end(database: sqlite3.Connection, path: Path) -> None:
    reader = files.open_database(path, ENVELOPE, tables=TABLE)
    with files.transaction(database, path) as execute:
        execute("INSERT INTO notes VALUES ('a')")
        assert notes(reader) == []
    assert notes(reader) == ["a"]
    reader.close()
