"""Files that are whole or not there: a temporary file beside the target, flushed to disk, renamed over it.

A reader sees the old file or the new one, never a part.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clew.errors import FileError


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


def read_text(path: Path | str) -> str:
    """Read a UTF-8 text file; FileError when it is missing or is not text."""
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is not a UTF-8 text file") from error


def lines(path: Path | str) -> Iterator[str]:
    """Yield the lines of a UTF-8 text file without their ends, one at a time; FileError as for `read_text`."""
    try:
        with Path(path).open(encoding="utf-8") as opened:
            for line in opened:
                yield line.rstrip("\r\n")
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is not a UTF-8 text file") from error


def read_json(path: Path | str) -> Any:
    """Read JSON; FileError when the file is missing, truncated or not JSON."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise FileError(f"{path} is not whole JSON (line {error.lineno}: {error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path} is not JSON that can be read ({error})") from error


def clear_temporaries(path: Path | str) -> None:
    """Remove what writers of a file that were killed have left beside it."""
    for left in Path(path).parent.glob(f".{Path(path).name}.????????"):
        shutil.rmtree(left, ignore_errors=True)


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


@contextmanager
def new_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes `path` when the block ends without an error.

    A folder already at `path` is replaced only then, so that a crash leaves it whole. FileError when the block cannot
    write.
    """
    target = Path(path)
    with beside(target) as new:
        new.mkdir()
        yield new
        new.chmod(0o755)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            target.rename(old / "was")
            new.rename(target)
            shutil.rmtree(old)
        else:
            new.rename(target)


def local_folder(source: Path | str) -> Path:
    """A folder as it is, or `owner/name` (with `@revision` where wanted) from the hub or its local cache.

    FileError when there is neither.
    """
    match = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", str(source))
    if Path(source).exists() or match is None:
        return Path(source)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(match[1], revision=match[2]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise FileError(f"{source} is no folder here, and the hub gave no answer ({type(error).__name__})") from error


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


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A place for a file near `path`, gone when the block ends.

    It lies in a hidden folder of its own, since a library may write through a temporary file too: a writer that is
    killed leaves this folder and nothing else. FileError when the block cannot write.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        yield folder / path.name
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def settle(written: Path) -> None:
    """Let everyone read a file, and wait until it is on the disk."""
    written.chmod(0o644)
    with written.open("rb") as opened:
        os.fsync(opened.fileno())
