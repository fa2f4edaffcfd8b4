"""How few features carry a prompt's answer, and how much is left without them: faithfulness and completeness.

The measure is m, the targets' mean centred logit, weighted as in the graph, on a scale from 0 (every feature removed)
to 1 (none removed): f = (m - m(none)) / (m(all) - m(none)).

- *faithfulness(k)*: f where only the k most influential features are kept;
- *completeness(k)*: only those are removed, and the curve is 1 less what is left.

Both are 1 where k features are all that matters (Marks et al. 2024). The features that stay are either *held* at their
recorded activations, so that removed ones count by their direct effects alone, or *recomputed* on the changed stream,
so that effects over all hops count (see `clew.intervention.ablated_runs`). Two numbers sum up faithfulness over the
share of features kept, from none to all (Mueller et al. 2025): *CPR* is the area under f, how soon the answer is there;
*CMD* the area between f and 1, how far the kept features stay from the whole, on either side. Beside them stand random
sets of the same size, drawn from active features of the same layers and positions, matched on activation x decoder
norm, none of them in the set that they stand beside. Where a layer and position has too few others, as for every set of
more than half of the features, members of the set itself fill the random one up; `apart` says how much of it is other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clew.attribution.graph import Graph
from clew.dictionary.dictionary import Dictionary
from clew.intervention.ablated_runs import Removal, Removed
from clew.intervention.matched_sets import mass_of, matched_set
from clew.subject.subject import Subject

RANDOM_SETS = 5
_CURVES = ("faithfulness", "completeness")
_AREAS = ("cpr", "random_cpr", "cmd", "random_cmd")
_REMOVALS = ("whole", "no_features", "no_errors")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One measure over the number of features kept or removed, beside matched random sets."""

    sizes: tuple[int, ...]
    values: tuple[float, ...]
    random: tuple[float, ...]
    """The mean of the random sets."""
    area: float
    """Mean over the share of features, the sizes spaced evenly in their logarithm."""
    random_area: float
    apart: tuple[float, ...] = ()
    """The share of the random sets' features that are not in the set itself; empty in a file of an older program."""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Faithfulness and completeness, and what removing all features or all errors does."""

    ablation: str
    """What a removed feature's activation becomes: `zero`, or its `mean`."""
    kept: str
    """What the other features do: `held` as recorded (direct effects alone), or `recomputed`."""
    faithfulness: Curve
    completeness: Curve
    cpr: float
    """The area under faithfulness over the share of features kept: 1 for a set that is the answer, however small."""
    random_cpr: float
    cmd: float
    """The area between faithfulness and 1: 0 is best."""
    random_cmd: float
    whole: Removal
    no_features: Removal
    no_errors: Removal

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Curves:
        """From plain values, None for NaN; an older program's, whose other features were held, had no CPR and CMD."""
        fields: dict[str, Any] = {name: number(value.get(name)) for name in _AREAS}
        fields |= {name: _curve(value[name]) for name in _CURVES}
        fields |= {name: Removal(**value[name]) for name in _REMOVALS}
        return cls(ablation=value["ablation"], kept=value.get("kept", "held"), **fields)


def number(value: float | None) -> float:
    """A number that was saved; None stands for NaN."""
    return math.nan if value is None else float(value)


def _curve(saved: Mapping[str, Any]) -> Curve:
    return Curve(
        sizes=tuple(saved["sizes"]),
        values=tuple(map(number, saved["values"])),
        random=tuple(map(number, saved["random"])),
        area=number(saved["area"]),
        random_area=number(saved["random_area"]),
        apart=tuple(map(number, saved.get("apart", ()))),
    )


def mean_curves(curves: Sequence[Curves]) -> Curves:
    """The mean over several prompts; of curves whose sizes differ the areas, and the values at sizes that all have."""

    def mean(values: Iterable[float]) -> float:
        known = [value for value in values if not math.isnan(value)]
        return sum(known) / len(known) if known else math.nan

    def curve(name: str) -> Curve:
        members: list[Curve] = [getattr(member, name) for member in curves]
        n = min(len(member.sizes) for member in members)
        return Curve(
            sizes=members[0].sizes[: n - 1] if n > 1 else members[0].sizes[:1],
            values=tuple(mean(member.values[i] for member in members) for i in range(max(1, n - 1))),
            random=tuple(mean(member.random[i] for member in members) for i in range(max(1, n - 1))),
            area=mean(member.area for member in members),
            random_area=mean(member.random_area for member in members),
            apart=tuple(
                mean(member.apart[i] for member in members)
                for i in range(min(len(member.apart) for member in members) and max(1, n - 1))
            ),
        )

    def removal(name: str) -> Removal:
        removals = [getattr(each, name) for each in curves]
        figures = ("logit", "probability", "same_top")
        return Removal(**{key: mean(float(getattr(each, key)) for each in removals) for key in figures})

    fields: dict[str, Any] = {name: mean(getattr(each, name) for each in curves) for name in _AREAS}
    fields |= {name: curve(name) for name in _CURVES} | {name: removal(name) for name in _REMOVALS}
    return Curves(ablation=curves[0].ablation, kept=curves[0].kept, **fields)


class Scale:
    """f of any sets of removed features: 1 with all features, 0 with none; NaN where those two do not differ."""

    def __init__(self, runs: Removed) -> None:
        self.runs = runs
        none = torch.zeros(1, runs.graph.n_features, dtype=torch.bool)
        self.levels, (self.whole, self.no_features) = runs.run(torch.cat([none, ~none]))
        self.no_errors = runs.run(none, errors=True)[1][0]

    def of(self, removed: Bool[Tensor, "row feature"]) -> Float[Tensor, " row"]:
        """f of every row."""
        most, least = self.levels
        span = torch.where(most == least, torch.nan, most - least)
        return ((self.runs.run(removed)[0] - least) / span).double().cpu()


@torch.no_grad()
def curves(
    subject: Subject,
    dictionary: Dictionary,
    graph: Graph,
    ranking: Sequence[int],
    *,
    means: Mapping[int, Tensor] | None = None,
    recomputed: bool = False,
    seed: int = 0,
) -> Curves:
    """Keep or remove the first k features of a ranking (all of the graph's, best first), for growing k.

    `means` are mean activations of all features by layer; with them, a removed feature falls to its mean.
    """
    scale = Scale(Removed(subject, dictionary, graph, means, recomputed=recomputed))
    sizes = sizes_of(graph.n_features)
    best = first_of(ranking, sizes)
    mass, generator = mass_of(dictionary, graph), torch.Generator().manual_seed(seed)
    sets = [matched_set(chosen, graph, mass, generator, fill=True) for chosen in best for _ in range(RANDOM_SETS)]
    drawn = torch.stack([each.members for each in sets])
    apart = torch.tensor([each.apart for each in sets], dtype=torch.float64).view(len(sizes), RANDOM_SETS).mean(1)

    def curve(values: Tensor, random: Tensor) -> Curve:
        random = random.view(len(sizes), RANDOM_SETS).mean(1)
        return Curve(
            sizes=sizes,
            values=tuple(values.tolist()),
            random=tuple(random.tolist()),
            area=log_area(sizes, values.tolist()),
            random_area=log_area(sizes, random.tolist()),
            apart=tuple(apart.tolist()),
        )

    faithfulness = curve(scale.of(~best), scale.of(~drawn))
    return Curves(
        ablation="zero" if means is None else "mean",
        kept="recomputed" if recomputed else "held",
        faithfulness=faithfulness,
        completeness=curve(1 - scale.of(best), 1 - scale.of(drawn)),
        cpr=cpr(sizes, faithfulness.values),
        random_cpr=cpr(sizes, faithfulness.random),
        cmd=cmd(sizes, faithfulness.values),
        random_cmd=cmd(sizes, faithfulness.random),
        whole=scale.whole,
        no_features=scale.no_features,
        no_errors=scale.no_errors,
    )


def sizes_of(n: int) -> tuple[int, ...]:
    """1, 2, 4 and so on, twice as many each time, and all."""
    sizes = [1 << i for i in range(n.bit_length()) if 1 << i < n]
    return (*sizes, n)


def first_of(ranking: Sequence[int], sizes: Sequence[int]) -> Bool[Tensor, "size feature"]:
    """The first features of a ranking, one row a size."""
    order = torch.as_tensor(ranking, dtype=torch.long)
    chosen = torch.zeros(len(sizes), len(order), dtype=torch.bool)
    for row, size in enumerate(sizes):
        chosen[row, order[:size]] = True
    return chosen


def log_area(sizes: Sequence[int], values: Sequence[float]) -> float:
    """The mean height of a curve over the logarithm of the size."""
    if len(sizes) == 1:
        return float(values[0])
    x = torch.tensor(sizes, dtype=torch.float64).log()
    return float(torch.trapezoid(torch.tensor(values, dtype=torch.float64), x) / (x[-1] - x[0]))


def cpr(sizes: Sequence[int], values: Sequence[float]) -> float:
    """The area under f, which is 0 with no feature, over the share of features kept; straight lines between sizes."""
    return sum(width * (a + b) / 2 for width, a, b in _strips(sizes, values))


def cmd(sizes: Sequence[int], values: Sequence[float]) -> float:
    """The area between f and 1, counted on either side, over the share of features kept."""
    area = 0.0
    for width, a, b in _strips(sizes, values):
        c, d = abs(1 - a), abs(1 - b)
        crosses = (1 - a) * (1 - b) < 0
        area += width * ((c * c + d * d) / (2 * (c + d)) if crosses else (c + d) / 2)
    return area


def _strips(sizes: Sequence[int], values: Sequence[float]) -> Iterator[tuple[float, float, float]]:
    """Between each size and the next, from no feature on: the width as a share of all, f at both ends."""
    for (size, a), (larger, b) in pairwise(zip((0, *sizes), (0.0, *values), strict=True)):
        yield (larger - size) / sizes[-1], a, b
