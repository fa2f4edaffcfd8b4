"""`clew labels export`: labels as a file that others can import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clew.cli.atlases import AtlasOptions
from clew.cli.options import with_settings
from clew.errors import FileError
from clew.labels.exchange import export_labels


@with_settings()
def export(
    path: Annotated[Path, typer.Argument(help="The file to write: labels as JSONL.")],
    source: AtlasOptions,
    history: Annotated[bool, typer.Option("--history", help="Also labels that newer ones stand in for.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Put it in place of an export of that name.")] = False,
) -> None:
    """Write labels to a file that others can import; a file that is no such export is never replaced.

    Example: `clew labels export ours.jsonl`
    """
    with source.load() as atlas, source.read_labels(atlas) as store:
        if store is None:
            raise FileError(f"there is no file {source.labels_path}: label something first, with clew label")
        count = export_labels(store, path, dictionary=atlas.dictionary, history=history, replace=replace)
    print(f"{count} labels in {path}")
