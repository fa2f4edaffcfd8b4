"""Tokens in a row, as one reads a text: what the page shows wherever tokens stand side by side."""

from __future__ import annotations

from collections.abc import Sequence

from clew.subject.token_names import whole_characters


def shown_row(names: Sequence[str], peak: int = -1) -> list[str] | None:
    """A row of tokens by `whole_characters`; None where it is their names."""
    row = whole_characters(names, peak)
    return None if row == tuple(names) else list(row)
