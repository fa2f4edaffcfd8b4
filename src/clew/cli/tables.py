"""How commands print: tables, lines of tokens, and what goes to the error stream beside JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout

from rich.console import Console
from rich.table import Table
from rich.text import Text


def table(*columns: str, title: str | None = None) -> Table:
    """A table without lines; a column whose name begins with `>` is set to the right."""
    table = Table(box=None, title=title, title_justify="left", title_style="bold", pad_edge=False, show_edge=False)
    for column in columns:
        number = column.startswith(">")
        table.add_column(
            column.removeprefix(">"), justify="right" if number else "left", style="none", header_style="dim"
        )
    return table


def mean(values: Sequence[float]) -> float:
    """The mean of some numbers."""
    return sum(values) / len(values)


def aside(as_json: bool) -> AbstractContextManager[object]:
    """What is printed in this block goes to the error stream when the output is JSON for machines."""
    return redirect_stdout(sys.stderr) if as_json else nullcontext()


def tokens_line(tokens: Sequence[str]) -> Text:
    """Tokens with their positions, in a line."""
    line = Text()
    for position, token in enumerate(tokens):
        line.append(f"{position}", style="dim").append(f" {token!r}  ")
    return line


def wide_console() -> Console:
    """A terminal as wide as it is, a file or pipe wide enough for a context."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)
