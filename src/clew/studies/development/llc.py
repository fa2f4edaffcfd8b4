"""The local learning coefficient of a point in weight space, by stochastic gradient Langevin dynamics.

How fast the volume of weights shrinks whose loss is within epsilon of the point's: as epsilon to the power of the
coefficient (Watanabe 2009). A regular minimum in d dimensions has d / 2, a degenerate one less: fewer directions count.

1. Chains start at the point w and walk by w' <- w' - step / 2 (n beta gradient + pull (w' - w)) + sqrt(step) noise,
   with beta = 1 / log n: they sample the posterior of n examples at this temperature, held near w by a Gaussian.
2. The estimate is n beta (mean loss of the walk - loss at w), both on the same examples (Lau et al. 2023, The Local
   Learning Coefficient, arXiv 2308.12108, equation 12 and algorithm 1; Hoogland et al. 2024 follow it in training).

Where w is no minimum, as early in training, the walk may go downhill and the estimate is negative: it is reported so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from clew.errors import InputError
from clew.studies.config_checks import at_least

Excess = Callable[[Float[Tensor, "chain weight"], int], tuple[Float[Tensor, " chain"], Float[Tensor, "chain weight"]]]
"""Of the weights of all chains, at a step of the walk: the loss less that at the start on the same examples, in nats,
and the gradient of the loss."""


@dataclass(frozen=True, kw_only=True)
class Walk:
    """How a posterior is sampled. InputError for a length or a number that cannot be."""

    examples: int
    """n, how many examples the posterior is of."""
    draws: int = 100
    """Steps of every chain whose loss counts."""
    burn_in: int = 0
    """Steps before these."""
    step: float = 1e-4
    """Size of a step; its noise has this variance."""
    pull: float = 100.0
    """Precision of the Gaussian that holds chains near the start."""

    def __post_init__(self) -> None:
        at_least(self, examples=3, draws=2, burn_in=0)
        for name in ("step", "pull"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}: give one above 0")

    @property
    def n_beta(self) -> float:
        """The weight of the loss in the posterior."""
        return self.examples / math.log(self.examples)


def learning_coefficients(
    excess: Excess, start: Float[Tensor, "chain weight"], walk: Walk, generator: torch.Generator
) -> Float[Tensor, " chain"]:
    """The estimate of every chain, each from its own start; NaN for one that diverged, whose steps were too large."""
    weights = start.clone()
    total = torch.zeros(len(start), dtype=torch.float64)
    for place in range(walk.burn_in + walk.draws):
        loss, gradient = excess(weights, place)
        if place >= walk.burn_in:
            total += loss.double()
        drift = walk.n_beta * gradient + walk.pull * (weights - start)
        noise = torch.randn(weights.shape, generator=generator, dtype=weights.dtype)
        weights = weights - walk.step / 2 * drift + math.sqrt(walk.step) * noise
    estimates = walk.n_beta * total / walk.draws
    return torch.where(estimates.isfinite(), estimates, math.nan)
