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

from clew.stats import UNKNOWN, Interval, bootstrap, cluster_sums, correlation, ranks, ratio


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
        return Agreement(pairs=0, spearman=UNKNOWN, slope=UNKNOWN, sign_errors=UNKNOWN)
    rank_p, rank_m = ranks(p), ranks(m)
    wrong = np.abs(m) * (np.sign(p) != np.sign(m))
    moments = (np.ones_like(p), rank_p, rank_m, rank_p * rank_p, rank_m * rank_m, rank_p * rank_m)
    sums = cluster_sums(np.stack([*moments, p * m, p * p, wrong, np.abs(m)]), cluster.numpy())
    return Agreement(
        pairs=len(p),
        spearman=bootstrap(sums, lambda s: correlation(s[:6]), seed=seed),
        slope=bootstrap(sums, lambda s: ratio(s[6], s[7]), seed=seed),
        sign_errors=bootstrap(sums, lambda s: ratio(s[8], s[9]), seed=seed),
    )
