"""A graph that is looked at, with what every view of it needs worked out once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.influence import Inflow, Scores, cumulative_share, inflow, influence

_PRUNINGS = 6  # thresholds of one graph that are kept


@dataclass(frozen=True)
class Shown:
    """A graph pruned at thresholds."""

    graph: Graph
    place: list[int]
    """Where each of its nodes is in the whole graph."""
    mask: Bool[Tensor, " node"]
    """Which nodes of the whole graph it has."""

    @cached_property
    def scores(self) -> Scores:
        return self.graph.scores()

    @cached_property
    def n_edges(self) -> int:
        return int((self.graph.rows != 0).sum())


@dataclass(frozen=True)
class Held:
    """A whole graph and what every view of it needs."""

    graph: Graph
    _prunings: OrderedDict[tuple[float, float], Shown] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def influence(self) -> Float[Tensor, " node"]:
        return influence(self.graph)

    @cached_property
    def held(self) -> Float[Tensor, " node"]:
        return cumulative_share(self.influence)

    @cached_property
    def entering(self) -> Inflow:
        return inflow(self.graph)

    @cached_property
    def offsets(self) -> Float[Tensor, "node 4"]:
        return self.graph.offsets

    @cached_property
    def mass(self) -> Float[Tensor, " node"]:
        """The absolute input of every node; 0 for those that have none."""
        whole = self.graph.rows.new_zeros(self.graph.n_nodes)
        whole[self.graph.row_nodes] = self.graph.input_mass
        return whole

    @cached_property
    def has_row(self) -> Bool[Tensor, " node"]:
        whole = torch.zeros(self.graph.n_nodes, dtype=torch.bool)
        whole[self.graph.row_nodes] = True
        return whole

    @cached_property
    def scores(self) -> Scores:
        return self.graph.scores()

    @cached_property
    def n_edges(self) -> int:
        return int((self.graph.rows != 0).sum())

    def shown(self, node: float, edge: float) -> Shown:
        """The graph at these thresholds; one thread at a time prunes."""
        key = node, edge
        with self._lock:
            if key in self._prunings:
                self._prunings.move_to_end(key)
                return self._prunings[key]
            self._prunings[key] = found = _located(self.graph, self.graph.prune(node, edge))
            while len(self._prunings) > _PRUNINGS:
                self._prunings.popitem(last=False)
            return found


def _located(whole: Graph, part: Graph) -> Shown:
    mask = torch.zeros(whole.n_nodes, dtype=torch.bool)
    mask[whole.token_range.start :] = True
    most = int(whole.feature_keys[:, 2].max()) + 1 if whole.n_features else 1
    for start, ours, theirs in (
        (0, whole.feature_keys, part.feature_keys),
        (whole.n_features, whole.error_keys, part.error_keys),
    ):
        mask[start + torch.searchsorted(_ordered(ours, whole, most), _ordered(theirs, whole, most))] = True
    return Shown(part, mask.nonzero()[:, 0].tolist(), mask)


def _ordered(keys: Tensor, whole: Graph, most: int) -> Tensor:
    """One rising number a node."""
    place = keys[:, 0] * whole.n_tokens + keys[:, 1]
    return place * most + keys[:, 2] if keys.shape[1] == 3 else place
