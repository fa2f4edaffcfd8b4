"""The texts that a command works on, from the command line or from a file."""

from __future__ import annotations

from pathlib import Path

from clew import files
from clew.errors import InputError


def texts_of(prompt: str | None, prompts: Path | None) -> list[str]:
    """One prompt, or those of a file; InputError unless exactly one of both is given."""
    if (prompt is None) == (prompts is None):
        raise InputError(
            'give one prompt, or a file with --prompts; for example: clew trace "The capital of France is"'
        )
    return [prompt or ""] if prompts is None else lines_of(prompts)


def lines_of(path: Path) -> list[str]:
    """The lines of a text file that hold something; InputError when none does."""
    lines = [line for line in files.lines(path) if line.strip()]
    if not lines:
        raise InputError(f"{path} holds no text: write one prompt or document a line")
    return lines
