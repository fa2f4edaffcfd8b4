"""Series as arrays (case, channel, time), and what is asked of them before a transformer reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from clew.errors import InputError


def checked_series(
    series: Any, *, n_channels: int | None = None, n_times: int | None = None
) -> Float[np.ndarray, "case channel time"]:
    """Series as float64; InputError for another shape than was trained on, for none, and for what is not finite."""
    try:
        array = np.asarray(series, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            "the series are no array of numbers, or of unequal lengths: bring them to one length first, with resampled"
        ) from error
    if array.ndim != 3 or not array.size:
        raise InputError(f"series are an array (case, channel, time), and this one has shape {array.shape}")
    for name, size, wanted in (("channels", array.shape[1], n_channels), ("times", array.shape[2], n_times)):
        if wanted is not None and size != wanted:
            raise InputError(f"the series have {size} {name}, and the transformer was trained on {wanted}")
    if not np.isfinite(array).all():
        case, channel, time = (int(each[0]) for each in np.nonzero(~np.isfinite(array)))
        raise InputError(
            f"case {case}, channel {channel}, time {time} is NaN or infinite: fill it or leave the case out"
        )
    return array


def checked_labels(labels: Sequence[Any], n_cases: int) -> tuple[str, ...]:
    """The class of every case as text; InputError where there is not one a case."""
    names = tuple(str(label) for label in labels)
    if len(names) != n_cases:
        raise InputError(f"there are {len(names)} labels for {n_cases} series: give one a series")
    return names


def resampled(series: Sequence[Any], length: int) -> Float[np.ndarray, "case channel time"]:
    """Series (channel, time) of unequal lengths brought to one, each channel interpolated linearly between its ends.

    InputError for a length below 2 or a series that is not (channel, time).
    """
    if length < 2:
        raise InputError(f"length is {length}: give at least 2")
    arrays = [np.asarray(each, dtype=np.float64) for each in series]
    for case, each in enumerate(arrays):
        if each.ndim != 2 or not each.size:
            raise InputError(f"case {case} has shape {each.shape}: give each as (channel, time)")
    places = np.linspace(0, 1, length)
    return np.stack(
        [np.stack([np.interp(places, np.linspace(0, 1, len(row)), row) for row in each]) for each in arrays]
    )
