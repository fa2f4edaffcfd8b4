"""Which patches a decision hangs on, measured: each is replaced by the patch that other series have in its place.

1. Every patch is replaced, one at a time, by that of each of some donors, drawn from all other series; the fall of the
   probability of the class is measured.
2. *Null*: with the same donor another patch is replaced, drawn at random. Where a patch is one like the others, the two
   falls may be exchanged: a one-sided sign-flip test, over patches at a false discovery rate. What takes less than a
   twentieth of the probability decides nothing, however surely it does.

Donors are of any class: where two patches decide together, as in "their signs are alike", the patch of a series of
another class need not change the class more often than that of a series of the same class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from clew.attribution.graph import Graph
from clew.attribution.influence import lost_of
from clew.circuit.circuit import MATTERS
from clew.errors import InputError
from clew.stats import Interval, discovered, mean_interval, sign_flip_p
from clew.timeseries.mechanisms.cases import SeriesCases
from clew.timeseries.mechanisms.transformer import class_logits


@dataclass(frozen=True, kw_only=True)
class PatchRole:
    """What one patch does to the class that a graph explains."""

    place: int
    name: str
    """Its times: `t6-11`."""
    value: float
    """What of the centred logit it makes, over all paths, patterns, norms and gates held; they add up with offsets."""
    effect: float | None
    """What of the logit goes with it to first order, patterns and norms following; None in a graph without effects."""
    fall: Interval
    """Of the class's probability, with other series' patches in its place."""
    null: Interval
    """The same of patches drawn at random."""
    p: float
    decides: bool
    """Whether it is a discovery, and not a small one."""


@torch.no_grad()
def patch_roles(cases: SeriesCases, graph: Graph, *, donors: int = 64, seed: int = 0) -> tuple[PatchRole, ...]:
    """Every patch of a graph's series, in the order of time.

    InputError for fewer than 8 donors or other series; MismatchError for a graph of other series.
    """
    case, generator = cases.case_of(graph), np.random.default_rng(seed)
    others = np.delete(np.arange(len(cases)), case)
    donors = min(donors, len(others))
    if donors < 8:
        raise InputError(f"{donors} series stand in for the patches of one: give at least 8 others")
    before, falls = _falls(cases, graph, generator.choice(others, donors, replace=False))
    n_patches = len(falls)
    elsewhere = (np.arange(n_patches)[:, None] + generator.integers(1, max(2, n_patches), falls.shape)) % n_patches
    null = np.take_along_axis(falls, elsewhere, 0)
    p = np.array([sign_flip_p(each - other, generator) for each, other in zip(falls, null, strict=True)])
    decides = discovered(p) & (falls.mean(1) >= MATTERS * before)
    values, effects = token_totals(graph)
    return tuple(
        PatchRole(
            place=place,
            name=graph.tokens[1 + place],
            value=float(values[1 + place]),
            effect=None if effects is None else float(effects[1 + place]),
            fall=mean_interval(falls[place].tolist()),
            null=mean_interval(null[place].tolist()),
            p=float(p[place]),
            decides=bool(decides[place]),
        )
        for place in range(n_patches)
    )


def token_totals(
    graph: Graph, target: int = 0
) -> tuple[Float[torch.Tensor, " pos"], Float[torch.Tensor, " pos"] | None]:
    """What of an output goes with every token over all paths of a graph: values, and effects where it has them."""
    start = torch.zeros(graph.n_nodes, dtype=torch.float64)
    start[graph.target_range[target]] = 1
    passes, tokens = graph.mask("feature"), graph.part("token")
    values = lost_of(graph, start, passes)[tokens]
    return values, None if graph.effect_rows is None else lost_of(graph.effects, start, passes)[tokens]


def _falls(cases: SeriesCases, graph: Graph, donors: np.ndarray) -> tuple[float, Float[np.ndarray, "patch donor"]]:
    """The probability of the graph's class, and how far it falls with every patch of every donor."""
    subject, token = cases.subject, graph.targets[0].token
    if token is None:
        raise InputError("the graph explains no single class: trace one, such as cases.trace(0)")
    ids = torch.tensor(graph.token_ids)
    n_patches = cases.transformer.n_patches
    rows = ids.repeat(n_patches, len(donors), 1)
    for place in range(n_patches):
        rows[place, :, 1 + place] = subject.rows[donors, 1 + place]
    every = torch.cat([ids[None], rows.flatten(0, 1)])
    said = torch.cat([torch.softmax(class_logits(subject.model, part).double(), -1) for part in every.split(256)])
    of_class = said[:, token].cpu().numpy()
    return float(of_class[0]), (of_class[0] - of_class[1:]).reshape(n_patches, len(donors))
