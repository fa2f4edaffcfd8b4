"""Two graphs side by side: aligned where they say the same, and every feature accounted for once."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from clew.attribution.compare import align, compare
from clew.attribution.influence import influence
from clew.errors import InputError
from tests.graphs import capital_graph, random_graph

WORDS = st.lists(st.sampled_from("abc"), max_size=8).map(tuple)


def longest_common(a, b):
    """By plain recursion."""
    if not a or not b:
        return 0
    if a[0] == b[0]:
        return 1 + longest_common(a[1:], b[1:])
    return max(longest_common(a[1:], b), longest_common(a, b[1:]))


@given(WORDS, WORDS)
@example(tuple("aaba"), tuple("ba"))  # the first place that agrees is not part of the longest
def test_alignment_rises_and_holds_a_longest_common_subsequence(a, b):
    found = align(a, b)
    assert all(i < k and j < n for (i, j), (k, n) in pairwise(found))
    assert all(0 <= i < len(a) and 0 <= j < len(b) for i, j in found)
    assert sum(a[i] == b[j] for i, j in found) >= longest_common(a, b)


def test_words_that_differ_between_words_that_agree_stand_for_one_another():
    one = "As a preschooler I say the root of nine is".split()  # noqa: SIM905
    other = "As a student I say the root of nine is".split()  # noqa: SIM905
    assert align(tuple(one), tuple(other)) == tuple((i, i) for i in range(len(one)))
    assert align(("x", "a", "b"), ("a", "b")) == ((1, 0), (2, 1))
    assert align((), ("a",)) == ()


def test_prompts_too_long_to_align_are_refused():
    with pytest.raises(InputError, match="too long"):
        align(tuple(range(3000)), tuple(range(3000)))


def test_a_graph_beside_itself_shares_everything_and_changes_nothing():
    graph = capital_graph()
    found = compare(graph, graph)
    assert len(found.shared) == graph.n_features
    assert found.only_a == found.only_b == ()
    assert all(pair.a == pair.b and pair.change == 0 for pair in found.pairs)


@pytest.mark.parametrize("shift", [0, 1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_every_feature_of_either_graph_stands_in_exactly_one_pair(seed, shift):
    a = random_graph(seed, n_features=40, d_features=6)
    b = random_graph(seed + 100, n_features=40, d_features=6, n_tokens=5)
    ids = tuple(range(10 - shift, 15 - shift))  # what is at 0 in a is at `shift` in b
    b = replace(b, tokens=tuple(map(str, ids)), token_ids=ids)
    found = compare(a, b)
    to_b = {position: position + shift for position in range(4) if position + shift < 5}
    assert dict(found.positions).items() >= to_b.items()
    to_b = dict(found.positions)
    assert sorted(p.a for p in found.pairs if p.a is not None) == list(a.feature_range)
    assert sorted(p.b for p in found.pairs if p.b is not None) == list(b.feature_range)
    there = {tuple(key) for key in b.feature_keys.tolist()}
    for pair in found.pairs:
        if pair.a is not None:
            layer, position, index = a.feature_keys[pair.a].tolist()
            both = (layer, to_b.get(position), index) in there
            assert both == (pair.b is not None)
    assert found.shared
    assert found.only_a
    assert found.only_b


def test_a_planted_feature_appears_by_its_share_of_the_influence():
    b = capital_graph()
    through = influence(b)[: b.n_features] / b.target_weights.sum()
    gone = int(through.argmax())
    keep = torch.arange(b.n_nodes) != gone
    rows, cols = keep[b.row_nodes], keep[b.col_nodes]
    number = torch.cumsum(keep.long(), 0) - 1
    a = replace(
        b,
        feature_keys=b.feature_keys[keep[: b.n_features]],
        activations=b.activations[keep[: b.n_features]],
        preactivations=b.preactivations[keep[: b.n_features]],
        rows=b.rows[rows][:, cols],
        row_nodes=number[b.row_nodes[rows]],
        col_nodes=number[b.col_nodes[cols]],
        row_offsets=b.row_offsets[rows],
        input_mass=b.input_mass[rows],
    )
    found = compare(a, b)
    (appeared,) = found.only_b
    assert (appeared.a, appeared.b) == (None, gone)
    assert appeared.influence_a == 0
    assert appeared.influence_b == pytest.approx(float(through[gone]))
    assert found.only_a == ()
    assert found.shares[0] == (pytest.approx(1), 0)
    assert found.shares[1][1] == pytest.approx(float(through[gone] / through.sum()))
