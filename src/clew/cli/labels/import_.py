"""`clew labels import`: add the labels of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clew.cli.atlases import AtlasOptions
from clew.cli.options import with_settings
from clew.labels.exchange import import_labels

_NAMED = 5  # broken lines that are printed


@with_settings()
def import_(
    path: Annotated[Path, typer.Argument(help="A file that `clew labels export` wrote.")],
    source: AtlasOptions,
    keep_rest: Annotated[
        bool, typer.Option("--keep-rest", help="Leave broken lines out instead of adding nothing.")
    ] = False,
) -> None:
    """Add the labels of a file; yours stay as they are.

    Example: `clew labels import theirs.jsonl`
    """
    with source.load() as atlas, source.write_labels(atlas) as store:
        imported = import_labels(
            store, path, dictionary=atlas.dictionary, keep_rest=keep_rest, exists=atlas.__contains__
        )
    print(f"{imported.labels} labels from {path}")
    for number, reason in imported.broken[:_NAMED]:
        print(f"line {number} left out: {reason}")
    if len(imported.broken) > _NAMED:
        print(f"{len(imported.broken) - _NAMED} more lines left out")
