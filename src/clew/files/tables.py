"""Tables as Parquet and CSV files, and pictures as PNG."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clew.errors import FileError, InputError
from clew.files.atomic import replace_file, write_bytes, write_text
from clew.files.origin import SOFTWARE

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_table(path: Path | str, columns: Mapping[str, list[Any]], note: Mapping[str, str] | None = None) -> None:
    """Write a Parquet file atomically, one column a name; `note` is kept in its metadata."""
    import pyarrow
    from pyarrow import parquet

    whole = pyarrow.table(dict(columns)).replace_schema_metadata(dict(note or {}))
    replace_file(Path(path), lambda temporary: parquet.write_table(whole, temporary))


def write_csv(path: Path | str, columns: Mapping[str, list[Any]]) -> None:
    """Write a CSV file atomically, in UTF-8: the columns' names, then a row a line; an empty cell for None."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    write_text(path, text.getvalue())


def read_table(path: Path | str) -> dict[str, list[Any]]:
    """Read a whole Parquet file by column; FileError when it is missing, truncated or none."""
    with _parquet(path) as opened:
        return opened.read().to_pydict()


def table_note(path: Path | str) -> dict[str, str]:
    """The string metadata of a Parquet file; FileError as for `read_table`."""
    with _parquet(path) as opened:
        return {key.decode(): value.decode() for key, value in (opened.schema_arrow.metadata or {}).items()}


def parquet_rows(path: Path | str, columns: Sequence[str], *, optional: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield some columns of a Parquet file row by row, a block of rows in memory at a time.

    InputError when one of `columns` is not there; the `optional` ones are left out where they are not.
    """
    with _parquet(path) as opened:
        names = opened.schema_arrow.names
        for column in columns:
            if column not in names:
                raise InputError(f"{path} has no column {column!r}: there are {', '.join(names)}")
        chosen = [*columns, *(column for column in optional if column in names and column not in columns)]
        for block in opened.iter_batches(columns=chosen):
            yield from block.to_pylist()


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
    except UnicodeDecodeError as error:
        raise FileError(f"{path} holds text that is not UTF-8 ({error.reason})") from error
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error


def write_figure(path: Path | str, figure: "Figure") -> None:
    """Write a picture atomically as PNG."""
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=150, metadata={"Software": SOFTWARE})
    write_bytes(path, drawn.getvalue())
