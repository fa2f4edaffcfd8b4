"""What a study says: a number with its interval, beside the same number under a null, and what follows from both.

The verdict is computed whenever it is asked for, from three things, and is kept nowhere.

1. Without a finite interval and a finite null it is `cannot say`.
2. The interval lies outside the bar: `fails`. It straddles the bar: `cannot say`. The same of the null and its bar.
3. Both lie inside. The null lies apart from the interval, on the far side of the bar: `holds`. The interval lies within
   the null: `fails`, since the null does as much. They overlap: `cannot say`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from clew.errors import FileError, InputError
from clew.stats import Interval, null_range

Verdict = Literal["holds", "fails", "cannot say"]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """Where a number must lie, both ends included. An end that is infinite asks for nothing."""

    low: float = -math.inf
    high: float = math.inf

    def __str__(self) -> str:
        low, high = math.isfinite(self.low), math.isfinite(self.high)
        if low and high:
            return f"{self.low:g} to {self.high:g}"
        return f"at least {self.low:g}" if low else f"at most {self.high:g}" if high else "none"

    def met(self, interval: Interval) -> bool | None:
        """Whether all of an interval lies inside; None where a part does."""
        if self.low <= interval.low and interval.high <= self.high:
            return True
        return False if interval.high < self.low or interval.low > self.high else None

    def to_json(self) -> list[float | None]:
        """The ends; null for an infinite one."""
        return [end if math.isfinite(end) else None for end in (self.low, self.high)]

    @classmethod
    def from_json(cls, ends: Sequence[float | None]) -> Bar:
        """From what `to_json` gives."""
        low, high = ends
        return cls(low=-math.inf if low is None else low, high=math.inf if high is None else high)


@dataclass(frozen=True, kw_only=True)
class Null:
    """The statistic of a claim where what the claim says cannot be the reason.

    InputError without a draw. What is under test is never among what is drawn.
    """

    what: str
    """What is drawn: `random features of the same layers and positions`."""
    draws: tuple[float, ...]
    """The statistic of every draw."""
    size: int
    """How many things make one draw."""
    tested: int
    """How many things make the set under test."""
    unit: str = "features"
    """What these things are."""

    def __post_init__(self) -> None:
        if not self.draws:
            raise InputError(f"the null {self.what!r} has no draws: a claim needs a null")

    def __str__(self) -> str:
        sizes = f"of {self.size:,} {self.unit}, {self.tested:,} under test"
        return f"{self.what}, {len(self.draws):,} draws {sizes}"

    @property
    def range(self) -> Interval:
        """The mean of the draws, and where 95 % of them lie."""
        return null_range(self.draws)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One sentence that a study stands for. InputError without a null."""

    text: str
    value: Interval
    null: Null
    bar: Bar = field(default_factory=Bar)
    """Where the value must lie."""
    null_bar: Bar = field(default_factory=Bar)
    """Where the null must lie."""
    reference: str = ""
    """What others have found, and where."""
    unit: str = ""
    """What the value is counted in, written behind it."""
    effect: bool = True
    """Whether it says that the effect is there: in the absent case such a claim must not hold."""

    def __post_init__(self) -> None:
        if not isinstance(self.null, Null):
            raise InputError(f"the claim {self.text!r} has no null: give the same number where the effect cannot be")

    @property
    def verdict(self) -> Verdict:
        """What follows from the value, its null and the bars."""
        null = self.null.range
        if not all(map(math.isfinite, (*self.value, *null))):
            return "cannot say"
        inside = self.bar.met(self.value), self.null_bar.met(null)
        if False in inside:
            return "fails"
        if None in inside:
            return "cannot say"
        if self._apart(null):
            return "holds"
        within = null.low <= self.value.low and self.value.high <= null.high
        return "fails" if within or not self._touches(null) else "cannot say"

    def _apart(self, null: Interval) -> bool:
        """Whether the value lies beyond the null: above it where the bar has a lower end only, below where an upper."""
        above, below = self.value.low > null.high, self.value.high < null.low
        upwards, downwards = math.isfinite(self.bar.low), math.isfinite(self.bar.high)
        return above or below if upwards == downwards else above if upwards else below

    def _touches(self, null: Interval) -> bool:
        return self.value.low <= null.high and null.low <= self.value.high

    def to_json(self) -> dict[str, Any]:
        """Plain values; the verdict stands beside them for whoever reads the file, and is not read back."""
        null = {**vars(self.null), "draws": [x if math.isfinite(x) else None for x in self.null.draws]}
        return {
            "text": self.text,
            "verdict": self.verdict,
            "value": self.value.to_json(),
            "unit": self.unit,
            "bar": self.bar.to_json(),
            "null": {**null, "range": self.null.range.to_json()},
            "null_bar": self.null_bar.to_json(),
            "reference": self.reference,
            "effect": self.effect,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Claim:
        """From what `to_json` gives; FileError when it is no claim, or one without a null."""
        try:
            null = value["null"]
            draws = tuple(math.nan if x is None else float(x) for x in null["draws"])
            return cls(
                text=value["text"],
                value=Interval.from_json(value["value"]),
                null=Null(what=null["what"], draws=draws, size=null["size"], tested=null["tested"], unit=null["unit"]),
                bar=Bar.from_json(value["bar"]),
                null_bar=Bar.from_json(value["null_bar"]),
                reference=value["reference"],
                unit=value["unit"],
                effect=value["effect"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise FileError(f"the claim {str(value)[:80]!r} is not whole ({error!r})") from error
        except InputError as error:
            raise FileError(f"the claim {value.get('text')!r} cannot be read: {error}") from error
