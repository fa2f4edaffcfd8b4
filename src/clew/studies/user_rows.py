"""Tables that a user writes for a study: CSV, or TSV by its name, whose first line names the columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clew import files
from clew.errors import FileError


@dataclass(frozen=True, kw_only=True)
class UserRow:
    """One row: the line in which it ends, and its cells by column, without spaces around them."""

    line: int
    cells: Mapping[str, str]


def read_rows(path: Path | str, columns: Sequence[str], *, optional: Sequence[str] = ()) -> list[UserRow]:
    """The rows of a user's table, with cells of `columns`, and of the `optional` ones where there are any.

    FileError, naming the line, for a file that is empty or no table, lacks a column or has one twice, and for a row
    with too many or too few cells or an empty one in `columns`.
    """
    delimiter = "\t" if files.ending(path) == ".tsv" else ","
    names = _names(path, columns, delimiter)
    rows = []
    for line, cells in files.numbered_rows(path, delimiter):
        count = sum(cell is not None for name, cell in cells.items() if name) + len(cells.get("", ()))
        if count != len(names):
            raise FileError(f"line {line} of {path} has {count} cells, its first line has {len(names)} names")
        kept = {name.strip(): str(cell).strip() for name, cell in cells.items()}
        if empty := [name for name in columns if not kept[name]]:
            raise FileError(
                f"line {line} of {path} has nothing in the column {empty[0]!r}: fill it, or remove the line"
            )
        rows.append(UserRow(line=line, cells={name: kept[name] for name in (*columns, *optional) if name in kept}))
    if not rows:
        raise FileError(f"{path} has names in its first line and nothing below them: write one row a line")
    return rows


def _names(path: Path | str, columns: Sequence[str], delimiter: str) -> list[str]:
    """The names in the first line that holds something."""
    first = next((line for line in files.lines(path) if line.strip()), None)
    wanted = ", ".join(columns)
    if first is None:
        raise FileError(f"{path} is empty: its first line must hold the names {wanted}")
    names = [name.strip().strip('"').strip() for name in first.split(delimiter)]
    if missing := [name for name in columns if name not in names]:
        raise FileError(
            f"line 1 of {path} has no column {missing[0]!r}: it holds {', '.join(map(repr, names))}, and {wanted} are "
            "needed"
        )
    if twice := [name for name in names if names.count(name) > 1]:
        raise FileError(f"line 1 of {path} has the column {twice[0]!r} twice")
    if "" in names:
        raise FileError(f"line 1 of {path} has a column without a name")
    return names
