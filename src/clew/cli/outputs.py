"""The files that a command writes: refused before its work begins when one would destroy what is not this command's.

A file that is there is written again when it is of the same kind and Clew made it, or with --replace. Two outputs, or
an output and an input, never share a name, whichever way it is written.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated

import typer

from clew import files
from clew.errors import FileError, InputError

ReplaceOption = Annotated[
    bool, typer.Option("--replace", help="Write over files of those names that are not this command's own.")
]


@dataclass(frozen=True)
class OutputFile:
    """A file that is to be written."""

    flag: str
    """The option that names it."""
    path: Path
    kind: str | None
    """What is written, as `clew.files.kind_of` says it; None where a file that is there may be replaced."""


def check_outputs(
    outputs: Sequence[OutputFile], *, replace: bool = False, inputs: Sequence[tuple[str, Path | None]] = ()
) -> None:
    """InputError when two names are one, FileError when a file cannot be written or is not to be replaced."""
    for one, other in combinations(outputs, 2):
        if _same(one.path, other.path):
            raise InputError(f"{one.flag} and {other.flag} both write {other.path}: give them two names")
    for output in outputs:
        for flag, path in inputs:
            if path is not None and _same(output.path, path):
                raise InputError(f"{output.flag} would write over {path}, which {flag} reads: give it another name")
        _check(output, replace)


def _check(output: OutputFile, replace: bool) -> None:
    path = output.path
    if path.is_dir():
        raise FileError(f"{output.flag} names {path}, which is a folder: give the name of a file")
    if path.exists() and not replace and output.kind not in (None, files.kind_of(path)):
        raise FileError(
            f"{path} is there already and was not written by {output.flag}: it is left as it is, give another name or "
            "--replace"
        )
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise FileError(f"cannot write {path}: {folder} is no folder that can be written")


def _same(path: Path, other: Path) -> bool:
    """Whether two names are one file, here or where upper and lower case are the same."""
    if path.exists() and other.exists() and path.samefile(other):
        return True
    return str(path.resolve()).casefold() == str(other.resolve()).casefold()
