"""What the study `traits` claims; the rules were written before anything was measured."""

from __future__ import annotations

import numpy as np

from clew.stats import mean_interval, spearman
from clew.studies.claim import Bar, Claim, Null
from clew.studies.traits.measured import EncoderMeasured, TraitsMeasured, rank_agreement
from clew.studies.traits.questionnaire import Ratings

TRAIT_BAR, POLE_BAR = 0.4, 0.6
"""Shares of behaviours that must be told: twice chance for a trait, and three fifths for a pole."""
KEYING_BAR, AGREEMENT_BAR, LABEL_BAR = 0.75, 0.8, 0.3
"""Agreement told from denial; rank agreement of two encoders; rank correlation of labels and contents."""
RATING_BAR, APART_BAR = 0.5, 0.5
"""Rank correlation of a scale and the same turned round; points of five between keys."""


def claims_of(measured: TraitsMeasured) -> tuple[Claim, ...]:
    """The claims, in the order of the report; those of features come first."""
    claims = list(feature_claims(measured))
    for encoder in measured.encoders:
        claims += [nearest_claim(measured, encoder), keying_claim(measured, encoder), label_claim(measured, encoder)]
        if len(encoder.published()) > 2:
            claims.append(published_claim(measured, encoder))
    if len(measured.encoders) == 2:
        claims.append(encoders_claim(measured))
    if measured.ratings is not None:
        claims += rating_claims(measured.ratings, measured)
    return tuple(claims)


def feature_claims(measured: TraitsMeasured) -> tuple[Claim, Claim]:
    readings, n = measured.readings, len(measured.readings.traits)

    def null(what: str, draws: tuple[float, ...]) -> Null:
        return Null(what=what, draws=draws, size=n, tested=n, unit="behaviours")

    trait = Claim(
        text="Features tell the trait: in two fifths of the behaviours at least, features are most like those of other "
        "behaviours of the same of five traits.",
        value=readings.share(readings.traits),
        null=null(
            "traits dealt out among the behaviours", readings.dealt(readings.traits, measured.draws, measured.seed)
        ),
        bar=Bar(low=TRAIT_BAR),
    )
    pole = Claim(
        text="Features tell the pole: in three fifths of the behaviours at least, features are most like those of "
        "other behaviours of the same pole, high or low, whatever the trait.",
        value=readings.share(readings.high),
        null=null("poles dealt out among the behaviours", readings.dealt(readings.high, measured.draws, measured.seed)),
        bar=Bar(low=POLE_BAR),
    )
    return trait, pole


def nearest_claim(measured: TraitsMeasured, encoder: EncoderMeasured) -> Claim:
    table = encoder.table
    return Claim(
        text=f"Keywords of traits are nearer than other words: with {encoder.name}, the nearest keyword of a statement "
        "is nearer than the nearest of as many words that name no trait (cosine, mean over statements).",
        value=mean_interval(table.nearest.tolist()),
        null=Null(
            what="as many random keywords",
            draws=table.random_nearest(measured.draws, measured.seed),
            size=len(table.keywords),
            tested=len(table.keywords),
            unit="keywords",
        ),
        bar=Bar(low=0.0),
    )


def keying_claim(measured: TraitsMeasured, encoder: EncoderMeasured) -> Claim:
    count = len(encoder.agreeing)
    return Claim(
        text=f"A cosine tells agreement from denial: with {encoder.name}, a statement that agrees with a word is "
        "nearer to it than one that denies it, in three of four pairs at least (mean over words).",
        value=encoder.keying,
        null=Null(
            what="agreement and denial exchanged at random within every word",
            draws=encoder.dealt_keying(measured.draws, measured.seed),
            size=count,
            tested=count,
            unit="words",
        ),
        bar=Bar(low=KEYING_BAR),
    )


def label_claim(measured: TraitsMeasured, encoder: EncoderMeasured) -> Claim:
    n = len(encoder.pairs.scales)
    return Claim(
        text=f"Labels say what scales hold: with {encoder.name}, pairs of scales that are alike by their labels are "
        "alike by their items (rank correlation over pairs).",
        value=encoder.pairs.agreement_interval,
        null=Null(
            what="labels dealt out among the scales",
            draws=measured.dealt_agreement(encoder),
            size=n,
            tested=n,
            unit="scales",
        ),
        bar=Bar(low=LABEL_BAR),
        reference="Wulff and Mata 2025, on jingle and jangle in personality scales",
    )


def published_claim(measured: TraitsMeasured, encoder: EncoderMeasured) -> Claim:
    cells = encoder.published()
    published, found = [cell[2] for cell in cells], [cell[3] for cell in cells]
    return Claim(
        text=f"The published reading does not hang on the encoder: {len(cells)} cells that were published have the "
        f"same order with {encoder.name} (rank correlation).",
        value=rank_agreement(published, found),
        null=_exchanged(measured, published, found, "cells"),
        bar=Bar(low=AGREEMENT_BAR),
        reference="published with distilbert-base-nli-stsb-mean-tokens",
        effect=False,
    )


def encoders_claim(measured: TraitsMeasured) -> Claim:
    one, other = measured.encoders
    a, b = (each.table.cosines.flatten().tolist() for each in (one, other))
    return Claim(
        text=f"The table does not hang on the encoder: {one.name} and {other.name} put its {len(a)} cells into the "
        "same order (rank correlation).",
        value=rank_agreement(a, b),
        null=_exchanged(measured, a, b, "cells"),
        bar=Bar(low=AGREEMENT_BAR),
        effect=False,
    )


def rating_claims(ratings: Ratings, measured: TraitsMeasured) -> tuple[Claim, ...]:
    """Of answers to items; where all items of a factor are keyed alike, nothing is claimed of keys."""
    straight, turned = ratings.straight.tolist(), ratings.turned.tolist()
    about = Claim(
        text="What the model answers is about the item: asked with the scale turned round, the items keep their order "
        "(rank correlation).",
        value=rank_agreement(straight, turned),
        null=_exchanged(measured, straight, turned, "items"),
        bar=Bar(low=RATING_BAR),
    )
    if not ratings.apart():
        return (about,)
    draws = tuple(float(np.mean(ratings.apart(signs))) for signs in ratings.dealt_signs(measured.draws, measured.seed))
    count = len(ratings.items)
    keyed = Claim(
        text="What the model answers is about a trait: items of the same factor that are keyed the other way are "
        "answered half a point of five apart or more (mean over factors, whichever is above).",
        value=ratings.apart_interval(),
        null=Null(what="keys dealt out within the factors", draws=draws, size=count, tested=count, unit="items"),
        bar=Bar(low=APART_BAR),
    )
    return about, keyed


def _exchanged(measured: TraitsMeasured, one: list[float], other: list[float], unit: str) -> Null:
    generator = np.random.default_rng([measured.seed, 5])
    draws = tuple(spearman(np.array(one), generator.permutation(other)) for _ in range(measured.draws))
    return Null(what="cells exchanged at random", draws=draws, size=len(one), tested=len(one), unit=unit)
