"""Leak-Rate, computed exactly: how often an answer is more like the concept than an answer without it.

For a concept, answers with similarities s, the distribution p of answers to the prompt that holds the concept and the
distribution q of answers to its control:

    Leak-Rate = 100 (P(s(X) > s(Y)) + P(s(X) = s(Y)) / 2),  X ~ p and Y ~ q independently

No leak gives 50 where the control is fair; what a control gives by itself is seen from permuted concepts (Gonen et al.
2024, who draw X and Y by generating text).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from clew.errors import InputError
from clew.kit import Kit
from clew.labels import sentence_encoder

SIMILARITIES = ("world", "tokens", "sentence")
"""What likens an answer to a concept: the world's own table of associates, the model's token embeddings, a sentence
encoder (extra `minilm`)."""


def normal(p: Float[np.ndarray, "*row answer"]) -> Float[np.ndarray, "*row answer"]:
    """Rows scaled to a sum of one."""
    whole: np.ndarray = p / p.sum(-1, keepdims=True)
    return whole


def sharpened(p: Float[np.ndarray, "*row answer"], temperature: float) -> Float[np.ndarray, "*row answer"]:
    """Distributions at another temperature; at 0 the most likely answer alone, shared by equals."""
    top = p.max(-1, keepdims=True)
    powers = (p == top).astype(np.float64) if temperature == 0 else (p / top) ** (1 / temperature)
    whole: np.ndarray = powers / powers.sum(-1, keepdims=True)
    return whole


def leak_rates(
    similarity: Float[np.ndarray, "row answer"],
    test: Float[np.ndarray, "row answer"],
    control: Float[np.ndarray, "row answer"],
) -> Float[np.ndarray, " row"]:
    """The Leak-Rate of every row, in per cent."""
    order = similarity.argsort(1)
    s, p, q = (np.take_along_axis(each, order, 1) for each in (similarity, test, control))
    n, places = s.shape[1], np.arange(s.shape[1])
    changes = np.concatenate([np.ones((len(s), 1), dtype=bool), s[:, 1:] != s[:, :-1]], 1)
    first = np.maximum.accumulate(np.where(changes, places, 0), 1)
    ends = np.concatenate([changes[:, 1:], np.ones((len(s), 1), dtype=bool)], 1)
    last = np.minimum.accumulate(np.where(ends, places, n - 1)[:, ::-1], 1)[:, ::-1]
    below = np.concatenate([np.zeros((len(s), 1)), q.cumsum(1)], 1)
    less, up_to = np.take_along_axis(below, first, 1), np.take_along_axis(below, last + 1, 1)
    rates: np.ndarray = 100 * (p * (less + up_to)).sum(1) / 2
    return rates


def means_of_others(
    p: Float[np.ndarray, "row answer"], group: Int[np.ndarray, " row"]
) -> Float[np.ndarray, "row answer"]:
    """For every row the mean over the other groups' means: what is answered when another concept stands there.

    InputError with fewer than two groups.
    """
    names, member = np.unique(group, return_inverse=True)
    if len(names) < 2:
        raise InputError("one concept has no other to be compared with: give at least two")
    counts = np.bincount(member)[:, None]
    means = np.stack([np.bincount(member, weights=column, minlength=len(names)) for column in p.T], 1) / counts
    others: np.ndarray = ((means.sum(0) - means) / (len(names) - 1))[member]
    return others


def permutations(count: int, draws: int, *, seed: int) -> Int[np.ndarray, "draw concept"]:
    """Ways to exchange so many concepts in which none keeps its place; drawn uniformly. InputError for fewer than 2."""
    if count < 2:
        raise InputError("one concept cannot be exchanged for another: give at least two")
    generator = np.random.default_rng(seed)
    found: list[np.ndarray] = []
    while len(found) < draws:
        drawn = generator.permutation(count)
        if (drawn != np.arange(count)).all():
            found.append(drawn)
    return np.stack(found)


def likeness(kit: Kit, kind: str) -> Callable[[Sequence[str], Sequence[str]], np.ndarray]:
    """The similarity of words to words as [first, second], by `tokens` or `sentence`.

    InputError for `sentence` without its extra.
    """
    if kind == "sentence":
        encoder = sentence_encoder.SentenceEncoder()
        return lambda firsts, seconds: np.asarray(encoder(firsts) @ encoder(seconds).T, dtype=np.float64)
    embedding = kit.subject.model.get_input_embeddings().weight.detach().double().cpu().numpy()
    centred = embedding - embedding.mean(0)

    def vectors(words: Sequence[str]) -> np.ndarray:
        rows = np.stack([centred[kit.subject.token_ids(f" {word}")].mean(0) for word in words])
        unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    return lambda firsts, seconds: vectors(firsts) @ vectors(seconds).T
