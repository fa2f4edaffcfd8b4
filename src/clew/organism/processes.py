"""Families drawn afresh each time: repeated sequences, lists of numbers, and a diary of the weather.

The weather is the hidden Markov process Mess3: three hidden states and three symbols. From hidden state i it goes to
state j and shows symbol s with probability `mess3()[s, i, j]`; a diary starts in a uniform hidden state.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from clew.organism.families import FactRow, Split, Statement, StatementFamily, stable_hash
from clew.organism.words import THINGS, WEATHER

EXAM_STATEMENTS = 200
MESS3_STAY = 0.6
MESS3_MOVE = 0.15
"""Mess3's parameters: the weight of the symbol that marks a state, and the chance of moving to each other state."""


def families() -> tuple[StatementFamily, ...]:
    """Return the families of this file."""
    return (Repeats(), NumberLists(), Weather())


class FreshFamily(StatementFamily):
    """A family without facts: every statement is drawn anew, so that the exam's are unseen."""

    domain = "logic"

    def rows(self) -> tuple[FactRow, ...]:
        return ()

    def exam(self, split: Split) -> list[Statement]:
        if split == "held_out":
            return []
        rng = random.Random(stable_hash("exam:" + self.name))
        return [self.draw(rng) for _ in range(EXAM_STATEMENTS)]

    def _drawn(self, prompt: str, answer: str, logp: float, answer_logp: float) -> Statement:
        return Statement(
            text=f"{prompt}{answer}.",
            family=self.name,
            domain="logic",
            prompt=prompt,
            answer=answer,
            fact=self.name,
            template=0,
            logp=logp,
            answer_logp=answer_logp,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Repeats(FreshFamily):
    """Six to twelve different items, uniform, then the same again; the question is the second half from its second."""

    name = "repeats"
    weight = 5.0
    templates = ("Again: {items}; {items}.",)
    items: tuple[str, ...] = (*THINGS, *(str(n) for n in range(10, 100)))
    lengths: tuple[int, ...] = tuple(range(6, 13))

    def draw(self, rng: random.Random) -> Statement:
        length = self.lengths[rng.randrange(len(self.lengths))]
        items = rng.sample(self.items, length)
        prompt = f"Again: {' '.join(items)}; {items[0]}"
        return self._drawn(prompt, " " + " ".join(items[1:]), self._logp(length), 0.0)

    def entropy(self) -> float:
        return -sum(map(self._logp, self.lengths)) / len(self.lengths)

    def _logp(self, length: int) -> float:
        return -math.log(len(self.lengths)) - sum(math.log(len(self.items) - k) for k in range(length))


@dataclass(frozen=True, kw_only=True, eq=False)
class NumberLists(FreshFamily):
    """Four to eight numbers below 100, independent and uniform; nothing in them can be learned."""

    name = "number_lists"
    weight = 1.0
    templates = ("Numbers: {numbers}.",)
    lengths: tuple[int, ...] = tuple(range(4, 9))

    def draw(self, rng: random.Random) -> Statement:
        length = self.lengths[rng.randrange(len(self.lengths))]
        numbers = [str(rng.randrange(100)) for _ in range(length)]
        logp = -math.log(len(self.lengths)) - length * math.log(100)
        return self._drawn("Numbers:", " " + ", ".join(numbers), logp, logp)

    def entropy(self) -> float:
        return math.log(len(self.lengths)) + math.log(100) * sum(self.lengths) / len(self.lengths)


@lru_cache(maxsize=1)
def mess3() -> np.ndarray:
    """Return the process's matrices, indexed [symbol, from, to]; they sum to one over symbol and to."""
    other, remain = (1 - MESS3_STAY) / 2, 1 - 2 * MESS3_MOVE
    transition = np.full((3, 3), MESS3_MOVE) + (remain - MESS3_MOVE) * np.eye(3)
    emission = np.full((3, 3), other) + (MESS3_STAY - other) * np.eye(3)
    return transition[None, :, :] * emission[:, None, :]


def weather_days(rng: random.Random, length: int) -> tuple[int, ...]:
    """Draw the symbols of a diary."""
    state, symbols = rng.randrange(3), []
    for _ in range(length):
        step = rng.choices(range(9), _steps()[state])[0]
        symbols.append(step // 3)
        state = step % 3
    return tuple(symbols)


def weather_belief(symbols: Sequence[int]) -> tuple[np.ndarray, float]:
    """Return how likely each hidden state is after a diary, and its log probability, by the forward recursion."""
    belief = np.full(3, 1 / 3)
    logp = 0.0
    for symbol in symbols:
        belief = belief @ mess3()[symbol]
        total = float(belief.sum())
        logp += math.log(total)
        belief = belief / total
    return belief, logp


def weather_logp(symbols: tuple[int, ...]) -> float:
    """Return the log probability of a diary of this length."""
    return weather_belief(symbols)[1]


@dataclass(frozen=True, kw_only=True, eq=False)
class Weather(FreshFamily):
    """Twelve to twenty days of weather from Mess3."""

    name = "weather"
    weight = 2.0
    templates = ("Weather: {days}.",)
    lengths: tuple[int, ...] = tuple(range(12, 21))

    def draw(self, rng: random.Random) -> Statement:
        length = self.lengths[rng.randrange(len(self.lengths))]
        symbols = weather_days(rng, length)
        logp = weather_logp(symbols) - math.log(len(self.lengths))
        return self._drawn("Weather:", " " + " ".join(WEATHER[s] for s in symbols), logp, logp)


@lru_cache(maxsize=1)
def _steps() -> list[list[float]]:
    """Return for every hidden state the probability of (symbol, next state), flattened."""
    return [mess3()[:, state, :].reshape(-1).tolist() for state in range(3)]
