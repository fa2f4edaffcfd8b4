"""Files that are whole or not there: a temporary file beside the target, flushed to disk, renamed over it.

A reader sees the old file or the new one, never a part.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clew.errors import FileError
from clew.files.locks import LOCK, acquire, release

_FRESH = 60.0  # seconds in which a hidden folder without a lock may still get one


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write a whole file atomically, creating its folder."""
    replace_file(Path(path), lambda temporary: temporary.write_bytes(content))


def write_text(path: Path | str, text: str) -> None:
    """Write a whole UTF-8 text file atomically, creating its folder."""
    write_bytes(path, text.encode())


def write_json(path: Path | str, value: Any, *, indent: int | None = 1) -> None:
    """Write JSON atomically; refuses NaN and infinity, which JSON does not have."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False) + "\n")


def read_bytes(path: Path | str) -> bytes:
    """Read a whole file; FileError when it is missing or unreadable."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error


def clear_temporaries(path: Path | str) -> None:
    """Remove what writers of a file that were killed have left beside it; those that live keep theirs."""
    for folder in temporaries(Path(path)):
        clear_temporary(folder)


def temporaries(path: Path) -> list[Path]:
    """The hidden folders beside a path in which it is, or was to be, written."""
    pattern = re.escape(f".{path.name}.") + "[a-z0-9_]{8}"  # as tempfile names them
    return [left for left in path.parent.glob(".*") if re.fullmatch(pattern, left.name) and left.is_dir()]


def clear_temporary(folder: Path) -> None:
    """Remove a hidden folder unless its writer lives."""
    with suppress(OSError):
        if not (folder / LOCK).exists() and time.time() - folder.stat().st_mtime < _FRESH:
            return  # its writer may be about to lock it
        if (descriptor := acquire(folder / LOCK)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            release(descriptor, folder / LOCK)


def free_bytes(path: Path | str) -> int:
    """Bytes that can still be written where `path` is or would be."""
    here = Path(path).absolute()
    while not here.exists():
        here = here.parent
    return shutil.disk_usage(here).free


def sha256(path: Path | str) -> str:
    """Hexadecimal SHA-256 of a file's content; FileError when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    with replacing(path) as temporary:
        write(temporary)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file near `path` that takes its place when the block ends without an error."""
    with beside(path) as temporary:
        yield temporary
        settle(temporary)
        temporary.replace(path)
        sync_folder(path.parent)


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A place for a file near `path`, gone when the block ends.

    It lies in a hidden folder of its own, since a library may write through a temporary file too: a writer that is
    killed leaves this folder and nothing else. A lock in it tells that the writer lives. FileError when the block
    cannot write.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder, descriptor = _locked_temporary(path)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        yield folder / path.name
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        release(descriptor, folder / LOCK)
        with suppress(OSError):
            folder.rmdir()  # where an open file could not be removed with the rest


def _locked_temporary(path: Path) -> tuple[Path, int]:
    """A new hidden folder beside a path, and its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        with suppress(FileNotFoundError):  # taken for a dead writer's before it was locked
            if (descriptor := acquire(folder / LOCK)) is not None:
                return folder, descriptor


def settle(written: Path) -> None:
    """Let everyone read a file, and wait until it is on the disk."""
    written.chmod(0o644)
    with written.open("rb") as opened:
        os.fsync(opened.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, so that a rename outlives a loss of power."""
    if sys.platform == "win32":
        return  # which opens no folders
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # a file system that cannot: nothing more can be done there
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)
