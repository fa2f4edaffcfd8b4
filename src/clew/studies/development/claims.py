"""What the study `development` claims; the bars were written after a sketch of one model, before the run."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from clew.stats import UNKNOWN, Interval, mean_interval
from clew.studies.claim import Bar, Claim, Null
from clew.studies.development.changes import (
    agreement,
    change,
    company,
    onset,
    shuffled_agreements,
    shuffled_changes,
    shuffled_company,
)
from clew.studies.development.measures import LEAST_FAMILIES, NAMES, DevelopmentMeasures

AGREES = 0.8
"""The rank correlation from which the order of circuits counts as stable."""
TAKES = 0.2
"""The gain that must go with a circuit, and by which it must change at its change point."""
MOVES = 0.3
"""The correlation from which the coefficient counts as moving when circuits appear."""
LOOKS = 0.3
"""The share of its attention that a head gives to what followed the same item before."""
RESAMPLES = 200


def claims_of(measured: DevelopmentMeasures) -> tuple[Claim, ...]:
    """The claims of one case."""
    return (
        _appear(measured),
        _change(measured),
        _order(measured),
        _induction(measured),
        _model_company(measured),
        _toy_company(measured),
    )


def _appear(measured: DevelopmentMeasures) -> Claim:
    own, random = measured.strength[:, -1].mean(2), measured.random[:, -1]
    return Claim(
        text=f"Circuits are there at the end: without a family's circuit the right answer loses at least {TAKES} of "
        "what it is likelier behind its own prompt than behind others.",
        value=mean_interval(own.flatten().tolist()),
        null=Null(
            what="random neurons that write as much at the same layers and positions, and other heads",
            draws=tuple(random.mean((1, 2)).flatten().tolist()),
            size=own.size,
            tested=own.size,
            unit="circuits",
        ),
        bar=Bar(low=TAKES),
        unit="of probability",
    )


def _change(measured: DevelopmentMeasures) -> Claim:
    curves = measured.strength.mean(3).transpose(0, 2, 1).reshape(-1, measured.config.snapshots)
    generator = np.random.default_rng(measured.config.seed)
    return Claim(
        text=f"They appear at a time: behind the change point of a circuit's strength its mean is at least {TAKES} "
        "higher or lower than before it.",
        value=mean_interval(change(curves).tolist()),
        null=Null(
            what="snapshots in shuffled order",
            draws=tuple(shuffled_changes(curves, measured.config.draws, generator).tolist()),
            size=measured.config.snapshots,
            tested=measured.config.snapshots,
            unit="snapshots",
        ),
        bar=Bar(low=TAKES),
        unit="of probability",
        reference="change point by least squares, Hinkley 1970",
    )


def _order(measured: DevelopmentMeasures) -> Claim:
    risen = [name for name, there in zip(NAMES, measured.risen, strict=True) if there]
    value, draws = UNKNOWN, np.array([np.nan])
    generator = np.random.default_rng(measured.config.seed)
    enough = len(risen) >= LEAST_FAMILIES and len(measured.models) > 1
    if enough:
        onsets = measured.onsets[:, measured.risen]
        draws = shuffled_agreements(onsets, measured.config.draws, generator)
        value = _resampled_agreement(measured, agreement(onsets), generator)
    which = f"{len(risen)} families ({', '.join(risen)})" if risen else "no family"
    return Claim(
        text=f"The order in which circuits appear is stable: between models of different seeds the onsets of {which} "
        f"agree by a rank correlation of at least {AGREES}; at least {LEAST_FAMILIES} must have risen in all.",
        value=value,
        null=Null(
            what="families exchanged within every model",
            draws=tuple(draws.tolist()),
            size=len(risen),
            tested=len(risen),
            unit="families",
        ),
        bar=Bar(low=AGREES),
    )


def _resampled_agreement(measured: DevelopmentMeasures, value: float, generator: np.random.Generator) -> Interval:
    """The agreement, with the interval of prompts drawn anew from every family of every model."""
    strength = measured.strength[:, :, measured.risen]
    n_models, _, n_families, n_prompts = strength.shape
    values = []
    for _ in range(RESAMPLES):
        drawn = generator.integers(n_prompts, size=(n_models, 1, n_families, n_prompts))
        curves = np.take_along_axis(strength, np.broadcast_to(drawn, strength.shape), 3).mean(3)
        onsets = np.array([[onset(curve, measured.config.snapshot_steps) for curve in each.T] for each in curves])
        if np.isfinite(onsets).all():
            values.append(agreement(onsets))
    low, high = np.quantile(values, [0.025, 0.975]) if values else (np.nan, np.nan)
    return Interval(value, float(low), float(high))


def _induction(measured: DevelopmentMeasures) -> Claim:
    scores = measured.induction[:, -1]
    return Claim(
        text=f"A head looks at what followed the same item before, with at least {LOOKS} of its attention.",
        value=mean_interval(scores[:, 0].tolist()),
        null=Null(
            what="attention that is spread evenly",
            draws=tuple(scores[:, 2].tolist()),
            size=1,
            tested=1,
            unit="heads",
        ),
        bar=Bar(low=LOOKS),
        reference="the induction score of Olsson et al. 2022",
    )


def _company(
    moving: Float[np.ndarray, "model snapshot"], rising: Float[np.ndarray, "model snapshot"], draws: int, seed: int
) -> tuple[Interval, tuple[float, ...]]:
    """How far one curve moves while another rises, the mean over models; and with shuffled snapshots."""
    generator = np.random.default_rng(seed)
    pairs = list(zip(moving, rising, strict=True))
    shuffled = [np.mean([shuffled_company(*pair, generator) for pair in pairs]) for _ in range(draws)]
    return mean_interval([company(*pair) for pair in pairs]), tuple(map(float, shuffled))


def _model_company(measured: DevelopmentMeasures) -> Claim:
    config = measured.config
    value, draws = _company(measured.coefficient, measured.total, config.draws, config.seed)
    return Claim(
        text="The local learning coefficient moves when circuits appear: how far it moves from snapshot to snapshot "
        f"correlates with how much circuits gain in strength, by at least {MOVES}.",
        value=value,
        null=Null(
            what="the coefficient's snapshots in shuffled order",
            draws=draws,
            size=config.snapshots,
            tested=config.snapshots,
            unit="snapshots",
        ),
        bar=Bar(low=MOVES),
        reference="Hoogland et al. 2024 find stages of a language model by it",
    )


def _toy_company(measured: DevelopmentMeasures) -> Claim:
    config, toys = measured.config, measured.toys
    loss, coefficient = toys["loss"].T.double().numpy(), toys["llc"].T.double().numpy()
    value, draws = _company(coefficient, -loss, config.draws, config.seed)
    return Claim(
        text="In toy models of superposition it moves when the loss falls: the same correlation with the fall of the "
        f"loss is at least {MOVES}.",
        value=value,
        null=Null(
            what="the coefficient's snapshots in shuffled order",
            draws=draws,
            size=config.snapshots,
            tested=config.snapshots,
            unit="snapshots",
        ),
        bar=Bar(low=MOVES),
        reference="Chen et al. 2023",
    )
