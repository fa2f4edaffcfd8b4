"""How long work says how far it is: one value, yielded by generators or passed to one kind of callback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One report. `what` names the work or its stage, `unit` what is counted."""

    what: str
    done: int
    of: int
    """How many units there are in all; 0 where it is not known."""
    unit: str = "steps"
    note: str = ""
    """What stands behind the bar, such as a rate."""


Report = Callable[[Progress], None]
"""Called as work goes on. It may raise, which ends the work; what was written is whole."""


def silent(progress: Progress) -> None:
    """The report of work that nobody watches."""
