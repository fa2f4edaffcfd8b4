"""Pictures of answers: a series with its attribution under it, a counterfactual over its original.

Channels are stacked, cases stand side by side; what there is no room for is counted in the title.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clew import files
from clew.errors import InputError
from clew.timeseries.answers import Attribution, Counterfactual

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOR, AGAINST, GREY, INK = "#d1702b", "#3b6fb6", "#9aa0a6", "#3c4043"
"""Colours of what speaks for and against the target, of the original and of series."""
CASES, CHANNELS = 4, 8
"""Cases and channels that a picture has room for."""
_RESOLUTION = 150


def picture(answer: Attribution | Counterfactual, kind: Literal["png", "svg"] = "png") -> bytes:
    """Draw an answer; the same answer gives the same bytes."""
    import matplotlib as mpl

    content = io.BytesIO()
    note: dict[str, Any] = {"Software": files.SOFTWARE} if kind == "png" else {"Date": None}
    with mpl.rc_context({"svg.hashsalt": answer.method}):
        draw(answer).savefig(content, format=kind, dpi=_RESOLUTION, metadata=note)
    return content.getvalue()


def save_picture(answer: Attribution | Counterfactual, path: Path | str) -> None:
    """Write a picture, `.png` or `.svg`; InputError for another ending."""
    ending = files.ending(path)
    if ending == ".png":
        files.write_bytes(path, picture(answer, "png"))
    elif ending == ".svg":
        files.write_bytes(path, picture(answer, "svg"))
    else:
        raise InputError(f"{path} ends in {ending or 'nothing'}: a picture is .png or .svg")


def draw(answer: Attribution | Counterfactual) -> Figure:
    """The figure of an answer, for matplotlib's users."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    series = answer.series
    cases, channels = min(len(series), CASES), min(series.shape[1], CHANNELS)
    marked = isinstance(answer, Attribution)
    figure = Figure(figsize=(max(6.4, 4.2 * cases), 1.2 + channels * (2.4 if marked else 2.0)), layout="constrained")
    FigureCanvasAgg(figure)
    rows = 2 * channels if marked else channels
    heights = [2.2, 1.0] * channels if marked else [1.0] * channels
    panels = figure.subplots(rows, cases, squeeze=False, sharex=True, gridspec_kw={"height_ratios": heights})
    for case in range(cases):
        for channel in range(channels):
            if isinstance(answer, Attribution):
                _attributed(panels[2 * channel, case], panels[2 * channel + 1, case], answer, case, channel)
            else:
                _changed(panels[channel, case], answer, case, channel)
        panels[0, case].set_title(_case_title(answer, case), fontsize=9, loc="left")
        panels[-1, case].set_xlabel("time", fontsize=9)
    for channel in range(channels):
        name = f"channel {channel}" if series.shape[1] > 1 else "series"
        panels[2 * channel if marked else channel, 0].set_ylabel(name, fontsize=9)
        if marked:
            panels[2 * channel + 1, 0].set_ylabel(answer.units.replace(" ", "\n") + "\na point", fontsize=7)  # type: ignore[union-attr]
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=7)
    figure.suptitle(_title(answer), fontsize=10)
    _legend(figure, answer)
    return figure


def _title(answer: Attribution | Counterfactual) -> str:
    n, channels, _ = answer.series.shape
    left = []
    if n > CASES:
        left.append(f"{n - CASES:,} more cases")
    if channels > CHANNELS:
        left.append(f"{channels - CHANNELS} more channels")
    return answer.method + (f" (not drawn: {', '.join(left)})" if left else "")


def _case_title(answer: Attribution | Counterfactual, case: int) -> str:
    if isinstance(answer, Attribution):
        what = f"{answer.units}" if answer.units in ("logit", "value") else "probability"
        said = f"says {answer.predicted[case]}; {what} of {answer.target[case]}: {answer.scores[case]:.2f}"
        if answer.deleted is None or answer.deleted_null is None:
            return said
        return f"{said}\nwithout the top tenth: {answer.deleted[case]:.2f}, null {answer.deleted_null[case]:.2f}"
    share = answer.changed[case].mean()
    valid = "valid" if answer.valid[case] else "NOT VALID"
    probability = answer.probabilities[case, answer.classes.index(answer.target[case])]
    return (
        f"{answer.origin[case]} to {answer.target[case]}: {valid}, probability {probability:.2f}\n"
        f"L1 {answer.distance()[case]:.3g} (neighbour {answer.distance(neighbour=True)[case]:.3g}), {share:.0%} changed"
    )


def _attributed(upper: Axes, lower: Axes, answer: Attribution, case: int, channel: int) -> None:
    """The series, its background coloured by the values, and the values as bars under it, one scale a case."""
    values, most = answer.values[case, channel], float(np.abs(answer.values[case]).max()) or 1.0
    times = np.arange(len(values))
    low, high = _range(answer.series[case, channel])
    for sign, colour in ((1, FOR), (-1, AGAINST)):
        heights = np.clip(sign * values / most, 0, 1)
        for start, end, height in _flat_runs(heights):
            upper.axvspan(start - 0.5, end + 0.5, color=colour, alpha=0.55 * height, linewidth=0)
        lower.bar(times, sign * heights * most, width=1.0, color=colour, linewidth=0)
    upper.plot(times, answer.series[case, channel], color=INK, linewidth=1.2)
    upper.set_ylim(low, high)
    lower.set_ylim(-1.05 * most if answer.values[case].min() < 0 else 0, 1.05 * most)
    lower.axhline(0, color=GREY, linewidth=0.5)


def _flat_runs(heights: np.ndarray) -> list[tuple[int, int, float]]:
    """Runs of equal heights above nothing: first time, last time, height."""
    rounded = np.round(heights, 2)
    parts = np.split(np.arange(len(rounded)), np.flatnonzero(np.diff(rounded)) + 1)
    return [(int(part[0]), int(part[-1]), float(rounded[part[0]])) for part in parts if rounded[part[0]] > 0]


def _changed(axes: Axes, answer: Counterfactual, case: int, channel: int) -> None:
    times = np.arange(answer.series.shape[2])
    for other, start, end in answer.changes(case):
        if other == channel:
            axes.axvspan(start - 0.5, end + 0.5, color=FOR, alpha=0.15, linewidth=0)
    axes.plot(times, answer.neighbour[case, channel], color=GREY, linewidth=0.8, linestyle=":")
    axes.plot(times, answer.original[case, channel], color=INK, linewidth=1.2)
    moved = np.convolve(answer.changed[case, channel], np.ones(3), mode="same") > 0  # joined to what stayed
    axes.plot(times, np.where(moved, answer.series[case, channel], np.nan), color=FOR, linewidth=1.4)
    together = np.concatenate([answer.original[case, channel], answer.series[case, channel]])
    axes.set_ylim(*_range(together))


def _range(values: np.ndarray) -> tuple[float, float]:
    span = float(np.ptp(values)) or 1.0
    return float(values.min()) - 0.08 * span, float(values.max()) + 0.08 * span


def _legend(figure: Figure, answer: Attribution | Counterfactual) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if isinstance(answer, Attribution):
        kinds = [Patch(color=FOR, label="for the target" if answer.signed else "important")]
        handles: list[Any] = kinds + ([Patch(color=AGAINST, label="against it")] if answer.signed else [])
    else:
        handles = [
            Line2D([], [], color=INK, label="original"),
            Line2D([], [], color=FOR, label="counterfactual"),
            Line2D([], [], color=GREY, linestyle=":", label="nearest unlike neighbour"),
            Patch(color=FOR, alpha=0.15, label="changed"),
        ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
