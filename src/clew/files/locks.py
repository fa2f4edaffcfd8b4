"""One writer at a time: a lock on a folder or a file, which ends with the process that holds it.

The lock is the operating system's (flock; on Windows a locked byte) and lies on a small hidden file that says which
process holds it. A holder that is killed lets go at once; the hidden file that it leaves locks nothing. Who only reads
takes no lock. On a file system without locks every process gets it.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clew.errors import FileError

LOCK = ".lock"
_BYTE = 1 << 20  # the byte that Windows locks lies behind the text, which others may then read


@contextmanager
def lock_folder(folder: Path | str, doing: str) -> Iterator[None]:
    """Hold a folder for this process while the block lasts; it is made where it is missing, and goes again if it
    stays empty.

    FileError when another holds it, naming that process and what it is doing there: `doing`, as in "training".
    """
    folder = Path(folder)
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot write {folder}: {error.strerror or error}") from error
    try:
        with _locked(folder / LOCK, folder, doing):
            yield
    finally:
        for path in missing:
            with suppress(OSError):  # not empty: the block has written something
                path.rmdir()


@contextmanager
def lock_file(path: Path | str, doing: str) -> Iterator[None]:
    """Hold the name of a file, or of a folder that is replaced as a whole, by a lock beside it; as `lock_folder`."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror or error}") from error
    with _locked(path.with_name(f".{path.name}{LOCK}"), path, doing):
        yield


@contextmanager
def _locked(lock: Path, path: Path, doing: str) -> Iterator[None]:
    try:
        descriptor = acquire(lock)
    except OSError as error:
        raise FileError(f"cannot write {lock}: {error.strerror or error}") from error
    if descriptor is None:
        raise FileError(f"{path} is in use by {_holder(lock)}: wait until it has ended, or end it")
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, json.dumps({"pid": os.getpid(), "host": platform.node(), "doing": doing}).encode())
        yield
    finally:
        release(descriptor, lock)


def acquire(lock: Path) -> int | None:
    """An open file that holds a lock, for `release`; None while another process, or another block of this one, does.

    OSError when it cannot be written.
    """
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        if not _try_lock(descriptor):
            os.close(descriptor)
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), lock.stat()):
                return descriptor
        os.close(descriptor)  # whoever held it removed the file between the two calls: take a new one


def release(descriptor: int, lock: Path) -> None:
    """Let a lock go, and remove its file."""
    if sys.platform == "win32":
        os.close(descriptor)  # Windows removes no file that is open
        with suppress(OSError):
            lock.unlink()
        return
    with suppress(OSError):
        lock.unlink()  # while it is still held, so that nobody's lock but this is removed
    os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    """Lock an open file unless another has it."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, _BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _holder(lock: Path) -> str:
    """The process that holds a lock and what it does, as far as the file says so."""
    try:
        about = json.loads(lock.read_text())
        where = "" if about["host"] == platform.node() else f" of {about['host']}"
        return f"process {int(about['pid'])}{where} ({about['doing']})"
    except (OSError, ValueError, KeyError, TypeError):  # it has only just begun, or ended
        return "another process"
