"""Prompts over the families of the small world: the list on which dictionaries and graphs are measured.

Questions of the exam whose answer is known, drawn by a fixed seed, one of each family in turn, so that the first n of
the list are spread evenly over the families.
"""

from __future__ import annotations

import random
from itertools import islice

from clew.organism.world import World

ANSWERED = (
    "capitals", "languages", "cities", "two_hop", "opposites", "translation", "sums", "years", "roots", "behaviours",
    "parity", "capitals_ru",
)  # fmt: skip
"""Families whose prompts end where the next token, or one of few, is known."""

STATEMENTS = 20_000  # of the corpus from which prompts are taken


def listed_prompts(count: int = 100, *, seed: int = 0) -> tuple[str, ...]:
    """The first `count` prompts of the list, each a fact in a sentence that the corpus does not hold; all differ."""
    world, rng = World(seed=seed), random.Random(seed)
    drawn = {name: [question.prompt for question in world.exam(name, "unseen")] for name in ANSWERED}
    for questions in drawn.values():
        rng.shuffle(questions)
    return _in_turn(drawn)[:count]


def taught_prompts(count: int = 100, *, seed: int = 0) -> tuple[str, ...]:
    """As many prompts of the same families in sentences that the corpus holds, its first ones; all differ."""
    drawn: dict[str, list[str]] = {name: [] for name in ANSWERED}
    for statement in islice(World(seed=seed).statements(), STATEMENTS):
        if statement.prompt and statement.family in drawn:
            drawn[statement.family].append(statement.prompt)
    return _in_turn(drawn)[:count]


def _in_turn(drawn: dict[str, list[str]]) -> tuple[str, ...]:
    """One prompt of every family, then the next of every family, each prompt once."""
    prompts: list[str] = []
    for turn in range(max(map(len, drawn.values()))):
        prompts += [questions[turn] for questions in drawn.values() if turn < len(questions)]
    return tuple(dict.fromkeys(prompts))
