"""How well maps show planted causes, and how well they order points by what the model reads.

Against the truth: every case's map (its size, where it has signs) is brought into [0, 1], then the points of all cases
are pooled, as Time Interpret does. AUP and AUR are areas under precision and recall over the threshold from 0 to 1;
they move with how a map is spread over [0, 1], so that a map of noise, spread evenly, may have the better AUR. AUROC
and AUPRC depend on the order alone: read those first.

Deletion and insertion (Petsiuk et al. 2018): the mean output while points go to the baseline, the most important first,
and while they come in. Low deletion and high insertion are good.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from clew.errors import InputError
from clew.stats import spearman

STEPS = 20
"""Points of a deletion or insertion curve behind the first."""

Maps = Float[np.ndarray, "case channel time"]


def truth_scores(maps: Maps, truth: Bool[np.ndarray, "case channel time"]) -> dict[str, float]:
    """AUP, AUR, AUROC and AUPRC of maps, whose high values mean important.

    InputError when the truth is empty or everywhere.
    """
    if maps.shape != truth.shape:
        raise InputError(f"maps have shape {maps.shape}, the truth {truth.shape}: give the same")
    if truth.all() or not truth.any():
        raise InputError("the truth marks all points or none: nothing can be ranked")
    sizes = maps.reshape(len(maps), -1)
    low, high = sizes.min(1, keepdims=True), sizes.max(1, keepdims=True)
    scaled = ((sizes - low) / (high - low + 1e-12)).ravel()
    order = np.argsort(-scaled, kind="stable")
    values, hits = scaled[order], truth.reshape(-1)[order]
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)  # the last point of every tie
    right, marked = hits.cumsum()[last], last + 1
    precision, recall, thresholds = right / marked, right / hits.sum(), values[last]
    false = (marked - right) / (~hits).sum()
    return {
        "AUP": _area(thresholds[::-1], precision[::-1]),
        "AUR": _area(thresholds[::-1], recall[::-1]),
        "AUROC": _area(np.append(0.0, false), np.append(0.0, recall)),
        "AUPRC": _area(np.append(0.0, recall), np.append(1.0, precision)),
    }


def _area(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.trapezoid(y, x))


def curve(
    outputs: Callable[[Maps], Float[np.ndarray, " row"]],
    case: Float[np.ndarray, "channel time"],
    baseline: Float[np.ndarray, "channel time"],
    order: Float[np.ndarray, "channel time"],
    *,
    insert: bool = False,
) -> Float[np.ndarray, " step"]:
    """The output while more and more points, the highest in `order` first, are deleted (or inserted)."""
    ranks = np.empty(order.size, dtype=int)
    ranks[np.argsort(-order.ravel(), kind="stable")] = np.arange(order.size)
    counts = np.linspace(0, order.size, STEPS + 1).round()
    first = ranks.reshape(order.shape)[None] < counts[:, None, None]
    return outputs(np.where(first == insert, case, baseline))


def mean_rank_correlation(maps: Maps, other: Maps) -> float:
    """Spearman's correlation of |maps| and |other|, mean over cases; NaN where all are constant."""
    values = [
        spearman(np.abs(one).ravel().astype(float), np.abs(two).ravel().astype(float))
        for one, two in zip(maps, other, strict=True)
    ]
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
