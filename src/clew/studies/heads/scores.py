"""What a head looks at, as numbers between 0 and 1 from its pattern (row = query, column = key).

- *previous*, *next*: the attention of a token to the token before and behind it.
- *first*: to the first position; *delimiters*: to special tokens behind it and to punctuation.
- *entropy*: of a query's attention, beside the logarithm of how many keys it sees.
- *induction*: in the second copy of a sequence, to the token that followed the same token in the first copy;
  *duplicate*: to the same token in the first copy (Olsson et al. 2022).

Queries are tokens of the text, not special ones. Beside each stands the attention to keys drawn at random among those
that could have been meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

PREVIOUS, NEXT, FIRST, DELIMITERS, ENTROPY = "previous", "next", "first", "delimiters", "entropy"
INDUCTION, DUPLICATE = "induction", "duplicate"
Pattern = Float[np.ndarray, "head pos pos"]


@dataclass(frozen=True, kw_only=True, eq=False)
class KeyPairs:
    """Queries, the key that each is asked about, and which keys could have been meant."""

    query: Int[np.ndarray, " query"]
    key: Int[np.ndarray, " query"]
    pool: Bool[np.ndarray, "query pos"]

    def attention(self, pattern: Pattern) -> Float[np.ndarray, " head"]:
        """The mean attention to the keys; NaN without a query."""
        if not len(self.query):
            return np.full(len(pattern), np.nan)
        mean: np.ndarray = pattern[:, self.query, self.key].mean(1)
        return mean

    def random_attention(
        self, pattern: Pattern, draws: int, generator: np.random.Generator
    ) -> Float[np.ndarray, "draw head"]:
        """The same for keys of the pool drawn at random; NaN without a query whose pool holds any."""
        some = self.pool.any(1)
        if not some.any():
            return np.full((draws, len(pattern)), np.nan)
        chances = generator.random((draws, int(some.sum()), self.pool.shape[1])) * self.pool[some]
        drawn: np.ndarray = pattern[:, self.query[some], chances.argmax(2)].mean(2).T
        return drawn


def neighbours(content: Bool[np.ndarray, " pos"], offset: int, *, causal: bool) -> KeyPairs:
    """Tokens of the text and what stands `offset` from them, where that is text too."""
    n = len(content)
    query = np.flatnonzero(content)
    query = query[(query + offset >= 0) & (query + offset < n)]
    query = query[content[query + offset]]
    return _pairs(query, query + offset, content, causal)


def copies(first: int, second: int, length: int, shift: int, n: int, *, causal: bool) -> KeyPairs:
    """Tokens of the second copy and those of the first: the same one (shift 0), or what followed it (shift 1)."""
    places = np.arange(length - shift)
    pool = np.zeros(n, dtype=bool)
    pool[first : first + length] = True
    return _pairs(second + places, first + places + shift, pool, causal)


def _pairs(
    query: Int[np.ndarray, " query"], key: Int[np.ndarray, " query"], pool: Bool[np.ndarray, " pos"], causal: bool
) -> KeyPairs:
    places = np.arange(len(pool))
    free = pool & (places != key[:, None]) & (places != query[:, None])
    return KeyPairs(query=query, key=key, pool=free & (places <= query[:, None]) if causal else free)


def first_share(pattern: Pattern, content: Bool[np.ndarray, " pos"]) -> Float[np.ndarray, " head"]:
    """The attention to the first position, of the tokens behind it."""
    queries = np.flatnonzero(content)
    share: np.ndarray = pattern[:, queries[queries > 0], 0].mean(1)
    return share


def delimiter_share(
    pattern: Pattern, content: Bool[np.ndarray, " pos"], delimiters: Bool[np.ndarray, " pos"]
) -> Float[np.ndarray, " head"]:
    """The attention to all delimiters together."""
    share: np.ndarray = pattern[:, content][:, :, delimiters].sum(2).mean(1)
    return share


def relative_entropy(
    pattern: Pattern, content: Bool[np.ndarray, " pos"], *, causal: bool
) -> Float[np.ndarray, " head"]:
    """The entropy of a query's attention as a share of the greatest that it could have, over queries with two keys."""
    queries = np.flatnonzero(content)
    queries = queries[queries > 0] if causal else queries
    rows = pattern[:, queries]
    entropy = -(rows * np.log(np.clip(rows, 1e-30, None))).sum(2)
    seen = queries + 1 if causal else np.full(len(queries), pattern.shape[2])
    share: np.ndarray = (entropy / np.log(seen)).mean(1)
    return share


def distances(pattern: Pattern, content: Bool[np.ndarray, " pos"]) -> Float[np.ndarray, "head head"]:
    """The Jensen-Shannon divergence of every two heads' attention in bits, 0 to 1, the mean over queries.

    Patterns whose rows do not sum to one (heads with a sink of their own) are normalised.
    """
    rows = pattern[:, content].transpose(1, 0, 2)
    rows = rows / rows.sum(2, keepdims=True).clip(min=1e-30)
    total = np.zeros((len(pattern), len(pattern)))
    for each in rows:
        mixed = (each[:, None] + each[None]) / 2
        own = _entropy(each)
        total += _entropy(mixed) - (own[:, None] + own[None]) / 2
    return (total / len(rows) / np.log(2)).clip(min=0)


def _entropy(p: np.ndarray) -> np.ndarray:
    entropy: np.ndarray = -(p * np.log(np.clip(p, 1e-30, None))).sum(-1)
    return entropy


def map_of(distance: Float[np.ndarray, "head head"]) -> Float[np.ndarray, "head 2"]:
    """The plane in which distances are kept best (classical scaling of their square roots, which are a metric)."""
    centre = np.eye(len(distance)) - 1 / len(distance)
    values, vectors = np.linalg.eigh(-centre @ distance @ centre / 2)
    plane: np.ndarray = vectors[:, :-3:-1] * np.sqrt(values[:-3:-1].clip(min=0))
    return plane


def layer_gap(distance: Float[np.ndarray, "head head"], layer: Sequence[int] | Int[np.ndarray, " head"]) -> float:
    """How much further heads of different layers are from each other than heads of one layer, on average."""
    same = np.equal.outer(np.asarray(layer), np.asarray(layer))
    apart = ~np.eye(len(distance), dtype=bool)
    return float(distance[~same].mean() - distance[same & apart].mean())
