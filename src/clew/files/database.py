"""SQLite files: those that several processes write at once, and those that are written once and then only read."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clew.errors import FileError
from clew.files.atomic import beside, free_bytes, replacing, settle
from clew.files.envelope import Envelope

_DATABASE_HEAD = ("application_id", "user_version")


_LEAST_FREE = 1 << 18  # bytes that SQLite needs beside a database to open it
_WRITE_AHEAD = 2  # bytes 18 and 19 of a SQLite file: its journal is a write-ahead log


def open_database(path: Path | str, envelope: Envelope, *, tables: str) -> sqlite3.Connection:
    """A SQLite file that several processes may read and write at once, made with `tables` when there is none.

    A write waits half a minute for another's, and what is committed is on the disk. The connection commits each
    statement unless a transaction is begun, and may be used by several threads in turn. On a medium that cannot be
    written it is read only. FileError when the file is truncated, foreign or of a newer schema.
    """
    path = Path(path)
    if not path.exists():
        _new_database(path, envelope, tables)
    with database_errors(path):
        if path.stat().st_size < 512:
            raise FileError(
                f"{path} has {path.stat().st_size} bytes: it is a truncated file of {envelope.what}, or none"
            )
        where = path.absolute().as_uri() + _mode(path)
        opened = sqlite3.connect(where, uri=True, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            (mark,), (version,) = (opened.execute(f"PRAGMA {name}").fetchone() for name in _DATABASE_HEAD)
            if mark != int.from_bytes(envelope.mark):
                raise FileError(f"{path} is not a file of {envelope.what}: another program made it")
            envelope.check_schema(version, path)
            opened.execute("PRAGMA synchronous=FULL")
            opened.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            (page,) = opened.execute("PRAGMA page_size").fetchone()
            if path.stat().st_size % page and not path.with_name(path.name + "-wal").stat().st_size:
                raise FileError(f"{path} is truncated: its last page is not whole")
        except BaseException:
            opened.close()
            raise
    return opened


@contextmanager
def new_database(path: Path | str, envelope: Envelope, *, tables: str) -> Iterator[sqlite3.Connection]:
    """A SQLite file to fill in this block, in place only when it ends without an error; `read_database` opens it."""
    with database_errors(path), replacing(Path(path)) as temporary:
        opened = sqlite3.connect(temporary, isolation_level=None)
        try:
            opened.executescript(
                "PRAGMA page_size=1024; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
                f"{_head_of(envelope)} {tables}; BEGIN;"
            )
            yield opened
            opened.execute("COMMIT")
        finally:
            opened.close()


def read_database(path: Path | str, envelope: Envelope) -> sqlite3.Connection:
    """A SQLite file that nobody will change, to be read only, by several threads in turn.

    FileError when it is missing, truncated, foreign or of a newer schema.
    """
    path = Path(path)
    with database_errors(path):
        if not path.is_file():
            raise FileError(f"cannot read {path}: no such file")
        with path.open("rb") as begun:
            head = begun.read(100)
        if len(head) < 100 or not head.startswith(b"SQLite format 3\0") or head[68:72] != envelope.mark:
            raise FileError(f"{path} is not a file of {envelope.what}: it is truncated, or another program made it")
        envelope.check_schema(int.from_bytes(head[60:64]), path)
        page = int.from_bytes(head[16:18])
        if path.stat().st_size != int.from_bytes(head[28:32]) * (1 << 16 if page == 1 else page):
            raise FileError(f"{path} is truncated or changed: its size is not what its first page says")
        where = path.absolute().as_uri() + "?mode=ro&immutable=1"
        return sqlite3.connect(where, uri=True, isolation_level=None, check_same_thread=False)


@contextmanager
def transaction(opened: sqlite3.Connection, path: Path | str) -> Iterator[Callable[..., sqlite3.Cursor]]:
    """One transaction of a database: all of the block is kept, or nothing. Yields what executes a statement."""
    with database_errors(path):
        opened.execute("BEGIN IMMEDIATE")
        try:
            yield opened.execute
            opened.execute("COMMIT")
        except BaseException:
            if opened.in_transaction:
                opened.execute("ROLLBACK")
            raise


@contextmanager
def database_errors(path: Path | str) -> Iterator[None]:
    """Name the file, in one line, when SQLite fails in this block: FileError."""
    try:
        yield
    except (sqlite3.DatabaseError, OSError) as error:
        if isinstance(error, sqlite3.OperationalError) and free_bytes(path) < _LEAST_FREE:
            raise FileError(f"the disk of {path} is full: make a megabyte of room there, and try again") from error
        raise FileError(f"cannot use {path} as a database ({error})") from error


def read_only(path: Path | str) -> bool:
    """Whether neither a file nor anything beside it can be written."""
    return not (os.access(path, os.W_OK) or os.access(Path(path).parent, os.W_OK))


def _mode(path: Path) -> str:
    """How a database is opened: where nothing can be written, as one that nobody changes.

    SQLite would write an index of the journal beside it. A journal that was left there holds what is not in the file,
    and cannot be read without that index: then opening it is refused.
    """
    if not read_only(path):
        return "?mode=rw"
    journal = path.with_name(path.name + "-wal")
    return "?mode=ro" if journal.exists() and journal.stat().st_size else "?mode=ro&immutable=1"


def _new_database(path: Path, envelope: Envelope, tables: str) -> None:
    """Make it in memory, then put it there whole, unless another process was faster."""
    opened = sqlite3.connect(":memory:")
    opened.executescript(f"{_head_of(envelope)} {tables}")
    content = bytearray(opened.serialize())
    opened.close()
    content[18:20] = bytes([_WRITE_AHEAD] * 2)
    with beside(path) as whole:
        whole.write_bytes(bytes(content))
        settle(whole)
        with suppress(FileExistsError):
            os.link(whole, path)


def _head_of(envelope: Envelope) -> str:
    return f"PRAGMA application_id={int.from_bytes(envelope.mark)}; PRAGMA user_version={envelope.schema};"
