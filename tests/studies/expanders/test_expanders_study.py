"""The study of expanders: planted families are told apart, formulas have their oracle, trees are no expanders."""

import math
from functools import cache
from itertools import product

import numpy as np
import pytest
import torch

from clew import extras
from clew.attribution.expanders import second_eigenvalue
from clew.errors import InputError
from clew.studies.expanders.claims import claims_of
from clew.studies.expanders.config import ExpandersConfig
from clew.studies.expanders.families import (
    apart_rule,
    bottleneck,
    falls_apart,
    ladder,
    local,
    random_tree,
    regular,
    spread,
    uneven,
)
from clew.studies.expanders.measures import strongest_tree
from clew.studies.expanders.study import EXPANDERS
from clew.studies.expanders.tseitin import conflicts, tseitin
from tests.workbench import minnow

SMALL = ExpandersConfig(graphs=5, deletion_draws=10, largest=18, formulas=2, prompts=3, comparisons=4)


@cache
def result():
    return EXPANDERS.run(minnow(), config=SMALL, neurons=False)


def satisfiable(clauses, n_variables):
    return any(
        all(any((literal > 0) == values[abs(literal) - 1] for literal in clause) for clause in clauses)
        for values in product((False, True), repeat=n_variables)
    )


def test_local_graphs_have_the_eigenvalues_of_their_shifts():
    adjacency = local(40, 6, seed=3)
    shifts = [k for k in range(1, 21) if adjacency[0, k]]
    formula = sorted(2 * sum(math.cos(2 * math.pi * k * s / 40) for s in shifts) for k in range(40))
    assert len(shifts) == 3
    assert formula[-1] == pytest.approx(6)
    assert second_eigenvalue(adjacency) == pytest.approx(formula[-2])


@pytest.mark.parametrize(("family", "degree"), [(regular, 6), (local, 6), (ladder, 3), (uneven, 6)])
def test_families_have_the_edges_that_they_say(family, degree):
    adjacency = family(30, degree, 1)
    assert (adjacency == adjacency.T).all()
    assert not adjacency.diagonal().any()
    assert adjacency.sum() == 30 * degree
    assert (family is uneven) == (len({*adjacency.sum(1)}) > 1)


def test_a_random_tree_falls_apart_without_any_of_its_edges():
    tree = random_tree(25, seed=2)
    assert tree.sum() == 48
    assert bottleneck(tree) > 0.9
    rng = np.random.default_rng(0)
    assert all(falls_apart(tree, 1 / 24, rng) for _ in range(10))


def test_graphs_fall_apart_as_often_as_their_degree_says():
    rng = np.random.default_rng(0)
    adjacency = regular(60, 6, 0)
    often = np.mean([falls_apart(adjacency, 0.5, rng) for _ in range(400)])
    assert often == pytest.approx(apart_rule(60, 6, 0.5), abs=0.08)
    assert apart_rule(100, 10, 0.3) == pytest.approx(5.9e-4, rel=0.01)


def test_an_epidemic_that_always_infects_takes_as_many_steps_as_the_graph_is_wide():
    measured = spread(local(20, 4, 0), chance=1 - 1e-12, outbreaks=1, seed=0)
    distance = np.where(np.eye(20, dtype=bool), 0, 99)
    for step in range(1, 20):
        distance[(np.linalg.matrix_power(local(20, 4, 0).astype(int), step) > 0) & (distance == 99)] = step
    assert measured.epidemic == np.sort(distance[0])[17]  # nine tenths of twenty


def test_parities_cannot_all_hold_and_without_one_of_them_they_can():
    adjacency = regular(5, 4, 0)
    clauses = tseitin(adjacency, odd=2)
    assert len(clauses) == 5 * 8
    assert not satisfiable(clauses, 10)
    assert satisfiable([clause for clause in clauses if set(map(abs, clause)) != set(map(abs, clauses[0]))], 10)


@pytest.mark.skipif(not extras.installed("pysat"), reason="needs the extra sat")
def test_the_solver_meets_more_conflicts_on_expanders_than_on_ladders():
    assert conflicts(tseitin(regular(14, 4, 0))) > 5 * conflicts(tseitin(ladder(14, 3, 0)))
    with pytest.raises(InputError, match="can be satisfied"):
        conflicts(tseitin(ladder(14, 3, 0))[1:])


def test_without_the_solver_formulas_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(extras, "installed", lambda module: False)
    with pytest.raises(InputError, match=r"needs the extra 'sat'.*clew-interp\[sat\]"):
        conflicts([[1], [-1]])


def test_expanders_hold_together_circuits_lie_near_them_and_nothing_is_seen_of_local_graphs():
    claims = result().found.claims
    verdicts = [claim.verdict for claim in claims]
    assert verdicts[0] == verdicts[1] == verdicts[-1] == "holds"
    assert result().false_effects == ()
    assert claims[0].value.value == pytest.approx(5.5, abs=0.3)
    places = dict(
        zip(("own", "n"), np.array(result().found.tables["circuits"].rows(), dtype=object).T[[4, 1]], strict=True)
    )
    assert all(0 < own < 1 for own in places["own"])


def test_the_strongest_tree_of_a_circuit_keeps_its_strongest_edges():
    class Found:
        weights = np.array([[0, 3, 1], [3, 0, 2], [1, 2, 0]], float)

    assert strongest_tree(Found()).tolist() == [[False, True, False], [True, False, True], [False, True, False]]


def test_claims_of_expanders_hold_of_planted_numbers_only():
    def measured(eigenvalue, place):
        from clew.studies.expanders.claims import ExpanderMeasures

        table = {"tested": [[eigenvalue, 6, 6]] * 5, "local": [[9.4, 30, 20]] * 5}
        circuits = {"own": [1 - place] * 3, "trees": [[1.0, 0.99]] * 3, "expanders": [[0.0, 0.01]] * 3}
        circuits["sizes"] = [[40, 300, 14]] * 3
        shares = [[apart_rule(100, 10, d)] * 5 for d in SMALL.deletions]
        deletions = {"tested": shares, "uneven": [[0.95] * 5] * 7}
        as_tensors = [
            {name: torch.tensor(rows, dtype=torch.float64) for name, rows in part.items()}
            for part in (table, deletions, circuits)
        ]
        return claims_of(
            ExpanderMeasures(
                config=SMALL, graphs=as_tensors[0], deletions=as_tensors[1], formulas=None, circuits=as_tensors[2]
            )
        )

    assert [claim.verdict for claim in measured(5.5, 0.9)] == ["holds"] * 5
    assert [claim.verdict for claim in measured(9.3, 0.1)][::4] == ["fails", "fails"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"degree": 7}, "degree is 7: give an even number from 4"),
        ({"degree": 60}, "degree is 60"),
        ({"largest": 60}, "largest is 60: give 14 to 38 nodes"),
        ({"chance": 1.5}, "chance is 1.5"),
        ({"texts": ("a",)}, "1 prompts are given: give at least 3"),
        ({"graphs": 1}, "graphs is 1: give at least 5"),
    ],
)
def test_mistakes_in_settings_are_told(options, words):
    with pytest.raises(InputError, match=words):
        EXPANDERS.run(minnow(), **options)
