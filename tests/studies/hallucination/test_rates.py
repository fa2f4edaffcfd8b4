"""Rates, bounds, calibration and grading, each beside an oracle: a count model, a plain loop, numbers by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.errors import InputError
from clew.stats import Interval
from clew.studies.hallucination.grading import Grades, confidence_score, crossing, leaderboard
from clew.studies.hallucination.rates import (
    Calibration,
    FactCounts,
    ModelErrors,
    by_count,
    ideal_error,
    iiv_bound,
    singleton_bound,
    smallest_corpus,
    unseen_mass,
)

PEOPLE, ANSWERS = 600, 365


def zipf(exponent=1.0):
    law = np.arange(1, PEOPLE + 1) ** -exponent
    return law / law.sum()


def count_model(law, counts):
    """Of an ideal model, person by person: what `ModelErrors` needs, with `ANSWERS` possible dates and no refusals."""
    seen, evenly = counts > 0, 1 / ANSWERS  # an even guess lies below 1 / (ANSWERS - 1)
    return ModelErrors(
        law=law,
        wrong=np.where(seen, 0.0, 1 - evenly),
        above=seen.astype(float),
        law_above=seen.astype(float),
        wrong_above=np.zeros(PEOPLE),
    )


def test_an_ideal_count_model_errs_as_often_as_the_corpus_has_singletons():
    law, rates, errors = zipf(), [], []
    for seed in range(200):
        counts = np.random.default_rng(seed).multinomial(2000, law)
        rates.append(FactCounts(counts=counts, total=2000).rate)
        errors.append(ideal_error(law, counts, np.ones(PEOPLE, dtype=bool), ANSWERS))
        assert errors[-1] == pytest.approx(float(law @ count_model(law, counts).wrong))
        assert errors[-1] == pytest.approx(unseen_mass(law, counts) * (1 - 1 / ANSWERS))
    assert np.mean(errors) == pytest.approx(np.mean(rates), rel=0.03)
    assert count_model(law, counts).err.value == pytest.approx(errors[-1])


def test_an_ideal_count_model_is_calibrated_and_satisfies_both_bounds():
    law = zipf(0.4)
    counts = np.random.default_rng(0).multinomial(800, law)
    model = count_model(law, counts)
    assert model.delta.value == pytest.approx(0)
    assert model.err_iiv.value == pytest.approx(unseen_mass(law, counts) / 2)
    facts = FactCounts(counts=counts, total=800)
    for bound in (singleton_bound(facts.rate, 800, ANSWERS - 1, 0.0), iiv_bound(model.err_iiv.value, 1, 364, 0.0)):
        assert model.err.value >= bound.value
        assert bound.vacuous == (bound.value <= 0)
        assert model.bound_interval(bound).value == pytest.approx(bound.value)
    assert not iiv_bound(model.err_iiv.value, 1, 364, 0.0).vacuous


def test_the_bounds_are_those_computed_by_hand():
    bound = singleton_bound(0.0068, 47_705, 364, 0.01)
    assert bound.losses["sample"] == pytest.approx((35 + 6 * 10.7728) / 218.415, rel=1e-4)
    assert bound.value == pytest.approx(0.0068 - 0.005495 - 0.456178 - 0.01, abs=1e-4)
    assert bound.vacuous
    assert "vacuous" in str(bound)
    assert iiv_bound(0.25, 2, 364, 0.04).value == pytest.approx(0.5 - 0.005495 - 0.04, abs=1e-5)


def test_the_smallest_corpus_is_where_the_bound_turns():
    n = smallest_corpus(0.2, 100)
    assert singleton_bound(0.2, n - 1, 100, 0.0).vacuous
    assert not singleton_bound(0.2, n, 100, 0.0).vacuous
    assert smallest_corpus(0.01, 100) is None


@given(st.integers(0, 2**32 - 1), st.integers(3, 60))
def test_errors_of_any_model_are_those_of_plain_sums_and_obey_the_theorem(seed, dates):
    """A model of random probabilities: err, delta and err_iiv by loops, and Kalai et al.'s inequality between them."""
    generator, n = np.random.default_rng(seed), 12
    law, said = generator.dirichlet(np.ones(n)), generator.dirichlet(np.full(dates, 0.3), n)
    truth, threshold = generator.integers(0, dates, n), 1 / (dates - 1)
    above = said > threshold
    rows = np.arange(n)
    model = ModelErrors(
        law=law,
        wrong=1 - said[rows, truth],
        above=(said * above).sum(1),
        law_above=above[rows, truth].astype(float),
        wrong_above=(above.sum(1) - above[rows, truth]) / (dates - 1),
    )
    misjudged = 0.0
    for c in range(n):
        misjudged += law[c] / 2 * (said[c, truth[c]] <= threshold)
        for r in range(dates):
            misjudged += law[c] / 2 / (dates - 1) * (r != truth[c] and said[c, r] > threshold)
    assert model.err_iiv.value == pytest.approx(misjudged)
    delta = abs(sum(law[c] * (said[c][above[c]].sum() - above[c, truth[c]]) for c in range(n)))
    assert model.delta.value == pytest.approx(delta)
    bound = iiv_bound(model.err_iiv.value, 1, dates - 1, model.delta.value)
    assert model.err.value >= bound.value - 1e-12


def test_counts_beyond_the_corpus_are_refused():
    with pytest.raises(InputError, match="3 answers in a corpus of 2 statements"):
        FactCounts(counts=np.array([1, 2]), total=2)
    with pytest.raises(InputError, match="fewest wrong is 0"):
        singleton_bound(0.1, 100, 0, 0.0)


def test_answers_dealt_out_evenly_have_the_poisson_share_of_singletons():
    counts = np.zeros(2000, dtype=int)
    counts[:10] = 400
    facts = FactCounts(counts=counts, total=4000)
    assert facts.rate == 0
    assert np.mean(facts.even_rates(50, 0)) == pytest.approx(2000 * 2 * math.exp(-2) / 4000, rel=0.02)
    assert FactCounts(counts=np.array([1, 1, 2]), total=5).resampled_rate().value == pytest.approx(0.4)


def calibration(sure=1.0):
    generator = np.random.default_rng(0)
    confidence = generator.random(1500)
    right = generator.random(1500) < confidence**sure
    return Calibration(confidence=confidence, right=right, weight=generator.random(1500))


def test_the_calibration_error_is_that_of_a_plain_loop_and_small_only_where_confidence_is_honest():
    for sure, low, high in ((1.0, 0.0, 0.05), (3.0, 0.2, 0.3)):
        of = calibration(sure)
        error = 0.0
        for b in range(10):
            member = (of.confidence >= b / 10) & (of.confidence < (b + 1) / 10)
            share = of.weight[member].sum() / of.weight.sum()
            means = [np.average(each[member], weights=of.weight[member]) for each in (of.confidence, of.right)]
            error += share * abs(means[0] - means[1])
        assert of.error.value == pytest.approx(error)
        assert low <= of.error.value <= high
        assert of.error.low <= error <= of.error.high + 0.02
    assert min(calibration().exchanged_errors(5, 0)) > 0.2


def test_the_diagram_has_every_question_in_one_bin_and_leaves_empty_bins_out():
    of = Calibration(confidence=np.array([0.05, 0.05, 1.0]), right=np.array([True, False, True]), weight=np.ones(3))
    assert [(low, n, accuracy.value) for low, _, n, _, accuracy in of.reliability()] == [(0.0, 2, 0.5), (0.9, 1, 1.0)]


def test_groups_of_counts_have_every_question_once():
    groups = by_count(np.arange(6), np.array([0, 1, 2, 5, 6, 99]), (0, 1, 2, 6))
    assert [(name, values.tolist()) for name, values in groups] == [
        ("0", [0]), ("1", [1]), ("2 to 5", [2, 3]), ("6 and more", [4, 5]),
    ]  # fmt: skip


GUESSER, HONEST = Grades(right=0.6, refused=0.0, wrong=0.4), Grades(right=0.5, refused=0.45, wrong=0.05)


def test_scores_are_those_computed_by_hand_and_refusing_pays_above_the_crossing():
    assert confidence_score(GUESSER, 0.0) == 0.6
    assert confidence_score(GUESSER, 0.5) == pytest.approx(0.2)
    assert confidence_score(HONEST, 0.75) == pytest.approx(0.5 - 3 * 0.05)
    target = crossing(GUESSER, HONEST)
    assert target == pytest.approx((0.1 / 0.35) / (1 + 0.1 / 0.35))
    assert confidence_score(GUESSER, target) == pytest.approx(confidence_score(HONEST, target))
    boards = leaderboard({"guesser": GUESSER, "honest": HONEST}, (0.0, 0.9))
    assert boards == {0.0: ["guesser", "honest"], 0.9: ["honest", "guesser"]}


def test_who_is_ahead_in_both_never_changes_places():
    assert crossing(GUESSER, Grades(right=0.5, refused=0.0, wrong=0.5)) is None


@given(st.floats(0, 0.99))
def test_answering_pays_exactly_where_one_is_right_more_often_than_the_target(target):
    for right in (target - 0.05, target + 0.05):
        if 0 <= right <= 1:
            answering = confidence_score(Grades(right=right, refused=0.0, wrong=1 - right), target)
            assert (answering > 0) == (right > target)


@pytest.mark.parametrize("shares", [(0.5, 0.2, 0.2), (1.2, -0.2, 0.0)])
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(InputError, match="are no shares"):
        Grades(right=shares[0], refused=shares[1], wrong=shares[2])


def test_a_target_of_one_is_refused():
    with pytest.raises(InputError, match="the confidence target is 1"):
        confidence_score(GUESSER, 1.0)


def test_intervals_of_a_model_hold_its_numbers():
    counts = np.random.default_rng(0).multinomial(800, zipf())
    model = count_model(zipf(), counts)
    assert isinstance(model.err, Interval)
    assert model.err.low < model.err.value < model.err.high
