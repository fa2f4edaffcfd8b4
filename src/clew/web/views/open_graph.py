"""A graph that the page shows, with what every view of it needs computed once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from math import isqrt
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.influence import Inflow, Scores, cumulative_share, inflow, influence
from clew.labels.in_prompt import NameHere
from clew.web.errors import TooLargeError

_PRUNINGS = 6  # thresholds of one graph that are kept
MOST_PRUNED = 1 << 26  # entries of them
MOST_SHOWN = 120_000_000  # entries of a shown graph's edges: 480 MB, and about twice that while it is pruned
_ROUNDED = 1e-6


@dataclass(frozen=True)
class ShownGraph:
    """A graph pruned at thresholds."""

    graph: Graph
    places: list[int]
    """The index of each of its nodes in the whole graph."""
    mask: Bool[Tensor, " node"]
    """Which nodes of the whole graph are in it."""

    @cached_property
    def scores(self) -> Scores:
        return self.graph.scores()

    @cached_property
    def n_edges(self) -> int:
        return int(torch.count_nonzero(self.graph.rows))


@dataclass(frozen=True)
class OpenGraph:
    """A whole graph and what every view of it needs. Several threads may share it."""

    graph: Graph
    names_here: dict[tuple[Path, int], NameHere | None] = field(default_factory=dict)
    """What features do at their places, by the atlas that tells it and the node; it grows as views ask for it."""
    _prunings: OrderedDict[tuple[float, float], ShownGraph] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def effects(self) -> Graph | None:
        """The graph of its effects; None where it was traced without them."""
        return None if self.graph.effect_rows is None else self.graph.effects

    @cached_property
    def influence(self) -> Float[Tensor, " node"]:
        return influence(self.graph)

    @cached_property
    def node_thresholds(self) -> Float[Tensor, " node"]:
        """The node threshold from which each node is shown."""
        return cumulative_share(self.influence)

    @cached_property
    def inflow(self) -> Inflow:
        return inflow(self.graph)

    @cached_property
    def offsets(self) -> Float[Tensor, "node 4"]:
        return self.graph.offsets

    @cached_property
    def mass(self) -> Float[Tensor, " node"]:
        """The absolute input of every node; 0 for those that have none."""
        mass = self.graph.rows.new_zeros(self.graph.n_nodes)
        mass[self.graph.row_nodes] = self.graph.input_mass
        return mass

    @cached_property
    def has_row(self) -> Bool[Tensor, " node"]:
        mask = torch.zeros(self.graph.n_nodes, dtype=torch.bool)
        mask[self.graph.row_nodes] = True
        return mask

    @cached_property
    def scores(self) -> Scores:
        return self.graph.scores()

    @cached_property
    def n_edges(self) -> int:
        return int(torch.count_nonzero(self.graph.rows))

    def _entries(self) -> int:
        return sum(shown.graph.rows.numel() for shown in self._prunings.values())

    def check_size(self, node: float) -> None:
        """TooLargeError when more nodes hold this share of the influence than a view may take."""
        kept = self.node_thresholds <= node * (1 + _ROUNDED)
        kept |= self.graph.mask("token", "target")
        rows, cols = (int(kept[nodes].sum()) for nodes in (self.graph.row_nodes, self.graph.col_nodes))
        if rows * cols > MOST_SHOWN:
            raise TooLargeError(
                f"{int(kept.sum()):,} nodes hold {node:g} of this graph's influence, and a view takes about "
                f"{isqrt(MOST_SHOWN):,}: give a lower node threshold, or trace with a lower max_features"
            )

    def shown(self, node: float, edge: float) -> ShownGraph:
        """The graph at these thresholds; TooLargeError when it has too many nodes to be shown.

        One thread at a time prunes: several would do the same work side by side.
        """
        key = node, edge
        self.check_size(node)
        with self._lock:
            if key in self._prunings:
                self._prunings.move_to_end(key)
                return self._prunings[key]
            self._prunings[key] = shown = _located(self.graph, self.graph.prune(node, edge))
            while len(self._prunings) > 1 and (len(self._prunings) > _PRUNINGS or self._entries() > MOST_PRUNED):
                self._prunings.popitem(last=False)
            return shown


def _located(whole: Graph, part: Graph) -> ShownGraph:
    """A pruned graph with the places of its nodes in the whole one; both have their keys in order."""
    mask = torch.zeros(whole.n_nodes, dtype=torch.bool)
    mask[whole.token_range.start :] = True
    most = int(whole.feature_keys[:, 2].max()) + 1 if whole.n_features else 1
    for start, whole_keys, part_keys in (
        (0, whole.feature_keys, part.feature_keys),
        (whole.n_features, whole.error_keys, part.error_keys),
    ):
        mask[start + torch.searchsorted(_ordered(whole_keys, whole, most), _ordered(part_keys, whole, most))] = True
    return ShownGraph(part, mask.nonzero()[:, 0].tolist(), mask)


def _ordered(keys: Tensor, whole: Graph, most: int) -> Tensor:
    """A number for each node that rises with its key."""
    place = keys[:, 0] * whole.n_tokens + keys[:, 1]
    return place * most + keys[:, 2] if keys.shape[1] == 3 else place
