"""Hidden processes whose belief is known exactly: the world's weather (Mess3), and RRXOR.

A process goes from hidden state i to j and shows symbol s with probability T[s, i, j]. Who knows the process and has
seen some symbols holds a *belief*, a distribution over hidden states:

    belief after s  is proportional to  belief T[s]
    next symbol     s with probability  sum_j (belief T[s])_j

Beliefs lie in a simplex whose corners are certainty of one state (Shai et al. 2024).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from clew.errors import InputError
from clew.organism.processes import mess3


@dataclass(frozen=True, kw_only=True, eq=False)
class HiddenProcess:
    """A hidden Markov process that shows a symbol at every step."""

    name: str
    title: str
    transitions: Float[np.ndarray, "symbol state next"]
    """They sum to one over symbol and next."""
    start: Float[np.ndarray, " state"]

    @property
    def n_symbols(self) -> int:
        """How many symbols there are."""
        return len(self.transitions)

    @property
    def n_states(self) -> int:
        """How many hidden states there are."""
        return len(self.start)

    def draw(self, generator: np.random.Generator, count: int, length: int) -> Int[np.ndarray, "sequence step"]:
        """So many independent sequences of symbols."""
        state = generator.choice(self.n_states, size=count, p=self.start)
        steps = self.transitions.transpose(1, 0, 2).reshape(self.n_states, -1).cumsum(1)
        symbols = np.empty((count, length), dtype=np.int64)
        for step in range(length):
            chosen = (generator.random((count, 1)) > steps[state]).sum(1).clip(max=steps.shape[1] - 1)
            symbols[:, step], state = np.divmod(chosen, self.n_states)
        return symbols

    def beliefs(self, symbols: Int[np.ndarray, "sequence step"]) -> Float[np.ndarray, "sequence step state"]:
        """The belief after every symbol, by the forward recursion."""
        belief = np.tile(self.start, (len(symbols), 1))
        found = []
        for column in symbols.T:
            belief = np.einsum("ni,nij->nj", belief, self.transitions[column])
            belief = belief / belief.sum(1, keepdims=True)
            found.append(belief)
        return np.stack(found, 1)

    def next_symbols(self, beliefs: Float[np.ndarray, "*row state"]) -> Float[np.ndarray, "*row symbol"]:
        """The distribution of the next symbol; linear in the belief."""
        following: np.ndarray = beliefs @ self.transitions.sum(2).T
        return following


def history(symbols: Int[np.ndarray, "sequence step"], last: int, n_symbols: int) -> Float[np.ndarray, "row column"]:
    """After every symbol the last so many of them, each as indicators; zeros where nothing was shown yet."""
    one_hot = np.eye(n_symbols)[symbols]
    shifted = [np.pad(one_hot, ((0, 0), (lag, 0), (0, 0)))[:, : symbols.shape[1]] for lag in range(last)]
    return np.concatenate(shifted, 2).reshape(-1, last * n_symbols)


def pairs(columns: Float[np.ndarray, "row column"], n_symbols: int) -> Float[np.ndarray, "row pair"]:
    """Products of the indicators of two different lags, the last symbol of every lag left out."""
    kept = [place for place in range(columns.shape[1]) if place % n_symbols != n_symbols - 1]
    first, second = np.triu_indices(len(kept), 1)
    apart = np.array(kept)[first] // n_symbols != np.array(kept)[second] // n_symbols
    return columns[:, np.array(kept)[first[apart]]] * columns[:, np.array(kept)[second[apart]]]


def weather() -> HiddenProcess:
    """The weather of the small world: three states, three symbols."""
    return HiddenProcess(name="mess3", title="weather (Mess3)", transitions=mess3().copy(), start=np.full(3, 1 / 3))


def rrxor() -> HiddenProcess:
    """Two random bits, then their exclusive or, again and again; it begins anywhere in that round.

    States: S before the first bit, 0 and 1 after it, F and T when the third bit will be 0 or 1.
    """
    transitions = np.zeros((2, 5, 5))
    s, zero, one, f, t = range(5)
    for bit in range(2):
        transitions[bit, s, (zero, one)[bit]] = 0.5
        transitions[bit, zero, (f, t)[bit]] = 0.5
        transitions[bit, one, (t, f)[bit]] = 0.5
        transitions[bit, (f, t)[bit], s] = 1.0
    return HiddenProcess(
        name="rrxor", title="RRXOR", transitions=transitions, start=np.array([1 / 3, 1 / 6, 1 / 6, 1 / 6, 1 / 6])
    )


PROCESSES = {"mess3": weather, "rrxor": rrxor}
"""Every process by its name."""


def processes(name: str) -> list[HiddenProcess]:
    """The process of this name, or all of them for `both`; InputError for another name."""
    if name == "both":
        return [make() for make in PROCESSES.values()]
    if name not in PROCESSES:
        raise InputError(f"process {name!r}: choose from both, {', '.join(PROCESSES)}")
    return [PROCESSES[name]()]
