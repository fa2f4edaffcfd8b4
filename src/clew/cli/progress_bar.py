"""The progress bar of long work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from clew.progress import Progress, Report


@contextmanager
def bar(what: str, of: int | None = None) -> Iterator[Report]:
    """A progress bar on the error stream, drawn once the work has taken a second; it shows what is reported."""
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

    def report(progress: Progress) -> None:
        drawn.update(task, completed=progress.done, total=progress.of or None, note=progress.note)
        if time.monotonic() - started > 1 and not drawn.live.is_started:
            drawn.start()

    try:
        yield report
    finally:
        drawn.stop()
