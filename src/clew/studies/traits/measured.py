"""What was measured of statements, scales and behaviours, in one case of the study `traits`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from clew.stats import Interval, bootstrap, correlation, mean_interval, ranks
from clew.studies.traits.cosines import CosineTable, dealt_keying, keying
from clew.studies.traits.inputs import PUBLISHED
from clew.studies.traits.jingle_jangle import ScalePairs
from clew.studies.traits.questionnaire import Ratings
from clew.studies.traits.trait_features import TraitReadings

NOTABLE = 0.95
"""A cell is notable when it lies above, or below, so much of both of its nulls."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EncoderMeasured:
    """What one encoder says of statements, opposites and scales."""

    name: str
    table: CosineTable
    agreeing: Sequence[Float[np.ndarray, " _"]]
    denying: Sequence[Float[np.ndarray, " _"]]
    """Cosines with a word of statements that agree with it and that deny it, word by word."""
    pairs: ScalePairs

    @cached_property
    def keying(self) -> Interval:
        """How often an agreeing statement is nearer to its word than a denying one, mean over words."""
        found = mean_interval(keying(self.agreeing, self.denying).tolist())
        return Interval(found.value, max(0.0, found.low), min(1.0, found.high))

    def dealt_keying(self, draws: int, seed: int) -> tuple[float, ...]:
        """The same with agreement and denial exchanged at random."""
        generator = np.random.default_rng([seed, 1])
        return tuple(float(dealt_keying(self.agreeing, self.denying, generator).mean()) for _ in range(draws))

    def published(self) -> list[tuple[str, str, float, float]]:
        """Cells that were published: statement, keyword, what was published, and this encoder's cosine."""
        rows, columns = list(self.table.statements), list(self.table.keywords)
        return [
            (statement, keyword, value, float(self.table.cosines[rows.index(statement), columns.index(keyword)]))
            for (statement, keyword), value in PUBLISHED.items()
            if statement in rows and keyword in columns
        ]


@dataclass(frozen=True, kw_only=True, eq=False)
class TraitsMeasured:
    """One case; `encoders` is empty where features alone are measured."""

    readings: TraitReadings
    encoders: Sequence[EncoderMeasured]
    ratings: Ratings | None
    """What the model answers when it is given the items to rate; None where it answers no questions."""
    factors: Mapping[str, Sequence[str]]
    draws: int
    seed: int
    dealt: bool

    @property
    def factor_of(self) -> dict[str, str]:
        """The factor of every keyword."""
        return {keyword: factor for factor, keywords in self.factors.items() for keyword in keywords}

    def factor_means(self, encoder: EncoderMeasured) -> Float[np.ndarray, "statement factor"]:
        """The mean cosine of every statement with a factor's keywords."""
        table = encoder.table
        member = [[keyword in keywords for keyword in table.keywords] for keywords in self.factors.values()]
        return np.stack([table.cosines[:, mine].mean(1) for mine in member], 1)

    def jingle_jangle(self, encoder: EncoderMeasured) -> tuple[int, tuple[float, ...]]:
        """How many pairs are jingle or jangle, and how many are where labels are dealt out."""
        generator, n = np.random.default_rng([self.seed, 2]), len(encoder.pairs.scales)
        count = sum(map(len, encoder.pairs.flagged().values()))
        draws = [encoder.pairs.flagged(generator.permutation(n)) for _ in range(self.draws)]
        return count, tuple(float(sum(map(len, each.values()))) for each in draws)

    def dealt_agreement(self, encoder: EncoderMeasured) -> tuple[float, ...]:
        """How far labels go with contents where labels are dealt out among the scales."""
        generator, n = np.random.default_rng([self.seed, 3]), len(encoder.pairs.scales)
        return tuple(encoder.pairs.agreement(generator.permutation(n)) for _ in range(self.draws))


def rank_agreement(one: Sequence[float], other: Sequence[float]) -> Interval:
    """Spearman's correlation of two columns, with its bootstrap over their rows."""
    a, b = ranks(np.asarray(one, dtype=float)), ranks(np.asarray(other, dtype=float))
    return bootstrap(np.stack([np.ones_like(a), a, b, a * a, b * b, a * b]), correlation)
