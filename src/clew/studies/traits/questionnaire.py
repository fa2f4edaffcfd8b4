"""The 120 items of the IPIP-NEO-120 out of a library, and what a chat model answers when it is given items to rate.

A model is asked how well each item describes it, on a scale from 1 to 5, once with 5 as the best fit and once with the
scale turned round. What it answers is the mean of the five numbers under its next-token probabilities. Two things must
hold before scores mean anything: items keep their order when the scale is turned round, so that the answer is about
the item and not about a number the model likes; and items keyed against a factor are answered the other way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float

from clew.extras import needed_module
from clew.kit import Kit
from clew.progress import Progress
from clew.stats import RESAMPLES, Interval, mean_interval
from clew.studies.case import Steps
from clew.studies.measuring import next_probabilities
from clew.studies.traits.inputs import ScaleItem
from clew.subject.subject import Subject

FFM = "ffm"
"""What stands in place of a file for the items of the library ffm."""
POINTS = np.arange(1.0, 6.0)
_WORDS = ("not at all", "hardly", "in part", "well", "very well")
_BATCH = 8


def ffm_items() -> list[ScaleItem]:
    """The items of the library ffm; which factor an item belongs to, and its sign, its own scoring says.

    InputError where the library is not installed.
    """
    core = needed_module("FFM.core", FFM, "reading its 120 items")
    middle = [3] * len(core.Qs)
    usual, items = core.score(middle).iloc[0], []
    for place, text in enumerate(core.Qs):
        moved = core.score([*middle[:place], 5, *middle[place + 1 :]]).iloc[0] - usual
        factor = moved.abs().idxmax()
        items.append(ScaleItem(text=text, scale=factor, sign=1 if moved[factor] > 0 else -1, factor=factor))
    return items


def answers_questions(subject: Subject) -> bool:
    """Whether a model can be given items to rate: it has a chat template, and a token for each of the five numbers."""
    if not getattr(subject.tokenizer, "chat_template", None):
        return False
    return all(len(subject.token_ids(str(point))) == 1 for point in range(1, 6))


@dataclass(frozen=True, kw_only=True, eq=False)
class Ratings:
    """What a model answers to items: expected points from 1 to 5, 5 where the item describes it best."""

    items: Sequence[ScaleItem]
    straight: Float[np.ndarray, " item"]
    """With 5 as the best fit."""
    turned: Float[np.ndarray, " item"]
    """With 1 as the best fit, turned back."""
    on_numbers: Float[np.ndarray, " item"]
    """How much of the next-token probability lies on the five numbers, mean of both."""

    @property
    def points(self) -> Float[np.ndarray, " item"]:
        """The mean of both scales."""
        return (self.straight + self.turned) / 2

    @cached_property
    def factors(self) -> tuple[str, ...]:
        """The factors, in the order of the items."""
        return tuple(dict.fromkeys(item.factor or item.scale for item in self.items))

    @cached_property
    def _members(self) -> list[np.ndarray]:
        of = np.array([item.factor or item.scale for item in self.items])
        return [np.flatnonzero(of == factor) for factor in self.factors]

    @cached_property
    def signs(self) -> Float[np.ndarray, " item"]:
        """The key of every item: -1 where agreeing speaks against the factor."""
        return np.array([float(item.sign) for item in self.items])

    def scores(self, signs: Float[np.ndarray, " item"] | None = None) -> Float[np.ndarray, " factor"]:
        """The mean rating of every factor's items, those keyed against it turned round."""
        signs = self.signs if signs is None else signs
        scored = np.where(signs > 0, self.points, 6 - self.points)
        return np.array([scored[mine].mean() for mine in self._members])

    def score_intervals(self) -> list[Interval]:
        """The same with a 95 % interval over the items of each factor."""
        scored = np.where(self.signs > 0, self.points, 6 - self.points)
        return [mean_interval(scored[mine].tolist()) for mine in self._members]

    def apart(self, signs: Float[np.ndarray, " item"] | None = None) -> list[float]:
        """By factor with items of both keys, how many points these lie apart, whichever is above."""
        signs, found = self.signs if signs is None else signs, []
        for mine in self._members:
            plus, minus = (self.points[mine][signs[mine] == sign] for sign in (1, -1))
            if len(plus) and len(minus):
                found.append(abs(float(plus.mean() - minus.mean())))
        return found

    def apart_interval(self) -> Interval:
        """The mean of `apart` over factors, with a bootstrap over the items of every factor and key."""
        generator, drawn = np.random.default_rng(0), []
        for mine in self._members:
            both = [self.points[mine][self.signs[mine] == sign] for sign in (1, -1)]
            if all(map(len, both)):
                means = [generator.choice(each, (RESAMPLES, len(each))).mean(1) for each in both]
                drawn.append(abs(means[0] - means[1]))
        low, high = np.quantile(np.mean(drawn, 0), [0.025, 0.975])
        return Interval(float(np.mean(self.apart())), float(low), float(high))

    def dealt_signs(self, draws: int, seed: int) -> Iterator[Float[np.ndarray, " item"]]:
        """Keys dealt out at random within every factor."""
        generator = np.random.default_rng([seed, 7])
        for _ in range(draws):
            signs = self.signs.copy()
            for mine in self._members:
                signs[mine] = generator.permutation(signs[mine])
            yield signs

    def shuffled(self, seed: int) -> Ratings:
        """Ratings dealt out among the items, on either scale by itself: nothing is left to be told."""
        generator = np.random.default_rng([seed, 8])
        return replace(self, straight=generator.permutation(self.straight), turned=generator.permutation(self.turned))


def rated(kit: Kit, items: Sequence[ScaleItem]) -> Steps:
    """The tensors of Ratings, of a model that answers questions."""
    subject = kit.subject
    asked = [_question(item, best) for best in (5, 1) for item in items]
    numbers = torch.tensor([subject.token_ids(str(point))[0] for point in range(1, 6)])
    expected, mass = [], []
    for first in range(0, len(asked), _BATCH):
        yield Progress(what="items", done=first, of=len(asked), unit="questions")
        prompts = [subject.encode([{"role": "user", "content": text}]) for text in asked[first : first + _BATCH]]
        chances = next_probabilities(kit, [ids.tolist() for ids in prompts])[:, numbers].double().numpy()
        mass += chances.sum(1).tolist()
        expected += (chances @ POINTS / chances.sum(1)).tolist()
    points, on_numbers = torch.tensor(expected).reshape(2, -1), torch.tensor(mass).reshape(2, -1)
    return {"straight": points[0].clone(), "turned": 6 - points[1], "on_numbers": on_numbers.mean(0)}


def _question(item: ScaleItem, best: int) -> str:
    words = _WORDS if best == 5 else _WORDS[::-1]
    scale = ", ".join(f"{point} ({word})" for point, word in enumerate(words, 1))
    return (
        f'Somebody says of himself: "{item.text.rstrip(".")}." How well does that describe you? Answer with one '
        f"number and nothing else: {scale}."
    )
