"""Sequences of a hidden process as a model reads them: the tokens, and where every symbol stands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from clew.kit import Kit
from clew.organism.processes import Weather
from clew.organism.words import WEATHER
from clew.studies.belief.processes import HiddenProcess, history
from clew.studies.small_model import SmallTask

BATCH = 64
"""Sequences in one step of a small model's training."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sequences:
    """Sequences of one process and one kit; the first `n_fit` are for fitting, the rest for measuring."""

    kit: Kit
    process: HiddenProcess
    symbols: Int[np.ndarray, "sequence step"]
    ids: Int[np.ndarray, "sequence pos"]
    first: int
    """The position of the first symbol."""
    symbol_ids: tuple[int, ...]
    """The token of every symbol."""
    n_fit: int
    last: int
    """How many of the last symbols are the history."""

    @property
    def length(self) -> int:
        """Symbols in a sequence."""
        return self.symbols.shape[1]

    @property
    def positions(self) -> list[int]:
        """Where the symbols stand."""
        return [*range(self.first, self.first + self.length)]

    @cached_property
    def beliefs(self) -> Float[np.ndarray, "sequence step state"]:
        """The exact belief after every symbol."""
        return self.process.beliefs(self.symbols)

    @cached_property
    def history(self) -> Float[np.ndarray, "row column"]:
        """A one, and the last symbols as indicators; a row for every symbol."""
        columns = history(self.symbols, self.last, self.process.n_symbols)
        return np.concatenate([np.ones((len(columns), 1)), columns], 1)

    @cached_property
    def rows(self) -> Float[np.ndarray, "row state"]:
        """The beliefs, a row for every symbol."""
        return self.beliefs.reshape(-1, self.process.n_states)

    @property
    def fit(self) -> slice:
        """The rows of the sequences that are for fitting."""
        return slice(0, self.n_fit * self.length)

    @property
    def held_out(self) -> slice:
        """The other rows."""
        return slice(self.n_fit * self.length, len(self.symbols) * self.length)


def sequences(kit: Kit, process: HiddenProcess, *, count: int, length: int, last: int, seed: int) -> Sequences:
    """Fresh sequences, so many for fitting and as many to be held out, drawn from the process."""
    symbols = process.draw(np.random.default_rng([seed, 1]), 2 * count, length)
    if process.name == "mess3":
        start = kit.subject.encode(_opening()).tolist()
        words = tuple(kit.subject.token_ids(f" {word}")[0] for word in WEATHER)
        ids = np.concatenate([np.tile(start, (len(symbols), 1)), np.array(words)[symbols]], 1)
    else:
        ids, start, words = token_ids(symbols), [0], tuple(range(1, 1 + process.n_symbols))
    return Sequences(
        kit=kit, process=process, symbols=symbols, ids=ids, first=len(start), symbol_ids=words, n_fit=count, last=last
    )


def token_ids(symbols: Int[np.ndarray, "sequence step"]) -> Int[np.ndarray, "sequence pos"]:
    """Sequences of symbols as tokens of a small model: its begin token, then the symbols'."""
    return np.pad(symbols + 1, ((0, 0), (1, 0)))


def small_task(process: HiddenProcess, length: int) -> SmallTask:
    """What a small model must be taught to know a process."""
    return SmallTask(
        name=process.name,
        vocabulary=1 + process.n_symbols,
        draw=lambda generator: token_ids(process.draw(generator, BATCH, length)),
    )


def _opening() -> str:
    return Weather.templates[0].partition(" {")[0]


def lacking(kit: Kit, length: int) -> str:
    """What a kit lacks to read the weather; empty where nothing is missing."""
    if kit.subject.tokenizer is None:
        return "its model came without a tokenizer"
    for word in WEATHER:
        if (n := len(kit.subject.token_ids(f" {word}"))) != 1:
            return (
                f"the weather's words must be one token each, and {word!r} is {n} of its model; use a model of the "
                "small world, such as minnow, or the process rrxor, for which a model is trained"
            )
    needed = len(kit.subject.encode(_opening())) + length
    if needed > kit.subject.context_length:
        return f"{length} days are {needed} tokens, and its model reads {kit.subject.context_length}: give fewer days"
    return ""
