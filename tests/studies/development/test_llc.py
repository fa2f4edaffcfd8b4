"""The sampler's oracles: learning coefficients that are known, within a tenth."""

import pytest
import torch

from clew.errors import InputError
from clew.studies.development.llc import Walk, learning_coefficients


def normal_crossing(a, b):
    """The loss (w1^a w2^b)^2, whose coefficient at the origin is 1 / (2 max(a, b))."""

    def excess(weights, step):
        with torch.enable_grad():
            weights = weights.detach().requires_grad_()
            losses = (weights[:, 0] ** a * weights[:, 1] ** b) ** 2
            (gradient,) = torch.autograd.grad(losses.sum(), weights)
        return losses.detach(), gradient

    return excess


def estimate(excess, start, walk, chains=200):
    starts = torch.tensor([start], dtype=torch.float64).repeat(chains, 1)
    estimates = learning_coefficients(excess, starts, walk, torch.Generator().manual_seed(0))
    assert estimates.isfinite().all()
    return float(estimates.mean())


@pytest.mark.parametrize(
    ("a", "b", "examples", "step", "draws"),
    [(1, 0, 1000, 3e-4, 3000), (0, 2, 1000, 1e-3, 3000), (3, 0, 3000, 1e-3, 4000), (1, 2, 10**5, 3e-4, 7000)],
)
def test_normal_crossings_have_the_coefficient_of_their_larger_exponent(a, b, examples, step, draws):
    walk = Walk(examples=examples, draws=draws, burn_in=draws, step=step, pull=1.0)
    assert estimate(normal_crossing(a, b), [0.0, 0.0], walk) == pytest.approx(1 / (2 * max(a, b)), rel=0.1)


def test_of_two_minima_the_degenerate_point_has_half_the_coefficient_of_the_line():
    def excess(weights, step):
        with torch.enable_grad():
            weights = weights.detach().requires_grad_()
            x = weights[:, 0]
            losses = x**4 * (x - 2) ** 2 / 16  # x = 0 is of fourth order, x = 2 of second
            (gradient,) = torch.autograd.grad(losses.sum(), weights)
        return losses.detach(), gradient

    walk = Walk(examples=2000, draws=3000, burn_in=2000, step=2e-4, pull=1.0)
    point, line = (estimate(excess, [x, 0.0], walk) for x in (0.0, 2.0))
    assert point == pytest.approx(0.25, rel=0.1)
    assert line == pytest.approx(0.5, rel=0.1)


def test_a_walk_that_diverges_has_no_estimate():
    walk = Walk(examples=1000, draws=400, step=1.0, pull=1.0)
    estimates = learning_coefficients(
        normal_crossing(2, 2), torch.ones(3, 2, dtype=torch.float64), walk, torch.Generator().manual_seed(0)
    )
    assert estimates.isnan().all()


@pytest.mark.parametrize(("options", "words"), [({"step": 0.0}, "step is 0"), ({"pull": -1}, "pull is -1")])
def test_walks_that_cannot_be_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        Walk(examples=100, **options)
