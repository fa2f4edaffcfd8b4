"""What the pictures of all studies share: points with their intervals, lines with bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from clew.stats import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def open_corner(*panels: Axes) -> None:
    """Take the upper and the right line of panels away."""
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)


def legend(axes: Axes, **options: Any) -> None:
    """A small legend without a frame."""
    axes.legend(frameon=False, **{"fontsize": 8, **options})


def whiskers(intervals: Sequence[Interval]) -> list[list[float]]:
    """How far the ends of intervals lie from their values, as matplotlib's error bars take them."""
    return [[max(i.value - i.low, 0.0) for i in intervals], [max(i.high - i.value, 0.0) for i in intervals]]


def lying(axes: Axes, interval: Interval, row: int, colour: str, marker: str = "o") -> None:
    """A point with its interval along the horizontal axis."""
    error = whiskers([interval])
    axes.errorbar([interval.value], [row], xerr=error, color=colour, marker=marker, capsize=3, linestyle="none")


def standing(axes: Axes, interval: Interval, at: int, colour: str, marker: str = "s", label: str = "") -> None:
    """A point with its interval along the vertical axis."""
    axes.errorbar(
        [at], [interval.value], yerr=whiskers([interval]), color=colour, marker=marker, capsize=4, linestyle="none",
        label=label or None,
    )  # fmt: skip


def banded(axes: Axes, x: Sequence[Any], points: Sequence[Interval], colour: str, label: str) -> None:
    """A line through points, and the band of their intervals."""
    axes.plot(x, [point.value for point in points], marker="o", markersize=4, color=colour, label=label)
    band(axes, x, points, colour)


def band(axes: Axes, x: Sequence[Any], points: Sequence[Interval], colour: str, alpha: float = 0.15) -> None:
    """The band of some intervals."""
    axes.fill_between(
        x, [point.low for point in points], [point.high for point in points], color=colour, alpha=alpha, linewidth=0
    )


def named_rows(axes: Axes, names: Sequence[str]) -> None:
    """Names at the rows of a chart, the first at the top; row n - 1 is the first."""
    axes.set_yticks(range(len(names)), list(reversed(names)))
    axes.set_ylim(-0.6, len(names) - 0.4)


def keys(axes: Axes, *entries: tuple[str, str, str]) -> None:
    """Entries of the legend: colour, marker, text."""
    for colour, marker, text in entries:
        axes.plot([], [], color=colour, marker=marker, linestyle="none", label=text)
