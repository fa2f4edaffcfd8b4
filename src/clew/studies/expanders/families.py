"""Families of undirected graphs that are measured beside each other, and what is measured of one graph.

1. *Random regular* graphs have their second eigenvalue near 2 sqrt(d - 1) (Friedman 2008): there is no bottleneck.
2. *Local* graphs of the same degree are circulants: every node is joined to nodes near it on a circle. That of shifts S
   has the eigenvalues 2 sum over s of S of cos(2 pi k s / n).
3. A *ladder* is a circle of rungs; random 4-regular graphs are set beside it where formulas are refuted.
4. *Random trees* hang on every edge (Pruefer sequences, all labelled trees alike).
5. *Uneven* graphs have the same number of edges between random pairs, so that degrees differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from clew.attribution.expanders import (
    after_deleting,
    largest_component,
    normalized,
    random_regular,
    second_eigenvalue,
    steps_to_mix,
)
from clew.errors import InputError

Adjacency = Bool[np.ndarray, "n n"]
Family = Callable[[int, int, int], Adjacency]
"""A graph by its nodes, degree and seed."""
INFECTED = 0.9
"""The share of the nodes that an epidemic must reach."""
MOST_STEPS = 1000


def local(n: int, degree: int, seed: int) -> Adjacency:
    """A circulant whose `degree` / 2 shifts are drawn from the `degree` smallest; the shift 1 is always there.

    InputError for an odd degree, or a circle too small to tell its shifts apart.
    """
    if degree % 2 or degree < 2 or 2 * degree >= n:
        raise InputError(f"a local graph of {n} nodes has an even degree below {n / 2:g}, not {degree}")
    others = np.random.default_rng([seed, 1]).permutation(np.arange(2, degree + 1))[: degree // 2 - 1]
    places, adjacency = np.arange(n), np.zeros((n, n), dtype=bool)
    for shift in (1, *others.tolist()):
        adjacency[places, (places + shift) % n] = adjacency[(places + shift) % n, places] = True
    return adjacency


def regular(n: int, degree: int, seed: int) -> Adjacency:
    """A random regular graph; InputError where there is none."""
    return random_regular(n, degree, seed=seed)


def ladder(n: int, degree: int, seed: int) -> Adjacency:
    """Two circles of n / 2 nodes, joined rung by rung: every node has three neighbours, whatever `degree` says.

    InputError for an odd number of nodes, or fewer than six.
    """
    if n % 2 or n < 6:
        raise InputError(f"a ladder has an even number of nodes, at least 6, not {n}")
    half, adjacency = n // 2, np.zeros((n, n), dtype=bool)
    for place in range(half):
        following = (place + 1) % half
        for a, b in ((place, following), (half + place, half + following), (place, half + place)):
            adjacency[a, b] = adjacency[b, a] = True
    return adjacency


def uneven(n: int, degree: int, seed: int) -> Adjacency:
    """As many edges as a regular graph has, between pairs drawn at random."""
    pairs = np.stack(np.triu_indices(n, 1), 1)
    a, b = pairs[np.random.default_rng([seed, 2]).permutation(len(pairs))[: n * degree // 2]].T
    adjacency = np.zeros((n, n), dtype=bool)
    adjacency[a, b] = adjacency[b, a] = True
    return adjacency


def random_tree(n: int, seed: int) -> Adjacency:
    """A random labelled tree; InputError for fewer than two nodes."""
    if n < 2:
        raise InputError(f"a tree with edges has at least 2 nodes, not {n}")
    import networkx

    tree = networkx.random_labeled_tree(n, seed=seed)
    return np.asarray(networkx.to_numpy_array(tree, nodelist=range(n)), dtype=bool)


@dataclass(frozen=True, kw_only=True)
class SpreadMeasures:
    """What tells graphs of one degree apart."""

    eigenvalue: float
    """The second largest of the adjacency; the largest is the degree."""
    mixing: float
    """Steps until a lazy random walk from a node is as good as anywhere; infinite when it never is."""
    epidemic: float
    """Steps until INFECTED of the nodes are reached, mean of some outbreaks."""


def spread(adjacency: Adjacency, *, chance: float, outbreaks: int, seed: int) -> SpreadMeasures:
    """Measure one graph; in every step an infected node infects each neighbour with a chance."""
    steps = steps_to_mix(adjacency.astype(float), 0)
    rng = np.random.default_rng([seed, 3])
    return SpreadMeasures(
        eigenvalue=second_eigenvalue(adjacency),
        mixing=math.inf if steps is None else float(steps),
        epidemic=float(np.mean([_outbreak(adjacency, chance, rng) for _ in range(outbreaks)])),
    )


def _outbreak(adjacency: Adjacency, chance: float, rng: np.random.Generator) -> float:
    n = len(adjacency)
    ill = np.zeros(n, dtype=bool)
    ill[rng.integers(n)] = True
    for step in range(MOST_STEPS):
        if ill.mean() >= INFECTED:
            return float(step)
        caught = rng.random(n) < 1 - (1 - chance) ** adjacency[:, ill].sum(1)
        ill |= caught
    return math.inf


def apart_rule(n: int, degree: int, deleted: float) -> float:
    """How often a regular graph falls apart once a share of its edges is deleted at random.

    n p^d nodes lose all their neighbours on average, nearly independently; at few of them that is the chance itself.
    """
    return 1 - math.exp(-n * deleted**degree)


def falls_apart(adjacency: Adjacency, deleted: float, rng: np.random.Generator) -> bool:
    """Whether a graph is no longer connected once a random share of its edges is deleted."""
    return largest_component(after_deleting(adjacency, deleted, rng)) < 1


def bottleneck(adjacency: Adjacency) -> float:
    """The second eigenvalue of a random walk: 1 where a graph falls apart, near 1 where a bottleneck parts it."""
    return second_eigenvalue(normalized(adjacency.astype(float)))
