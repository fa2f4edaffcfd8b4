"""A second, flatter law of facts, for which a small model is trained: in it the bound by singletons is not vacuous.

Half of all questions are about three thousand people by the small world's own Zipf law; the other half are spread
evenly over four hundred thousand others, who hardly ever come twice. Everybody has a birthday, and a tenth of
them is refused. One finite corpus is drawn. A name is three tokens and an answer one, so that the model's whole
distribution is read at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from clew.kit import Kit
from clew.progress import Progress
from clew.studies.case import Steps
from clew.studies.hallucination.people import DATES, THRESHOLD
from clew.studies.hallucination.rates import Calibration, FactCounts, ModelErrors
from clew.studies.small_model import SmallTask

WORDS = 75
"""Words for each of the three parts of a name."""
BATCH = 512
_NAME, _DATE = 1, 1 + 3 * WORDS
REFUSAL = _DATE + DATES
"""The token of a refusal; dates stand before it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FlatWorld:
    """A law, and the corpus that was drawn from it."""

    often: int
    """People of the Zipf law."""
    rare: int
    """People who share the other questions evenly; none for no such questions."""
    statements: int
    seed: int
    refused_share: float = 0.1

    @cached_property
    def law(self) -> Float[np.ndarray, " person"]:
        """How likely each is asked for."""
        zipf = 1 / np.arange(1, self.often + 1)
        if not self.rare:
            return zipf / zipf.sum()
        return np.concatenate([zipf / zipf.sum() / 2, np.full(self.rare, 0.5 / self.rare)])

    @property
    def people(self) -> int:
        return self.often + self.rare

    @cached_property
    def answers(self) -> Int[np.ndarray, " person"]:
        """Everybody's date, from 0; `DATES` for a refusal."""
        generator = np.random.default_rng([self.seed, 10])
        dates = generator.integers(0, DATES, self.people)
        return np.where(generator.random(self.people) < self.refused_share, DATES, dates)

    @cached_property
    def _names(self) -> Int[np.ndarray, " person"]:
        return np.random.default_rng([self.seed, 11]).permutation(WORDS**3)[: self.people]

    @cached_property
    def corpus(self) -> Int[np.ndarray, " statement"]:
        """The person of every statement."""
        return self.drawn(self.statements, 12)

    def drawn(self, count: int, stream: int) -> Int[np.ndarray, " person"]:
        """So many people by the law."""
        ends = self.law.cumsum()
        draws = np.random.default_rng([self.seed, stream]).random(count) * ends[-1]
        return np.searchsorted(ends, draws, side="right").clip(max=self.people - 1)

    @cached_property
    def counts(self) -> Int[np.ndarray, " person"]:
        """How often the corpus states each, refusals too."""
        return np.bincount(self.corpus, minlength=self.people)

    @property
    def refused(self) -> Bool[np.ndarray, " person"]:
        return self.answers == DATES

    @property
    def fact_counts(self) -> FactCounts:
        """Answers of the corpus, without its refusals, and all its statements."""
        return FactCounts(counts=np.where(self.refused, 0, self.counts), total=self.statements)

    def questions(self, people: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n 4"]:
        """Token ids: a start, and the three parts of the name."""
        number = self._names[people]
        parts = (number // WORDS**2, number // WORDS % WORDS, number % WORDS)
        named = [_NAME + place * WORDS + part for place, part in enumerate(parts)]
        return np.stack([np.zeros_like(number), *named], 1)

    def task(self, name: str) -> SmallTask:
        """What the small model is taught: statements of the corpus, drawn evenly."""

        def draw(generator: np.random.Generator) -> np.ndarray:
            people = self.corpus[generator.integers(0, self.statements, BATCH)]
            return np.concatenate([self.questions(people), _DATE + self.answers[people][:, None]], 1)

        return SmallTask(name=name, vocabulary=REFUSAL + 1, draw=draw, n_given=4, n_layer=1)


def read_flat(kit: Kit, world: FlatWorld, people: Int[np.ndarray, " question"]) -> Steps:
    """The probabilities of all dates and of a refusal, for some people."""
    ids = world.questions(people).tolist()
    yield Progress(what="answers under the flatter law", done=0, of=len(ids), unit="questions")
    said = kit.next_tokens(ids, leave_out_first=False)
    return {"answers": torch.stack([each.probabilities.detach().cpu()[_DATE:] for each in said])}


@dataclass(frozen=True, kw_only=True, eq=False)
class FlatAnswers:
    """What the small model answers people who were drawn by the law."""

    world: FlatWorld
    people: Int[np.ndarray, " question"]
    answers: Float[np.ndarray, "question answer"]
    """Dates, and last the refusal."""

    @cached_property
    def errors(self) -> ModelErrors:
        """What the bounds need; a question weighs the same as any other, since it was drawn by the law."""
        truth = self.world.answers[self.people]
        every, refused = np.arange(len(truth)), truth == DATES
        above = self.answers > THRESHOLD
        right = np.where(refused, 0.0, self.answers[every, truth])
        wrong_above = above[:, :-1].sum(1) - np.where(refused, 0, above[every, truth])
        return ModelErrors(
            law=np.full(len(truth), 1 / len(truth)),
            wrong=np.clip(1 - right - self.answers[:, -1], 0, 1),
            above=(self.answers * above).sum(1),
            law_above=above[every, truth].astype(float),
            wrong_above=wrong_above / (DATES - 1),
        )

    @property
    def counts(self) -> Int[np.ndarray, " question"]:
        """How often the corpus states each of them."""
        return self.world.counts[self.people]

    @property
    def calibration(self) -> Calibration:
        """Of the likeliest answers."""
        top = self.answers.argmax(1)
        return Calibration(
            confidence=self.answers.max(1), right=top == self.world.answers[self.people], weight=self.errors.law
        )
