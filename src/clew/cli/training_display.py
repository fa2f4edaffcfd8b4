"""What the terminal shows while a dictionary is trained, and how Ctrl-C and SIGTERM stop it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from clew.cli.tables import mean, table
from clew.runs.fidelity import Fidelity
from clew.runs.train import RunReport, readings
from clew.training.config import DictionaryConfig
from clew.training.trainer import DEAD_AFTER, TrainingReport


@dataclass
class Interrupt:
    """Says, when it is called, whether a signal has asked the command to stop."""

    code: int = 0
    """The exit code that tells of it: 130 for Ctrl-C, 143 for SIGTERM; 0 before."""

    def __call__(self) -> bool:
        return self.code != 0


@contextmanager
def interrupts() -> Iterator[Interrupt]:
    """Yield what says whether Ctrl-C was pressed or SIGTERM came, as containers and schedulers send it.

    A second Ctrl-C stops at once. Further SIGTERMs change nothing, so that what is being saved is saved.
    """
    interrupt = Interrupt()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: Any) -> None:
        interrupt.code = interrupt.code or 128 + number
        if number == signal.SIGINT:
            signal.signal(number, before[signal.SIGINT])

    for number in before:
        signal.signal(number, note)
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def board(batch: int) -> Iterator[Callable[[RunReport], None]]:
    """A table that is redrawn at every report, on the error stream; plain lines where that is no terminal."""
    from rich.live import Live

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda report: print(line(report.training, _new(report), batch) + _reread(report), flush=True)
        return
    with Live(console=console, transient=True, refresh_per_second=4) as live:
        yield lambda report: live.update(drawn(report, batch))


def _new(report: RunReport) -> Fidelity | None:
    """The measurement on held-out text, if it was made at this step."""
    return report.held_out if report.held_out_step == report.training.step else None


def _reread(report: RunReport) -> str:
    """How often the text has been read, once its first reading is over."""
    return f"  text read {report.readings:.1f} times" if round(report.readings, 1) > 1 else ""


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
    foot = f"dead features {dead(report, batch)}{_reread(run_report)}"
    if measured is not None:
        foot += (
            f"   all layers replaced, on held-out text at step {run_report.held_out_step:,}: "
            f"agreement {measured.agreement:.4f} ({measured.agreement_sure:.4f} where the model is sure), "
            f"loss recovered {measured.replaced.loss_recovered:.4f}"
        )
    return Group(head, "", layers, "", Text(foot), Text("Ctrl-C saves a checkpoint and stops", style="dim"))


def reread(config: DictionaryConfig, positions: int) -> str:
    """That a text is smaller than the training on it, in words; nothing when it is not, but for a twentieth."""
    times = readings(config, positions)
    if round(times, 1) <= 1:
        return ""
    return f"the text's {positions:,} positions are read {times:.{0 if times >= 10 else 1}f} times"


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
