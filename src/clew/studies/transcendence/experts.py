"""Experts who answer questions and err: those of the small world, and planted ones whose answers are all known.

- In the world's associated part every sentence is one expert's answer: right with the probability of the law, else
  uniform. Their errors differ.
- Planted experts have a fixed answer to every question. Their errors are either *spread* (each errs in questions of its
  own, with an answer of its own) or *agree* (all err in the same questions with the same answer; the better ones in
  fewer of them).

A *vote* is the answer that most experts give; equals share it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from clew.studies.small_model import SmallTask

N_ANSWERS = 12
"""As many as in the world."""
WORST, BEST = 0.5, 0.8
"""How often the planted experts are right, in equal steps."""
BATCH = 256
"""Answers of experts in one step of training."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PlantedExperts:
    """Questions with one right answer each, and what every expert answers."""

    right: Int[np.ndarray, " question"]
    answers: Int[np.ndarray, "expert question"]

    @property
    def law(self) -> Float[np.ndarray, "question answer"]:
        """How often each answer is given, by an expert drawn at random."""
        shares: np.ndarray = np.eye(N_ANSWERS)[self.answers].mean(0)
        return shares

    def task(self) -> SmallTask:
        """What a model is taught: a question, and the answer of an expert drawn at random."""
        n_experts, n_questions = self.answers.shape

        def draw(generator: np.random.Generator) -> np.ndarray:
            question = generator.integers(n_questions, size=BATCH)
            answer = self.answers[generator.integers(n_experts, size=BATCH), question]
            return np.stack([np.zeros(BATCH, dtype=np.int64), 1 + question, 1 + n_questions + answer], 1)

        return SmallTask(name="experts", vocabulary=1 + n_questions + N_ANSWERS, draw=draw, n_given=2, n_layer=2)


def planted(n_questions: int, n_experts: int, *, agree: bool, seed: int) -> PlantedExperts:
    """Experts from the worst to the best; whether errors agree changes neither questions nor how often they err."""
    generator = np.random.default_rng([seed, 5])
    right = generator.integers(N_ANSWERS, size=n_questions)
    order, slip = generator.permutation(n_questions), generator.integers(1, N_ANSWERS, size=n_questions)
    answers = np.tile(right, (n_experts, 1))
    for number, accuracy in enumerate(np.linspace(WORST, BEST, n_experts)):
        n_errors = round((1 - accuracy) * n_questions)
        missed = order[:n_errors] if agree else generator.choice(n_questions, n_errors, replace=False)
        slips = slip[missed] if agree else generator.integers(1, N_ANSWERS, size=n_errors)
        answers[number, missed] = (right[missed] + slips) % N_ANSWERS
    return PlantedExperts(right=right, answers=answers)


def drawn_experts(
    law: Float[np.ndarray, "prompt answer"], count: int, generator: np.random.Generator
) -> Int[np.ndarray, "expert prompt"]:
    """What so many experts who answer by a law say to every prompt, each by itself."""
    ends = law.cumsum(1) / law.sum(1, keepdims=True)
    drawn = generator.random((count, len(law), 1)) > ends
    return drawn.sum(2).clip(max=law.shape[1] - 1)


def votes(answers: Int[np.ndarray, "expert prompt"], n_answers: int = N_ANSWERS) -> Float[np.ndarray, "prompt answer"]:
    """The vote of experts on every prompt: a one, or equal shares where several answers have the most."""
    counts = np.eye(n_answers)[answers].sum(0)
    most = (counts == counts.max(1, keepdims=True)).astype(np.float64)
    shared: np.ndarray = most / most.sum(1, keepdims=True)
    return shared


def vote_accuracy(
    experts: Int[np.ndarray, "expert prompt"],
    right: Int[np.ndarray, " prompt"],
    voters: int,
    draws: int,
    generator: np.random.Generator,
) -> float:
    """How often a vote of so many experts drawn from all is right, on average over draws."""
    shares = []
    for _ in range(draws):
        chosen = generator.choice(len(experts), voters, replace=False)
        shares.append(votes(experts[chosen])[np.arange(len(right)), right].mean())
    return float(np.mean(shares))
