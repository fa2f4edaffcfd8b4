"""Classes are what was planted, and nothing where nothing was."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.studies.greater_than.classes import band_share, classify, contributions
from clew.studies.greater_than.prompts import YEARS

STARTS, TRACED = np.arange(2, 99), np.arange(2, 99, 2)
END = np.arange(YEARS)
COPIES = 4


def drawn(activation, effect, seed):
    """Copies of one feature with noise: activation by start year, effect by end year at activation 1."""
    rng = np.random.default_rng(seed)
    noise = 1 + 0.05 * rng.standard_normal((COPIES, len(STARTS)))
    activations = np.maximum(0, np.tile(activation, (COPIES, 1)) * noise)
    effects = activations[:, ::2, None] * (effect + 0.02 * rng.standard_normal((COPIES, 1, YEARS)))
    return activations, effects - effects.mean(2, keepdims=True)


def bump(middle, width):
    return np.exp(-(((STARTS - middle) / width) ** 2))


PLANTED = {
    "general": (bump(50, 25), np.where(END > 50, 1.0, -1.0)),
    "narrow band": (bump(40, 6), np.where(END > 40, 1.0, -1.0)),
    "parity or contrast": ((STARTS % 2) * 1.0, np.zeros(YEARS)),
    "multiples": ((STARTS % 10 == 0) + 0.1, np.zeros(YEARS)),
    "saboteur": (bump(50, 25), np.where(END > 50, -1.0, 1.0)),
    "other": (np.ones(len(STARTS)), np.zeros(YEARS)),
}


@pytest.fixture(scope="module")
def planted():
    parts = [drawn(*features, seed) for seed, features in enumerate(PLANTED.values())]
    activations, effects = (np.concatenate(part) for part in zip(*parts, strict=True))
    return classify(activations, STARTS, effects, TRACED, permutations=2000)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_class_is_found(planted, name):
    at = COPIES * [*PLANTED].index(name)
    assert [planted.names[node] for node in range(at, at + COPIES)] == [name] * COPIES


def test_where_activations_have_nothing_to_do_with_years_there_is_no_class():
    rng = np.random.default_rng(0)
    activations = rng.random((60, len(STARTS)))
    effects = activations[:, ::2, None] * rng.standard_normal((60, 1, YEARS))
    classes = classify(activations, STARTS, effects, TRACED, permutations=1000)
    assert sum(name != "other" for name in classes.names) <= 3


def test_slopes_and_curves_are_neither_parity_nor_multiples():
    smooth = np.concatenate([STARTS[None] / 100, (STARTS[None] / 100) ** 2])
    curves = np.stack([END / 100, (END / 100) ** 2])[:, None] * np.ones((2, len(TRACED), 1))
    classes = classify(smooth, STARTS, curves, TRACED, permutations=1000)
    assert (classes.p["parity"] > 0.05).all()
    assert (classes.p["multiples"] > 0.05).all()


def test_contribution_is_later_years_less_the_others():
    effects = np.zeros((1, 2, YEARS))
    effects[0, :, 60:] = 1.0
    table = contributions(effects, np.array([59, 98]))
    assert table[0, 0].tolist() == pytest.approx([1.0, 1.0 - 39 / 99])


@given(st.lists(st.floats(0, 9), min_size=4, max_size=12), st.integers(1, 12))
def test_the_share_in_a_band_is_that_of_a_plain_loop(values, width):
    width = min(width, len(values))
    total = sum(values)
    most = max(sum(values[i : i + width]) for i in range(len(values) - width + 1))
    assert band_share(np.array([values]), width)[0] == pytest.approx(most / total if total > 1e-9 else 0, abs=1e-4)
