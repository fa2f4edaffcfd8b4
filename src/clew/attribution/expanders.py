"""Undirected graphs to compare with: random regular ones, which are expanders, and how a graph's edges hold together.

A random regular graph of degree d has a second eigenvalue near 2 sqrt(d - 1) (Alon 1986, Friedman 2008), far from d: it
has no bottleneck. A circulant of the same degree, where everyone knows his neighbours, comes near d.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from clew.errors import InputError

MIXED = 0.25
"""Total variation from the stationary distribution at which a walk has mixed (Levin, Peres and Wilmer 2009)."""
MOST_STEPS = 1000
PAIRED = 16
"""Degrees up to which a random regular graph is drawn by pairing; above it by swapping the edges of a ring's."""
ROUNDS = 60


def random_regular(n: int, degree: int, *, seed: int = 0) -> Bool[np.ndarray, "n n"]:
    """The adjacency of a random graph in which every node has the same number of neighbours.

    InputError where there is none: degree below n, and n times degree even.
    """
    if not 0 <= degree < n or n * degree % 2:
        raise InputError(f"no graph of {n} nodes has degree {degree} everywhere: give one below {n}, n x degree even")
    if degree > PAIRED:
        return _swapped(_ring(n, degree), np.random.default_rng(seed))
    import networkx

    drawn = networkx.random_regular_graph(degree, n, seed=seed)
    adjacency = np.zeros((n, n), dtype=bool)
    for a, b in drawn.edges:
        adjacency[a, b] = adjacency[b, a] = True
    return adjacency


def _ring(n: int, degree: int) -> Bool[np.ndarray, "n n"]:
    """Nodes on a circle, each beside its nearest; of an odd degree also the one opposite."""
    apart = np.abs(np.arange(n)[:, None] - np.arange(n)[None, :])
    apart = np.minimum(apart, n - apart)
    near = (apart > 0) & (apart <= degree // 2)
    return near | (apart == n // 2) if degree % 2 else near


def _swapped(adjacency: Bool[np.ndarray, "n n"], rng: np.random.Generator) -> Bool[np.ndarray, "n n"]:
    """The graph after many swaps of two edges' ends, where no edge comes to stand twice: every degree stays."""
    n = len(adjacency)
    for _ in range(ROUNDS):
        ends = np.stack(np.triu(adjacency, 1).nonzero(), 1)
        ends = np.where(rng.random((len(ends), 1)) < 0.5, ends, ends[:, ::-1])[rng.permutation(len(ends))]
        half = len(ends) // 2
        (a, b), (c, d) = ends[:half].T, ends[half : 2 * half].T
        new = np.sort(np.stack([np.stack([a, d], 1), np.stack([c, b], 1)]), -1)  # [2, pair, end]
        codes = new[..., 0] * n + new[..., 1]
        _, place, count = np.unique(codes, return_inverse=True, return_counts=True)
        free = (new[..., 0] != new[..., 1]) & ~adjacency[new[..., 0], new[..., 1]]
        free &= (count[place] == 1).reshape(free.shape)
        taken = free.all(0)
        for u, v, there in ((a, b, False), (c, d, False), (a, d, True), (c, b, True)):
            adjacency[u[taken], v[taken]] = adjacency[v[taken], u[taken]] = there
    return adjacency


def circulant(n: int, degree: int) -> Bool[np.ndarray, "n n"]:
    """Nodes on a circle, each beside its `degree` nearest; InputError for an odd degree, or one that is not below n."""
    if degree % 2 or not 0 <= degree < n:
        raise InputError(f"a circulant of {n} nodes has an even degree below {n}, not {degree}")
    return _ring(n, degree)


def second_eigenvalue(adjacency: Float[np.ndarray, "n n"] | Bool[np.ndarray, "n n"]) -> float:
    """The second largest eigenvalue of a symmetric matrix; NaN for fewer than two nodes."""
    if len(adjacency) < 2:
        return float("nan")
    return float(np.linalg.eigvalsh(adjacency.astype(float))[-2])


def normalized(weights: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Symmetric weights divided by the roots of both ends' sums: its largest eigenvalue is 1. Sums must be positive."""
    root = np.sqrt(weights.sum(1))
    return weights / root[:, None] / root[None, :]


def spectral_gap(weights: Float[np.ndarray, "n n"]) -> float:
    """1 less the second eigenvalue of a random walk along symmetric weights: 0 where the graph falls apart."""
    return max(0.0, 1 - second_eigenvalue(normalized(weights)))


def steps_to_mix(weights: Float[np.ndarray, "n n"], start: int) -> int | None:
    """Steps until a lazy walk from a node is as good as anywhere (`MIXED`); None when it never is, in MOST_STEPS."""
    mass = weights.sum(1)
    rest, place = mass / mass.sum(), np.zeros(len(weights))
    place[start] = 1.0
    for step in range(MOST_STEPS + 1):
        if np.abs(place - rest).sum() / 2 <= MIXED:
            return step
        place = (place + (place / mass) @ weights) / 2
    return None


def largest_component(adjacency: Bool[np.ndarray, "n n"]) -> float:
    """The share of the nodes in the largest connected part; NaN for no node."""
    n = len(adjacency)
    unseen, largest = np.ones(n, dtype=bool), 0
    while unseen.any():
        reached = np.zeros(n, dtype=bool)
        reached[int(unseen.argmax())] = True
        while True:
            further = reached | adjacency[reached].any(0)
            if (further == reached).all():
                break
            reached = further
        unseen &= ~reached
        largest = max(largest, int(reached.sum()))
    return largest / n if n else float("nan")


def after_deleting(
    adjacency: Bool[np.ndarray, "n n"], share: float, rng: np.random.Generator
) -> Bool[np.ndarray, "n n"]:
    """The graph without a random share of its edges."""
    a, b = np.triu(adjacency, 1).nonzero()
    gone = rng.permutation(len(a))[: round(share * len(a))]
    rest = adjacency.copy()
    rest[a[gone], b[gone]] = rest[b[gone], a[gone]] = False
    return rest
