"""Series whose class is planted: bumps at known places of a known channel decide it, and bumps elsewhere say nothing.

1. *One cause*: the class is the sign of one bump, `up` or `down`.
2. *Two causes*: two bumps stand at two places, and the class says whether their signs are `alike` or `unlike`. Neither
   bump says anything alone, and no sum of values does: a model has to compute it.
3. *The absent case*: the same series, and classes that are drawn apart from them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from clew.errors import InputError

CLASSES = {1: ("down", "up"), 2: ("unlike", "alike")}
ELSEWHERE = 2
"""Bumps of every series that say nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PlantedBumps:
    """Series, the class of each, and where the causes stand."""

    series: Float[np.ndarray, "case channel time"]
    labels: tuple[str, ...]
    channel: int
    times: tuple[range, ...]
    """The time steps of every bump that decides."""


def planted_bumps(
    n_cases: int = 600,
    *,
    causes: int = 2,
    n_channels: int = 2,
    length: int = 36,
    width: int = 6,
    height: float = 3.0,
    seed: int = 0,
    absent: bool = False,
) -> PlantedBumps:
    """Draw series of white noise with bumps of `width` steps, `height` standard deviations of the noise high.

    The causes stand in the last channel, in the second window of `width` steps and (of two) in the last but one.
    InputError for another number of causes than 1 and 2, and for series too short for their places.
    """
    if causes not in CLASSES:
        raise InputError(f"causes is {causes}: give 1 or 2")
    if n_channels < 1 or length < 5 * width:
        raise InputError(f"{n_channels} channels of {length} steps: give 1 channel and {5 * width} steps at least")
    channel, places = n_channels - 1, (1, length // width - 2)[:causes]
    generator = np.random.default_rng(seed)
    series = generator.normal(size=(n_cases, n_channels, length))
    bump = height * np.sin(np.pi * (np.arange(width) + 0.5) / width)
    signs = generator.choice((-1, 1), (n_cases, causes))
    windows = [(c, place) for c in range(n_channels) for place in range(length // width)]
    others = [window for window in windows if window not in [(channel, place) for place in places]]
    for case in range(n_cases):
        chosen = generator.choice(len(others), ELSEWHERE, replace=False)
        elsewhere = generator.choice((-1, 1), ELSEWHERE)
        bumps = [(*others[other], sign) for other, sign in zip(chosen, elsewhere, strict=True)]
        causes_here = [(channel, place, sign) for place, sign in zip(places, signs[case], strict=True)]
        for c, place, sign in [*bumps, *causes_here]:
            series[case, c, place * width : (place + 1) * width] += sign * bump
    decided = generator.integers(0, 2, n_cases) if absent else (signs.prod(1) > 0).astype(int)
    return PlantedBumps(
        series=series,
        labels=tuple(CLASSES[causes][each] for each in decided),
        channel=channel,
        times=tuple(range(place * width, (place + 1) * width) for place in places),
    )
