"""What the commands share: options, how prompts and kits are found, tables, the progress bar."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from clew.errors import FileError, InputError

if TYPE_CHECKING:
    from clew.kit import Kit


KitOption = Annotated[str, typer.Option("--kit", help="A bundled kit by name, or a kit folder.")]
ModelOption = Annotated[str | None, typer.Option("--model", help="A model folder or hub id, in place of a kit.")]
DictionaryOption = Annotated[str | None, typer.Option("--dictionary", help="A dictionary folder for --model.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
SMALL = 20_000_000  # parameters
WORKSPACE = Path("workspace/labels.sqlite")
LabelsOption = Annotated[Path, typer.Option("--labels", help="The file that keeps your labels.")]


def check_labels(path: Path) -> None:
    """FileError when a file of labels was named that is not there; the workspace's own may be missing."""
    if path != WORKSPACE and not path.is_file():
        raise FileError(f"there is no file {path}: name a file of labels, or leave --labels out")


def open_kit(name: str, model: str | None, dictionary: str | None) -> Kit:
    """The kit that is meant; features go by the labels in the workspace, if there are any."""
    from clew.kit import load

    if (model is None) != (dictionary is None):
        raise InputError("--model and --dictionary go together: give both, or a --kit")
    labels = WORKSPACE if WORKSPACE.is_file() else None
    if model is None:
        return load(name, labels=labels)
    return load(model, dictionary=dictionary, labels=labels)


def on_few_threads(kit: Kit) -> None:
    """One thread for a small model: its operations are so short that threads gain nothing, and on a machine whose cores
    are busy wait for one another many times longer than they compute."""
    import torch

    if sum(p.numel() for p in kit.subject.model.parameters()) < SMALL:
        torch.set_num_threads(1)


def texts_of(prompt: str | None, prompts: Path | None) -> list[str]:
    if (prompt is None) == (prompts is None):
        raise InputError(
            'give one prompt, or a file with --prompts; for example: clew trace "The capital of France is"'
        )
    return [prompt or ""] if prompts is None else lines_of(prompts)


def lines_of(path: Path) -> list[str]:
    """The lines of a text file that hold something; InputError when none does."""
    from clew import files

    lines = [line for line in files.read_text(path).splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path} holds no text: write one prompt or document a line")
    return lines


def table(*columns: str, title: str | None = None) -> Table:
    table = Table(box=None, title=title, title_justify="left", title_style="bold", pad_edge=False, show_edge=False)
    for column in columns:
        number = column.startswith(">")
        table.add_column(
            column.removeprefix(">"), justify="right" if number else "left", style="none", header_style="dim"
        )
    return table


def mean(values: Sequence[float]) -> float:
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


@contextmanager
def bar(what: str, of: int | None = None) -> Iterator[Callable[..., None]]:
    """A progress bar on the error stream, drawn once the work has taken a second.

    It is told how much is done, of how much, and if wanted what to write behind.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task, started = bar.add_task(what, total=of, note=""), time.monotonic()

    def report(done: int, total: int, note: str = "") -> None:
        bar.update(task, completed=done, total=total, note=note)
        if time.monotonic() - started > 1 and not bar.live.is_started:
            bar.start()

    try:
        yield report
    finally:
        bar.stop()
