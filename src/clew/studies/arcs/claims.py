"""What the study `arcs` claims; the rules were written before anything was measured."""

from __future__ import annotations

import numpy as np

from clew.studies.arcs.measured import ArcsMeasured
from clew.studies.arcs.spectra import SHUFFLED, WALK
from clew.studies.claim import Bar, Claim, Null

READING_BAR, ARC_BAR = 0.8, 0.5
"""The correlation with known valences, and the share of arcs that must be recovered."""
COSINE_BAR = 0.9
"""Shapes whose span lies in that of cosines by more are cosines."""
EXCHANGES = 100


def claims_of(measured: ArcsMeasured) -> tuple[Claim, ...]:
    """The claims, in the order of the report."""
    claims = [order_claim(measured), walk_claim(measured), shape_claim(measured)]
    if measured.arcs_known:
        claims.append(arc_claim(measured))
    if measured.valences is not None and measured.trajectories.shape[2] == 1:
        claims.append(reading_claim(measured))
    return tuple(claims)


def order_claim(measured: ArcsMeasured) -> Claim:
    count = measured.components
    return Claim(
        text=f"The order of sentences has a shape: the first {count} components of {measured.title} have more of the "
        "sum of squares than in the same stories with their sentences in another order.",
        value=measured.reach,
        null=_null(measured, "the same stories with their sentences shuffled", measured.null.reach(SHUFFLED, count)),
        bar=Bar(low=count / (measured.points - 1)),
        reference="Reagan et al. 2016, The emotional arcs of stories are dominated by six basic shapes",
    )


def walk_claim(measured: ArcsMeasured) -> Claim:
    count = measured.components
    exact = round(float(measured.null.exact[WALK][:count].sum()), 3)
    return Claim(
        text=f"They are simpler than random walks: the first {count} components have more than the {exact:.1%} that "
        f"walks of {measured.points} steps have.",
        value=measured.reach,
        null=_null(measured, "random walks", measured.null.reach(WALK, count)),
        bar=Bar(low=exact),
        reference="Antognini and Sohl-Dickstein 2018: a random walk has 60.8, 15.2, 6.8 %",
    )


def shape_claim(measured: ArcsMeasured) -> Claim:
    count = measured.components
    return Claim(
        text=f"The shapes say something by themselves: the first {count} lie further from pure cosines than those of "
        "shuffled text (how much of what they span lies in the span of the first cosines).",
        value=measured.cosine_overlap,
        null=_null(measured, "the same stories with their sentences shuffled", measured.shuffled_overlaps),
        bar=Bar(high=COSINE_BAR),
        reference="the published shapes overlap pure cosines by .988, .995, .988 and .992",
    )


def arc_claim(measured: ArcsMeasured) -> Claim:
    return Claim(
        text="A story's own arc is recovered: of the six arcs its trajectory is most like the one by which it was "
        "written.",
        value=measured.recovered,
        null=_null(measured, "the same stories with their sentences shuffled", measured.shuffled_recovered),
        bar=Bar(low=ARC_BAR),
    )


def reading_claim(measured: ArcsMeasured) -> Claim:
    generator = np.random.default_rng([measured.seed, 3])
    draws = tuple(measured.reading(generator).value for _ in range(EXCHANGES))
    return Claim(
        text=f"What is followed is the valence of a sentence: {measured.title} goes with the valence by which it was "
        "written (correlation). So it is in any order of the sentences.",
        value=measured.reading(),
        null=_null(measured, "valences exchanged among the sentences", draws),
        bar=Bar(low=READING_BAR),
        effect=False,
    )


def _null(measured: ArcsMeasured, what: str, draws: tuple[float, ...]) -> Null:
    n = len(measured.stories)
    return Null(what=what, draws=draws, size=n, tested=n, unit="stories")
