"""Which heads serve which domain, by what their silence does to texts.

1. The effect of a head on a text is what its silence adds to the loss (of an encoder: by how much the text's vector
   turns, one minus the cosine).
2. In every text, effects are set beside those of all heads: a head's *part* is its share of the effects that harm.
   So a domain whose texts are easily harmed makes no head special.
3. How much the domain says of a head's part: eta squared of the part's ranks over the texts, the share of their
   variance that lies between domains.
4. Nulls: domains dealt out among the texts; and dealt out among whole kinds of sentences, each of which stays together,
   so that a head that serves one kind does not count as one that serves its domain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from clew.stats import Interval, ranks


def parts(effects: Float[np.ndarray, "text head"]) -> Float[np.ndarray, "text head"]:
    """Every head's share of the effects that harm a text; 0 where none does."""
    harm = effects.clip(min=0)
    total = harm.sum(1, keepdims=True)
    shares: np.ndarray = np.divide(harm, total, out=np.zeros_like(harm), where=total > 0)
    return shares


def part_ranks(effects: Float[np.ndarray, "text head"]) -> Float[np.ndarray, "text head"]:
    """The ranks of every head's parts over the texts, centred."""
    return np.stack([ranks(column) for column in parts(effects).T], 1)


def eta_squared(ranked: Float[np.ndarray, "text head"], labels: Int[np.ndarray, " text"]) -> Float[np.ndarray, " head"]:
    """The share of each column's variance that lies between the labels; 0 for a constant column."""
    one_hot = np.eye(int(labels.max()) + 1)[labels]
    counts = one_hot.sum(0)
    centred = ranked - ranked.mean(0)
    means = (one_hot.T @ centred) / counts.clip(min=1)[:, None]
    between, whole = (counts[:, None] * means**2).sum(0), (centred**2).sum(0)
    shares: np.ndarray = np.divide(between, whole, out=np.zeros_like(whole), where=whole > 0)
    return shares


def jackknife(ranked: Float[np.ndarray, "text 1"], labels: Int[np.ndarray, " text"]) -> Interval:
    """Eta squared of one column, with the normal interval of its jackknife (Tukey 1958), never below 0."""
    value, n = float(eta_squared(ranked, labels)[0]), len(labels)
    left = np.array([eta_squared(np.delete(ranked, i, 0), np.delete(labels, i))[0] for i in range(n)])
    half = 1.959964 * float(np.sqrt((n - 1) / n * np.square(left - left.mean()).sum()))
    return Interval(value, max(0.0, value - half), min(1.0, value + half))


def dealt_among_texts(labels: Int[np.ndarray, " text"], generator: np.random.Generator) -> Int[np.ndarray, " text"]:
    """The same labels on texts at random."""
    return generator.permutation(labels)


def dealt_among_kinds(
    labels: Int[np.ndarray, " text"], kinds: Int[np.ndarray, " text"], generator: np.random.Generator
) -> Int[np.ndarray, " text"]:
    """The same labels on whole kinds of texts: every domain gets as many kinds as it had."""
    _, first, member = np.unique(kinds, return_index=True, return_inverse=True)
    dealt: np.ndarray = generator.permutation(labels[first])[member]
    return dealt


def numbered(names: Sequence[str]) -> Int[np.ndarray, " text"]:
    """Names as numbers, in alphabetical order."""
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)
