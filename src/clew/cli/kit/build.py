"""`clew kit build`: a model, a dictionary and an atlas become a kit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clew import kit
from clew.cli.kits import OtherModelOption
from clew.errors import InputError


def build(
    folder: Annotated[Path, typer.Argument(help="The kit folder to write.")],
    model: Annotated[str, typer.Option(help="A model folder, or a kit's name for its model.")],
    dictionary: Annotated[Path, typer.Option(help="A dictionary folder, in any layout that is read.")],
    name: Annotated[str | None, typer.Option(help="The kit's name; left out, the folder's.")] = None,
    atlas: Annotated[Path | None, typer.Option(help="An atlas of this dictionary, from clew harvest.")] = None,
    packed: Annotated[bool, typer.Option("--packed", help="Keep the dictionary's weights in one byte each.")] = False,
    other_model: OtherModelOption = False,
) -> None:
    """Put a model, a dictionary and an atlas together.

    Example: `clew kit build my-kit --model runs/minnow/model --dictionary runs/clt/dictionary`
    """
    if folder.exists():
        raise InputError(f"{folder} is there already: give a new folder, or remove it first")
    kit.build(
        folder,
        name=name or folder.name,
        model=model,
        dictionary=dictionary,
        atlas=atlas,
        packed=packed,
        other_model=other_model,
    )
    print(f"built {folder}")
