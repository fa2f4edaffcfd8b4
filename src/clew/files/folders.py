"""Folders that are whole or not there, written beside their place and exchanged with what is there.

1. Everything is written into a hidden folder beside the target, and waited for until it is on the disk.
2. Where the system can exchange two names in one step, it does: the target is the old folder or the new one.
3. Elsewhere the old folder is moved aside and the new one takes its place. A writer that is killed between the two
   leaves both hidden; `recover`, which every reader and writer of such a folder calls, then finishes the work.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clew.errors import FileError
from clew.files.atomic import beside, clear_temporary, sync_folder, temporaries
from clew.files.locks import LOCK, acquire, release

_TEMPORARY = re.compile(r"\.(.+?)(?:\.old)?\.[a-z0-9_]{8}")
_OLD = "old"  # what a folder that is being replaced is called meanwhile
_NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.EXDEV, errno.ENOTSUP, errno.EPERM)
_PATIENCE = 2.0  # seconds that a writer has to rename a folder


@contextmanager
def new_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes `path` when the block ends without an error.

    A folder already at `path` is replaced only then, so that a crash leaves it or the new one, whole. FileError when
    the block cannot write.
    """
    target = Path(path)
    recover(target)
    for left in (*temporaries(target), *_replaced(target)):
        clear_temporary(left)
    with beside(target) as new:
        new.mkdir()
        yield new
        new.chmod(0o755)
        _settle_tree(new)
        if not target.exists():
            new.rename(target)
        elif not _exchange(new, target):
            _replace(target, new)
        sync_folder(target.parent)


def recover(path: Path | str) -> Path:
    """The same path; if a writer was killed while it replaced the folder there, the new folder is put in its place.

    Where nothing can be written, all stays as it is.
    """
    path = Path(path)
    patience = time.monotonic() + _PATIENCE
    while not path.exists() and (pending := _half_replaced(path)):
        with suppress(OSError):
            for folder in pending:
                _finish(path, folder)
        if path.exists() or time.monotonic() > patience:
            break
        time.sleep(0.01)  # a live writer is between its two renames
    return path


def names_below(folder: Path, depth: int, most: int = 20_000) -> set[str]:
    """The files in a folder and below it, as paths relative to it with forward slashes; no hidden folder is entered.

    FileError when there are more than `most`: such a folder is not what was meant.
    """
    names: set[str] = set()
    for where, below, here in os.walk(folder, followlinks=True):
        place = Path(where).relative_to(folder)
        below[:] = [name for name in below if not name.startswith(".") and len(place.parts) + 1 < depth]
        names |= {(place / name).as_posix() for name in here}
        if len(names) > most:
            raise FileError(f"{folder} holds more than {most:,} files: name the folder that is meant")
    return names


def clear_orphans(folder: Path | str) -> None:
    """Remove what writers that were killed have left in a folder, and nothing of those that live.

    For the start of a program that owns the folder; what lies below its own folders is not searched.
    """
    folder = Path(folder)
    for left in sorted(folder.glob(".*")):
        if (match := _TEMPORARY.fullmatch(left.name)) and left.is_dir():
            recover(folder / match[1])
            holds = {path.name for path in left.iterdir()} if left.is_dir() else set()
            if not holds or holds & {LOCK, match[1], _OLD, "was"}:
                clear_temporary(left)
        elif left.name.endswith(LOCK) and left.is_file():
            with suppress(OSError):
                if (descriptor := acquire(left)) is not None:
                    release(descriptor, left)


def _half_replaced(path: Path) -> list[Path]:
    """Hidden folders beside a path that hold what was there, the latest first."""
    left = [folder for folder in temporaries(path) if (folder / _OLD).is_dir()]
    left += [folder for folder in _replaced(path) if (folder / "was").is_dir()]
    return sorted(left, key=lambda folder: folder.stat().st_mtime, reverse=True)


def _replaced(path: Path) -> list[Path]:
    """Where earlier versions put a folder that they replaced."""
    return temporaries(path.with_name(f"{path.name}.old"))


def _finish(path: Path, folder: Path) -> None:
    """Do what the writer of a hidden folder did not come to; nothing while it lives."""
    descriptor = acquire(folder / LOCK)
    if descriptor is None:
        return
    try:
        for whole in (folder / path.name, folder / _OLD, folder / "was"):  # "was": a writer of an earlier version
            if whole.is_dir() and not path.exists():
                whole.rename(path)
                sync_folder(path.parent)
    finally:
        release(descriptor, folder / LOCK)
    if path.exists():
        shutil.rmtree(folder, ignore_errors=True)


def _replace(target: Path, new: Path) -> None:
    """Exchange by two renames; an error or Ctrl-C between them brings the old folder back."""
    old = new.with_name(_OLD)
    try:
        target.rename(old)
        new.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system cannot."""
    if sys.platform == "win32":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if sys.platform == "linux" and hasattr(library, "renameat2"):
        here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
        failed = library.renameat2(here, names[0], here, names[1], exchange)
    elif sys.platform == "darwin" and hasattr(library, "renamex_np"):
        failed = library.renamex_np(*names, 2)  # RENAME_SWAP
    else:
        return False
    if not failed:
        return True
    number = ctypes.get_errno()
    if number in _NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number))


def _settle_tree(folder: Path) -> None:
    """Wait until every file of a folder is on the disk, and so are their names."""
    for where, _, names in os.walk(folder):
        for name in names:
            with (Path(where) / name).open("rb") as opened:
                os.fsync(opened.fileno())
        sync_folder(Path(where))
