"""What a person sees while a dictionary is trained, and how they stop it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from clew.cli.tables import mean, table

if TYPE_CHECKING:
    from clew.runs.fidelity import Fidelity
    from clew.training.trainer import TrainingReport


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether Ctrl-C was pressed; a second Ctrl-C stops at once."""
    asked = False
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def board(batch: int) -> Iterator[Callable[[TrainingReport, Fidelity | None, int], None]]:
    """A table that is drawn anew at every report, on the error stream; plain lines where that is no terminal.

    It is told the report, the last measurement on held-out text, and the step at which that was made.
    """
    from rich.live import Live

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda report, measured, at: print(
            line(report, measured if at == report.step else None, batch), flush=True
        )
        return
    with Live(console=console, transient=True, refresh_per_second=4) as live:
        yield lambda report, measured, at: live.update(drawn(report, measured, at, batch))


def line(report: TrainingReport, measured: Fidelity | None, batch: int) -> str:
    """One report as one line."""
    held = ""
    if measured is not None:
        held = f"  agreement {measured.agreement:.4f}  loss recovered {measured.replaced.loss_recovered:.4f}"
    return (
        f"step {report.step}/{report.steps}  error {mean(report.nmse):.4f}  active {mean(report.l0):.1f}  "
        f"dead {dead(report, batch)}  {report.tokens_per_second:,.0f} tokens/s{held}"
    )


def drawn(report: TrainingReport, measured: Fidelity | None, at: int, batch: int) -> RenderableType:
    """A report as a table by layer, with what concerns them all above and below."""
    left = (report.steps - report.step) * batch / max(report.tokens_per_second, 1e-9)
    head = Text(
        f"step {report.step:,} of {report.steps:,}   {report.tokens_per_second:,.0f} tokens/s   {duration(left)} left"
    )
    layers = table("layer", ">relative error", ">active")
    for layer, (error, active) in enumerate(zip(report.nmse, report.l0, strict=True)):
        layers.add_row(f"L{layer}", f"{error:.4f}", f"{active:.2f}")
    layers.add_row("mean", f"{mean(report.nmse):.4f}", f"{mean(report.l0):.2f}", style="bold")
    foot = f"dead features {dead(report, batch)}"
    if measured is not None:
        foot += (
            f"   all layers replaced, on held-out text at step {at:,}: agreement {measured.agreement:.4f} "
            f"({measured.agreement_sure:.4f} where the model is sure), "
            f"loss recovered {measured.replaced.loss_recovered:.4f}"
        )
    return Group(head, "", layers, "", Text(foot), Text("Ctrl-C saves a checkpoint and stops", style="dim"))


def dead(report: TrainingReport, batch: int) -> str:
    """The share of dead features; a dash until so many positions have passed that one can be."""
    from clew.training.trainer import DEAD_AFTER

    return "-" if report.step * batch < DEAD_AFTER else f"{report.dead:.1%}"


def duration(seconds: float) -> str:
    """Seconds in words a person reads at a glance."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(count: int) -> str:
    """Bytes in words."""
    return f"{count / 1e6:,.0f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"
