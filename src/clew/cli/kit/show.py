"""`clew kit show`: what a kit holds."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from clew.cli.kits import open_kit


def show(
    name: Annotated[str, typer.Argument(help="A kit by name (clew kit list), or a kit folder.")] = "minnow",
) -> None:
    """Say what a kit holds.

    Example: `clew kit show minnow`
    """
    kit = open_kit(name)
    print(f"{kit.name}: {kit.subject.n_layers} layers of width {kit.subject.d_model}, {kit.dictionary.name}")
    print(json.dumps(kit.provenance, ensure_ascii=False, indent=1))
