"""What the terminal shows while a dictionary is trained, and how Ctrl-C stops it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from clew.cli.tables import mean, table
from clew.runs.fidelity import Fidelity
from clew.runs.train import RunReport
from clew.training.trainer import DEAD_AFTER, TrainingReport


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
def board(batch: int) -> Iterator[Callable[[RunReport], None]]:
    """A table that is redrawn at every report, on the error stream; plain lines where that is no terminal."""
    from rich.live import Live

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda report: print(line(report.training, _new(report), batch), flush=True)
        return
    with Live(console=console, transient=True, refresh_per_second=4) as live:
        yield lambda report: live.update(drawn(report, batch))


def _new(report: RunReport) -> Fidelity | None:
    """The measurement on held-out text, if it was made at this step."""
    return report.held_out if report.held_out_step == report.training.step else None


def line(report: TrainingReport, measured: Fidelity | None, batch: int) -> str:
    """One report as one line."""
    quality = ""
    if measured is not None:
        quality = f"  agreement {measured.agreement:.4f}  loss recovered {measured.replaced.loss_recovered:.4f}"
    return (
        f"step {report.step}/{report.steps}  error {mean(report.nmse):.4f}  active {mean(report.l0):.1f}  "
        f"dead {dead(report, batch)}  {report.tokens_per_second:,.0f} tokens/s{quality}"
    )


def drawn(run_report: RunReport, batch: int) -> RenderableType:
    """A report as a table by layer, with what concerns them all above and below."""
    report, measured = run_report.training, run_report.held_out
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
            f"   all layers replaced, on held-out text at step {run_report.held_out_step:,}: "
            f"agreement {measured.agreement:.4f} ({measured.agreement_sure:.4f} where the model is sure), "
            f"loss recovered {measured.replaced.loss_recovered:.4f}"
        )
    return Group(head, "", layers, "", Text(foot), Text("Ctrl-C saves a checkpoint and stops", style="dim"))


def dead(report: TrainingReport, batch: int) -> str:
    """The share of dead features; a dash until enough positions have passed for one to be dead."""
    return "-" if report.step * batch < DEAD_AFTER else f"{report.dead:.1%}"


def duration(seconds: float) -> str:
    """Seconds in words a person reads at a glance."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(count: int) -> str:
    """Bytes in words."""
    return f"{count / 1e6:,.0f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"
