"""Stories as lists of sentences: those of the small world, whose arcs are known, or a user's table of texts."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from clew.errors import FileError
from clew.organism.tales import ARCS, valences
from clew.organism.world import World
from clew.studies.arcs.spectra import operator
from clew.studies.user_rows import read_rows

FEWEST = 5
"""Stories that a spectrum needs at least."""
_END = re.compile(r"(?<=[.!?…])[\"'»”)\]]*\s+|(?<=[。！？])\s*|\n\s*\n")


@dataclass(frozen=True, kw_only=True)
class StoryText:
    """A text sentence by sentence."""

    sentences: tuple[str, ...]
    opening: str = ""
    """A first sentence that tells nothing and stays where it is."""
    arc: str = ""
    """Its arc, where that is known."""
    valences: tuple[int, ...] = ()
    """The valence of every sentence, 1 to 5, where that is known."""

    def in_order(self, order: Sequence[int]) -> StoryText:
        """The same sentences in another order; the arc stays what it was."""
        known = tuple(self.valences[place] for place in order) if self.valences else ()
        return replace(self, sentences=tuple(self.sentences[place] for place in order), valences=known)


def world_stories(count: int, seed: str) -> list[StoryText]:
    """Fresh draws of the small world's stories: five to seven sentences with one of six arcs."""
    family, rng, drawn = World().families["stories"], random.Random(seed), []
    for _ in range(count):
        statement = family.draw(rng)
        opening, *sentences = split_sentences(statement.text)
        notes = statement.notes
        drawn.append(
            StoryText(sentences=tuple(sentences), opening=opening, arc=notes["arc"], valences=notes["valences"])
        )  # fmt: skip
    return drawn


def read_stories(path: Path | str, window: int) -> list[StoryText]:
    """The stories of a user's table, one a row in the column `text`, sentences as punctuation ends them.

    FileError, with the line, for what `read_rows` refuses, a story that stands twice and one with fewer than two
    windows; and for fewer than five stories.
    """
    found: list[StoryText] = []
    lines: dict[str, int] = {}
    for row in read_rows(path, ("text",)):
        if (before := lines.setdefault(row.cells["text"], row.line)) != row.line:
            raise FileError(f"line {row.line} of {path} has the story of line {before} again: remove one")
        sentences = split_sentences(row.cells["text"])
        if len(sentences) <= window:
            raise FileError(
                f"line {row.line} of {path}: the number of sentences is {len(sentences)}, and {window + 1} are the "
                f"fewest with a window of {window}: leave the story out{', or give a smaller window' * (window > 1)}"
            )
        found.append(StoryText(sentences=tuple(sentences)))
    if len(found) < FEWEST:
        raise FileError(f"{path} has {len(found)} stories: give at least {FEWEST}")
    return found


def split_sentences(text: str) -> list[str]:
    """A text cut behind full stops, question and exclamation marks, and at empty lines."""
    return [part for piece in _END.split(text) if (part := " ".join(piece.split()))]


def in_random_order(stories: Sequence[StoryText], seed: Sequence[int]) -> list[StoryText]:
    """Every story with its own sentences in an order that is drawn."""
    generator = np.random.default_rng(list(seed))
    return [story.in_order(generator.permutation(len(story.sentences)).tolist()) for story in stories]


def arc_paths(length: int, window: int, points: int) -> dict[str, Float[np.ndarray, " pos"]]:
    """The path of every arc of the world in a story of so many sentences, through windows and points."""
    lines = operator(length, window, points)
    return {arc: lines @ np.array(valences(arc, length), dtype=float) for arc in ARCS}
