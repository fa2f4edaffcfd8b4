"""Questions that were put to a model, with what experts answer: one shape for the world's and for planted ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from clew.stats import Interval
from clew.studies.leakage.leak_rate import permutations, sharpened
from clew.studies.leakage.prompts import Item, WordPairs
from clew.studies.leakage.rates import clustered_mean
from clew.studies.transcendence.experts import PlantedExperts, drawn_experts, votes

TEMPERATURES = (1.5, 1.0, 0.7, 0.5, 0.3, 0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class ExpertGroup:
    """Prompts of one kind: the model's answers, the law by which experts answer, their answers, what is right."""

    name: str
    title: str
    answers: Float[np.ndarray, "prompt answer"]
    """The model's probabilities of the answers among themselves."""
    law: Float[np.ndarray, "prompt answer"]
    experts: Int[np.ndarray, "expert prompt"]
    right: Int[np.ndarray, " prompt"]
    best: float
    """How often the best single expert is right."""
    clusters: Int[np.ndarray, " prompt"]
    """Prompts of one number are not independent."""
    unit: str
    mass: float
    """The probability that the model leaves to the answers, on average."""

    def _of_right(self, p: Float[np.ndarray, "prompt answer"]) -> Float[np.ndarray, " prompt"]:
        return p[np.arange(len(self.right)), self.right]

    def right_at(self, temperature: float) -> Float[np.ndarray, " prompt"]:
        """The probability of the right answer at a temperature, for every prompt."""
        return self._of_right(sharpened(self.answers, temperature))

    def accuracy(self, temperature: float) -> Interval:
        """How often the model is right at a temperature; resampled over clusters."""
        return clustered_mean(self.right_at(temperature), self.clusters)

    def law_accuracy(self, temperature: float) -> float:
        """The same for the law that experts answer by."""
        return float(self._of_right(sharpened(self.law, temperature)).mean())

    @cached_property
    def expert_accuracies(self) -> tuple[float, ...]:
        """How often each expert is right."""
        return tuple((self.experts == self.right).mean(1).tolist())

    @cached_property
    def vote(self) -> Float[np.ndarray, "prompt answer"]:
        """The answer that most experts give to every prompt."""
        return votes(self.experts, self.law.shape[1])

    @property
    def vote_accuracy(self) -> float:
        """How often the vote of all experts is right."""
        return float(self._of_right(self.vote).mean())

    def gain(self, low: float, high: float) -> Interval:
        """By how much the model is right more often at the lower of two temperatures."""
        return clustered_mean(self.right_at(low) - self.right_at(high), self.clusters)

    def exchanged_gains(self, low: float, high: float, draws: int, seed: int) -> tuple[float, ...]:
        """The same gain when what is right is exchanged among clusters; none keeps its own."""
        names, member = np.unique(self.clusters, return_inverse=True)
        first = np.array([self.right[member == place][0] for place in range(len(names))])
        change = sharpened(self.answers, low) - sharpened(self.answers, high)
        rows, gains = np.arange(len(self.right)), []
        for order in permutations(len(names), draws, seed=seed):
            gains.append(float(change[rows, first[order][member]].mean()))
        return tuple(gains)

    @property
    def follows_vote(self) -> Interval:
        """How often the model's most likely answer is the vote's."""
        agreeing = (sharpened(self.answers, 0.0) * self.vote).sum(1)
        return clustered_mean(agreeing, self.clusters)

    @property
    def follows_experts(self) -> tuple[float, ...]:
        """How often the model's most likely answer is each single expert's."""
        top = sharpened(self.answers, 0.0)
        rows = np.arange(len(self.right))
        return tuple(float(top[rows, given].mean()) for given in self.experts)


def world_group(
    name: str,
    asked: Sequence[Item],
    probabilities: Float[np.ndarray, "prompt answer"],
    pairs: Sequence[WordPairs],
    *,
    experts: int,
    agree: bool,
    seed: int,
) -> ExpertGroup:
    """The world's associated part: the associate is right, or where errors are to agree, another concept's."""
    by_kind = {pair.kind: pair for pair in pairs}
    law = np.stack([by_kind[item.kind].law["associated"][item.concept] for item in asked])
    right_by_kind = {}
    for place, pair in enumerate(pairs):
        own = pair.associate
        moved = own[permutations(len(own), 1, seed=seed + place)[0]]
        right_by_kind[pair.kind] = moved if agree else own
    right = np.array([right_by_kind[item.kind][item.concept] for item in asked])
    order = [pair.kind for pair in pairs]
    whole = probabilities.sum(1, keepdims=True)
    return ExpertGroup(
        name=name,
        title=f"the small world, sentences that the corpus {'holds' if name == 'taught' else 'withholds'}",
        answers=probabilities / whole,
        law=law,
        experts=drawn_experts(law, experts, np.random.default_rng([seed, 6])),
        right=right,
        best=float(law[np.arange(len(right)), right].mean()),
        clusters=np.array([100 * order.index(item.kind) + item.concept for item in asked]),
        unit="prompts",
        mass=float(whole.mean()),
    )


def planted_group(
    experts: PlantedExperts, probabilities: Float[np.ndarray, "question answer"], *, agree: bool
) -> ExpertGroup:
    """Planted experts, and a small model that was taught by them."""
    whole = probabilities.sum(1, keepdims=True)
    return ExpertGroup(
        name="planted",
        title=f"planted experts whose errors {'agree' if agree else 'are spread'}",
        answers=probabilities / whole,
        law=experts.law,
        experts=experts.answers,
        right=experts.right,
        best=float((experts.answers == experts.right).mean(1).max()),
        clusters=np.arange(len(experts.right)),
        unit="questions",
        mass=float(whole.mean()),
    )
