"""Which nodes of a graph matter most, by the graph alone: several answers to one question, in one table.

With w the targets' weights, A the edges, S the edges as shares of their row's absolute input, and A' the edges with
each feature's row divided by its pre-activation:

- `influence`: w (|S| + |S|^2 + ...): how much passes through a node, whatever its sign;
- `signed-influence`: w (S + S^2 + ...): the weights of all paths from it, what speaks for and against cancelling;
- `direct`: w A: what the targets get from it straight;
- `total`: w A (1 + A' + A'^2 + ...): what the targets would lose without it, over all paths, with the active set held.

Each is taken of values; with `-effects` behind its name, of effects (see `Graph.effects`). What the model itself can
say beside the graph is in `clew.intervention.integrated`; benchmarks/README.md has how well each ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.attribution.influence import influence, lost_of, signed_influence, start_of
from clew.errors import InputError

if TYPE_CHECKING:
    from clew.attribution.graph import Graph

_OF_EFFECTS = "-effects"


def _direct(graph: Graph) -> Float[Tensor, " node"]:
    return lost_of(graph, start_of(graph), torch.zeros(graph.n_nodes, dtype=torch.bool))


def _total(graph: Graph) -> Float[Tensor, " node"]:
    return lost_of(graph, start_of(graph), graph.mask("feature"))


_MEASURES: Mapping[str, Callable[[Graph], Float[Tensor, " node"]]] = {
    "influence": influence,
    "signed-influence": signed_influence,
    "direct": _direct,
    "total": _total,
}
RANKINGS = tuple(name + kind for name in _MEASURES for kind in ("", _OF_EFFECTS))


def node_scores(graph: Graph, by: str) -> Float[Tensor, " node"]:
    """How much each node matters by one of RANKINGS; all but influence have a sign, which says for or against.

    InputError for a name that is none, and for effects where the graph has none.
    """
    if by not in RANKINGS:
        raise InputError(f"there is no ranking by {by!r}: choose from {', '.join(RANKINGS)}")
    name = by.removesuffix(_OF_EFFECTS)
    return _MEASURES[name](graph if name == by else graph.effects)


def ranking(graph: Graph, by: str) -> Int[Tensor, " feature"]:
    """The features by one of RANKINGS, the highest first; errors are those of `node_scores`."""
    return order_of(node_scores(graph, by)[graph.part("feature")])


def order_of(scores: Float[Tensor, " feature"]) -> Int[Tensor, " feature"]:
    """Places by their scores, the highest first, the first of equals first."""
    return torch.sort(scores, descending=True, stable=True).indices
