"""Leak-Rates: what plain loops and drawn answers give."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.errors import InputError
from clew.studies.leakage.leak_rate import leak_rates, likeness, means_of_others, normal, permutations, sharpened
from tests.workbench import minnow


def drawn(seed, rows=3, answers=5, ties=True):
    generator = np.random.default_rng(seed)
    similarity = generator.integers(0, 3, (rows, answers)).astype(float) if ties else generator.random((rows, answers))
    p, q = (normal(generator.random((rows, answers))) for _ in range(2))
    return similarity, p, q


def plain_leak_rate(s, p, q):
    total = 0.0
    for x, px in zip(s, p, strict=True):
        for y, qy in zip(s, q, strict=True):
            total += px * qy * (1.0 if x > y else 0.5 if x == y else 0.0)
    return 100 * total


@given(st.integers(0, 200), st.booleans(), st.integers(1, 7))
def test_the_leak_rate_is_that_of_a_plain_loop_over_pairs_of_answers(seed, ties, answers):
    similarity, p, q = drawn(seed, answers=answers, ties=ties)
    wanted = [plain_leak_rate(*row) for row in zip(similarity, p, q, strict=True)]
    assert leak_rates(similarity, p, q) == pytest.approx(wanted)


def test_drawn_answers_come_to_the_same_leak_rate():
    similarity, p, q = drawn(0, rows=1)
    generator = np.random.default_rng(1)
    x, y = (similarity[0][generator.choice(5, 200_000, p=each[0])] for each in (p, q))
    assert leak_rates(similarity, p, q)[0] == pytest.approx(100 * ((x > y) + 0.5 * (x == y)).mean(), abs=0.5)


@given(st.integers(0, 200), st.booleans())
def test_test_and_control_exchanged_give_the_rest_to_a_hundred(seed, ties):
    similarity, p, q = drawn(seed, ties=ties)
    assert leak_rates(similarity, p, q) + leak_rates(similarity, q, p) == pytest.approx(100)
    assert leak_rates(similarity, p, p) == pytest.approx(50)


@given(st.integers(0, 200), st.sampled_from([0.5, 1.0, 1.5]))
def test_a_temperature_is_a_softmax_over_it(seed, temperature):
    _, p, _ = drawn(seed)
    exact = np.exp(np.log(p) / temperature)
    assert sharpened(p, temperature) == pytest.approx(exact / exact.sum(1, keepdims=True))


def test_at_temperature_zero_equals_share_and_at_one_nothing_changes():
    p = np.array([[0.4, 0.4, 0.2], [0.1, 0.2, 0.7]])
    assert sharpened(p, 0.0).tolist() == [[0.5, 0.5, 0], [0, 0, 1]]
    assert sharpened(p, 1.0) == pytest.approx(p)


@given(st.integers(0, 200))
def test_the_mean_of_others_is_that_of_a_plain_loop(seed):
    p = np.random.default_rng(seed).random((7, 4))
    group = np.array([0, 0, 5, 5, 5, 2, 2])
    for row, own in enumerate(group):
        others = [p[group == name].mean(0) for name in (0, 2, 5) if name != own]
        assert means_of_others(p, group)[row] == pytest.approx(np.mean(others, 0))


def test_a_permutation_leaves_no_concept_in_its_place():
    drawn = permutations(3, 50, seed=0)
    assert {tuple(row) for row in drawn.tolist()} == {(1, 2, 0), (2, 0, 1)}


def test_one_concept_alone_is_refused():
    with pytest.raises(InputError, match="at least two"):
        permutations(1, 5, seed=0)
    with pytest.raises(InputError, match="at least two"):
        means_of_others(np.ones((3, 2)), np.zeros(3, dtype=int))


def test_words_are_most_like_themselves():
    alike = likeness(minnow(), "tokens")(["red", "blue"], ["red", "blue", "cheese"])
    assert alike.argmax(1).tolist() == [0, 1]
    assert alike.max(1) == pytest.approx(1.0)
