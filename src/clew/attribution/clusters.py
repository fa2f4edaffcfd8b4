"""Prompts that are answered alike: clusters of graphs by which features their influence passes through.

1. A graph's vector is its features' influence by layer and index, positions added up, scaled to length 1.
2. Clusters are joined by average linkage on 1 - cosine, until as many are left as asked for.
3. *Stability*: features are drawn anew with replacement, and each time clusters are made of them; a cluster's stability
   is the mean over draws of the largest share (Jaccard) that any new cluster has in common with it (Hennig 2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from clew.attribution.graph import Graph
from clew.attribution.influence import influence
from clew.attribution.merge import check_one_kit
from clew.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """Which graphs belong together: their places, the largest cluster first."""

    members: tuple[tuple[int, ...], ...]
    stability: tuple[float, ...]
    """Of each cluster, 1 where every draw finds it; below about 0.6 it is no more than chance."""

    def label_of(self, place: int) -> int:
        """The cluster of a graph; InputError for a place that is none."""
        for label, members in enumerate(self.members):
            if place in members:
                return label
        raise InputError(f"there is no graph {place} among {sum(map(len, self.members))}")


def cluster_prompts(graphs: Sequence[Graph], count: int, *, draws: int = 100, seed: int = 0) -> Clusters:
    """Graphs of one kit in `count` clusters, with bootstrap stability over features.

    MismatchError for graphs of different kits, InputError for a number of clusters that the graphs cannot make.
    """
    check_one_kit(graphs)
    if not 1 <= count <= len(graphs) or draws < 1:
        raise InputError(f"{len(graphs)} graphs make 1 to {len(graphs)} clusters, not {count}; draws is {draws}")
    vectors = influence_vectors(graphs)
    members = sorted(average_linkage(_apart(vectors), count), key=lambda each: (-len(each), each))
    rng, n = np.random.default_rng(seed), vectors.shape[1]
    totals = np.zeros(len(members))
    for _ in range(draws):
        found = average_linkage(_apart(vectors[:, rng.integers(0, n, n)] if n else vectors), count)
        totals += [max(_common(each, other) for other in found) for each in members]
    return Clusters(members=tuple(members), stability=tuple((totals / draws).tolist()))


def influence_vectors(graphs: Sequence[Graph]) -> Float[np.ndarray, "graph feature"]:
    """Every graph's influence by feature, over the features of any of them."""
    tables: list[dict[tuple[int, int], float]] = []
    for graph in graphs:
        table: dict[tuple[int, int], float] = {}
        through = influence(graph)[graph.part("feature")].tolist()
        for (layer, _, index), value in zip(graph.feature_keys.tolist(), through, strict=True):
            table[layer, index] = table.get((layer, index), 0.0) + value
        tables.append(table)
    names = sorted({name for table in tables for name in table})
    return np.array([[table.get(name, 0.0) for name in names] for table in tables]).reshape(len(graphs), -1)


def average_linkage(apart: Float[np.ndarray, "n n"], count: int) -> list[tuple[int, ...]]:
    """Join the two clusters whose members are nearest on average, until `count` are left."""
    clusters: list[tuple[int, ...]] = [(i,) for i in range(len(apart))]
    distances = apart.astype(float).copy()
    np.fill_diagonal(distances, np.inf)
    while len(clusters) > count:
        a, b = sorted(np.unravel_index(int(distances.argmin()), distances.shape))
        sizes = len(clusters[a]), len(clusters[b])
        joined = (sizes[0] * distances[a] + sizes[1] * distances[b]) / sum(sizes)
        distances[a], distances[:, a] = joined, joined
        distances[a, a] = np.inf
        distances = np.delete(np.delete(distances, b, 0), b, 1)
        clusters[a] = tuple(sorted(clusters[a] + clusters[b]))
        del clusters[b]
    return clusters


def _apart(vectors: Float[np.ndarray, "n feature"]) -> Float[np.ndarray, "n n"]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(length > 0, length, 1.0)
    return 1 - unit @ unit.T


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    a, b = set(one), set(other)
    return len(a & b) / len(a | b)
