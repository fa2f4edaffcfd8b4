"""Which grammatical relations a head knows: how often it looks most at the other word of a pair (Clark et al. 2019).

1. Attention between words: to a word, the sum over its tokens; from a word, the mean over them. A word's attention to
   itself and to special tokens does not count.
2. Each relation is asked in both directions, from the dependent to its governor and back. In a causal model a pair
   counts only where the other word stands before.
3. On every other sentence the best head and direction is chosen, and the best fixed offset in words; both are measured
   on the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from clew.studies.heads.conllu import Sentence

UP, DOWN = "to its governor", "to its dependent"
FURTHEST = 10
"""The largest offset in words."""
FEWEST = 10
"""Pairs in both halves that a relation needs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RelatedWords:
    """All pairs of all sentences: where the word stands that is asked, and where the other one does."""

    sentence: Int[np.ndarray, " pair"]
    asked: Int[np.ndarray, " pair"]
    wanted: Int[np.ndarray, " pair"]
    relation: tuple[str, ...]
    direction: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownRelation:
    """The best head of a relation beside the best offset, pair by pair on sentences that chose neither."""

    relation: str
    direction: str
    head: int
    offset: int
    right: Int[np.ndarray, " pair"]
    offset_right: Int[np.ndarray, " pair"]
    sentence: Int[np.ndarray, " pair"]


def word_ids(sentence: Sentence, ids_of: Callable[[str], list[int]]) -> tuple[list[int], list[int]]:
    """The tokens of a sentence, word by word, and the word of each."""
    ids, words, space = [], [], False
    for place, word in enumerate(sentence.words):
        tokens = ids_of(f" {word.word}" if space else word.word)
        ids += tokens
        words += [place] * len(tokens)
        space = word.space_after
    return ids, words


def between_words(
    pattern: Float[np.ndarray, "head pos pos"], first: int, words: Sequence[int], count: int
) -> Float[np.ndarray, "head word word"]:
    """Attention between words, whose tokens stand from position `first` on."""
    member = np.zeros((len(words), count))
    member[np.arange(len(words)), words] = 1
    inside = pattern[:, first : first + len(words), first : first + len(words)]
    to_words = inside @ member
    means: np.ndarray = (member / member.sum(0).clip(min=1)).T @ to_words
    return means


def most_attended(attention: Float[np.ndarray, "head word word"], *, causal: bool) -> Int[np.ndarray, "head word"]:
    """The other word that every word attends to most; -1 where it sees no other."""
    n = attention.shape[1]
    hidden = np.eye(n, dtype=bool) | (np.triu(np.ones((n, n), dtype=bool)) if causal else False)
    seen = np.where(hidden, -1.0, attention)
    best: np.ndarray = np.where(hidden.all(1), -1, seen.argmax(2))
    return best


def pairs_of(sentences: Sequence[Sentence], *, causal: bool) -> RelatedWords:
    """Every pair of a dependent and its governor, in both directions."""
    rows = []
    for number, sentence in enumerate(sentences):
        for place, word in enumerate(sentence.words):
            if word.governor is None:
                continue
            for direction, asked, wanted in ((UP, place, word.governor), (DOWN, word.governor, place)):
                if not causal or wanted < asked:
                    rows.append((number, asked, wanted, word.relation, direction))
    columns = list(zip(*rows, strict=True)) if rows else [(), (), (), (), ()]
    numbers = [np.array(column, dtype=np.int64) for column in columns[:3]]
    return RelatedWords(
        sentence=numbers[0], asked=numbers[1], wanted=numbers[2], relation=columns[3], direction=columns[4]
    )  # fmt: skip


def known_relations(pairs: RelatedWords, right: Int[np.ndarray, "pair head"]) -> list[KnownRelation]:
    """Of every relation with pairs enough the best head and the best offset; the commonest first.

    `right` says in which pairs each head looks most at the wanted word.
    """
    kinds = np.array([f"{relation}\t{way}" for relation, way in zip(pairs.relation, pairs.direction, strict=True)])
    chosen_on = pairs.sentence % 2 == 0
    found = []
    for relation in dict.fromkeys(pairs.relation):
        best: tuple[float, KnownRelation] | None = None
        for direction in (UP, DOWN):
            mine = kinds == f"{relation}\t{direction}"
            fit, left = np.flatnonzero(mine & chosen_on), np.flatnonzero(mine & ~chosen_on)
            if min(len(fit), len(left)) < FEWEST:
                continue
            scores = right[fit].mean(0)
            offsets = {offset: _at_offset(pairs, fit, offset).mean() for offset in _OFFSETS}
            offset = max(offsets, key=offsets.__getitem__)
            each = KnownRelation(
                relation=relation,
                direction=direction,
                head=int(scores.argmax()),
                offset=offset,
                right=right[left, int(scores.argmax())],
                offset_right=_at_offset(pairs, left, offset),
                sentence=pairs.sentence[left],
            )
            if best is None or scores.max() > best[0]:
                best = float(scores.max()), each
        if best is not None:
            found.append(best[1])
    return sorted(found, key=lambda each: -len(each.right))


_OFFSETS = [offset for offset in range(-FURTHEST, FURTHEST + 1) if offset]


def _at_offset(pairs: RelatedWords, places: Int[np.ndarray, " pair"], offset: int) -> Int[np.ndarray, " pair"]:
    """In which pairs the wanted word stands at the offset."""
    return (pairs.asked[places] + offset == pairs.wanted[places]).astype(np.int64)
