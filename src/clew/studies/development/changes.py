"""When a curve over snapshots rises, how sharply, and whether curves rise in one order: with shuffled order beside.

- *Onset*: the place, by the logarithm of the step, where a curve passes half of its last value for good.
- *Change*: the largest difference between the mean behind a snapshot and the mean before it (a change point by
  least squares, Hinkley 1970), at least three snapshots on either side.
- *Agreement*: Spearman's correlation of the onsets of two models, the mean over pairs of models.
- *Company*: the correlation, over steps from snapshot to snapshot, of how far one curve moves, up or down, with how
  much others rise.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float

from clew.stats import spearman

EDGE = 3
"""Snapshots that must lie on either side of a change point."""
LEAST = 0.1
"""A curve that ends below this has not risen."""


def onset(curve: Float[np.ndarray, " snapshot"], steps: Sequence[int]) -> float:
    """The step at which a curve passes half of its last value for good, between snapshots by a straight line over the
    logarithm; NaN for one that has not risen."""
    if not curve[-1] >= LEAST:
        return float("nan")
    half, logs = curve[-1] / 2, np.log(np.asarray(steps, float))
    below = np.flatnonzero(curve < half)
    if not len(below):
        return float(steps[0])
    last = int(below[-1])
    share = (half - curve[last]) / (curve[last + 1] - curve[last])
    return float(np.exp(logs[last] + share * (logs[last + 1] - logs[last])))


def change(curves: Float[np.ndarray, "*curve snapshot"]) -> Float[np.ndarray, " *curve"]:
    """How large the largest change of every curve is, up or down."""
    n = curves.shape[-1]
    sums = curves.cumsum(-1)
    places = np.arange(EDGE, n - EDGE + 1)
    before = sums[..., places - 1] / places
    behind = (sums[..., -1:] - sums[..., places - 1]) / (n - places)
    largest: np.ndarray = np.abs(behind - before).max(-1)
    return largest


def change_place(curve: Float[np.ndarray, " snapshot"]) -> int:
    """The first snapshot behind the largest change of a curve."""
    n = len(curve)
    return max(range(EDGE, n - EDGE + 1), key=lambda place: abs(curve[place:].mean() - curve[:place].mean()))


def shuffled_changes(
    curves: Float[np.ndarray, "curve snapshot"], draws: int, generator: np.random.Generator
) -> Float[np.ndarray, " draw"]:
    """The mean change of the curves with their snapshots in another order, each in its own."""
    return np.array([change(generator.permuted(curves, axis=1)).mean() for _ in range(draws)])


def agreement(onsets: Float[np.ndarray, "model family"]) -> float:
    """How well the models agree on the order of families; NaN for a single model."""
    pairs = [spearman(onsets[one], onsets[other]) for one, other in combinations(range(len(onsets)), 2)]
    return float(np.mean(pairs)) if pairs else float("nan")


def shuffled_agreements(
    onsets: Float[np.ndarray, "model family"], draws: int, generator: np.random.Generator
) -> Float[np.ndarray, " draw"]:
    """The same with the families exchanged within every model."""
    return np.array([agreement(generator.permuted(onsets, axis=1)) for _ in range(draws)])


def company(moving: Float[np.ndarray, " snapshot"], rising: Float[np.ndarray, " snapshot"]) -> float:
    """The correlation of how far one curve moves between snapshots with how much another rises; NaN for constants."""
    moved, risen = np.abs(np.diff(moving)), np.diff(rising)
    if not (moved.std() > 0 and risen.std() > 0):
        return float("nan")
    return float(np.corrcoef(moved, risen)[0, 1])


def shuffled_company(
    moving: Float[np.ndarray, " snapshot"], rising: Float[np.ndarray, " snapshot"], generator: np.random.Generator
) -> float:
    """The same with the snapshots of the moving curve in another order."""
    return company(generator.permutation(moving), rising)
