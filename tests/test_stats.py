"""Each statistic beside a value worked out by hand, by scipy's formula, or by brute force."""

import math

import numpy as np
import pytest

from clew import stats


def test_ties_share_their_mean_rank_and_spearman_is_the_correlation_of_ranks():
    x, y = np.array([1.0, 2.0, 2.0, 5.0]), np.array([3.0, 1.0, 4.0, 9.0])
    expected = np.corrcoef([1, 2.5, 2.5, 4], [2, 1, 3, 4])[0, 1]
    assert stats.spearman(x, y) == pytest.approx(expected)
    assert stats.spearman(x, -(x**3)) == pytest.approx(-1)


def test_a_constant_has_no_rank_correlation():
    assert math.isnan(stats.spearman(np.ones(4), np.arange(4.0)))
    assert math.isnan(stats.spearman(np.array([]), np.array([])))


def test_the_bootstrap_of_a_mean_agrees_with_resampling_one_by_one():
    values, cluster = np.arange(12.0) ** 1.5, np.repeat(np.arange(4), 3)
    sums = stats.cluster_sums(np.stack([values, np.ones(12)]), cluster)
    interval = stats.bootstrap(sums, lambda s: s[0] / s[1], seed=3)
    generator = np.random.default_rng(0)
    means = [values.reshape(4, 3)[generator.integers(0, 4, 4)].mean() for _ in range(4000)]
    assert interval.value == pytest.approx(values.mean())
    assert (interval.low, interval.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.6)


def test_a_wilson_interval_is_that_of_the_textbook():
    interval = stats.wilson(8, 10)  # Newcombe 1998 gives .4902 to .9433
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
    assert stats.wilson(0, 5).low == 0
    assert stats.wilson(5, 5).high == 1


def test_balanced_accuracy_is_the_mean_of_both_shares_and_stays_within_zero_and_one():
    interval = stats.balanced_accuracy(10, 10, 0, 4)
    assert interval.value == 0.5
    assert 0 <= interval.low < 0.5 < interval.high <= 1


def test_the_interval_of_a_mean_covers_it_in_about_95_of_100_samples():
    generator = np.random.default_rng(1)
    intervals = [stats.mean_interval(generator.normal(2.0, 1.0, 60).tolist()) for _ in range(400)]
    assert 0.92 < np.mean([interval.low <= 2.0 <= interval.high for interval in intervals]) < 0.98


def test_a_null_is_summed_up_by_its_quantiles():
    draws = [float(i) for i in range(100)]
    assert stats.null_quantile(50.0, draws) == 0.505
    assert stats.null_quantile(1000.0, draws) == 1
    spread = stats.null_range(draws)
    assert (spread.value, spread.low, spread.high) == pytest.approx((49.5, 2.475, 96.525))
    assert math.isnan(stats.null_quantile(1.0, []))
    assert math.isnan(stats.null_range([]).value)


def test_an_interval_survives_json():
    interval = stats.Interval(0.5, math.nan, 0.75)
    numbers = interval.to_json()
    assert numbers == [0.5, None, 0.75]
    assert str(stats.Interval.from_json(numbers)) == str(interval)


def test_discoveries_are_those_of_benjamini_and_hochberg():
    p = np.array([0.001, 0.008, 0.039, 0.041, 0.6])
    assert stats.discovered(p, 0.05).tolist() == [True, True, False, False, False]
    assert not stats.discovered(np.array([0.5, 0.9])).any()
    assert stats.discovered(np.array([])).tolist() == []
