"""Hidden processes: their filters are those of plain enumeration, their draws follow their matrices."""

import itertools

import numpy as np
import pytest

from clew.errors import InputError
from clew.organism.processes import weather_logp
from clew.studies.belief.processes import PROCESSES, history, pairs, processes, rrxor, weather

BOTH = pytest.mark.parametrize("process", [make() for make in PROCESSES.values()], ids=lambda process: process.name)


@BOTH
def test_matrices_are_a_law(process):
    assert process.transitions.sum((0, 2)) == pytest.approx(np.ones(process.n_states))
    stationary = process.start @ process.transitions.sum(0)
    assert stationary == pytest.approx(process.start)


@BOTH
def test_the_belief_is_that_of_summing_over_every_path_of_states(process):
    for symbols in itertools.product(range(process.n_symbols), repeat=4):
        weights = np.zeros(process.n_states)
        for path in itertools.product(range(process.n_states), repeat=5):
            weight = process.start[path[0]]
            for symbol, (before, after) in zip(symbols, itertools.pairwise(path), strict=True):
                weight *= process.transitions[symbol, before, after]
            weights[path[-1]] += weight
        if weights.sum() > 0:
            belief = process.beliefs(np.array([symbols]))[0, -1]
            assert belief == pytest.approx(weights / weights.sum())


def test_the_weather_has_the_worlds_own_probabilities():
    process, symbols = weather(), (0, 2, 1, 1, 0)
    logp, belief = 0.0, process.start
    for symbol in symbols:
        logp += np.log(process.next_symbols(belief)[symbol])
        belief = belief @ process.transitions[symbol]
        belief = belief / belief.sum()
    assert logp == pytest.approx(weather_logp(symbols))


@BOTH
def test_drawn_symbols_follow_the_belief(process):
    symbols = process.draw(np.random.default_rng(0), 6000, 8)
    before = process.beliefs(symbols)[:, -2]
    wanted = process.next_symbols(before)
    seen = np.eye(process.n_symbols)[symbols[:, -1]]
    for symbol in range(process.n_symbols):
        for low in (0.0, 0.3, 0.6):
            there = (wanted[:, symbol] >= low) & (wanted[:, symbol] < low + 0.3)
            if there.sum() > 100:
                error = 4 * 0.5 / there.sum() ** 0.5
                assert seen[there, symbol].mean() == pytest.approx(wanted[there, symbol].mean(), abs=error)


def test_every_third_bit_of_rrxor_is_the_exclusive_or_of_two():
    symbols = rrxor().draw(np.random.default_rng(0), 400, 12)
    phase = [
        (symbols[:, start:-2:3] ^ symbols[:, start + 1 : -1 : 3] == symbols[:, start + 2 :: 3]) for start in range(3)
    ]
    rounds = min(each.shape[1] for each in phase)
    right = np.stack([each[:, :rounds].all(1) for each in phase], 1)
    assert right.any(1).all()
    known = rrxor().beliefs(symbols)[:, -1].max(1)
    assert (known > 0.99).mean() > 0.5


def test_the_history_is_the_last_symbols_and_zeros_before_the_first():
    columns = history(np.array([[2, 0, 1]]), 2, 3)
    assert columns.tolist() == [[0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 0, 1], [0, 1, 0, 1, 0, 0]]
    assert pairs(columns, 3).shape == (3, 4)
    assert pairs(columns, 3)[2].tolist() == [0, 0, 1, 0]


def test_another_process_is_refused():
    assert [process.name for process in processes("both")] == ["mess3", "rrxor"]
    with pytest.raises(InputError, match="process 'coin': choose from both, mess3, rrxor"):
        processes("coin")
