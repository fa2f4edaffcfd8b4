"""What the study `leakage` claims of Leak-Rates and answers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from clew.stats import bootstrap, cluster_sums, ratio
from clew.studies.claim import Bar, Claim, Null
from clew.studies.leakage.leak_rate import sharpened
from clew.studies.leakage.prompts import PARTS
from clew.studies.leakage.rates import PERMUTATIONS, TEMPERATURES, Measured, Rates, clustered_mean

LAW_FROM = 0.5
"""The lowest temperature at which the law must be met."""
_LIKENESS = {
    "world": "the world's own table of associates",
    "tokens": "the cosine of the model's own token embeddings, centred",
    "sentence": "the cosine of a sentence encoder (MiniLM)",
}


def leaks(measured: Measured, rates: Rates) -> Claim:
    n = len(rates.own)
    return Claim(
        text="Where words are associated, the concept leaks: at temperature 1 the Leak-Rate is above that of permuted "
        f"concepts, by {_LIKENESS[measured.similarity]}.",
        value=clustered_mean(rates.own, rates.clusters),
        null=Null(what="permuted concepts", draws=rates.permuted, size=n, tested=n, unit="prompts"),
        bar=Bar(low=50.0),
        reference="Gonen et al. 2024: 50 where nothing leaks; the control is the same sentence with another concept",
    )


def follows_the_law(measured: Measured, rates: Mapping[tuple[str, str, float], Rates], sentence: str) -> Claim:
    """Whether the largest difference from the law, over parts and temperatures, is at most three points."""
    warm = [t for t in TEMPERATURES if t >= LAW_FROM]
    both = [[rates[part, sentence, t] for t in warm] for part in PARTS]
    laws = np.concatenate([np.stack([r.law for r in of_part]) for of_part in both], 1)
    sizes = [len(of_part[0].own) for of_part in both]

    def largest(sums: np.ndarray) -> np.ndarray:
        means = [ratio(sums[1 + place], sums[0]) for place in range(len(sums) - 1)]
        worst: np.ndarray = np.nanmax(np.abs(np.stack(means)), axis=0)
        return worst

    terms = []  # a cluster has as many prompts in one part as in the other
    for of_part in both:
        for r in of_part:
            terms.append(cluster_sums((r.own - r.law)[None], r.clusters)[0])
    counts = cluster_sums(np.ones((1, sizes[0])), both[0][0].clusters)[0]
    value = bootstrap(np.stack([counts, *terms]), largest, seed=measured.seed)
    generator, draws = np.random.default_rng(measured.seed), []
    for _ in range(PERMUTATIONS):
        mixed = np.split(laws[:, generator.permutation(laws.shape[1])], np.cumsum(sizes)[:-1], 1)
        means = [
            abs(r.own.mean() - m.mean())
            for of_part, law in zip(both, mixed, strict=True)
            for r, m in zip(of_part, law, strict=True)
        ]
        draws.append(float(max(means)))
    held = "the corpus holds" if sentence == "taught" else "the corpus withholds"
    n = sum(sizes)
    return Claim(
        text=f"In sentences that {held}, the Leak-Rate of both parts is the law's: the largest difference at "
        f"temperatures {warm[0]:g} to {warm[-1]:g}, in points, is small.",
        value=value,
        null=Null(
            what="the law of sentences drawn from both parts", draws=tuple(draws), size=n, tested=n, unit="prompts"
        ),
        bar=Bar(high=3.0),
        unit="points",
    )


def favours_associates(measured: Measured) -> tuple[Claim, Claim]:
    """How much more often than by the law the associate is answered where words are independent, drawn and greedily."""
    drawn = _favour(
        measured,
        1.0,
        "Where words are independent, the model still favours the associate: its probability is above the law's (1 is "
        "the law).",
        Bar(low=1.0),
    )
    greedy = _favour(
        measured,
        0.0,
        "Greedy decoding inflates this leak: the associate is the most likely answer more than twice as often as by "
        "the law (1 is the law).",
        Bar(low=2.0),
    )
    return drawn, greedy


def _favour(measured: Measured, temperature: float, text: str, bar: Bar) -> Claim:
    """The associate's probability at a temperature as a multiple of the law's, beside other concepts' associates."""
    chosen = measured.where("independent")
    concepts, n = measured.concepts(chosen), int(chosen.sum())
    pairs = [measured.pairs[item.kind] for item, yes in zip(measured.items, chosen, strict=True) if yes]
    law = np.array([pair.law["independent"][c].max() for pair, c in zip(pairs, concepts, strict=True)])
    times = sharpened(measured.answers[chosen], temperature) / law[:, None]
    own = np.array([pair.associate[c] for pair, c in zip(pairs, concepts, strict=True)])
    draws = []
    for draw in measured.permutations:
        others = np.array([pair.associate[draw[pair.kind][c]] for pair, c in zip(pairs, concepts, strict=True)])
        draws.append(float(times[np.arange(n), others].mean()))
    return Claim(
        text=text,
        value=clustered_mean(times[np.arange(n), own], measured.clusters(chosen)),
        null=Null(what="associates of permuted concepts", draws=tuple(draws), size=n, tested=n, unit="prompts"),
        bar=bar,
        unit="times",
    )
