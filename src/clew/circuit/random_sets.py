"""Random features in the place of some that are tested, with as much activation x decoder norm as these.

Where the tested features stand they are the largest, so that others of the same layers and positions add up to less. A
set is therefore drawn in turns, each of which goes on until the mass is reached or nothing is left:

1. beside every tested feature one of its layer and position, of the nearest in mass (`matched_sets`);
2. more features of the same layer and position, at random;
3. features of the same layer at other positions, then of other layers at the same positions, then any others.

A feature that would carry the set above its mass by more than the set is below it stays out. Nothing that is tested is
drawn, nor what does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clew.attribution.graph import Graph
from clew.intervention.matched_sets import matched_set


@dataclass(frozen=True, kw_only=True)
class RandomSets:
    """The same measure with random features in the group's place, as heavy as the group where that can be had."""

    probabilities: tuple[float, ...]
    """Of the answer without each random set."""
    size: float
    """How many features the sets have, as a share of the group's: above 1 where smaller ones make up its mass."""
    mass: float
    """Their activation x decoder norm, as a share of the group's: below 1 where too few others are active."""
    elsewhere: float = 0.0
    """The share of this mass that stands at another layer or position than the group, where its own had no more."""

    @property
    def probability(self) -> float:
        """The mean over the random sets; NaN without any."""
        return sum(self.probabilities) / len(self.probabilities) if self.probabilities else float("nan")


@dataclass(frozen=True, kw_only=True, eq=False)
class HeavySet:
    """One random set of about the mass of the set under test."""

    members: Bool[Tensor, " feature"]
    size: float
    mass: float
    elsewhere: float


def heavy_set(
    chosen: Bool[Tensor, " feature"], graph: Graph, mass: Float[Tensor, " feature"], generator: torch.Generator
) -> HeavySet:
    """A random set beside the chosen features; `mass` is what each writes, and nothing is drawn that writes nothing."""
    layer, position, _ = graph.feature_keys.T
    cells = layer * graph.n_tokens + position
    same_cell = torch.isin(cells, cells[chosen])
    same_layer, same_position = torch.isin(layer, layer[chosen]), torch.isin(position, position[chosen])
    drawn = matched_set(chosen, graph, mass, generator).members & (mass > 0)
    free = ~chosen & (mass > 0)
    for cell in torch.unique(cells[chosen]).tolist():
        here = cells == cell
        _fill(drawn, free & here, mass, float(mass[chosen & here].sum() - mass[drawn & here].sum()), generator)
    for place in (same_layer & ~same_cell, same_position & ~same_layer, torch.ones_like(chosen)):
        _fill(drawn, free & place, mass, float(mass[chosen].sum() - mass[drawn].sum()), generator)
    whole, weight = float(mass[chosen].sum()), float(mass[drawn].sum())
    return HeavySet(
        members=drawn,
        size=int(drawn.sum()) / max(1, int(chosen.sum())),
        mass=weight / whole if whole > 0 else 1.0,
        elsewhere=float(mass[drawn & ~same_cell].sum()) / weight if weight > 0 else 0.0,
    )


def _fill(
    drawn: Bool[Tensor, " feature"],
    free: Bool[Tensor, " feature"],
    mass: Float[Tensor, " feature"],
    lacking: float,
    generator: torch.Generator,
) -> None:
    """Draw features, while they bring the mass nearer to what is lacking."""
    places = (free & ~drawn).nonzero()[:, 0]
    for place in places[torch.randperm(len(places), generator=generator)].tolist():
        if lacking <= 0:
            return
        if float(mass[place]) < 2 * lacking:
            drawn[place] = True
            lacking -= float(mass[place])


def random_sets(draws: Sequence[HeavySet], probabilities: Sequence[float]) -> RandomSets:
    """What was measured of some draws."""
    n = len(draws)
    means = {name: sum(getattr(draw, name) for draw in draws) / n for name in ("size", "mass", "elsewhere")}
    return RandomSets(probabilities=tuple(probabilities), **means)
