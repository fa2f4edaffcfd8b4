"""How far predicted effects agree with measured ones: rank correlation, slope, sign errors, with intervals.

Effects of one source are not independent of each other, so intervals come from resampling clusters (sources within one
prompt, prompts where there are several). Ranks are taken once, over all
pairs; a resampled correlation is then one of weighted sums, and a thousand of them cost one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

RESAMPLES = 1000
COVERAGE = 0.95


@dataclass(frozen=True)
class Interval:
    """A statistic and where it lies in 95 % of the resamples; NaN where it has no meaning."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"

    def to_json(self) -> list[float | None]:
        """Value, low, high; null for NaN."""
        return [None if np.isnan(x) else float(x) for x in (self.value, self.low, self.high)]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What is left of a prediction when it is measured."""

    pairs: int
    spearman: Interval
    """Rank correlation of predicted and measured effects."""
    slope: Interval
    """Measured over predicted, least squares through the origin: 1 is neither too large nor too small."""
    sign_errors: Interval
    """Share of the measured effect (absolute) whose sign was predicted wrongly; a predicted zero counts as wrong."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        numbers = {name: getattr(self, name).to_json() for name in ("spearman", "slope", "sign_errors")}
        return {"pairs": self.pairs, **numbers}


def agreement(
    predicted: Float[Tensor, " pair"],
    measured: Float[Tensor, " pair"],
    cluster: Int[Tensor, " pair"],
    *,
    seed: int = 0,
) -> Agreement:
    """Compare pairs; those of one `cluster` are resampled together. NaN where there are none."""
    p, m = predicted.double().numpy(), measured.double().numpy()
    if not len(p):
        unknown = Interval(np.nan, np.nan, np.nan)
        return Agreement(pairs=0, spearman=unknown, slope=unknown, sign_errors=unknown)
    names, member = np.unique(cluster.numpy(), return_inverse=True)
    n_clusters = len(names)
    rp, rm = (_ranks(values) for values in (p, m))
    wrong = np.abs(m) * (np.sign(p) != np.sign(m))
    terms = (np.ones_like(p), rp, rm, rp * rp, rm * rm, rp * rm, p * m, p * p, wrong, np.abs(m))
    sums = np.stack([np.bincount(member, weights=term, minlength=n_clusters) for term in terms])
    draws = np.random.default_rng(seed).multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), RESAMPLES)
    whole = sums.sum(1, keepdims=True)
    again = sums @ draws.T
    return Agreement(
        pairs=len(p),
        spearman=_interval(_correlation(whole), _correlation(again)),
        slope=_interval(_ratio(whole[6], whole[7]), _ratio(again[6], again[7])),
        sign_errors=_interval(_ratio(whole[8], whole[9]), _ratio(again[8], again[9])),
    )


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks centred at zero; ties share their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return (ranks - ranks.mean()) / len(values)


def _correlation(sums: np.ndarray) -> np.ndarray:
    n, x, y, xx, yy, xy = sums[:6]
    return _ratio(n * xy - x * y, np.sqrt(np.clip((n * xx - x * x) * (n * yy - y * y), 0, None)))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / below, np.nan)


def _interval(value: np.ndarray, again: np.ndarray) -> Interval:
    again = again[~np.isnan(again)]
    if not len(again):
        return Interval(float(value[0]), float("nan"), float("nan"))
    low, high = np.quantile(again, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Interval(float(value[0]), float(low), float(high))
