"""The only module that opens files.

Writes are atomic: a temporary file beside the target, flushed to disk, renamed over it. A reader sees the old file or
the new one, never a part. Tensors are safetensors, mapped into memory; tables are Parquet; everything else is JSON,
text or a picture. What many write at once is SQLite.
"""

import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from clew.errors import FileError, InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PACKAGES = ("clew-interp", "torch", "transformers", "tokenizers", "safetensors", "numpy")


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write a whole file atomically, creating its folder."""
    _replace(Path(path), lambda temporary: temporary.write_bytes(content))


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


def save_tensors(path: Path | str, tensors: Mapping[str, Tensor], note: Mapping[str, str] | None = None) -> None:
    """Write one safetensors file atomically, without a copy in memory; `note` is its string metadata."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    whole: dict[str, Tensor] = {}
    stored: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        start = plain.untyped_storage().data_ptr()
        whole[name] = plain.clone() if start in stored else plain  # the format refuses tensors that share memory
        stored.add(start)

    def write(temporary: Path) -> None:
        try:
            save_file(whole, str(temporary), metadata=dict(note or {}))
        except SafetensorError as error:  # it says so when the disk is full
            raise FileError(f"cannot write {path}: {error}") from error

    _replace(Path(path), write)


def clear_temporaries(path: Path | str) -> None:
    """Remove what writers of a file that were killed have left beside it."""
    for left in Path(path).parent.glob(f".{Path(path).name}.????????"):
        shutil.rmtree(left, ignore_errors=True)


def load_tensors(path: Path | str, names: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Map the tensors of one safetensors file, or those named; pages are read when touched.

    FileError when it is truncated or foreign, or lacks one.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileError(f"cannot read {path}: no such file")
    try:
        with safe_open(str(path), framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in (opened.keys() if names is None else names)}
    except (SafetensorError, OSError, ValueError) as error:
        raise FileError(f"{path} is not a whole safetensors file ({error})") from error


def load_note(path: Path | str) -> dict[str, str]:
    """The string metadata of one safetensors file."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileError(f"cannot read {path}: no such file")
    try:
        with safe_open(str(path), framework="pt") as opened:
            return dict(opened.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise FileError(f"{path} is not a whole safetensors file ({error})") from error


def write_table(path: Path | str, columns: Mapping[str, list[Any]], note: Mapping[str, str] | None = None) -> None:
    """Write a Parquet file atomically, one column a name; `note` is kept in its metadata."""
    import pyarrow
    from pyarrow import parquet

    whole = pyarrow.table(dict(columns)).replace_schema_metadata(dict(note or {}))
    _replace(Path(path), lambda temporary: parquet.write_table(whole, temporary))


def read_table(path: Path | str) -> dict[str, list[Any]]:
    """Read a whole Parquet file by column; FileError when it is missing, truncated or none."""
    with _parquet(path) as opened:
        return opened.read().to_pydict()


def parquet_column(path: Path | str, column: str) -> Iterator[Any]:
    """Yield one column of a Parquet file, a block of rows in memory at a time; InputError when there is none."""
    with _parquet(path) as opened:
        names = opened.schema_arrow.names
        if column not in names:
            raise InputError(f"{path} has no column {column!r}: there are {', '.join(names)}")
        for block in opened.iter_batches(columns=[column]):
            yield from block.column(0).to_pylist()


@contextmanager
def _parquet(path: Path | str) -> Iterator[Any]:
    from pyarrow import ArrowInvalid, parquet

    if not Path(path).is_file():
        raise FileError(f"cannot read {path}: no such file")
    try:
        with parquet.ParquetFile(str(path)) as opened:
            yield opened
    except ArrowInvalid as error:
        raise FileError(f"{path} is not a whole Parquet file ({str(error).splitlines()[0]})") from error
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error


def open_database(path: Path | str, *, what: str, mark: bytes, schema: int, tables: str) -> sqlite3.Connection:
    """A SQLite file that several processes may read and write at once, made with `tables` when there is none.

    `what` names its kind in messages, four bytes `mark` tell it from other SQLite files. A write waits half a minute
    for another's, and what is committed is on the disk. The connection commits each statement unless told BEGIN, and
    may be used by several threads in turn. FileError when the file is truncated, foreign or of a newer schema.
    """
    path = Path(path)
    if not path.exists():
        _new_database(path, mark, schema, tables)
    with database_errors(path):
        if path.stat().st_size < 512:
            raise FileError(f"{path} has {path.stat().st_size} bytes: it is a truncated file of {what}, or none")
        where = path.absolute().as_uri() + "?mode=rw"
        opened = sqlite3.connect(where, uri=True, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            (found,), (version,) = (opened.execute(f"PRAGMA {name}").fetchone() for name in _DATABASE_HEAD)
            if found != int.from_bytes(mark):
                raise FileError(f"{path} is not a file of {what}: another program made it")
            if version > schema:
                raise FileError(f"{path} has schema {version}, this program reads up to {schema}: upgrade clew")
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
def new_database(path: Path | str, *, mark: bytes, schema: int, tables: str) -> Iterator[sqlite3.Connection]:
    """A SQLite file to fill in this block, in place only when it ends without an error; `read_database` opens it."""
    with database_errors(path), _replacing(Path(path)) as temporary:
        made = sqlite3.connect(temporary, isolation_level=None)
        try:
            made.executescript(
                "PRAGMA page_size=1024; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
                f"PRAGMA application_id={int.from_bytes(mark)}; PRAGMA user_version={schema}; {tables}; BEGIN;"
            )
            yield made
            made.execute("COMMIT")
        finally:
            made.close()


def read_database(path: Path | str, *, what: str, mark: bytes, schema: int) -> sqlite3.Connection:
    """A SQLite file that nobody will change, to be read only, by several threads in turn.

    FileError when it is missing, truncated, foreign or of a newer schema.
    """
    path = Path(path)
    with database_errors(path):
        if not path.is_file():
            raise FileError(f"cannot read {path}: no such file")
        with path.open("rb") as begun:
            head = begun.read(100)
        if len(head) < 100 or not head.startswith(b"SQLite format 3\0") or head[68:72] != mark:
            raise FileError(f"{path} is not a file of {what}: it is truncated, or another program made it")
        if (version := int.from_bytes(head[60:64])) > schema:
            raise FileError(f"{path} has schema {version}, this program reads up to {schema}: upgrade clew")
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
        raise FileError(f"cannot use {path} as a database ({error})") from error


_DATABASE_HEAD = ("application_id", "user_version")
_WRITE_AHEAD = 2  # bytes 18 and 19 of a SQLite file: its journal is a write-ahead log


def _new_database(path: Path, mark: bytes, schema: int, tables: str) -> None:
    """Make it in memory, then put it there whole, unless another process was faster."""
    made = sqlite3.connect(":memory:")
    made.executescript(f"PRAGMA application_id={int.from_bytes(mark)}; PRAGMA user_version={schema}; {tables}")
    content = bytearray(made.serialize())
    made.close()
    content[18:20] = bytes([_WRITE_AHEAD] * 2)
    with _beside(path) as whole:
        whole.write_bytes(bytes(content))
        _keep(whole)
        with suppress(FileExistsError):
            os.link(whole, path)


def write_figure(path: Path | str, figure: "Figure") -> None:
    """Write a picture atomically as PNG."""
    from io import BytesIO

    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=150)
    write_bytes(path, drawn.getvalue())


def free_bytes(path: Path | str) -> int:
    """Bytes that can still be written where `path` is or would be."""
    here = Path(path).absolute()
    while not here.exists():
        here = here.parent
    return shutil.disk_usage(here).free


def sha256(path: Path | str) -> str:
    """Hexadecimal SHA-256 of a file's content."""
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
    with _beside(target) as new:
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


def provenance(**facts: Any) -> dict[str, Any]:
    """What a written file says of its origin: package versions, the git commit where there is one, and `facts`."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"packages": versions, "git_commit": _git_commit(), **facts}


def _git_commit() -> str | None:
    here = Path(__file__).resolve().parent
    if not (here.parents[1] / ".git").exists():
        return None
    command = ["git", "-C", str(here), "rev-parse", "HEAD"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    with _replacing(path) as temporary:
        write(temporary)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary file near `path` that takes its place when the block ends without an error."""
    with _beside(path) as temporary:
        yield temporary
        _keep(temporary)
        temporary.replace(path)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
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


def _keep(written: Path) -> None:
    """Let everyone read a file, and wait until it is on the disk."""
    written.chmod(0o644)
    with written.open("rb") as opened:
        os.fsync(opened.fileno())
