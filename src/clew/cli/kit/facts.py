"""`clew kit facts`: how often the small world's corpus states each fact, kept in a kit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clew.kit_folders import FACTS, add_facts


def facts(folder: Annotated[Path, typer.Argument(help="The kit folder to put the table into.")]) -> None:
    """Count what the small world's corpus states, and keep the table in a kit.

    Example: `clew kit facts my-kit`
    """
    add_facts(folder)
    print(f"wrote {folder / FACTS}")
