"""Linear reading of beliefs: how much of them some columns tell on sequences that were not fitted.

R2 is 1 - (squared error) / (squared distance from the fitted rows' mean), over all states together. That the stream has
a high R2 proves little: the last ten symbols have one too. What is claimed is the *increment* over the history:

    share of what the history leaves = 1 - error(history and columns) / error(history)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from clew.stats import Interval, bootstrap

RIDGE = 1e-6
"""On columns of unit spread, a row: it keeps columns that say the same from growing against each other."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """A linear map from columns to beliefs."""

    weights: Float[np.ndarray, "column state"]
    bias: Float[np.ndarray, " state"]

    def __call__(self, columns: Float[np.ndarray, "row column"]) -> Float[np.ndarray, "row state"]:
        read: np.ndarray = columns @ self.weights + self.bias
        return read


def fit(columns: Float[np.ndarray, "row column"], beliefs: Float[np.ndarray, "row state"]) -> Reading:
    """Least squares with a very small ridge; columns that never change count nothing."""
    columns = columns.astype(np.float64)
    mean, spread = columns.mean(0), columns.std(0)
    scale = np.where(spread > 1e-9 * (np.abs(mean) + 1e-12), spread, np.inf)
    x, y = (columns - mean) / scale, beliefs - beliefs.mean(0)
    gram = x.T @ x + RIDGE * len(x) * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x.T @ y) / scale[:, None]
    return Reading(weights=weights, bias=beliefs.mean(0) - mean @ weights)


@dataclass(frozen=True, kw_only=True, eq=False)
class Errors:
    """Squared errors summed over every held-out sequence, and what they are compared with."""

    of: Float[np.ndarray, " sequence"]

    @classmethod
    def between(
        cls, read: Float[np.ndarray, "row state"], wanted: Float[np.ndarray, "row state"], length: int
    ) -> Errors:
        """Of rows that stand a sequence after the other, so many each."""
        return cls(of=np.square(read - wanted).sum(1).reshape(-1, length).sum(1))


def share_left(before: Errors, after: Errors, *, seed: int = 0) -> Interval:
    """The share of the errors before that are gone after; resampled over sequences."""
    return bootstrap(np.stack([before.of, after.of]), lambda s: 1 - s[1] / s[0], seed=seed)


def r2_gap(total: Errors, better: Errors, worse: Errors, *, seed: int = 0) -> Interval:
    """By how much one reading's R2 exceeds another's."""
    terms = np.stack([total.of, better.of, worse.of])
    return bootstrap(terms, lambda s: (s[2] - s[1]) / s[0], seed=seed)
