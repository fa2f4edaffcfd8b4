"""LEFTIST: a linear model of the output over segments that are bridged, not zeroed (Guillemé et al. 2019).

1. Every segment of a case is kept or replaced: by the straight line between the points beside it, so that no series has
   steps that no case of the data has; by a part of a random reference case where one is given.
2. A ridge regression of the outputs on what was kept, weighted by how much was kept, gives each segment's effect.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from clew.timeseries.question import SeriesQuestion

_RIDGE = 1e-3
_REACH = 0.25  # of the kernel, in shares of segments that are replaced, squared


def leftist(question: SeriesQuestion) -> np.ndarray:
    """The effects of segments, spread evenly over their points."""
    return np.concatenate([_case_effects(q)[None] for q in question.cases("leftist")])


def _case_effects(question: SeriesQuestion) -> Float[np.ndarray, "channel time"]:
    labels, rng = question.segments[0], question.generator()
    count = int(labels.max()) + 1
    kept = rng.integers(0, 2, (question.samples, count)).astype(bool)
    kept[0] = True
    rows = np.stack([_bridged(question.X[0], row[labels]) for row in kept])
    if question.reference is not None:
        cases = question.reference[rng.integers(0, len(question.reference), len(rows))]
        other = rng.random(len(rows)) < 0.5
        rows = np.where(other[:, None, None] & ~kept[:, labels], cases, rows)
    outputs, dropped = question.outputs(rows), 1 - kept.mean(1)
    weights = np.exp(-(dropped**2) / _REACH)
    design = np.concatenate([kept, np.ones((len(kept), 1))], 1)
    weighted = design * weights[:, None]
    penalty = _RIDGE * np.diag([*np.ones(count), 0.0])
    effects = np.linalg.solve(weighted.T @ design + penalty, weighted.T @ outputs)[:count]
    return effects[labels] / np.bincount(labels.ravel())[labels]


def _bridged(case: Float[np.ndarray, "channel time"], kept: np.ndarray) -> Float[np.ndarray, "channel time"]:
    """A case whose dropped points lie on lines between those kept; a channel that is all dropped is its mean."""
    times, rows = np.arange(case.shape[1]), case.copy()
    for channel, known in enumerate(kept):
        rows[channel] = np.interp(times, times[known], case[channel, known]) if known.any() else case[channel].mean()
    return rows
