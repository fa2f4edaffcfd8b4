"""One shape for series: whatever holds them becomes an array of (case, channel, time).

What cannot be read is refused in one line that says how it was read: axes that look swapped, gaps (NaN), cases of
unequal lengths. Each can be settled by an argument, and never silently.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from clew.errors import InputError

Gaps = Literal["refuse", "interpolate"]
"""What is done about NaN: refuse, or draw a line between the neighbours (the nearest value at an end)."""
Unequal = Literal["refuse", "pad", "cut", "stretch"]
"""What is done about cases of unequal lengths: refuse, repeat each last value, cut all to the shortest, or stretch all
to the longest by linear interpolation."""
_AXES = {1: "time", 2: "case time", 3: "case channel time"}
_ORDER = ("case", "channel", "time")

Values = Float[np.ndarray, "case channel time"]


def as_series(X: Any, axes: str | None = None, *, gaps: Gaps = "refuse", unequal: Unequal = "refuse") -> Values:
    """Read series of any container as float64 of (case, channel, time).

    Arrays and tensors of one, two or three axes are read as (time,), (case, time) and (case, channel, time); `axes`
    names another order, such as "case time channel" or "channel time". Lists hold a case each, (time,) or
    (channel, time). A pandas Series is one case; a DataFrame has a case a row, its cells numbers (columns are times)
    or Series (columns are channels); with an index of two levels those are case and time and columns are channels.
    InputError for what is empty, not numbers, infinite, has NaN or unequal lengths, or has more channels than times.
    """
    _checked_choices(gaps, unequal)
    cases = _frame_cases(X)
    if cases is None and isinstance(X, Sequence) and not isinstance(X, str):
        cases = _listed_cases(X)
    if cases is not None and axes is not None:
        cases = _turned(cases, axes)
    values = _array_values(X, axes) if cases is None else _joined(cases, gaps, unequal)
    if not values.size:
        raise InputError(f"X has no values (shape {tuple(values.shape)}): give at least one case with one time")
    if axes is None:
        _check_axes(values)
    return _without_gaps(values, gaps)


def constant_channels(X: Values) -> list[tuple[int, int]]:
    """Cases and channels whose values are all the same."""
    return [(int(case), int(channel)) for case, channel in np.argwhere(np.ptp(X, axis=2) == 0)]


def _checked_choices(gaps: str, unequal: str) -> None:
    for name, value, kind in (("gaps", gaps, Gaps), ("unequal", unequal, Unequal)):
        if value not in get_args(kind):
            raise InputError(f"{name}={value!r} is not known: give one of {', '.join(get_args(kind))}")


def _numbers(values: Any, what: str = "X") -> np.ndarray:
    """float64 of an array, a tensor or nested lists; InputError for anything but real numbers."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "biuf" and array.dtype.kind != "O":
            raise TypeError
        array = array.astype(np.float64)
    except (TypeError, ValueError):
        kind = type(values).__name__
        raise InputError(f"{what} is a {kind} that does not hold real numbers in a regular shape") from None
    return array


def _array_values(X: Any, axes: str | None) -> Values:
    array = _numbers(X)
    if array.ndim not in _AXES:
        raise InputError(f"X has shape {array.shape}: give (time,), (case, time) or (case, channel, time)")
    names = (axes or _AXES[array.ndim]).replace(",", " ").split()
    if sorted(names) != sorted(set(names) & set(_ORDER)) or "time" not in names or len(names) != array.ndim:
        raise InputError(
            f"axes={axes!r} does not name the {array.ndim} axes of X {array.shape}: use the words case, channel, time, "
            "each once"
        )
    ordered = np.transpose(array, [names.index(name) for name in _ORDER if name in names])
    for place, name in enumerate(_ORDER):
        if name not in names:
            ordered = np.expand_dims(ordered, place)
    return np.ascontiguousarray(ordered)


def _check_axes(values: Values) -> None:
    n, channels, times = values.shape
    if channels > times:
        raise InputError(
            f"X {values.shape} is read as (case, channel, time): {n:,} cases, {channels:,} channels, {times:,} times, "
            "more channels than times. Say axes='case time channel' if the last two are swapped, "
            "axes='case channel time' if this is right"
        )


def _listed_cases(X: Sequence[Any]) -> list[np.ndarray] | None:
    """Cases of a list, each (channel, time); None when it is a list of numbers or one regular array."""
    if not len(X) or np.ndim(X[0]) == 0:
        return None
    cases = []
    for number, case in enumerate(X):
        array = _numbers(case.to_numpy() if hasattr(case, "to_numpy") else case, f"case {number}")
        if array.ndim > 2:
            return None
        cases.append(np.atleast_2d(array))
    return cases


def _turned(cases: list[np.ndarray], axes: str) -> list[np.ndarray]:
    """Cases of a list as `axes` orders them; a case of one axis is (time,) whatever the order."""
    names = [name for name in axes.replace(",", " ").split() if name != "case"]
    if sorted(names) not in (["channel", "time"], ["time"]):
        raise InputError(
            f"axes={axes!r} does not name the axes of a list of cases: say 'channel time' or 'time channel'"
        )
    return [case.T if names[0] == "time" and len(names) == 2 else case for case in cases]


def _frame_cases(X: Any) -> list[np.ndarray] | None:
    """Cases of a pandas container, each (channel, time); None for anything else."""
    kind = type(X)
    if kind.__module__.partition(".")[0] != "pandas":
        return None
    if kind.__name__ == "Series":
        if len(X) and hasattr(X.iloc[0], "__len__") and not isinstance(X.iloc[0], str):
            return [np.atleast_2d(_numbers(case, f"case {number}")) for number, case in enumerate(X)]
        return [_numbers(X)[None]]
    if getattr(X.index, "nlevels", 1) == 2:
        return [_numbers(part).T for _, part in X.groupby(level=0, sort=False)]
    if len(X) and hasattr(X.iloc[0, 0], "__len__") and not isinstance(X.iloc[0, 0], str):
        return [_channels([_numbers(cell, f"case {n}") for cell in row]) for n, row in enumerate(X.to_numpy())]
    return [row[None] for row in _numbers(X)]


def _channels(rows: list[np.ndarray]) -> np.ndarray:
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise InputError(f"the channels of a case have different lengths {sorted(lengths)}: give all the same times")
    return np.stack(rows)


def _joined(cases: list[np.ndarray], gaps: Gaps, unequal: Unequal) -> Values:
    channels = sorted({len(case) for case in cases})
    if len(channels) > 1:
        raise InputError(f"cases have different numbers of channels {channels}: give (channel, time) for every case")
    lengths = [case.shape[1] for case in cases]
    if not all(lengths):
        raise InputError(f"case {lengths.index(0)} has no times: leave it out")
    short, long = min(lengths), max(lengths)
    if short != long:
        if unequal == "refuse":
            raise InputError(
                f"cases have {short:,} to {long:,} times, case {lengths.index(short)} the fewest: say unequal='pad', "
                "'cut' or 'stretch', as the model was trained"
            )
        cases = [_of_length(case, short if unequal == "cut" else long, unequal) for case in cases]
    return np.stack(cases)


def _of_length(case: np.ndarray, times: int, how: Unequal) -> np.ndarray:
    n = case.shape[1]
    if how == "cut" or n == times:
        return case[:, :times]
    if how == "pad":
        return np.pad(case, ((0, 0), (0, times - n)), mode="edge")
    places = np.linspace(0, n - 1, times)
    return np.stack([np.interp(places, np.arange(n), channel) for channel in case])


def _without_gaps(values: Values, gaps: Gaps) -> Values:
    if np.isinf(values).any():
        case, channel, time = np.argwhere(np.isinf(values))[0]
        raise InputError(f"X is infinite at case {case}, channel {channel}, time {time}: give finite numbers")
    absent = np.isnan(values)
    if not absent.any():
        return values
    case, channel, time = np.argwhere(absent)[0]
    if gaps == "refuse":
        raise InputError(
            f"X has {absent.sum():,} NaN, the first at case {case}, channel {channel}, time {time}: fill them, or say "
            "gaps='interpolate'"
        )
    filled, times = values.copy(), np.arange(values.shape[2])
    for case, channel in np.argwhere(absent.any(2)):
        known = ~absent[case, channel]
        if not known.any():
            raise InputError(f"case {case} has nothing but NaN in channel {channel}: leave the case or channel out")
        filled[case, channel] = np.interp(times, times[known], values[case, channel, known])
    return filled
