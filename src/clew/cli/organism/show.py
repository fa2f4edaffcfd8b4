"""`clew organism show`: statements of the small world."""

from __future__ import annotations

import random
from typing import Annotated

import typer

from clew.organism.world import World


def show(
    count: Annotated[int, typer.Option(help="Statements to draw.")] = 20,
    seed: Annotated[int, typer.Option(help="The world's seed.")] = 0,
) -> None:
    """Draw statements of the small world.

    Example: `clew organism show --count 5`
    """
    world, rng = World(seed=seed), random.Random(seed)
    for _ in range(count):
        statement = world.draw(rng)
        print(f"{statement.domain:9}{statement.family:14}{statement.text}")
