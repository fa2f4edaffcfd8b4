"""What was measured in the small world and in the two that a small model was trained for, in one case of the study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clew.stats import Interval, bootstrap, mean_interval, ratio
from clew.studies.hallucination.flat_law import FlatAnswers, FlatWorld
from clew.studies.hallucination.grading import Grades
from clew.studies.hallucination.mechanism import Detection, NameReadings, Steering
from clew.studies.hallucination.people import DATES, KNOWN_FROM, Answers, People
from clew.studies.hallucination.rates import (
    Bound,
    Calibration,
    FactCounts,
    ModelErrors,
    by_count,
    ideal_error,
    iiv_bound,
    singleton_bound,
    unseen_mass,
)

EDGES = (0, 1, 2, 6, 21, KNOWN_FROM)
"""Where groups of counts begin."""
SURE = (0.5, 0.9)
"""Confidences below which two of the answerers refuse."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NamesMeasured:
    """Known and invented names, and what raising features does to both."""

    readings: NameReadings
    detection: Detection
    steering: Steering
    refusals: Mapping[str, Tensor]
    draws: int
    seed: int

    def refusal(self, group: str, kind: str) -> Interval:
        """The mean probability of a refusal."""
        return within(mean_interval(self.refusals[f"{group}.{kind}"].tolist()))

    @property
    def random_refusals(self) -> tuple[float, ...]:
        """Of invented names, with every random set raised."""
        kinds = [f"invented.random.{number}" for number in range(len(self.steering.sets))]
        return tuple(float(self.refusals[kind].mean()) for kind in kinds)


@dataclass(frozen=True, kw_only=True, eq=False)
class LawMeasured:
    """A corpus, a model of it, and what the model answers by the corpus' law."""

    name: str
    facts: FactCounts
    errors: ModelErrors
    calibration: Calibration
    counts: Int[np.ndarray, " question"]
    """How often the corpus states each question."""
    answered: Bool[np.ndarray, " question"]
    """Which questions have an answer; the others are refused."""
    unseen: float
    """The law's probability of a question that the corpus does not hold."""
    ideal: float
    """The error of a model that knows what it saw and guesses evenly elsewhere."""
    stray: float = 0.0
    """The model's probability of what is neither an answer nor a refusal."""

    @cached_property
    def bounds(self) -> tuple[Bound, Bound]:
        """By singletons, and by is-it-valid."""
        delta = self.errors.delta.value
        return (
            singleton_bound(self.facts.rate, self.facts.total, DATES - 1, delta),
            iiv_bound(self.errors.err_iiv.value, 2, DATES - 1, delta),
        )

    @cached_property
    def by_count(self) -> list[tuple[str, int, Interval]]:
        """Group of counts, questions, and the mean error of those that have an answer."""
        return errors_by_count(self.errors.wrong[self.answered], self.counts[self.answered])

    def fall(self, counts: Int[np.ndarray, " question"] | None = None, resamples: int = 1000) -> Interval:
        """By how much questions seen once or never err more than those seen over forty times."""
        counts = (self.counts if counts is None else counts)[self.answered]
        wrong = self.errors.wrong[self.answered]
        few, many = (counts <= 1).astype(float), (counts >= KNOWN_FROM).astype(float)
        terms = np.stack([few, few * wrong, many, many * wrong])
        return bootstrap(terms, lambda s: ratio(s[1], s[0]) - ratio(s[3], s[2]), resamples=resamples)

    def exchanged_falls(self, draws: int, seed: int) -> tuple[float, ...]:
        """The same with counts exchanged among the questions."""
        generator = np.random.default_rng([seed, 8])
        return tuple(self.fall(generator.permutation(self.counts), 1).value for _ in range(draws))


@dataclass(frozen=True, kw_only=True, eq=False)
class PeopleMeasured:
    """The small world's birthdays."""

    whole: People
    """Everybody."""
    people: People
    """Those who were asked."""
    taught: Answers
    withheld_wrong: Float[np.ndarray, " person"]
    withheld_refusal: Float[np.ndarray, " person"]
    """In the sentence that the corpus withholds from each person."""
    counts: Int[np.ndarray, " person"]
    """Statements of each; exchanged among the people in the absent case."""

    @cached_property
    def truth(self) -> Int[np.ndarray, " person"]:
        """What the corpus answers: 12 x day + month, or -1."""
        return np.where(self.people.refused, -1, 12 * self.people.days + self.people.months)

    @cached_property
    def law(self) -> LawMeasured:
        """The world's law, with sentences that the corpus holds."""
        whole, answers = self.whole, self.taught
        return LawMeasured(
            name="the small world",
            facts=whole.fact_counts,
            errors=answers.errors,
            calibration=answers.calibration(self.truth),
            counts=self.counts,
            answered=~self.people.refused,
            unseen=unseen_mass(whole.law, whole.counts),
            ideal=ideal_error(whole.law, whole.counts, ~whole.refused, DATES),
            stray=float((self.people.law * answers.stray).sum()),
        )

    @property
    def other_sentences(self) -> list[tuple[str, int, Interval]]:
        """Errors by count in sentences that the corpus withholds."""
        return errors_by_count(self.withheld_wrong[~self.people.refused], self.counts[~self.people.refused])

    @cached_property
    def grades(self) -> dict[str, Grades]:
        """What several answerers get, people by the law."""
        answers, seen = self.taught, self.people.counts > 0
        found = {
            "the model's likeliest answer": self._grades(answers.top, answers.top < 0),
            "never refuses": self._grades(answers.top_date, np.zeros(len(seen), dtype=bool)),
        }
        for sure in SURE:
            unsure = (answers.date_confidence < sure) | (answers.top < 0)
            found[f"refuses below {sure:g}"] = self._grades(answers.top_date, unsure)
        found["always refuses"] = self._grades(answers.top, np.ones(len(seen), dtype=bool))
        guess = np.where(seen, self.truth, -2)  # never right; what a guess wins is 1 in 365
        found["knows what it saw, else guesses"] = self._grades(guess, seen & self.people.refused)
        found["knows what it saw, else refuses"] = self._grades(self.truth, ~seen | self.people.refused)
        return found

    def _grades(self, said: Int[np.ndarray, " person"], refuses: Bool[np.ndarray, " person"]) -> Grades:
        law = self.people.law
        right = float((law * (~refuses & (said == self.truth) & (said >= 0))).sum())
        refused = float((law * refuses).sum())
        return Grades(right=right, refused=refused, wrong=max(0.0, 1 - right - refused))


@dataclass(frozen=True, kw_only=True, eq=False)
class UnknownMeasured:
    """The circuit of unknown names, and what ablating it leaves."""

    parts: Mapping[str, Tensor]
    by_chance: bool
    seed: int

    @property
    def size(self) -> int:
        """Features of the circuit."""
        return int(self.parts["size"])

    @property
    def never(self) -> Interval:
        """Refusals of names never seen."""
        return within(mean_interval(self.parts["never"].tolist()))

    @property
    def left(self) -> Interval:
        """The same without the circuit."""
        return within(mean_interval(self.parts["left"][-1].tolist()))

    @property
    def random(self) -> tuple[float, ...]:
        """The same without each random set."""
        return tuple(self.parts["random"].mean(1).tolist())

    def known_draws(self, draws: int) -> tuple[float, ...]:
        """Refusals of known names, resampled."""
        generator, known = np.random.default_rng([self.seed, 9]), self.parts["known"].numpy()
        return tuple(float(generator.choice(known, len(known)).mean()) for _ in range(draws))


def flat_measured(answers: FlatAnswers) -> LawMeasured:
    """The flatter law."""
    world: FlatWorld = answers.world
    return LawMeasured(
        name="the flatter law" if world.rare else "a law without rare people",
        facts=world.fact_counts,
        errors=answers.errors,
        calibration=answers.calibration,
        counts=answers.counts,
        answered=~world.refused[answers.people],
        unseen=unseen_mass(world.law, world.counts),
        ideal=ideal_error(world.law, world.counts, ~world.refused, DATES),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class WorldMeasured:
    """Everything of one case; all but the names is None where features alone are measured."""

    names: NamesMeasured
    people: PeopleMeasured | None = None
    flat: LawMeasured | None = None
    unknown: UnknownMeasured | None = None
    dealt: bool = False

    @property
    def laws(self) -> list[LawMeasured]:
        """What calibration and bounds are told of."""
        people = [self.people.law] if self.people else []
        return [*people, *([self.flat] if self.flat else [])]


def errors_by_count(wrong: Float[np.ndarray, " n"], counts: Int[np.ndarray, " n"]) -> list[tuple[str, int, Interval]]:
    """Group of counts, its size, and its mean error; groups without anybody are left out."""
    groups = by_count(wrong, counts, EDGES)
    return [(name, len(values), within(mean_interval(values.tolist()))) for name, values in groups if len(values)]


def within(interval: Interval) -> Interval:
    """A mean of probabilities: its interval ends at 0 and 1."""
    return Interval(interval.value, max(0.0, interval.low), min(1.0, interval.high))
