"""Judges, which read a label and decide whether it fits a text; the two here need no language model.

`TokenJudge` searches a text for the words of a label. A label by rule is a pattern, of which it knows every condition;
of another it takes quoted words where they are placed (`says "x"` next, `after "x"` right before, `the token "x"` at
the token), and words of a label without quotes anywhere near. `MeaningJudge` compares sentence embeddings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from clew.features.label import UNCLEAR
from clew.labels.pattern import Pattern, parsed
from clew.labels.reading import NEAR, plain, read
from clew.subject.token_names import whole_characters

Embed = Callable[[Sequence[str]], Float[np.ndarray, "text d"]]
"""Unit vectors of texts."""


@dataclass(frozen=True)
class Question:
    """Does the feature that a label names fire in this text; if a token is marked, does it fire at that token?"""

    tokens: tuple[str, ...]
    start: int
    """Position of the first token in the document."""
    marked: int | None = None
    """Index of the marked token."""


@runtime_checkable
class Judge(Protocol):
    """Decides by the label alone whether it fits texts."""

    @property
    def name(self) -> str:
        """The name that a score gives."""

    def verdicts(self, label: str, questions: Sequence[Question]) -> list[bool | None]:
        """Yes or no to each question, of which about half are to be answered yes; None where the judge can't say."""


# --- by words -------------------------------------------------------------------------------------------------------

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)+"|“[^”]+”|«[^»]+»|(?<!\w)\'[^\']+\'(?!\w)')
_RELATIONS = {
    "next": r"says?|saying|predicts?|predicting|promotes?|before|precedes|preceding|followed by",
    "previous": r"after|follows|following|preceded by",
    "at": r"tokens?|words?",
}
_RELATION = re.compile("|".join(rf"\b(?P<{name}>{words})\b" for name, words in _RELATIONS.items()), re.IGNORECASE)
_NO_CONTENT = frozenset(
    re.findall(
        r"\S+",
        """a an the this that these those of in on at to for from by with as and or nor not no is are was were be been
        being it its their his her there here which who whose what when where how why any all some every each other
        often mostly usually especially typically e.g i.e etc such like about into over under between within up down
        out text texts token tokens word words feature features fires activates context contexts phrase phrases
        sentence sentences mentions mention related refers referring reference references indicating used use various
        specific particular before after says saying predicts promotes soon followed preceded follows following""",
    )
)


@dataclass(frozen=True)
class _Clause:
    """A word or phrase, and where it should stand relative to the token that is judged."""

    relation: str
    phrase: str
    soon: bool = False


class TokenJudge:
    """Searches a text for the words of a label, where the label places them; needs no model."""

    name = "tokens"

    def verdicts(self, label: str, questions: Sequence[Question]) -> list[bool | None]:
        if label.strip() == UNCLEAR:
            return [None] * len(questions)
        if (pattern := parsed(label)) is not None:
            return [_holds(pattern, question) for question in questions]
        clauses = _clauses(label)
        if not clauses:
            return [None] * len(questions)
        return [self._verdict(clauses, question) for question in questions]

    def _verdict(self, clauses: Sequence[_Clause], question: Question) -> bool:
        text = _Text(whole_characters(question.tokens, -1 if question.marked is None else question.marked))
        if question.marked is None and not any(clause.phrase in text.text for clause in clauses):
            return False
        places = range(len(question.tokens)) if question.marked is None else (question.marked,)
        return any(text.fits(clause, token) for token in places for clause in clauses)


def _holds(pattern: Pattern, question: Question) -> bool:
    bits = pattern.mask(read(question.tokens, question.start))
    return bits != 0 if question.marked is None else bits >> question.marked & 1 == 1


def _clauses(label: str) -> list[_Clause]:
    """The quoted words with the relation named last before them; of a label without quotes, its content words."""
    clauses, relation, soon, end = [], "near", False, 0
    for quoted in _QUOTED.finditer(label):
        between = label[end : quoted.start()]
        for match in _RELATION.finditer(between):
            relation, soon = str(match.lastgroup), "soon" in between.casefold()
        clauses.append(_Clause(relation, plain(_unquoted(quoted[0])), soon))
        end = quoted.end()
    if clauses:
        return clauses
    words = re.findall(r"[\w'’-]*\w", label.casefold())
    return [_Clause("near", word) for word in dict.fromkeys(words) if word not in _NO_CONTENT]


def _unquoted(quoted: str) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:
        return quoted[1:-1]


class _Text:
    """Tokens as one text in lower case, and where each begins in it."""

    def __init__(self, tokens: Sequence[str]) -> None:
        folded = [token.casefold() for token in tokens]
        self.bounds = list(accumulate(map(len, folded), initial=0))
        self._edges = frozenset(self.bounds)
        self.text = "".join(folded)

    def fits(self, clause: _Clause, token: int) -> bool:
        """Whether the phrase stands, as whole words, where the clause places it relative to a token."""
        first, end, phrase = self.bounds[token], self.bounds[token + 1], clause.phrase
        match clause.relation:
            case "at":
                return self._overlaps(phrase, first, end)
            case "next" if clause.soon:
                return self._within(phrase, end, self._bound(token + 1 + NEAR))
            case "next":
                start = end + len(self.text[end:]) - len(self.text[end:].lstrip()) if phrase.strip() else end
                return self.text.startswith(phrase, start) and self._whole_words(start, start + len(phrase))
            case "previous" if clause.soon:
                return self._within(phrase, self._bound(token - NEAR), first)
            case "previous":
                before = self.text[:first].rstrip() if phrase.strip() else self.text[:first]
                return before.endswith(phrase) and self._whole_words(len(before) - len(phrase), len(before))
            case _:
                return self._within(phrase, self._bound(token - NEAR), self._bound(token + 1 + NEAR))

    def _bound(self, token: int) -> int:
        return self.bounds[min(max(token, 0), len(self.bounds) - 1)]

    def _within(self, phrase: str, low: int, high: int) -> bool:
        return any(self._whole_words(start, start + len(phrase)) for start in self._finds(phrase, low, high))

    def _overlaps(self, phrase: str, first: int, end: int) -> bool:
        """Whether the phrase is the token, or a word or run of words that the token is part of."""
        around = range(max(0, first - len(phrase)), end)
        return any(
            start < end and start + len(phrase) > first and self._whole_words(start, start + len(phrase))
            for start in self._finds(phrase, around.start, end + len(phrase))
        )

    def _finds(self, phrase: str, low: int, high: int) -> list[int]:
        starts, start = [], self.text.find(phrase, low, high)
        while start >= 0:
            starts.append(start)
            start = self.text.find(phrase, start + 1, high)
        return starts

    def _whole_words(self, start: int, end: int) -> bool:
        """Whether both ends are boundaries of words, or of tokens."""

        def boundary(i: int) -> bool:
            inside = 0 < i < len(self.text)
            return not inside or i in self._edges or not (self.text[i - 1].isalnum() and self.text[i].isalnum())

        return boundary(start) and boundary(end)


# --- by meaning -----------------------------------------------------------------------------------------------------


class MeaningJudge:
    """Says yes to the half of the texts whose embeddings are closest to that of the label.

    Of a text with a mark it reads the marked token and the one before.
    """

    name = "minilm"

    def __init__(self, embed: Embed, name: str = "minilm") -> None:
        self.name = name
        self._embed = embed

    def verdicts(self, label: str, questions: Sequence[Question]) -> list[bool | None]:
        if label.strip() == UNCLEAR or not questions:
            return [None] * len(questions)
        vectors = self._embed([label, *map(_around, questions)])
        cosines = vectors[1:] @ vectors[0]
        return [bool(cosine > np.median(cosines)) for cosine in cosines]


def _around(question: Question) -> str:
    if question.marked is None:
        return "".join(question.tokens)
    return "".join(question.tokens[max(0, question.marked - 1) : question.marked + 1])
