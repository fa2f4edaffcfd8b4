"""Does a circuit hang on an edge or does it spread? What survives when edges go, beside rewired graphs and expanders.

1. *Survival*: the share of the targets' influence that still reaches tokens, errors and whatever else has no inputs
   once edges are deleted, at random or the strongest first (those that carry the most influence). Nothing is
   renormalised: what passed there is gone. At random, a path of length n survives with the chance that all its edges
   do; what tells circuits apart is the strongest edges.
2. *Rewired* graphs have the same nodes, layers and weights: in every row the edges from one layer are dealt out anew
   among all that the row's node can see there.
3. Along the influence that edges carry, taken both ways: the spectral gap of a random walk, the steps until one from
   the targets has mixed, and feed-forward motifs, edges that bypass a node that both ends know.
4. Beside the bare edges, taken both ways, stand random regular graphs of as many nodes and as near in degree as can be:
   expanders, than which hardly anything spreads more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clew.attribution.expanders import (
    after_deleting,
    largest_component,
    normalized,
    random_regular,
    second_eigenvalue,
    spectral_gap,
    steps_to_mix,
)
from clew.attribution.influence import edge_influence, influence, row_sums
from clew.errors import InputError
from clew.stats import Interval, null_range

if TYPE_CHECKING:
    from clew.attribution.graph import Graph

DELETED = (0.1, 0.2, 0.3)
MOST_NODES = 3000
"""Nodes with edges: their eigenvalues are found in seconds."""
HANGS = 0.5
"""The share of the influence from which on a circuit hangs on the edges that carry it."""
MARGIN = 0.05
"""The share of the influence by which a circuit and its rewired graphs must differ to be told apart."""


@dataclass(frozen=True, kw_only=True)
class Survival:
    """What is left when a share of the edges goes. Intervals are a mean and where 95 % of the draws lie."""

    deleted: float
    random: Interval
    strongest: float
    rewired: Interval
    """The strongest deleted in rewired graphs."""
    connected: Interval
    """The share of the nodes in the largest part once edges are deleted at random."""
    expander_connected: Interval


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """How a graph holds together, each figure beside its null."""

    n_nodes: int
    """Nodes with edges."""
    n_edges: int
    strongest_edge: tuple[str, str]
    """Source and target of the edge that carries the most."""
    strongest_share: float
    """The share of the influence that is lost with it alone."""
    survivals: tuple[Survival, ...]
    gap: float
    rewired_gap: Interval
    mixing: float
    """Steps; infinite when a walk never mixes."""
    rewired_mixing: Interval
    motifs: int
    rewired_motifs: Interval
    eigenvalue: float
    """The second eigenvalue of the bare edges, normalised: near 1 where a bottleneck parts the graph."""
    expander_eigenvalue: Interval
    degree: int
    """Of the expanders."""

    @property
    def verdict(self) -> str:
        """`hangs on an edge` or `hangs on few edges`, which carry half of the influence or more; else `spreads`.

        Few are as many as the first share of `deleted`.
        """
        if self.strongest_share >= HANGS:
            return "hangs on an edge"
        return "hangs on few edges" if 1 - self.survivals[0].strongest >= HANGS else "spreads"

    @property
    def beside_rewired(self) -> str:
        """Whether `more`, `less` or `as much` is left as of rewired graphs without the strongest edges.

        More and less lie outside what 95 % of them have, and by MARGIN.
        """
        first = self.survivals[0]
        if first.strongest > max(first.rewired.high, first.rewired.value + MARGIN):
            return "more"
        return "less" if first.strongest < min(first.rewired.low, first.rewired.value - MARGIN) else "as much"

    @property
    def sentence(self) -> str:
        """The verdict in words, with what it rests on."""
        edge, first, last = " to ".join(self.strongest_edge), self.survivals[0], self.survivals[-1]
        left = f"{self.beside_rewired} {'as' if self.beside_rewired == 'as much' else 'than'} in rewired graphs"
        return (
            f"The circuit {self.verdict}: its strongest edge, {edge}, carries {self.strongest_share:.0%} of the "
            f"influence; without the strongest {first.deleted:.0%} of {self.n_edges:,} edges {first.strongest:.0%} is "
            f"left, {left} ({first.rewired.low:.0%} to {first.rewired.high:.0%}), without a random {last.deleted:.0%} "
            f"{last.random.value:.0%}."
        )

    def to_json(self) -> dict[str, Any]:
        """Every figure as plain values; NaN and infinity are null."""
        return _plain(dataclasses.asdict(self)) | {
            "verdict": self.verdict,
            "beside_rewired": self.beside_rewired,
            "sentence": self.sentence,
        }


def robustness(
    graph: Graph, *, deleted: Sequence[float] = DELETED, draws: int = 20, rewirings: int = 10, seed: int = 0
) -> Robustness:
    """How a graph, whole or pruned, holds together; of effects, give `graph.effects`.

    InputError for a graph without edges or with more than MOST_NODES nodes that have some, shares outside (0, 1), and
    fewer than one draw.
    """
    if not deleted or not all(0 < share < 1 for share in deleted) or min(draws, rewirings) < 1:
        raise InputError(f"deleted={list(deleted)}, draws={draws}, rewirings={rewirings}: give shares in (0, 1), draws")
    own = _Measured(graph)
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    others = [_Measured(rewired(graph, generator)) for _ in range(rewirings)]
    n, degree = len(own.weights), own.degree
    expanders = [random_regular(n, degree, seed=seed + i) for i in range(min(3, rewirings))]
    survivals = [
        Survival(
            deleted=share,
            random=null_range([own.surviving(own.random(share, generator)) for _ in range(draws)]),
            strongest=own.surviving(own.strongest(share)),
            rewired=null_range([other.surviving(other.strongest(share)) for other in others]),
            connected=null_range([largest_component(after_deleting(own.bare, share, rng)) for _ in range(draws)]),
            expander_connected=null_range([largest_component(after_deleting(e, share, rng)) for e in expanders]),
        )
        for share in deleted
    ]
    row, col = divmod(int(own.carried.argmax()), own.carried.shape[1])
    alone = torch.zeros_like(own.carried, dtype=torch.bool)
    alone[row, col] = True
    return Robustness(
        n_nodes=n,
        n_edges=own.n_edges,
        strongest_edge=(str(graph.node(int(graph.col_nodes[col])).id), str(graph.node(int(graph.row_nodes[row])).id)),
        strongest_share=1 - own.surviving(alone),
        survivals=tuple(survivals),
        gap=spectral_gap(own.weights),
        rewired_gap=null_range([spectral_gap(other.weights) for other in others]),
        mixing=own.mixing(),
        rewired_mixing=null_range([other.mixing() for other in others]),
        motifs=own.motifs(),
        rewired_motifs=null_range([float(other.motifs()) for other in others]),
        eigenvalue=second_eigenvalue(normalized(own.bare.astype(float))),
        expander_eigenvalue=null_range([second_eigenvalue(each) / max(1, degree) for each in expanders]),
        degree=degree,
    )


def rewired(graph: Graph, generator: torch.Generator) -> Graph:
    """The graph with every row's edges from one layer dealt out anew among the nodes of that layer that it can see.

    Features, errors and tokens are dealt among their own kind. A node sees what stands at its position or before.
    """
    kinds = torch.zeros(graph.n_nodes, dtype=torch.long)
    kinds[graph.part("error")] = 1
    group = (graph.node_layers * 2 + kinds)[graph.col_nodes]
    seen = graph.node_positions[graph.col_nodes][None] <= graph.node_positions[graph.row_nodes][:, None]
    allowed = seen | (graph.rows != 0)
    rows = graph.rows.clone()
    for members in (group == each for each in torch.unique(group).tolist()):
        columns = members.nonzero()[:, 0]
        part, free = graph.rows[:, columns], allowed[:, columns]
        order, origin = (
            torch.where(free, torch.rand(part.shape, generator=generator), 2.0).argsort(1) for _ in range(2)
        )
        rows[:, columns] = torch.zeros_like(part).scatter_(1, order, part.gather(1, origin))
    return replace(graph, rows=rows, effect_rows=None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Skeleton:
    """The nodes of a graph that have edges, and these edges taken both ways."""

    nodes: Int[Tensor, " n"]
    """Which nodes of the graph."""
    arrows: Bool[np.ndarray, "n n"]
    """Row = target, column = source."""
    weights: Float[np.ndarray, "n n"]
    """The influence that passes between two nodes, symmetric."""

    @property
    def edges(self) -> Bool[np.ndarray, "n n"]:
        """Symmetric."""
        return self.arrows | self.arrows.T

    @property
    def degree(self) -> int:
        """The mean degree, to the nearest number that a regular graph can have."""
        n = len(self.arrows)
        degree = min(n - 1, max(1, round(float(self.edges.sum()) / n)))
        return degree - 1 if n * degree % 2 and degree > 1 else degree + (n * degree % 2)


def skeleton(graph: Graph) -> Skeleton:
    """InputError for a graph without edges, or with more than MOST_NODES nodes that have some."""
    return _skeleton(graph, edge_influence(graph))


def _skeleton(graph: Graph, carried: Float[Tensor, "row col"]) -> Skeleton:
    row, col = (carried > 0).nonzero(as_tuple=True)
    if not len(row):
        raise InputError("the graph has no edges that carry influence: there is nothing to delete")
    ends = graph.row_nodes[row], graph.col_nodes[col]
    nodes = torch.unique(torch.cat(ends))
    if len(nodes) > MOST_NODES:
        raise InputError(f"{len(nodes):,} nodes have edges, at most {MOST_NODES:,} are looked at: prune the graph")
    reader, source = (torch.searchsorted(nodes, end).numpy() for end in ends)
    arrows, directed = np.zeros((len(nodes), len(nodes)), dtype=bool), np.zeros((len(nodes), len(nodes)))
    arrows[reader, source] = True
    directed[reader, source] = carried[row, col].double().numpy()
    return Skeleton(nodes=nodes, arrows=arrows, weights=directed + directed.T)


class _Measured:
    """One graph's edges: what they carry, and their skeleton."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.carried = graph, edge_influence(graph)
        self.n_edges = int((self.carried > 0).sum())
        self.ends = graph.over_nodes(row_sums(graph)) == 0
        self.whole = self._reaching(graph)
        found = _skeleton(graph, self.carried)
        nodes, self.arrows, self.weights, self.bare = found.nodes, found.arrows, found.weights, found.edges
        self.degree = found.degree
        targets = torch.searchsorted(nodes, torch.tensor(list(graph.target_range)))
        known = torch.isin(torch.tensor(list(graph.target_range)), nodes)
        self.starts = targets[known].tolist()

    def _reaching(self, graph: Graph) -> float:
        return float(influence(graph)[self.ends].sum())

    def surviving(self, gone: Bool[Tensor, "row col"]) -> float:
        """The share of the influence that still reaches nodes which had no inputs."""
        return self._reaching(replace(self.graph, rows=self.graph.rows.masked_fill(gone, 0))) / self.whole

    def strongest(self, share: float) -> Bool[Tensor, "row col"]:
        """The edges that carry the most, so many of all."""
        return self._first(self.carried.flatten().argsort(descending=True, stable=True), share)

    def random(self, share: float, generator: torch.Generator) -> Bool[Tensor, "row col"]:
        """As many edges at random."""
        edges = (self.carried.flatten() > 0).nonzero()[:, 0]
        return self._first(edges[torch.randperm(len(edges), generator=generator)], share)

    def _first(self, order: Tensor, share: float) -> Bool[Tensor, "row col"]:
        gone = torch.zeros(self.carried.numel(), dtype=torch.bool)
        gone[order[: round(share * self.n_edges)]] = True
        return gone.view_as(self.carried)

    def mixing(self) -> float:
        """Steps of a walk from the targets, the slowest of them."""
        steps = [steps_to_mix(self.weights, start) for start in self.starts]
        return max((float("inf") if step is None else float(step) for step in steps), default=float("nan"))

    def motifs(self) -> int:
        """Feed-forward motifs: a feeds b and c, b feeds c."""
        bare = self.arrows.astype(np.float64)
        return round(float(((bare @ bare) * bare).sum()))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
