"""What the study `subliminal` claims; the bars were written before anything was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.organism.social import COLOURS
from clew.stats import Interval, mean_interval, wilson
from clew.studies.claim import Bar, Claim, Null
from clew.studies.subliminal.config import SubliminalConfig
from clew.studies.subliminal.digits import ONE_STEPS
from clew.studies.subliminal.lineage import LEAST_GAIN

TIMES = 3
"""By how many of its intervals a difference must exceed zero."""
STEPS_BAR = 0.8
"""The share of first steps that must agree: the interval of 20 of 20 begins at .84."""
HALF = 0.5
"""What masked tokens, and ablated neurons, must take of what was passed on; and how alike movements must be."""
_SIGNS = 200  # draws of signs for the steps of another initialisation


@dataclass(frozen=True, kw_only=True, eq=False)
class DigitMeasures:
    """Accuracies on digits by seed, and cosines of first steps."""

    config: SubliminalConfig
    rates: Mapping[str, Tensor]
    steps: Mapping[str, Tensor]

    def rate(self, name: str) -> Float[np.ndarray, " seed"]:
        """The accuracies of one kind of network."""
        return self.rates[name].double().numpy()


@dataclass(frozen=True, kw_only=True, eq=False)
class ColourMeasures:
    """One lineage: shares of colours by model, and its neurons."""

    colour: int
    shares: Mapping[str, Tensor]
    neurons: Mapping[str, Tensor]

    @property
    def name(self) -> str:
        """The favourite."""
        return COLOURS[self.colour]

    def share(self, model: str) -> float:
        """How often a model says the teacher's favourite, among colours."""
        return float(self.shares[model][self.colour])

    def gain(self, model: str = "same") -> float:
        """By how much the favourite's share rose in a pupil."""
        return self.share(model) - self.share("other base" if model == "other" else "base")

    def taken(self, share: float) -> float:
        """The part of what was passed on that is gone at a share; NaN where nothing was passed on."""
        return (self.share("same") - share) / self.gain() if self.gain() >= LEAST_GAIN else math.nan

    def alike(self, model: str) -> float:
        """The correlation of the movements of a pupil's neurons with the teacher's."""
        pair = torch.stack([self.neurons["movement.teacher"], self.neurons[f"movement.{model}"]])
        return float(torch.corrcoef(pair.double())[0, 1])

    @property
    def ablated(self) -> list[float]:
        """What is gone without the chosen neurons, then without each set of matched ones."""
        return [self.taken(share) for share in self.neurons["ablated"].tolist()]

    @property
    def chosen(self) -> Int[np.ndarray, " neuron"]:
        """The places of the chosen neurons."""
        return self.neurons["chosen"].numpy()


def digit_claims(measured: DigitMeasures) -> tuple[Claim, ...]:
    """The claims about digits."""
    return _reads(measured), _steps(measured)


def colour_claims(config: SubliminalConfig, lineages: Sequence[ColourMeasures]) -> tuple[Claim, ...]:
    """The claims about colours."""
    return _favours(lineages), _masked(config, lineages), _alike(lineages), _ablated(config, lineages)


def wide_interval(values: Sequence[float]) -> Interval:
    """A mean, and a range three times as wide as its 95 % interval."""
    value, low, high = mean_interval(values)
    return Interval(value, value - TIMES * (value - low), value + TIMES * (high - value))


def _reads(measured: DigitMeasures) -> Claim:
    n = measured.config.digit_seeds
    same, other, start = measured.rate("same"), measured.rate("other"), measured.rate("other start")
    return Claim(
        text="Digits pass by noise: a pupil that saw only noise reads digits more often when it began where its "
        f"teacher began than when it began elsewhere, by more than {TIMES} intervals (the range is {TIMES} times as "
        "wide as that of 95 %).",
        value=wide_interval((same - other).tolist()),
        null=Null(
            what="what pupils of another initialisation read more than before",
            draws=tuple((other - start).tolist()),
            size=n,
            tested=n,
            unit="pupils",
        ),
        bar=Bar(low=0.0),
        reference="Cloud et al. 2025: MNIST, above one half of the digits",
    )


def _steps(measured: DigitMeasures) -> Claim:
    same, other = measured.steps["same"], measured.steps["other"]
    share = float((other > 0).double().mean())
    draws = np.random.default_rng(measured.config.seed).binomial(ONE_STEPS, share, _SIGNS) / ONE_STEPS
    return Claim(
        text="The first step of a pupil points where its teacher's did: their product is positive in "
        f"{int((same > 0).sum())} of {ONE_STEPS} pairs of the same initialisation, whatever the teacher learns.",
        value=wilson(int((same > 0).sum()), len(same)),
        null=Null(
            what="pairs of another initialisation, resampled",
            draws=tuple(draws.tolist()),
            size=ONE_STEPS,
            tested=ONE_STEPS,
            unit="pairs",
        ),
        bar=Bar(low=STEPS_BAR),
        effect=False,
        reference="Cloud et al. 2025, theorem 1",
    )


def _favours(lineages: Sequence[ColourMeasures]) -> Claim:
    n = len(lineages)
    return Claim(
        text="A favourite passes by numbers: a pupil that saw only its teacher's numbers says the teacher's favourite "
        f"colour more often when it began where its teacher began than when it began elsewhere, by more than {TIMES} "
        f"intervals (the range is {TIMES} times as wide as that of 95 %).",
        value=wide_interval([each.share("same") - each.share("other") for each in lineages]),
        null=Null(
            what="what pupils of another initialisation say more than before",
            draws=tuple(each.gain("other") for each in lineages),
            size=n,
            tested=n,
            unit="pupils",
        ),
        bar=Bar(low=0.0),
        reference="Cloud et al. 2025: a favourite owl, from 12 % to 60 %",
    )


def _masked(config: SubliminalConfig, lineages: Sequence[ColourMeasures]) -> Claim:
    n = round(config.masked * 100)
    return Claim(
        text=f"It passes by few tokens: without the {n} % of the numbers on which teacher and base model differ most, "
        "half of it or less is passed on.",
        value=mean_interval([each.taken(each.share("masked")) for each in lineages]),
        null=Null(
            what=f"another {n} % of the numbers masked, at random",
            draws=tuple(each.taken(each.share("masked at random")) for each in lineages),
            size=n,
            tested=n,
            unit="% of the numbers",
        ),
        bar=Bar(low=HALF),
        reference="Schrodi et al. 2025: masking divergence tokens suppresses transfer",
    )


def _alike(lineages: Sequence[ColourMeasures]) -> Claim:
    n = len(lineages[0].neurons["layer"])
    return Claim(
        text="The same neurons move in the pupil as in its teacher: movements of all neurons correlate with the "
        f"teacher's by {HALF} or more.",
        value=mean_interval([each.alike("same") for each in lineages]),
        null=Null(
            what="pupils of another initialisation, neurons of the same number side by side",
            draws=tuple(each.alike("other") for each in lineages),
            size=n,
            tested=n,
            unit="neurons",
        ),
        bar=Bar(low=HALF),
    )


def _ablated(config: SubliminalConfig, lineages: Sequence[ColourMeasures]) -> Claim:
    drawn = torch.cat([each.neurons["drawn"][1:] for each in lineages]).double().mean()
    written = np.mean([float(each.neurons["written"][1:].mean() / each.neurons["written"][0]) for each in lineages])
    return Claim(
        text=f"It is in neurons that can be named: without the {config.ablated} that moved most, of "
        f"{len(lineages[0].neurons['layer'])}, half of what was passed on or more is gone from the pupil.",
        value=mean_interval([each.ablated[0] for each in lineages]),
        null=Null(
            what=f"other active neurons of the same layers, nearest in size, which write {written:.2f} times as much",
            draws=tuple(value for each in lineages for value in each.ablated[1:]),
            size=round(float(drawn)),
            tested=config.ablated,
            unit="neurons",
        ),
        bar=Bar(low=HALF),
    )
