"""A text as the conditions of a label read it: at which tokens each of them holds.

A text's tokens are put together to words, so that a label names `Morris` where the tokenizer writes `Mor` and `ris`,
and no label holds a part of a character. A condition is a relation and a value, which is a quoted word or phrase or a
kind of word (`a capital`). Words are compared without their case.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from clew.organism.word_kinds import ARTICLES, word_kinds
from clew.subject.token_names import whole_characters

Key = tuple[str, str]
"""A relation and a folded value."""
NEAR = 5  # tokens within which a word stands "soon" before or after: about the length of a phrase
FAR = 12  # tokens within which a word stands before at all: what a context shows
RUN = 3  # words of a phrase, at most
PLACES = 20  # first tokens of a text that are counted
GENERAL_KINDS = ("number", "year", "capitalised word", "Cyrillic word", "mark")
_SPECIAL = re.compile(r"<(?!0x)[^<>]+>|\[[A-Z]+\]")
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]|[^\S ]+")


def plain(word: str) -> str:
    """A word without the space around it and without its case; white space stays as it is."""
    return word.strip().casefold() or word


def special(token: str) -> bool:
    """Whether a token looks like one that no text contains: `<bos>`, `[CLS]`."""
    return _SPECIAL.fullmatch(token) is not None


def quoted(text: str) -> str:
    """A word as a value."""
    word = text.strip() or text
    if '"' in word or "\\" in word or not word.isprintable():
        return json.dumps(word, ensure_ascii=False)
    return f'"{word}"'


def of_kind(kind: str) -> str:
    """A kind as a value: `a capital`."""
    return f"{ARTICLES.get(kind, 'a')} {kind}"


@lru_cache(maxsize=1 << 16)
def folded(value: str) -> str:
    """A value without case; kinds stay as they are."""
    return value.casefold() if value.startswith('"') else value


@lru_cache(maxsize=1 << 16)
def kinds_of(word: str) -> tuple[str, ...]:
    """The kinds of a word, as values."""
    if word.isdecimal():
        return tuple(of_kind(kind) for kind in ("number", *(["year"] if len(word) == 4 else [])))
    if not word[0].isalpha():
        return () if word[0].isspace() else (of_kind("mark"),)
    kinds = [*word_kinds().get(word, ())]
    kinds += ["Cyrillic word"] if "\u0400" <= word[0] <= "\u04ff" else []
    kinds += ["capitalised word"] if word[0].isupper() else []
    return tuple(map(of_kind, kinds))


@dataclass(frozen=True, slots=True)
class _Word:
    """A word of a text: its characters [begin, end) and its tokens, first to last."""

    text: str
    begin: int
    end: int
    first: int
    last: int


class TextReading:
    """Tokens of a document from its position `start` on, and by condition the tokens at which it holds, as bits."""

    def __init__(self, tokens: Sequence[str], start: int) -> None:
        self.shown = whole_characters(tokens)
        self._shared = [not shown.strip() and "<0x" in token for shown, token in zip(self.shown, tokens, strict=True)]
        self.start = start
        self.opening = int(start == 0 and bool(tokens) and special(tokens[0]))
        """Special tokens at the start of the document, which are no text."""
        self._text = "".join(self.shown[self.opening :])
        self.words = self._words()
        self.masks: dict[Key, int] = {}
        self.written: dict[str, str] = {}
        """Every folded value as it is written in this text."""
        self._read()
        if any("<0x" in token for token in self.shown):  # the end of a text may cut a character
            self.masks = {key: bits for key, bits in self.masks.items() if "<0x" not in key[1]}

    def mask(self, relation: str, value: str) -> int:
        """Bits of the tokens at which a condition holds."""
        return self.masks.get((relation, folded(value)), 0)

    def keys_at(self, i: int) -> list[Key]:
        """The conditions that hold at a token."""
        return [key for key, bits in self.masks.items() if bits >> i & 1]

    def is_part(self, i: int) -> bool:
        """Whether a token is a part of a word."""
        return any(word.first <= i <= word.last and word.first < word.last for word in self.words)

    def _words(self) -> list[_Word]:
        """The words in their order; a token that shows nothing of its character belongs to that of the next one."""
        bounds = [0]
        for i, shown in enumerate(self.shown):
            bounds.append(bounds[-1] + (0 if i < self.opening else len(shown)))
        words, token = [], self.opening
        for match in _WORD.finditer(self._text):
            begin, end = match.span()
            while bounds[token + 1] < begin or (bounds[token + 1] == begin and not self._shared[token]):
                token += 1
            first = token
            while token + 1 < len(self.shown) and bounds[token + 1] < end:
                token += 1
            words.append(_Word(match[0], begin, end, first, token))
        return words

    # --- conditions -------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        for i in range(self.opening, len(self.shown)):
            if self.shown[i] and not self._shared[i]:
                self._add("at", quoted(self.shown[i]), 1 << i)
            if (place := self.start + i - self.opening) < PLACES:
                self._add("place", str(place + 1), 1 << i)
        seen = set[str]()
        for n, word in enumerate(self.words):
            value, kinds = quoted(word.text), kinds_of(word.text)
            bits = (2 << word.last) - (1 << word.first)
            self._at(word, value, kinds, bits)
            self._beside(n, bits)
            self._near(word, value, kinds)
            if word.text[0].isalnum():
                if folded(value) in seen:
                    self._add("repeat", "", bits)
                seen.add(folded(value))

    def _add(self, relation: str, value: str, bits: int) -> None:
        low = folded(value)
        key = (relation, low)
        self.masks[key] = self.masks.get(key, 0) | bits
        self.written.setdefault(low, value)

    def _at(self, word: _Word, value: str, kinds: tuple[str, ...], bits: int) -> None:
        """Where the word's own tokens are."""
        first, last = 1 << word.first, 1 << word.last
        for kind in kinds:
            self._add("at", kind, bits)
        if first == last:
            return
        self._add("at", value, bits)
        if bits & ~first & ~last:
            self._add("inside", value, bits & ~first & ~last)
        for each in (value, *kinds):
            self._add("start", each, first)
            self._add("end", each, last)

    def _beside(self, n: int, bits: int) -> None:
        """The phrases right before and right after a word, and the kinds of the words there."""
        words, word = self.words, self.words[n]
        for length in range(1, RUN + 1):
            if n - length >= 0:
                self._add("previous", quoted(self._text[words[n - length].begin : words[n - 1].end]), bits)
            if n + length < len(words):
                self._add("next", quoted(self._text[words[n + 1].begin : words[n + length].end]), 1 << word.last)
        for i in range(word.first, word.last):
            if self.shown[i + 1] and not self._shared[i]:
                self._add("next", quoted(self.shown[i + 1]), 1 << i)
        if n:
            for kind in kinds_of(words[n - 1].text):
                self._add("previous", kind, bits)
        if n + 1 < len(words):
            for kind in kinds_of(words[n + 1].text):
                self._add("next", kind, 1 << word.last)

    def _near(self, word: _Word, value: str, kinds: tuple[str, ...]) -> None:
        """The tokens before and after which a word stands, near or far."""
        whole = (1 << len(self.shown)) - 1
        after = ((1 << FAR) - 1) << (word.last + 1) & whole
        if after:
            self._add("soon previous", value, ((1 << NEAR) - 1) << (word.last + 1) & whole)
            for each in (value, *kinds):
                self._add("earlier", each, after)
        if word.first:
            self._add("soon next", value, ((1 << word.first) - 1) & ~((1 << max(0, word.first - NEAR)) - 1))


@lru_cache(maxsize=1 << 15)
def read(tokens: tuple[str, ...], start: int) -> TextReading:
    """The reading of a text; those of texts that many features share are kept."""
    return TextReading(tokens, start)
