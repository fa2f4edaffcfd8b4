"""What the study `hallucination` claims.

The bars of steering and of the circuit were given before anything was measured; the others are round numbers that were
set after a sketch.
"""

from __future__ import annotations

from clew.studies.claim import Bar, Claim, Null
from clew.studies.hallucination.flat_law import FlatWorld
from clew.studies.hallucination.mechanism import FOLDS
from clew.studies.hallucination.people import DATES, KNOWN_FROM
from clew.studies.hallucination.rates import singleton_bound
from clew.studies.hallucination.world_measured import LawMeasured, NamesMeasured, UnknownMeasured, WorldMeasured

DETECTION_BAR, STEERED_BAR, STEERED_NULL = 0.6, 0.25, 0.13
FALL_BAR, CALIBRATION_BAR, LEFT_BAR, REFUSED_BAR = 0.5, 0.1, 0.1, 0.9
EXCHANGES, CORPORA = 100, 30
_SOURCE = "Kalai, Nachum, Vempala and Zhang 2025"


def claims_of(measured: WorldMeasured, seed: int) -> tuple[Claim, ...]:
    """The claims, in the order of the report; those of features first, since neurons are measured for them too."""
    claims = [detection_claim(measured.names), steering_claim(measured.names)]
    if measured.people is not None:
        law = measured.people.law
        claims += [fall_claim(law, seed), calibration_claim(law, seed), bound_claim(law, seed)]
    if measured.flat is not None:
        claims.append(flat_claim(measured.flat, seed))
    if measured.unknown is not None:
        claims += [unknown_claim(measured.unknown), circuit_claim(measured.unknown)]
    return tuple(claims)


def detection_claim(names: NamesMeasured) -> Claim:
    n = len(names.detection.rows)
    return Claim(
        text="A single feature tells names that the corpus holds often from names that it never holds: area under the "
        f"curve on the fifth of the names on which it was not chosen, mean of {FOLDS}.",
        value=names.detection.auc(),
        null=Null(
            what="known and invented dealt out among the names",
            draws=names.detection.dealt(20, names.seed),
            size=n,
            tested=n,
            unit="names",
        ),
        bar=Bar(low=DETECTION_BAR),
        null_bar=Bar(high=DETECTION_BAR),
        reference="Ferrando et al. 2024, Do I Know This Entity?",
    )


def steering_claim(names: NamesMeasured) -> Claim:
    sizes, tested = [len(drawn) for drawn in names.steering.sets], len(names.steering.chosen)
    return Claim(
        text=f"Refusal can be raised: with the {tested} features that speak most for a refusal raised, which refused "
        "people have, invented names are refused (mean probability).",
        value=names.refusal("invented", "raised"),
        null=Null(
            what="matched random active features of the same layers, raised in the same way",
            draws=names.random_refusals,
            size=round(sum(sizes) / len(sizes)),
            tested=tested,
        ),
        bar=Bar(low=STEERED_BAR),
        null_bar=Bar(high=STEERED_NULL),
        reference="unedited, the world's model refuses an invented name about as often as anybody: refusal is drawn by "
        "lot for every person of its world, one in ten",
    )


def fall_claim(law: LawMeasured, seed: int) -> Claim:
    n = int(law.answered.sum())
    return Claim(
        text="What was seen rarely is answered wrongly: birthdays that the corpus states once or never get a "
        f"wrong date more often than those stated {KNOWN_FROM} times and more, by so much.",
        value=law.fall(),
        null=Null(
            what="counts exchanged among the people",
            draws=law.exchanged_falls(EXCHANGES, seed),
            size=n,
            tested=n,
            unit="people",
        ),
        bar=Bar(low=FALL_BAR),
        reference=_SOURCE,
    )


def calibration_claim(law: LawMeasured, seed: int) -> Claim:
    n = len(law.counts)
    return Claim(
        text="The likeliest answers are calibrated: by the law, confidence lies close to how often they are right "
        "(expected calibration error, ten bins). This says nothing of how often that is.",
        value=law.calibration.error,
        null=Null(
            what="right and wrong exchanged among the people",
            draws=law.calibration.exchanged_errors(EXCHANGES, seed),
            size=n,
            tested=n,
            unit="people",
        ),
        bar=Bar(high=CALIBRATION_BAR),
        effect=False,
    )


def bound_claim(law: LawMeasured, seed: int) -> Claim:
    bound = law.bounds[0]
    lost = sum(bound.losses.values())
    n = law.facts.total
    return Claim(
        text=f"Singletons force errors here: the bound sr - 2/|E| - (35 + 6 ln N)/sqrt N - delta lies above zero "
        f"(singleton rate {bound.first:.4f}, {n:,} statements; below zero it is vacuous).",
        value=law.errors.bound_interval(bound),
        null=Null(
            what="as many answers dealt out evenly among the people",
            draws=tuple(rate - lost for rate in law.facts.even_rates(EXCHANGES, seed)),
            size=n,
            tested=n,
            unit="statements",
        ),
        bar=Bar(low=0.0),
        reference=f"{_SOURCE}, Theorem 3",
    )


def flat_claim(law: LawMeasured, seed: int) -> Claim:
    bound, n = law.bounds[0], law.facts.total
    rates = [FlatWorld(often=3000, rare=0, statements=n, seed=seed + 1 + k).fact_counts.rate for k in range(CORPORA)]
    return Claim(
        text="Under a flatter law, half of whose questions are about people who hardly ever come twice, singletons "
        f"do force errors: the same bound lies above zero (singleton rate {bound.first:.2f}, {n:,} statements).",
        value=law.errors.bound_interval(bound),
        null=Null(
            what="corpora of as many statements by the small world's law, of a calibrated model",
            draws=tuple(singleton_bound(rate, n, DATES - 1, 0.0).value for rate in rates),
            size=n,
            tested=n,
            unit="statements",
        ),
        bar=Bar(low=0.0),
        null_bar=Bar(high=0.0),
        reference=f"{_SOURCE}, Theorem 3; the model's error is {law.errors.err.value:.2f}",
    )


def unknown_claim(unknown: UnknownMeasured) -> Claim:
    n = len(unknown.parts["never"])
    return Claim(
        text="Where training refuses every name that is not known, a model refuses names that it never saw, both words "
        "of which it knows (mean probability).",
        value=unknown.never,
        null=Null(
            what="known names, resampled",
            draws=unknown.known_draws(EXCHANGES),
            size=len(unknown.parts["known"]),
            tested=n,
            unit="names",
        ),
        bar=Bar(low=REFUSED_BAR),
        null_bar=Bar(high=1 - REFUSED_BAR),
    )


def circuit_claim(unknown: UnknownMeasured) -> Claim:
    sizes = unknown.parts["sizes"].double()
    return Claim(
        text=f"A circuit does it: without the {unknown.size} neurons that speak most for a refusal on other names, "
        "names never seen are refused no more (mean probability).",
        value=unknown.left,
        null=Null(
            what="matched random active neurons of the same layer",
            draws=unknown.random,
            size=round(float(sizes.mean())),
            tested=unknown.size,
            unit="neurons",
        ),
        bar=Bar(high=LEFT_BAR),
        null_bar=Bar(low=REFUSED_BAR),
    )
