"""What the study `greater-than` claims, each number beside its null."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from clew.stats import UNKNOWN, Interval, bootstrap, cluster_sums, ratio, wilson
from clew.studies.claim import Bar, Claim, Null
from clew.studies.greater_than.classes import RATE, Classes
from clew.studies.greater_than.merged import Merged
from clew.studies.greater_than.prompts import GreaterThanConfig, YearPrompts, difference, law, renormalised, sharpness
from clew.studies.greater_than.scales import COLUMNS, STEPS

PERMUTED = 100
"""How often start years are exchanged among prompts for the model's own numbers."""
HANNA = "Hanna et al. 2023, GPT-2 small"
"""Whose figures stand beside the model's own."""


@dataclass(frozen=True, kw_only=True, eq=False)
class YearsMeasured:
    """One case of the study, before claims are made of it."""

    config: GreaterThanConfig
    asked: YearPrompts
    years: Float[np.ndarray, "prompt year"]
    """The model's probabilities."""
    other_mass: Float[np.ndarray, " draw"]
    """The mass on as many random tokens as there are years, by draw."""
    merged: Merged
    classes: Classes
    false_rates: tuple[float, ...]
    """The share of features with a class when their start years are exchanged, by draw."""
    planted: tuple[float, ...]
    """The share in which parity, or multiples, are found when they are planted."""
    ablated_places: Int[np.ndarray, " case"]
    """The prompts of the ablations."""
    ablated: Mapping[str, Float[np.ndarray, "case year"]]
    sizes: Mapping[str, tuple[float, ...]]
    """By set: how many features it has, how many are active in a prompt, how much they write beside the set tested."""
    scales: Float[np.ndarray, "scaled column"]

    @property
    def ablated_starts(self) -> Int[np.ndarray, " case"]:
        judged: np.ndarray = self.asked.judged[self.ablated_places]
        return judged

    def left(self, name: str) -> Interval:
        """The difference that is left, renormalised over years, when a set is ablated."""
        values = difference(renormalised(self.ablated[name]), self.ablated_starts)
        return by_start(values, self.ablated_starts)

    def mass(self, name: str) -> Interval:
        """The probability on years when a set is ablated."""
        return by_start(self.ablated[name].sum(1), self.ablated_starts)

    def nulls(self, name: str) -> list[str]:
        """The matched random sets of a set."""
        return [other for other in self.ablated if other.startswith(f"{name}.null")]

    @property
    def first(self) -> str:
        """The name of the features at the start year that lie in the first layer."""
        return min(name for name in self.ablated if name.startswith("at start, layers to") and ".null" not in name)


def by_start(values: Float[np.ndarray, " prompt"], starts: Int[np.ndarray, " prompt"]) -> Interval:
    """The mean with an interval that takes the prompts of a start year as one."""
    sums = cluster_sums(np.stack([values, np.ones(len(values))]), starts)
    return bootstrap(sums, lambda s: ratio(s[0], s[1]))


def claims_of(m: YearsMeasured) -> tuple[Claim, ...]:
    """The study's claims, in their order."""
    first = m.first.rpartition(" ")[2]
    which = "influential features at the start year's token"
    return (
        _difference(m),
        _sharpness(m),
        _false_classes(m),
        _absent_classes(m),
        _ablation(m, "at start", which, "the last edited layer"),
        _ablation(m, m.first, f"of them in layer {first}", f"layer {first}: all later layers are the model's own"),
        _mass(m),
        *(scale_claim(m, step) for step in STEPS),
    )


def _permuted(m: YearsMeasured, statistic: object) -> tuple[float, ...]:
    rng = np.random.default_rng(m.config.seed)
    return tuple(
        float(statistic(m.years, rng.permutation(m.asked.judged)).mean())  # type: ignore[operator]
        for _ in range(PERMUTED)
    )


def _start_blind(m: YearsMeasured, statistic: object) -> Null:
    n = len(m.years)
    return Null(
        what="start years exchanged among the prompts: what is answered without looking at the start year",
        draws=_permuted(m, statistic),
        size=n,
        tested=n,
        unit="prompts",
    )


def _difference(m: YearsMeasured) -> Claim:
    values = difference(m.years, m.asked.judged)
    of_law = float(difference(law(m.asked.judged), m.asked.judged).mean())
    return Claim(
        text="The model says later years: their probability less that of the others (SD over prompts "
        f"{values.std():.3f}; the world's law {of_law:.3f}).",
        value=by_start(values, m.asked.judged),
        null=_start_blind(m, difference),
        bar=Bar(low=0.8),
        reference=f"{HANNA}: 81.7 % (SD 19.3)",
    )


def _sharpness(m: YearsMeasured) -> Claim:
    of_law = float(sharpness(law(m.asked.judged), m.asked.judged).mean())
    return Claim(
        text="The cutoff is sharp: the next year is likelier than the one before the start year (by the world's law "
        f"{of_law:.4f} on average).",
        value=by_start(sharpness(m.years, m.asked.judged), m.asked.judged),
        null=_start_blind(m, sharpness),
        bar=Bar(low=0.0),
        reference=f"{HANNA}: 6.0 %",
    )


def _false_classes(m: YearsMeasured) -> Claim:
    n = len(m.classes.names)
    wrong = round(float(np.sum(m.false_rates)) * n)
    classed = sum(name != "other" for name in m.classes.names) / max(n, 1)
    return Claim(
        text="Classes are no chance: with their start years exchanged, features are given a class this rarely.",
        value=wilson(wrong, n * len(m.false_rates)),
        null=Null(what="the same features with their own start years", draws=(classed,), size=n, tested=n),
        bar=Bar(high=RATE),
        reference="Published for a cross-layer transcoder of GPT-2 small with about 590,000 features: graphs with a "
        f"replacement score of 59 %; here {m.merged.replacement:.0%}",
        effect=False,
    )


def _absent_classes(m: YearsMeasured) -> Claim:
    n = len(m.classes.names)
    found = len(m.classes.of("parity or contrast")) + len(m.classes.of("multiples"))
    return Claim(
        text="What the law does not hold is not found: the share of features classed by parity, contrast or multiples "
        "at a false discovery rate of 5 %.",
        value=wilson(found, n),
        null=Null(
            what="the same features with parity, or multiples of ten, planted in their activation",
            draws=m.planted,
            size=n,
            tested=n,
        ),
        bar=Bar(high=RATE),
        effect=False,
    )


def _ablation(m: YearsMeasured, name: str, which: str, clamped: str) -> Claim:
    size, active, _ = m.sizes[name]
    nulls = m.nulls(name)
    share = float(np.mean([m.sizes[each][2] for each in nulls]))
    return Claim(
        text=f"The {size:.0f} {which} carry it: ablated ({active:.1f} active a prompt; MLP outputs clamped through "
        f"{clamped}), later years are hardly likelier than by a start-blind guess. The difference is renormalised over "
        f"two-digit years, on which {m.mass(name).value:.1%} of the probability stays.",
        value=m.left(name),
        null=Null(
            what=f"matched random active features of the same layers there, which write {share:.0%} as much",
            draws=tuple(m.left(each).value for each in nulls),
            size=round(float(np.mean([m.sizes[each][1] for each in nulls]))),
            tested=round(active),
        ),
        bar=Bar(high=0.55),
        null_bar=Bar(low=0.88),
        reference="a predictor that does not see the start year scores .48 to .52 here",
    )


def _mass(m: YearsMeasured) -> Claim:
    return Claim(
        text="What the ablation takes is the start year, not the digits: the probability that stays on two-digit "
        "years.",
        value=m.mass("at start"),
        null=Null(
            what="the model's probability on as many random tokens",
            draws=tuple(m.other_mass.tolist()),
            size=len(m.asked.years),
            tested=len(m.asked.years),
            unit="tokens",
        ),
        bar=Bar(low=0.95),
        effect=False,
    )


def gaps(rows: Float[np.ndarray, "prompt column"], held: str) -> Float[np.ndarray, " prompt"]:
    """The joint effect less the sum of single ones, while something is held."""
    gap: np.ndarray = rows[:, COLUMNS.index(f"joint {held}")] - rows[:, COLUMNS.index(f"singles {held}")]
    return gap


def gone(sums: Float[np.ndarray, "2 draw"]) -> Float[np.ndarray, " draw"]:
    """Which share of a distance goes while something is held, from its sums held and free; below 0 where it grows."""
    share: np.ndarray = 1 - ratio(np.abs(sums[0]), np.abs(sums[1]))
    return share


def scale_claim(m: YearsMeasured, step: str) -> Claim:
    """Which step makes the joint effect more than the sum of single ones; its null holds another step instead.

    One step a draw, on prompts drawn anew: gaps of different steps have different signs, and would cancel in one sum.
    """
    rows, unknown = m.scales, float("nan")
    free, held = gaps(rows, "nothing"), gaps(rows, step)
    names = [name for name in STEPS if name != step]
    rng, draws = np.random.default_rng(m.config.seed), []
    for draw in range(PERMUTED if len(rows) else 0):
        prompts = rng.integers(len(rows), size=len(rows))
        other = gaps(rows, names[draw % len(names)])
        draws.append(float(gone(np.stack([other, free])[:, prompts].sum(1, keepdims=True))[0]))
    return Claim(
        text=f"At least half of what parts the joint effect from the sum of single ones is made by {step}: this share "
        f"of it goes with {step} held as recorded.",
        value=bootstrap(np.stack([held, free]), gone) if len(rows) else UNKNOWN,
        null=Null(
            what=f"{' or '.join(names)} held instead, on prompts drawn anew",
            draws=tuple(draws) or (unknown,),
            size=len(rows),
            tested=len(rows),
            unit="prompts",
        ),
        bar=Bar(low=0.5),
        effect=False,
    )


def random_mass(probabilities: torch.Tensor, count: int, draws: int, seed: int) -> Float[np.ndarray, " draw"]:
    """The mean mass on random tokens, as many as there are years."""
    mean, generator = probabilities.double().mean(0), torch.Generator().manual_seed(seed)
    picks = [torch.randperm(len(mean), generator=generator)[:count] for _ in range(draws)]
    return np.array([float(mean[pick].sum()) for pick in picks])
