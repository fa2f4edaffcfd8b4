"""Intervals, rank correlations and nulls: one kind of each, for audits, label scores, evaluations and studies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

COVERAGE = 0.95
RESAMPLES = 1000
FLIPS = 10_000
FALSE_DISCOVERY_RATE = 0.05
_Z = 1.959964  # quantile of the standard normal distribution at 97.5 %


@dataclass(frozen=True)
class Interval:
    """A statistic and its 95 % interval; NaN where it has no meaning."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"

    def __iter__(self) -> Iterator[float]:
        return iter((self.value, self.low, self.high))

    def to_json(self) -> list[float | None]:
        """Value, low, high; null for NaN."""
        return [None if np.isnan(x) else float(x) for x in self]

    @classmethod
    def from_json(cls, numbers: Sequence[float | None]) -> Interval:
        """From what `to_json` gives."""
        value, low, high = (float("nan") if x is None else float(x) for x in numbers)
        return cls(value, low, high)


UNKNOWN = Interval(float("nan"), float("nan"), float("nan"))


def bootstrap(
    sums: Float[np.ndarray, "term cluster"],
    statistic: Callable[[Float[np.ndarray, "term draw"]], Float[np.ndarray, " draw"]],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """A statistic of sums over clusters, with the interval of its resamples (percentile bootstrap, Efron 1979).

    Clusters are drawn with replacement; a resampled statistic is one of weighted sums, so that a thousand of them cost
    one matrix product.
    """
    n_clusters = sums.shape[1]
    draws = np.random.default_rng(seed).multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), resamples)
    value = float(statistic(sums.sum(1, keepdims=True))[0])
    resampled = statistic(sums @ draws.T)
    resampled = resampled[~np.isnan(resampled)]
    if not len(resampled):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(resampled, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Interval(value, float(low), float(high))


def cluster_sums(
    terms: Float[np.ndarray, "term pair"], cluster: Int[np.ndarray, " pair"]
) -> Float[np.ndarray, "term cluster"]:
    """The sum of every term over the pairs of every cluster."""
    names, member = np.unique(cluster, return_inverse=True)
    return np.stack([np.bincount(member, weights=term, minlength=len(names)) for term in terms])


def ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Ranks centred at zero, as shares of their number; ties share their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    places = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return (places - places.mean()) / len(values)


def correlation(sums: Float[np.ndarray, "6 draw"]) -> Float[np.ndarray, " draw"]:
    """Pearson's correlation of the sums n, x, y, xx, yy, xy; of ranks it is Spearman's. NaN where one is constant."""
    n, x, y, xx, yy, xy = sums
    return ratio(n * xy - x * y, np.sqrt(np.clip((n * xx - x * x) * (n * yy - y * y), 0, None)))


def ratio(above: Any, below: Any) -> Any:
    """above / below, NaN where below is not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / below, np.nan)


def spearman(x: Float[np.ndarray, " pair"], y: Float[np.ndarray, " pair"]) -> float:
    """Rank correlation; NaN where one is constant or there are no pairs."""
    if not len(x):
        return float("nan")
    a, b = ranks(x), ranks(y)
    terms = np.stack([np.ones_like(a), a, b, a * a, b * b, a * b])
    return float(correlation(terms.sum(1, keepdims=True))[0])


def wilson(right: int, n: int) -> Interval:
    """A share with its Wilson interval (Wilson 1927); ZeroDivisionError when n is 0."""
    share, scale = right / n, 1 + _Z * _Z / n
    middle = (share + _Z * _Z / (2 * n)) / scale
    half = _Z / scale * sqrt(share * (1 - share) / n + _Z * _Z / (4 * n * n))
    return Interval(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def balanced_accuracy(right_yes: int, yes: int, right_no: int, no: int) -> Interval:
    """The mean of two shares, with the interval that joins their Wilson intervals (MOVER, Zou and Donner 2008)."""
    p, q = wilson(right_yes, yes), wilson(right_no, no)
    middle = (p.value + q.value) / 2
    low = middle - hypot(p.value - p.low, q.value - q.low) / 2
    return Interval(middle, max(0.0, low), min(1.0, middle + hypot(p.high - p.value, q.high - q.value) / 2))


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean of many values with its normal interval; NaN ends for fewer than two, all NaN for none."""
    if not len(values):
        return UNKNOWN
    n, mean = len(values), sum(values) / len(values)
    if n < 2:
        return Interval(mean, float("nan"), float("nan"))
    half = _Z * sqrt(sum((value - mean) ** 2 for value in values) / (n - 1)) / sqrt(n)
    return Interval(mean, mean - half, mean + half)


def null_quantile(value: float, draws: Sequence[float]) -> float:
    """The share of a null's draws that are smaller than a value, ties counted half; NaN without draws."""
    if not len(draws):
        return float("nan")
    array = np.asarray(draws, dtype=float)
    return float(((array < value).sum() + 0.5 * (array == value).sum()) / len(array))


def null_range(draws: Sequence[float]) -> Interval:
    """The mean of a null's draws and where 95 % of them lie; NaN without draws."""
    if not len(draws):
        return UNKNOWN
    array = np.asarray(draws, dtype=float)
    low, high = np.quantile(array, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Interval(float(array.mean()), float(low), float(high))


def discovered(p: Float[np.ndarray, " test"], rate: float = FALSE_DISCOVERY_RATE) -> Bool[np.ndarray, " test"]:
    """Which of many tests are discoveries at a false discovery rate (Benjamini and Hochberg 1995)."""
    order = np.argsort(p)
    passes = p[order] <= rate * np.arange(1, len(p) + 1) / max(len(p), 1)
    last = passes.nonzero()[0].max(initial=-1)
    chosen = np.zeros(len(p), dtype=bool)
    chosen[order[: last + 1]] = True
    return chosen


def sign_flip_p(differences: Float[np.ndarray, " pair"], generator: np.random.Generator) -> float:
    """How often random signs make the sum of differences as large: a one-sided permutation test of pairs (Fisher 1935).

    The signs that were measured count among them, so that it is never 0.
    """
    flipped = generator.choice((-1.0, 1.0), (FLIPS, len(differences))) @ differences
    return float((1 + (flipped >= differences.sum() - 1e-12).sum()) / (1 + FLIPS))
