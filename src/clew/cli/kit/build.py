"""`clew kit`: look at a kit, put one together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from clew.cli.kits import open_kit
from clew.errors import InputError


def show(name: Annotated[str, typer.Argument(help="A bundled kit by name, or a kit folder.")] = "minnow") -> None:
    """Say what a kit holds.

    Example: `clew kit show minnow`
    """
    loaded = open_kit(name, None, None)
    print(
        f"{loaded.name}: {loaded.subject.n_layers} layers of width {loaded.subject.d_model}, {loaded.dictionary.name}"
    )
    print(json.dumps(loaded.provenance, ensure_ascii=False, indent=1))


def build(
    folder: Annotated[Path, typer.Argument(help="The kit folder to write.")],
    model: Annotated[Path, typer.Option(help="A model folder.")],
    dictionary: Annotated[Path, typer.Option(help="A dictionary folder in the native layout.")],
    name: Annotated[str | None, typer.Option(help="The kit's name; left out, the folder's.")] = None,
    atlas: Annotated[Path | None, typer.Option(help="An atlas of this dictionary, from clew harvest.")] = None,
    packed: Annotated[bool, typer.Option("--packed", help="Keep the dictionary's weights in one byte each.")] = False,
) -> None:
    """Put a model, a dictionary and an atlas together.

    Example: `clew kit build my-kit --model runs/minnow/model --dictionary runs/clt/dictionary`
    """
    from clew import kit

    if folder.exists():
        raise InputError(f"{folder} is there already: give a new folder, or remove it first")
    kit.build(folder, name=name or folder.name, model=model, dictionary=dictionary, atlas=atlas, packed=packed)
    print(f"built {folder}")
