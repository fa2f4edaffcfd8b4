"""Factorial means: what plain loops give, and identities that hold for any numbers."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clew.errors import InputError
from clew.studies.factors import factorial_means

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=3)


def drawn(shape, copies, seed):
    """Numbers of every combination of levels, some of them several times, in a mixed order."""
    generator = torch.Generator().manual_seed(seed)
    combos = [*itertools.product(*(range(n) for n in shape))]
    extra = torch.randint(len(combos), (copies,), generator=generator).tolist()
    combos += [combos[i] for i in extra]
    combos = [combos[i] for i in torch.randperm(len(combos), generator=generator).tolist()]
    numbers = torch.randn(len(combos), 5, generator=generator, dtype=torch.float64)
    factors = {name: [f"{name}{combo[i]}" for combo in combos] for i, name in enumerate("abc"[: len(shape)])}
    return numbers, factors


def mean_of(means, fixed):
    """The mean over the cells that have some levels, by a loop over all cells."""
    total, count = 0, 0
    for place in itertools.product(*(range(len(levels)) for levels in means.levels.values())):
        if all(place[axis] == level for axis, level in fixed.items()):
            total, count = total + means.cells[place], count + 1
    return total / count


@given(SHAPES, st.integers(0, 9), st.integers(0, 99))
def test_effects_are_those_of_plain_loops(shape, copies, seed):
    numbers, factors = drawn(shape, copies, seed)
    means = factorial_means(numbers, factors)
    names = list(factors)
    for place in itertools.product(*(range(n) for n in shape)):
        wanted = [
            row
            for row, values in zip(numbers, zip(*factors.values(), strict=True), strict=True)
            if all(means.levels[name][i] == value for name, i, value in zip(names, place, values, strict=True))
        ]
        assert torch.allclose(means.cells[place], torch.stack(wanted).mean(0))
    grand = mean_of(means, {})
    assert torch.allclose(means.grand, grand)
    for axis, name in enumerate(names):
        for level in range(shape[axis]):
            assert torch.allclose(means.main[name][level], mean_of(means, {axis: level}) - grand)
    for (a, one), (b, other) in itertools.combinations(enumerate(names), 2):
        for i, j in itertools.product(range(shape[a]), range(shape[b])):
            rest = means.main[one][i] + means.main[other][j] + grand
            assert torch.allclose(means.both[one, other][i, j], mean_of(means, {a: i, b: j}) - rest)


@given(SHAPES, st.integers(0, 9), st.integers(0, 99))
def test_effects_sum_to_zero_and_two_factors_add_up_to_the_cells(shape, copies, seed):
    means = factorial_means(*drawn(shape, copies, seed))
    for effects in means.main.values():
        assert torch.allclose(effects.sum(0), torch.zeros(5, dtype=torch.float64), atol=1e-9)
    for effects in means.both.values():
        assert torch.allclose(effects.sum(0), torch.zeros_like(effects[0]), atol=1e-9)
        assert torch.allclose(effects.sum(1), torch.zeros_like(effects[:, 0]), atol=1e-9)
    if len(shape) == 2:
        whole = means.grand + means.main["a"][:, None] + means.main["b"][None] + means.both["a", "b"]
        assert torch.allclose(whole, means.cells)


def test_a_planted_factor_and_a_planted_interaction_are_told_apart():
    factors = {"a": ["x", "x", "y", "y"], "b": ["1", "2", "1", "2"]}
    numbers = torch.tensor([[0.0, 0, 0, 1], [0, 1, 0, 1], [2, 0, 0, 1], [2, 1, 4, 1]], dtype=torch.float64)
    means = factorial_means(numbers, factors)
    assert means.spread("a").tolist() == [1, 0, 1, 0]
    assert means.spread("b").tolist() == [0, 0.25, 1, 0]
    assert means.spread("a", "b").tolist() == means.spread("b", "a").tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ({}, "no factor is given"),
        ({"a": ["x"]}, "the factor 'a' has 1 values for 3 prompts"),
        ({"a": ["x", "x", "y"], "b": ["1", "2", "1"]}, "no prompt has a 'y', b '2': give every combination"),
    ],
)
def test_mistakes_are_told(factors, words):
    with pytest.raises(InputError, match=words):
        factorial_means(torch.zeros(3, 2), factors)
