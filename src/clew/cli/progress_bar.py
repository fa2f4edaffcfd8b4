"""The progress bar of long work."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from clew.progress import Progress, Report

EVERY = 10.0
"""Seconds between two lines where no bar can be drawn."""


def _line(what: str, progress: Progress) -> str:
    of = f" of {progress.of:,}" if progress.of else ""
    return f"{what}: {progress.done:,}{of} {progress.unit} {progress.note}".rstrip()


@contextmanager
def bar(what: str, of: int | None = None) -> Iterator[Report]:
    """What is reported, on the error stream: a bar once the work has taken a second, where no bar can be drawn a line
    every ten seconds."""
    console = Console(stderr=True)
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    drawn = Bar(*columns, console=console, transient=True, disable=not console.is_terminal)
    task, started = drawn.add_task(what, total=of, note=""), time.monotonic()
    last = started

    def report(progress: Progress) -> None:
        nonlocal last
        if not console.is_terminal:
            if time.monotonic() - last >= EVERY:
                last = time.monotonic()
                print(_line(what, progress), file=sys.stderr, flush=True)
            return
        drawn.update(task, completed=progress.done, total=progress.of or None, note=progress.note)
        if time.monotonic() - started > 1 and not drawn.live.is_started:
            drawn.start()

    try:
        yield report
    finally:
        drawn.stop()
