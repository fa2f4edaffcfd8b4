"""Random features beside some that are tested: the null of a claim about a set of features.

They are drawn from active features of the same layer and position, each one of the nearest in activation x decoder norm
that are still free. Features that do nothing are no null, nor are those under test: they are never drawn. Where a layer
and position has too few others, the set is smaller, and says by how much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clew.attribution.graph import Graph
from clew.dictionary.dictionary import Dictionary
from clew.errors import InputError
from clew.ids import NodeId

NEAREST = 4  # a matched feature is drawn from this many with the most similar size


@dataclass(frozen=True, kw_only=True, eq=False)
class MatchedSet:
    """One random set. Ratios are to the set under test; 1 is a perfect match."""

    members: Bool[Tensor, " feature"]
    size: float
    """How many features it has: below 1 where too few others are active."""
    mass: float
    """Their activation x decoder norm, added up."""
    apart: float
    """The share of its members that are not under test: 1 unless it was filled up; NaN without members."""


def matched_sets(
    dictionary: Dictionary, graph: Graph, nodes: Sequence[NodeId | str | int], *, count: int = 5, seed: int = 0
) -> list[MatchedSet]:
    """Random sets for some features of a graph; InputError for none, and for a node that is no feature of the graph."""
    chosen = torch.zeros(graph.n_features, dtype=torch.bool)
    for node in nodes:
        place = node if isinstance(node, int) else graph.index(node)
        if place not in graph.feature_range:
            raise InputError(f"{node} is no feature of this graph: only features are matched")
        chosen[place] = True
    if not bool(chosen.any()):
        raise InputError("no feature is given: name at least one to match")
    generator, mass = torch.Generator().manual_seed(seed), mass_of(dictionary, graph)
    return [matched_set(chosen, graph, mass, generator) for _ in range(count)]


def mass_of(dictionary: Dictionary, graph: Graph) -> Float[Tensor, " feature"]:
    """How much each feature writes: its activation, without its sign, x the norm of its decoder over all layers.

    Without the sign, since a neuron of a gated MLP or of GELU may be negative, and two of them do not cancel.
    """
    norms = torch.zeros(graph.n_features)
    for layer in torch.unique(graph.feature_keys[:, 0]).tolist():
        of_layer = graph.feature_keys[:, 0] == layer
        norms[of_layer] = decoder_norms(dictionary, layer, graph.feature_keys[of_layer, 2])
    return graph.activations.abs() * norms.to(graph.activations)


def decoder_norms(dictionary: Dictionary, layer: int, ids: Int[Tensor, " feature"]) -> Float[Tensor, " feature"]:
    """How long some features' decoders are, over all the layers that they write to; in float32, on the CPU."""
    return dictionary.decoder_rows(layer, ids).flatten(1).norm(dim=1).float().cpu()


def matched_set(
    chosen: Bool[Tensor, " feature"],
    graph: Graph,
    mass: Float[Tensor, " feature"],
    generator: torch.Generator,
    *,
    fill: bool = False,
) -> MatchedSet:
    """A random set for the chosen features, none of them in it.

    With `fill` it has their number all the same: chosen ones stand in where others are too few, and `apart` says so.
    """
    cells = graph.feature_keys[:, 0] * graph.n_tokens + graph.feature_keys[:, 1]
    pairs = matched_pairs(chosen, cells, mass, generator)
    drawn = torch.zeros_like(chosen)
    drawn[list(pairs.values())] = True
    outside = int(drawn.sum())
    if fill:
        drawn |= chosen & ~torch.isin(torch.arange(len(chosen)), torch.tensor(list(pairs), dtype=torch.long))
    sizes, masses = (int(drawn.sum()), int(chosen.sum())), (float(mass[drawn].sum()), float(mass[chosen].sum()))
    return MatchedSet(
        members=drawn,
        size=sizes[0] / sizes[1] if sizes[1] else 1.0,
        mass=masses[0] / masses[1] if masses[1] else 1.0,
        apart=outside / sizes[0] if sizes[0] else float("nan"),
    )


def matched_pairs(
    chosen: Bool[Tensor, " feature"],
    cells: Int[Tensor, " feature"],
    mass: Float[Tensor, " feature"],
    generator: torch.Generator,
    *,
    free: Bool[Tensor, " feature"] | None = None,
) -> dict[int, int]:
    """For every chosen feature another one of its cell, one of the nearest in mass that are still free, by place.

    `free` says which may be drawn, such as those that are active; chosen ones never are, and none is drawn twice. A
    chosen feature whose cell has none left is missing.
    """
    others = ~chosen if free is None else free & ~chosen
    order = chosen.nonzero()[:, 0][torch.randperm(int(chosen.sum()), generator=generator)].tolist()
    cell_of, size = cells.numpy(), mass.detach().cpu().numpy()
    left = {cell: (others & (cells == cell)).nonzero()[:, 0].numpy() for cell in torch.unique(cells[chosen]).tolist()}
    pairs = {}
    for place in order:
        cell = int(cell_of[place])
        if not len(left[cell]):
            continue
        nearest = np.abs(size[left[cell]] - size[place]).argsort(kind="stable")[:NEAREST]
        drawn = int(nearest[int(torch.randint(len(nearest), (1,), generator=generator))])
        pairs[place] = int(left[cell][drawn])
        left[cell] = np.delete(left[cell], drawn)
    return pairs
