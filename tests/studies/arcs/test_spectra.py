"""Spectra of trajectories beside their oracles: the exact random walk, Toeplitz averages, noise, planted order."""

import numpy as np
import pytest

from clew.errors import InputError
from clew.studies.arcs import spectrum_null
from clew.studies.arcs.spectra import (
    MOVING,
    SHUFFLED,
    WALK,
    WHITE,
    centred_spectrum,
    cosines,
    grams,
    moving_average_covariance,
    operator,
    overlaps,
    random_walk_shares,
    span_overlap,
    spectrum_of,
)


def walk_covariance(n):
    steps = np.arange(1, n + 1)
    return np.minimum.outer(steps, steps).astype(float)


@pytest.mark.parametrize("n", [4, 7, 50])
def test_a_random_walk_has_the_exact_shares_and_pure_cosines(n):
    exact = centred_spectrum(walk_covariance(n))
    assert exact.shares == pytest.approx(random_walk_shares(n), abs=1e-9)
    assert overlaps(exact.shapes, cosines(n, n - 1)) == pytest.approx(1)


def test_walks_have_the_published_shares():
    assert 100 * random_walk_shares(7)[:3] == pytest.approx([63.1, 16.6, 8.0], abs=0.05)
    assert 100 * random_walk_shares(2000)[:4] == pytest.approx([60.8, 15.2, 6.8, 3.8], abs=0.05)


def test_a_spectrum_is_that_of_the_singular_values_of_centred_rows():
    rows = np.random.default_rng(0).standard_normal((40, 9)).cumsum(1)
    found = spectrum_of(grams(rows[..., None]).sum(0))
    _, sizes, shapes = np.linalg.svd(rows - rows.mean(1, keepdims=True))
    assert found.shares == pytest.approx((sizes**2 / (sizes**2).sum())[:8])
    assert np.abs((found.shapes * shapes[:8]).sum(1)) == pytest.approx(1)


def test_a_moving_average_of_noise_has_its_toeplitz_covariance():
    width, n, generator = 4, 9, np.random.default_rng(1)
    noise = generator.standard_normal((40_000, n + width - 1))
    smooth = np.stack([noise[:, place : place + width].mean(1) for place in range(n)], 1)
    covariance = np.cov(smooth.T) * width
    assert covariance == pytest.approx(moving_average_covariance(n, width), abs=0.03)
    assert operator(n + width - 1, width, n) @ noise[0] == pytest.approx(smooth[0])
    null = spectrum_null(smooth[:200], window=width, draws=20)
    toeplitz = centred_spectrum(moving_average_covariance(n, width)).shares
    assert null.exact[MOVING] == pytest.approx(toeplitz)
    assert null.draws[MOVING].mean(0)[:3] == pytest.approx(toeplitz[:3], abs=0.02)


def test_walks_and_noise_lie_within_their_own_nulls_and_a_planted_shape_above_all():
    generator = np.random.default_rng(2)
    noise = generator.standard_normal((150, 8))
    planted = noise + 3 * generator.standard_normal((150, 1)) * np.array([1, -1, 1, -1, 1, -1, 1, -1])
    shuffled = [np.stack([generator.permutation(row) for row in planted]) for _ in range(20)]
    null = spectrum_null(planted, shuffled=shuffled, draws=60)
    assert (null.above[WHITE], null.above[SHUFFLED]) == (1, 1)
    assert null.found.shares[0] > null.draws[WALK][:, 0].max()
    walks = spectrum_null(noise.cumsum(1), draws=100)
    low, high = np.quantile(walks.draws[WALK][:, 0], [0.001, 0.999])
    assert low < walks.found.shares[0] < high
    assert walks.draws[WALK].mean(0) == pytest.approx(walks.exact[WALK], abs=0.02)


def test_hidden_states_that_walk_at_random_have_a_walks_spectrum():
    states = np.random.default_rng(3).standard_normal((1, 30, 4000)).cumsum(1)
    assert spectrum_null(states, draws=2).found.shares[:4] == pytest.approx(random_walk_shares(30)[:4], abs=0.02)


def test_spans_overlap_whatever_way_their_shapes_are_mixed():
    waves = cosines(12, 3)
    turned = np.array([[np.cos(0.7), np.sin(0.7), 0], [-np.sin(0.7), np.cos(0.7), 0], [0, 0, 1]]) @ waves
    assert span_overlap(turned, waves) == pytest.approx(1)
    assert span_overlap(cosines(12, 6)[3:], waves) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("trajectories", "options", "words"),
    [
        (np.ones((4, 7)), {}, "no trajectory varies"),
        (np.ones((0, 7)), {}, "0 trajectories"),
        (np.eye(2), {}, "2 positions have no spectrum"),
        (np.full((4, 7), np.nan), {}, "not finite"),
        (np.eye(7), {"lengths": [7, 7]}, "2 lengths are given for 7"),
        (np.eye(7), {"lengths": [3] * 7, "window": 3}, "no two windows of 3"),
    ],
)
def test_what_has_no_spectrum_is_refused(trajectories, options, words):
    with pytest.raises(InputError, match=words):
        spectrum_null(trajectories, draws=2, **options)
