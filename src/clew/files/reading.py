"""Text that people and other programs wrote: UTF-8, with a byte order mark or without, plain or compressed.

A Windows program puts a byte order mark before the text and `\\r\\n` behind its lines; corpora come as .gz and .zst.
What is compressed is known by its first bytes, whatever its name. What is no text is refused by file, line and byte:
bytes that are no UTF-8, and half characters (lone surrogates), which JSON can write and no tokenizer takes.
"""

import csv
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from clew.errors import FileError

_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_COMPRESSED = (".gz", ".zst")
_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")  # half a character of JSON, or a half of a pair
_LONGEST_CELL = min(sys.maxsize, 2**31 - 1)  # the most that the csv module takes on every platform


def ending(path: Path | str) -> str:
    """What a name ends in, in lower case, behind which `.gz` and `.zst` do not count: `.jsonl` of `Text.JSONL.gz`."""
    *_, last = ("", *(s for suffix in Path(path).suffixes if (s := suffix.lower()) not in _COMPRESSED))
    return last


def lines(path: Path | str) -> Iterator[str]:
    """Yield the lines of a text file without their ends, one at a time.

    FileError when it cannot be read, or, with line and byte, when it is not UTF-8.
    """
    number = 0
    for raw in byte_lines(path):
        text = raw.decode() if raw.isascii() else _decoded(raw, path, number + 1)
        for line in text.split("\r"):
            number += 1
            yield line


def read_text(path: Path | str) -> str:
    """Read a text file, line ends as they are; FileError as for `lines`."""
    with _opened(path) as stream:
        content = stream.read()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        _refuse(path, line, error.start - before.rfind(b"\n"), content[:2])


def read_json(path: Path | str) -> Any:
    """Read JSON; FileError when the file is missing, truncated or not JSON, or holds half a character."""
    text = read_text(path)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise FileError(f"{path} is not whole JSON (line {error.lineno}: {error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path} is not JSON that can be read ({error})") from error
    if _ESCAPE.search(text) is not None and (half := _half_of(value)) is not None:
        raise FileError(f"{path} holds half a character ({half}): its text was cut in the middle of one")
    return value


def json_lines(path: Path | str) -> Iterator[Any]:
    """Yield the value of every line that holds something; FileError, with the line, when one is not JSON."""
    for number, line in enumerate(lines(path), 1):
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise FileError(f"line {number} of {path} is not JSON") from error
            if _ESCAPE.search(line) is not None and (half := _half_of(value)) is not None:
                raise FileError(
                    f"line {number} of {path} holds half a character ({half}): its text was cut in the middle of one"
                )
            yield value


def table_rows(path: Path | str, delimiter: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table whose first line holds the names; cells may have any length.

    FileError when it is no table.
    """
    yield from (row for _, row in numbered_rows(path, delimiter))


def numbered_rows(path: Path | str, delimiter: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield `table_rows`, each with the line in which it ends; cells beyond the names are a list at the name "".

    FileError, with the line, when it is no table.
    """
    csv.field_size_limit(_LONGEST_CELL)  # of the whole process; Python's own limit is 131,072 characters
    reader = csv.DictReader((f"{line}\n" for line in lines(path)), restkey="", delimiter=delimiter, strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise FileError(f"{path} cannot be read as a table (line {reader.reader.line_num}: {error})") from error


def byte_lines(path: Path | str) -> Iterator[bytes]:
    """Yield the lines of a file of text as bytes, without their ends and the byte order mark, decompressed."""
    with _opened(path) as stream:
        for line in stream:
            yield line.rstrip(b"\n").removesuffix(b"\r")


def half_character(text: str) -> str | None:
    """The first half character (lone surrogate) of a text, as JSON writes it; None where all are whole."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"\\u{ord(text[error.start]):04x}"
    return None


def _half_of(value: Any) -> str | None:
    """`half_character` of all texts in a value of JSON."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            if (half := half_character(part)) is not None:
                return half
        elif isinstance(part, dict):
            waiting += (*part.keys(), *part.values())
        elif isinstance(part, list):
            waiting += part
    return None


def _decoded(raw: bytes, path: Path | str, number: int) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        _refuse(path, number, error.start + 1, raw[:2])


def _refuse(path: Path | str, line: int, byte: int, start: bytes) -> NoReturn:
    kind = "UTF-16" if start in _UTF_16 else "not UTF-8"
    raise FileError(f"{path} is {kind} (line {line}, byte {byte}): save it as UTF-8 text") from None


@contextmanager
def _opened(path: Path | str) -> Iterator[Any]:
    """A file's bytes behind its byte order mark, decompressed; FileError when it cannot be read or is damaged."""
    try:
        with Path(path).open("rb") as plain, _decompressed(plain) as stream:
            if stream.peek(3)[:3] == _BOM:
                stream.read(3)
            yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileError(f"{path} is truncated or damaged: it cannot be decompressed ({error})") from error
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error


@contextmanager
def _decompressed(plain: Any) -> Iterator[Any]:
    head = plain.peek(4)[:4]
    if head.startswith(_GZIP):
        with gzip.open(plain) as stream, io.BufferedReader(stream) as buffered:
            yield buffered
    elif head == _ZSTD:
        import pyarrow

        with pyarrow.CompressedInputStream(plain, "zstd") as stream, io.BufferedReader(stream) as buffered:
            yield buffered
    else:
        yield plain
