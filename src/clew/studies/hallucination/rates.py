"""Singletons, errors and the bounds between them (Kalai et al. 2025, Why Language Models Hallucinate).

A corpus of N statements answers questions c, each with one right answer out of R, or with a refusal, which is never an
error. Of a model p and a law mu of questions:

sr      the share of the corpus that answers a question which it answers only this once
err     the probability of a wrong answer, questions by mu
A       answers to which the model gives more than the threshold, 1 / (the fewest wrong answers of a question)
delta   how far the model's mass of A lies from the law's: what is left of calibration
err_iiv how often "more than the threshold" is wrong about validity, half right answers by the law, half wrong ones

err >= 2 err_iiv - max V / min E - delta                        (their Theorem 1 with prompts)
err >= sr - 2 / min E - (35 + 6 ln N) / sqrt N - delta          (their Theorem 3, with probability 99 %)

A bound that is not above zero says nothing: it is vacuous. Corpora of facts that are stated often make it so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from clew.errors import InputError
from clew.stats import Interval, bootstrap, ratio

BINS = 10
"""Bins of equal width by which calibration is told."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FactCounts:
    """How often a corpus answers each question; `total` is the number of its statements, refusals among them."""

    counts: Int[np.ndarray, " question"]
    """Answers, refusals not counted."""
    total: int

    def __post_init__(self) -> None:
        if self.total < 1 or int(self.counts.sum()) > self.total or int(self.counts.min(initial=0)) < 0:
            raise InputError(
                f"{int(self.counts.sum()):,} answers in a corpus of {self.total:,} statements: give counts of at least "
                "0, and no more answers than statements"
            )

    @property
    def singletons(self) -> int:
        """Questions that are answered once."""
        return int((self.counts == 1).sum())

    @property
    def rate(self) -> float:
        """The singleton rate: what Good and Turing estimate the mass of unseen questions by."""
        return self.singletons / self.total

    def resampled_rate(self, seed: int = 0) -> Interval:
        """The rate with the interval of resampled questions."""
        one = np.stack([(self.counts == 1).astype(float), np.full(len(self.counts), self.total / len(self.counts))])
        return bootstrap(one, lambda sums: ratio(sums[0], sums[1]), seed=seed)

    def even_rates(self, draws: int, seed: int) -> tuple[float, ...]:
        """The rate where as many answers are dealt out evenly over as many questions as there are."""
        generator, n = np.random.default_rng([seed, 1]), len(self.counts)
        answers = int(self.counts.sum())
        dealt = generator.multinomial(answers, np.full(n, 1 / n), draws)
        return tuple(((dealt == 1).sum(1) / self.total).tolist())


def unseen_mass(law: Float[np.ndarray, " question"], counts: Int[np.ndarray, " question"]) -> float:
    """The probability of a question that the corpus does not hold."""
    return float(law[counts == 0].sum() / law.sum())


def ideal_error(
    law: Float[np.ndarray, " question"],
    counts: Int[np.ndarray, " question"],
    answered: Bool[np.ndarray, " question"],
    answers: int,
) -> float:
    """The error of a model that knows what it saw, and guesses evenly where it saw nothing.

    `answered` questions have an answer, the others are refused; an unseen question is answered as often as any.
    """
    share = float((law * answered).sum() / law.sum())
    return unseen_mass(law, counts) * share * (1 - 1 / answers) if answers else 0.0


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A lower bound of the error, term by term."""

    name: str
    first: float
    """The term that pushes it up: sr, or twice err_iiv."""
    losses: Mapping[str, float]
    """What is taken off."""

    @property
    def value(self) -> float:
        """The bound; negative where it says nothing."""
        return self.first - sum(self.losses.values())

    @property
    def vacuous(self) -> bool:
        """Whether every error satisfies it."""
        return self.value <= 0

    def __str__(self) -> str:
        terms = " - ".join([f"{self.first:.4f}", *(f"{loss:.4f} ({name})" for name, loss in self.losses.items())])
        return f"{self.name}: err >= {terms} = {self.value:.4f}{', vacuous' if self.vacuous else ''}"


def singleton_bound(rate: float, total: int, fewest_wrong: int, delta: float) -> Bound:
    """err >= sr - 2 / min E - (35 + 6 ln N) / sqrt N - delta; InputError without statements or wrong answers."""
    _check(total=total, fewest_wrong=fewest_wrong)
    losses = {
        "2/|E|": 2 / fewest_wrong,
        "sample": (35 + 6 * math.log(total)) / math.sqrt(total),
        "delta": delta,
    }
    return Bound(name="by singletons", first=rate, losses=losses)


def iiv_bound(err_iiv: float, most_valid: int, fewest_wrong: int, delta: float) -> Bound:
    """err >= 2 err_iiv - max V / min E - delta; InputError without valid or wrong answers."""
    _check(most_valid=most_valid, fewest_wrong=fewest_wrong)
    losses = {"|V|/|E|": most_valid / fewest_wrong, "delta": delta}
    return Bound(name="by is-it-valid", first=2 * err_iiv, losses=losses)


def smallest_corpus(rate: float, fewest_wrong: int, delta: float = 0.0) -> int | None:
    """The fewest statements with which a corpus of this singleton rate has a bound above zero; None for no number."""
    if rate <= delta + 2 / fewest_wrong:
        return None
    low, high = 1, 1
    while singleton_bound(rate, high, fewest_wrong, delta).vacuous:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        vacuous = singleton_bound(rate, middle, fewest_wrong, delta).vacuous
        low, high = (middle, high) if vacuous else (low, middle)
    return high


def _check(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise InputError(f"{name.replace('_', ' ')} is {value}: a bound needs at least 1")


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelErrors:
    """What the bounds need of a model, question by question; `law` adds up to 1."""

    law: Float[np.ndarray, " question"]
    wrong: Float[np.ndarray, " question"]
    """The model's probability of a wrong answer."""
    above: Float[np.ndarray, " question"]
    """The model's probability of answers, right ones and refusals too, that lie above the threshold."""
    law_above: Float[np.ndarray, " question"]
    """The law's probability of the same answers."""
    wrong_above: Float[np.ndarray, " question"]
    """The share of wrong answers that lie above the threshold."""

    @property
    def _terms(self) -> Float[np.ndarray, "5 question"]:
        parts = (np.ones_like(self.law), self.wrong, self.above, self.law_above, self.wrong_above)
        return np.stack([self.law * part for part in parts])

    def _resampled(self, statistic: str) -> Interval:
        return bootstrap(self._terms, lambda sums: _STATISTICS[statistic](sums / sums[0]))

    @cached_property
    def err(self) -> Interval:
        """The probability of a wrong answer."""
        return self._resampled("err")

    @cached_property
    def delta(self) -> Interval:
        """The distance from calibration at the threshold."""
        return self._resampled("delta")

    @cached_property
    def err_iiv(self) -> Interval:
        """How often the threshold is wrong about validity: half right answers by the law, half wrong ones, evenly."""
        return self._resampled("err_iiv")

    def bound_interval(self, bound: Bound) -> Interval:
        """A bound of this model with the interval of resampled questions; sr and N are the corpus' own."""
        fixed = sum(loss for name, loss in bound.losses.items() if name != "delta")
        twice = bound.name == "by is-it-valid"

        def value(sums: Float[np.ndarray, "term draw"]) -> Float[np.ndarray, " draw"]:
            means = sums / sums[0]
            first = 2 * _STATISTICS["err_iiv"](means) if twice else np.full(sums.shape[1], bound.first)
            whole: np.ndarray = first - fixed - _STATISTICS["delta"](means)
            return whole

        return bootstrap(self._terms, value)


_STATISTICS = {
    "err": lambda means: means[1],
    "delta": lambda means: np.abs(means[2] - means[3]),
    "err_iiv": lambda means: ((1 - means[3]) + means[4]) / 2,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """How often answers are right, by the confidence with which they are given, each question with a weight."""

    confidence: Float[np.ndarray, " question"]
    right: Bool[np.ndarray, " question"]
    weight: Float[np.ndarray, " question"]

    @property
    def _bin(self) -> Int[np.ndarray, " question"]:
        return np.minimum((self.confidence * BINS).astype(int), BINS - 1)

    def _sums(self, right: Bool[np.ndarray, " question"]) -> Float[np.ndarray, "term question"]:
        """For every bin by itself: weight, weight x confidence, weight x right."""
        member = self._bin[None] == np.arange(BINS)[:, None]
        terms = np.stack([self.weight, self.weight * self.confidence, self.weight * right])
        return (member[:, None] * terms[None]).reshape(3 * BINS, -1)

    @cached_property
    def error(self) -> Interval:
        """The expected calibration error: mean over bins, by weight, of |confidence - accuracy|; resampled."""
        return bootstrap(self._sums(self.right), _calibration_error)

    def exchanged_errors(self, draws: int, seed: int) -> tuple[float, ...]:
        """The same where what is right is exchanged among the questions."""
        generator = np.random.default_rng([seed, 2])
        dealt = [self._sums(generator.permutation(self.right)).sum(1, keepdims=True) for _ in range(draws)]
        return tuple(float(_calibration_error(sums)[0]) for sums in dealt)

    def reliability(self) -> list[tuple[float, float, int, float, Interval]]:
        """The diagram: low and high end, questions, mean confidence, accuracy; bins without a question are left out."""
        rows = []
        for place in range(BINS):
            member = self._bin == place
            if not member.any():
                continue
            weight = self.weight[member]
            terms = np.stack([weight, weight * self.right[member]])
            mean = float((weight * self.confidence[member]).sum() / weight.sum())
            accuracy = bootstrap(terms, lambda sums: ratio(sums[1], sums[0]))
            rows.append((place / BINS, (place + 1) / BINS, int(member.sum()), mean, accuracy))
        return rows


def _calibration_error(sums: Float[np.ndarray, "term draw"]) -> Float[np.ndarray, " draw"]:
    weight, confidence, right = sums.reshape(BINS, 3, -1).transpose(1, 0, 2)
    error: np.ndarray = np.abs(confidence - right).sum(0) / weight.sum(0)
    return error


def by_count(
    values: Float[np.ndarray, " question"], counts: Int[np.ndarray, " question"], edges: Sequence[int]
) -> list[tuple[str, Float[np.ndarray, " _"]]]:
    """Values in groups of counts, each group from an edge up to the next; the last has no end."""
    groups = []
    for place, low in enumerate(edges):
        last = place + 1 == len(edges)
        high = None if last else edges[place + 1] - 1
        member = (counts >= low) & (True if high is None else counts <= high)
        name = f"{low} and more" if high is None else str(low) if low == high else f"{low} to {high}"
        groups.append((name, values[member]))
    return groups
