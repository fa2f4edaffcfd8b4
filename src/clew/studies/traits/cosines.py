"""Cosines of statements and keywords, each beside what random keywords and random statements have.

Keying: whether a cosine tells a statement that agrees with a word from one that denies it. It is the area under the ROC
curve within each word: how often an agreeing statement is nearer to the word than a denying one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from clew.stats import null_quantile

Encode = Callable[[Sequence[str]], Float[np.ndarray, "text d"]]
"""Unit vectors of texts."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CosineTable:
    """Every statement beside every keyword, and both beside random ones."""

    statements: Sequence[str]
    keywords: Sequence[str]
    cosines: Float[np.ndarray, "statement keyword"]
    with_random_keywords: Float[np.ndarray, "statement random"]
    with_random_statements: Float[np.ndarray, "text keyword"]

    @cached_property
    def quantiles(self) -> Float[np.ndarray, "2 statement keyword"]:
        """Where every cosine lies among those of its statement with random keywords, and of its keyword with random
        statements: 1 is above all of them.
        """
        found = np.zeros((2, *self.cosines.shape))
        for i, row in enumerate(self.cosines.tolist()):
            for j, value in enumerate(row):
                found[0, i, j] = null_quantile(value, self.with_random_keywords[i].tolist())
                found[1, i, j] = null_quantile(value, self.with_random_statements[:, j].tolist())
        return found

    @property
    def nearest(self) -> Float[np.ndarray, " statement"]:
        """The cosine of every statement with its nearest keyword."""
        best: np.ndarray = self.cosines.max(1)
        return best

    def random_nearest(self, draws: int, seed: int) -> tuple[float, ...]:
        """The mean of the same over the statements, with as many random keywords, draw by draw."""
        generator, (count, n) = np.random.default_rng(seed), self.with_random_keywords.shape
        size, found = min(len(self.keywords), n), []
        for _ in range(draws):
            chosen = [generator.choice(n, size, replace=False) for _ in range(count)]
            found.append(float(np.mean([self.with_random_keywords[i, each].max() for i, each in enumerate(chosen)])))
        return tuple(found)


def cosine_table(
    encode: Encode,
    statements: Sequence[str],
    keywords: Sequence[str],
    *,
    random_keywords: Sequence[str],
    random_statements: Sequence[str],
) -> CosineTable:
    """All cosines; the encoder gives unit vectors."""
    of_statements, of_keywords = encode(statements), encode(keywords)
    return CosineTable(
        statements=statements,
        keywords=keywords,
        cosines=of_statements @ of_keywords.T,
        with_random_keywords=of_statements @ encode(random_keywords).T,
        with_random_statements=encode(random_statements) @ of_keywords.T,
    )


def keying(
    agreeing: Sequence[Float[np.ndarray, " _"]], denying: Sequence[Float[np.ndarray, " _"]]
) -> Float[np.ndarray, " word"]:
    """By word, how often an agreeing statement's cosine is above a denying one's; equals count half."""
    areas = []
    for plus, minus in zip(agreeing, denying, strict=True):
        apart = plus[:, None] - minus[None]
        areas.append(float(((apart > 0) + 0.5 * (apart == 0)).mean()))
    return np.array(areas)


def dealt_keying(
    agreeing: Sequence[Float[np.ndarray, " _"]],
    denying: Sequence[Float[np.ndarray, " _"]],
    generator: np.random.Generator,
) -> Float[np.ndarray, " word"]:
    """The same with the two kinds exchanged within every word at random."""
    mixed = [generator.permutation(np.concatenate(each)) for each in zip(agreeing, denying, strict=True)]
    cuts = [len(plus) for plus in agreeing]
    return keying(
        [row[:cut] for row, cut in zip(mixed, cuts, strict=True)],
        [row[cut:] for row, cut in zip(mixed, cuts, strict=True)],
    )
