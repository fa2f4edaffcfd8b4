"""Scores of heads on patterns that are built by hand, one for each class, and distances beside their definition."""

import numpy as np
import pytest

from clew.studies.heads import domains, scores

N = 8
CONTENT = np.array([False, *[True] * 6, False])
DELIMITERS = np.array([False, False, False, True, False, False, False, True])


def shifted(offset):
    """A head that looks at the position `offset` away, and at itself where there is none."""
    places = np.arange(N) + offset
    pattern = np.zeros((N, N))
    pattern[np.arange(N), np.where((places >= 0) & (places < N), places, np.arange(N))] = 1
    return pattern


def heads():
    first = np.zeros((N, N))
    first[:, 0] = 1
    delimiters = np.zeros((N, N))
    delimiters[:, 3] = delimiters[:, 7] = 0.5
    return np.stack([shifted(-1), shifted(1), first, delimiters, np.full((N, N), 1 / N)])


def neighbours(offset):
    return scores.neighbours(CONTENT, offset, causal=False).attention(heads())


def test_every_class_of_head_has_its_own_score_alone():
    uniform = 1 / N
    assert neighbours(-1) == pytest.approx([1, 0, 0, 0.5 * 1 / 5, uniform])
    assert neighbours(1) == pytest.approx([0, 1, 0, 0.5 * 1 / 5, uniform])
    assert scores.first_share(heads(), CONTENT) == pytest.approx([1 / 6, 0, 1, 0, uniform])
    shares = scores.delimiter_share(heads(), CONTENT, DELIMITERS)
    assert shares == pytest.approx([1 / 6, 2 / 6, 0, 1, 2 / N])
    entropy = scores.relative_entropy(heads(), CONTENT, causal=False)
    assert entropy == pytest.approx([0, 0, 0, np.log(2) / np.log(N), 1])


def test_uniform_causal_attention_has_the_greatest_entropy_that_it_could_have():
    uniform = np.tril(np.ones((N, N))) / np.arange(1, N + 1)[:, None]
    assert scores.relative_entropy(uniform[None], CONTENT, causal=True) == pytest.approx(1)


def test_induction_and_duplicates_are_told_apart_in_a_sequence_that_is_said_twice():
    first, second, length, n = 2, 6, 3, 10
    induction, duplicate = np.zeros((n, n)), np.zeros((n, n))
    for place in range(length):
        duplicate[second + place, first + place] = 1
        induction[second + place, first + place + 1] = 1
    both = np.stack([induction, duplicate])
    for shift, expected in ((1, [1, 0]), (0, [0, 1])):
        pairs = scores.copies(first, second, length, shift, n, causal=True)
        assert pairs.attention(both) == pytest.approx(expected)
        drawn = pairs.random_attention(both, 50, np.random.default_rng(0))
        asked, other = (0, 1) if shift else (1, 0)
        assert drawn[:, other].mean() > 0.2  # the other class is among the keys that are drawn
        assert drawn[:, asked] == pytest.approx(0)


def test_random_keys_are_those_that_a_query_sees_and_not_the_one_asked_about():
    pairs = scores.neighbours(CONTENT, -1, causal=True)
    for query, key, pool in zip(pairs.query, pairs.key, pairs.pool, strict=True):
        assert key == query - 1
        assert set(np.flatnonzero(pool)) == set(range(1, query)) - {key}
    uniform = np.full((1, N, N), 0.25)
    assert pairs.random_attention(uniform, 5, np.random.default_rng(0)) == pytest.approx(0.25)


def test_distances_are_jensen_shannon_divergences_in_bits():
    found = scores.distances(heads(), CONTENT)
    assert found[0, 1] == pytest.approx(1)  # no key in common
    assert found == pytest.approx(found.T)
    assert np.diag(found) == pytest.approx(0, abs=1e-9)
    p, q = np.eye(N)[3], np.full(N, 1 / N)
    mixed = (p + q) / 2
    terms = [row * np.log2(np.where(row > 0, row, 1) / mixed) for row in (p, q)]
    sole = scores.distances(np.stack([np.tile(p, (N, 1)), np.tile(q, (N, 1))]), CONTENT)
    assert sole[0, 1] == pytest.approx((terms[0].sum() + terms[1].sum()) / 2)


def test_a_map_keeps_distances_that_lie_in_a_plane_and_layers_that_look_alike_stand_out():
    points = np.random.default_rng(0).standard_normal((7, 2))
    squared = ((points[:, None] - points[None]) ** 2).sum(2)
    plane = scores.map_of(squared)
    assert ((plane[:, None] - plane[None]) ** 2).sum(2) == pytest.approx(squared)
    distance = 1 - np.kron(np.eye(3), np.ones((2, 2)))
    assert scores.layer_gap(distance, [0, 0, 1, 1, 2, 2]) == 1
    assert scores.layer_gap(distance, [0, 1, 2, 0, 1, 2]) < 0


def planted(n=60):
    """Effects of five heads on texts of three domains; head 2 harms the second domain, and all texts differ in size."""
    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(3), n // 3)
    effects = generator.random((n, 5)) + 0.2
    effects[labels == 1, 2] += 2
    return effects * generator.exponential(1, (n, 1)), labels


def test_a_planted_specialist_is_found_however_easily_texts_are_harmed():
    effects, labels = planted()
    effects[labels == 0] *= 50
    eta = domains.eta_squared(domains.part_ranks(effects), labels)
    assert eta.argmax() == 2
    assert domains.parts(effects).sum(1) == pytest.approx(1)
    interval = domains.jackknife(domains.part_ranks(effects)[:, [2]], labels)
    assert interval.low > 0.4
    dealt = domains.dealt_among_texts(labels, np.random.default_rng(0))
    assert domains.eta_squared(domains.part_ranks(effects), dealt).max() < interval.low


def test_the_share_between_domains_is_that_of_an_analysis_of_variance():
    values, labels = np.array([[1.0], [2.0], [4.0], [9.0]]), np.array([0, 0, 1, 1])
    between = 2 * ((1.5 - 4) ** 2 + (6.5 - 4) ** 2)
    assert domains.eta_squared(values, labels) == pytest.approx(between / ((values - 4) ** 2).sum())
    assert domains.eta_squared(np.ones((4, 1)), labels) == 0


def test_kinds_stay_together_when_domains_are_dealt_out_among_them():
    labels, kinds = np.array([0, 0, 0, 0, 1, 1, 1, 1]), np.array([5, 5, 2, 2, 7, 7, 9, 9])
    generator = np.random.default_rng(0)
    for _ in range(10):
        dealt = domains.dealt_among_kinds(labels, kinds, generator)
        assert all(len(set(dealt[kinds == kind])) == 1 for kind in kinds)
        assert sorted(dealt) == sorted(labels)
