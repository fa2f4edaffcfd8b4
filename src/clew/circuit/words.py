"""The words of a prompt: neighbouring tokens that are written as one, and which kinds of thing a word is known to be.

A kind is `country`, `capital` and the like. The small world says them of its own words; a text of another world has
numbers and words only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clew.errors import InputError
from clew.organism.fact_table import world_of
from clew.organism.word_kinds import word_kinds
from clew.subject.subject import Subject

KINDS = ("country", "city", "capital", "language", "animal")
"""Kinds of thing that groups are named by, the first of a word's kinds first."""
NUMBER = "number"

Lexicon = Mapping[str, tuple[str, ...]]


def lexicon_of_model(training: Any) -> Lexicon:
    """The kinds of the small world's words, of a record of training on it; none for a model of another world."""
    try:
        world_of(training)
    except InputError:
        return {}
    lexicon = {word: tuple(kind for kind in KINDS if kind in kinds) for word, kinds in word_kinds().items()}
    return {word: kinds for word, kinds in lexicon.items() if kinds}


def kinds_of(word: str, lexicon: Lexicon) -> tuple[str, ...]:
    """The kinds that a word is known to be; numbers are known by their digits."""
    plain = word.strip().strip("\"'«».,:;?!—-")
    return (NUMBER,) if plain.isdecimal() else lexicon.get(plain, ())


@dataclass(frozen=True, kw_only=True)
class Word:
    """One word of a prompt and where it stands."""

    text: str
    positions: tuple[int, ...]


def shown(text: str) -> str:
    """A word as it is written in a name: without spaces around it; what is nothing else as `\\n` and the like."""
    return text.strip() or (text if text.isprintable() else repr(text)[1:-1])


def words_of(subject: Subject, token_ids: Sequence[int], tokens: Sequence[str], first: int = 0) -> list[Word]:
    """The words of a prompt from position `first` on; without a tokenizer every token is one."""
    groups: list[list[int]] = []
    for position in range(first, len(tokens)):
        before = tokens[position - 1] if groups and subject.tokenizer is not None else ""
        if before and _goes_on(before, tokens[position]):
            groups[-1].append(position)
        else:
            groups.append([position])
    return [Word(text=_text(subject, token_ids, tokens, group), positions=tuple(group)) for group in groups]


def _goes_on(before: str, token: str) -> bool:
    """Whether a token is written on to the one before: letters on letters, digits on digits, bytes on bytes.

    Two tokens of several digits each stay apart: the model reads each as a number (of `1753` the years 17 and 53).
    """
    end, begin = before[-1], token[0]
    if token.startswith("<0x") or before.endswith(">"):
        return token.startswith("<0x") or begin.isalpha()
    numbers = before.strip().isdecimal() and token.strip().isdecimal()
    if numbers and min(len(before.strip()), len(token)) > 1:
        return False
    return (end.isalpha() and begin.isalpha()) or (end.isdecimal() and begin.isdecimal())


def _text(subject: Subject, token_ids: Sequence[int], tokens: Sequence[str], group: list[int]) -> str:
    if subject.tokenizer is None:
        return tokens[group[0]]
    return subject.text_of([token_ids[position] for position in group])
