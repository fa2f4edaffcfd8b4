"""Tseitin formulas: parities on the nodes of a graph that cannot all hold, as clauses, and what refuting them costs.

1. Every edge is a variable, every node asks that the number of true edges at it be odd or even.
2. Every edge counts at two nodes, so the demands add up to an even number. One node that asks for odd, the others for
   even, makes the formula unsatisfiable (Tseitin 1968).
3. On expanders every refutation by resolution, and so by a solver that learns clauses, is exponentially long in the
   number of nodes (Urquhart 1987; Ben-Sasson and Wigderson 2001); on a ladder it is short.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from clew import extras
from clew.errors import InputError
from clew.studies.expanders.families import Adjacency

SOLVER = "glucose4"
MOST_DEGREE = 10
"""Neighbours of a node: it takes half as many clauses as they have truth values."""


def tseitin(adjacency: Adjacency, *, odd: int = 0) -> list[list[int]]:
    """Clauses of literals (variables from 1, negative where negated): the node `odd` asks for odd, the others for even.

    InputError for a node with more than MOST_DEGREE neighbours, or an `odd` that is no node.
    """
    n = len(adjacency)
    if not 0 <= odd < n:
        raise InputError(f"node {odd} is none of {n}: give 0 to {n - 1}")
    a, b = np.triu(adjacency, 1).nonzero()
    at: list[list[int]] = [[] for _ in range(n)]
    for variable, ends in enumerate(zip(a.tolist(), b.tolist(), strict=True), 1):
        for node in ends:
            at[node].append(variable)
    clauses = []
    for node, variables in enumerate(at):
        if len(variables) > MOST_DEGREE:
            raise InputError(f"a node has {len(variables)} neighbours, at most {MOST_DEGREE} make a formula")
        wrong_parity = 1 - int(node == odd)
        for values in product((0, 1), repeat=len(variables)):
            if sum(values) % 2 == wrong_parity:  # the clause that forbids these values
                clauses.append([-v if value else v for v, value in zip(variables, values, strict=True)])
    return clauses


def conflicts(clauses: list[list[int]]) -> int:
    """The conflicts that the solver meets until it has refuted the clauses.

    InputError without the extra `sat`, and when the clauses can be satisfied.
    """
    solvers = extras.needed_module("pysat.solvers" if solver_there() else "pysat", "sat", "a solver of formulas")
    with solvers.Solver(name=SOLVER, bootstrap_with=clauses) as solver:
        if solver.solve():
            raise InputError("the formula can be satisfied: there is nothing to refute")
        return int(solver.accum_stats()["conflicts"])


def solver_there() -> bool:
    """Whether the solver is installed."""
    return extras.installed("pysat")
