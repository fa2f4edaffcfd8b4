"""A user's own prompts for the study `leakage`, and texts that some model has gone on with, read from tables.

prompts      concept, prompt, control    a concept, a prompt that holds it, the same prompt without it
generations  prompt, generation          how a model went on from a prompt or a control, in one row or several; without
                                         the table the kit's model goes on by itself

Every mistake is told with its line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from clew.errors import FileError
from clew.studies.user_rows import read_rows


@dataclass(frozen=True, kw_only=True)
class UserPrompt:
    """One row: its line, the concept, the prompt that holds it, and the control."""

    line: int
    concept: str
    prompt: str
    control: str


def read_prompts(path: Path | str) -> list[UserPrompt]:
    """The rows of a table of prompts.

    FileError, with the line, for what `read_rows` refuses, a prompt that is its own control, one that does not hold its
    concept, and a control that does; and for a table with fewer than two concepts, which cannot be exchanged.
    """
    found = []
    for row in read_rows(path, ("concept", "prompt", "control")):
        item = UserPrompt(line=row.line, **row.cells)
        where = f"line {row.line} of {path}"
        if item.prompt == item.control:
            raise FileError(f"{where} has the same text as prompt and as control: leave the concept out of the control")
        if not echoes([item.prompt], item.concept)[0]:
            raise FileError(f"{where}: the prompt {item.prompt!r} does not hold the concept {item.concept!r}")
        if echoes([item.control], item.concept)[0]:
            raise FileError(f"{where}: the control {item.control!r} holds the concept {item.concept!r}: leave it out")
        found.append(item)
    if len({item.concept for item in found}) < 2:
        raise FileError(
            f"{path} has one concept, {found[0].concept!r}: give at least two, so that they can be exchanged"
        )
    return found


def read_generations(path: Path | str, prompts: Sequence[UserPrompt], of: Path | str) -> dict[str, list[str]]:
    """The generations of every prompt and control of the table `of`.

    FileError, with the line, for a generation of another prompt, and for a prompt without any.
    """
    texts: dict[str, list[str]] = {text: [] for item in prompts for text in (item.prompt, item.control)}
    for row in read_rows(path, ("prompt", "generation")):
        if row.cells["prompt"] not in texts:
            raise FileError(
                f"line {row.line} of {path}: {row.cells['prompt'][:60]!r} is no prompt and no control of {of}"
            )
        texts[row.cells["prompt"]].append(row.cells["generation"])
    for item in prompts:
        for name, text in (("prompt", item.prompt), ("control", item.control)):
            if not texts[text]:
                raise FileError(f"{path} has no generation of the {name} in line {item.line} of {of}: {text[:60]!r}")
    return texts


def echoes(texts: Sequence[str], concept: str) -> Bool[np.ndarray, " text"]:
    """Which texts repeat the concept, as whole words in any case, with an English plural or not."""
    pattern = re.compile(rf"(?<!\w){re.escape(concept)}(?:s|es)?(?!\w)", re.IGNORECASE)
    return np.array([pattern.search(text) is not None for text in texts], dtype=bool)


def distinct(texts: Mapping[str, Sequence[str]]) -> list[str]:
    """Every generation once."""
    return [*dict.fromkeys(text for of_prompt in texts.values() for text in of_prompt)]
