"""Who reads a label and says whether it fits a text: the questions, and two judges that need no language model.

`TokenJudge` takes a label by its words: those in quotes stand where the label says (`says "x"` next, `after "x"` right
before, `the token "x"` at the place), those of a free text anywhere. `MeaningJudge` compares sentence embeddings.
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

from clew.labels.rules import NEAR, UNCLEAR, plain, special

Embed = Callable[[Sequence[str]], Float[np.ndarray, "text d"]]
"""Unit vectors of texts."""


@dataclass(frozen=True)
class Question:
    """Does the feature that a label names fire in this text; if a token is marked, does it fire at that token?"""

    tokens: tuple[str, ...]
    start: int
    """Position in the document of the first of them."""
    marked: int | None = None
    """Which of them is marked."""


@runtime_checkable
class Judge(Protocol):
    """Reads a label beside texts, and knows nothing else."""

    @property
    def name(self) -> str:
        """As it stands beside a score."""

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
_ORDINAL = re.compile(r"\b(?:the (first) token|token (\d+)) of a text\b")
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
    """A word or phrase and where it should stand as seen from the place."""

    relation: str
    phrase: str
    soon: bool = False


class TokenJudge:
    """Looks for the words of a label where the label says they stand; needs no model."""

    name = "tokens"

    def verdicts(self, label: str, questions: Sequence[Question]) -> list[bool | None]:
        place, clauses = _place(label), _clauses(label)
        if label.strip() == UNCLEAR or (place is None and not clauses):
            return [None] * len(questions)
        return [self._verdict(place, clauses, question) for question in questions]

    def _verdict(self, place: int | None, clauses: Sequence[_Clause], question: Question) -> bool:
        text = _Text(question.tokens)
        if question.marked is None and place is None and not any(clause.phrase in text.whole for clause in clauses):
            return False
        places = range(len(question.tokens)) if question.marked is None else (question.marked,)
        if place is not None:
            wanted = place + (question.start == 0 and special(question.tokens[0])) - question.start
            return wanted in places
        return any(text.fits(clause, at) for at in places for clause in clauses)


def _place(label: str) -> int | None:
    """Which token of a text a label names, counted from 0."""
    match = _ORDINAL.search(label)
    return None if match is None else 0 if match[1] else int(match[2]) - 1


def _clauses(label: str) -> list[_Clause]:
    """The quoted words with the relation named last before them; of a label without quotes, its words of content."""
    found, relation, soon, at = [], "near", False, 0
    for quoted in _QUOTED.finditer(label):
        between = label[at : quoted.start()]
        for match in _RELATION.finditer(between):
            relation, soon = str(match.lastgroup), "soon" in between.casefold()
        found.append(_Clause(relation, plain(_unquoted(quoted[0])), soon))
        at = quoted.end()
    if found:
        return found
    words = re.findall(r"[\w'’-]*\w", label.casefold())
    return [_Clause("near", word) for word in dict.fromkeys(words) if word not in _NO_CONTENT]


def _unquoted(quoted: str) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:
        return quoted[1:-1]


class _Text:
    """Tokens as one text without case, and where each begins in it."""

    def __init__(self, tokens: Sequence[str]) -> None:
        folded = [token.casefold() for token in tokens]
        self.bounds = list(accumulate(map(len, folded), initial=0))
        self._edges = frozenset(self.bounds)
        self.whole = "".join(folded)

    def fits(self, clause: _Clause, at: int) -> bool:
        """The phrase stands where it should, as whole words, as seen from the token `at`."""
        first, end, phrase = self.bounds[at], self.bounds[at + 1], clause.phrase
        match clause.relation:
            case "at":
                return self._overlaps(phrase, first, end)
            case "next" if clause.soon:
                return self._within(phrase, end, self._bound(at + 1 + NEAR))
            case "next":
                start = end + len(self.whole[end:]) - len(self.whole[end:].lstrip()) if phrase.strip() else end
                return self.whole.startswith(phrase, start) and self._whole_words(start, start + len(phrase))
            case "previous" if clause.soon:
                return self._within(phrase, self._bound(at - NEAR), first)
            case "previous":
                before = self.whole[:first].rstrip() if phrase.strip() else self.whole[:first]
                return before.endswith(phrase) and self._whole_words(len(before) - len(phrase), len(before))
            case _:
                return self._within(phrase, self._bound(at - NEAR), self._bound(at + 1 + NEAR))

    def _bound(self, token: int) -> int:
        return self.bounds[min(max(token, 0), len(self.bounds) - 1)]

    def _within(self, phrase: str, low: int, high: int) -> bool:
        return any(self._whole_words(start, start + len(phrase)) for start in self._finds(phrase, low, high))

    def _overlaps(self, phrase: str, first: int, end: int) -> bool:
        """The phrase is the word or run of words that the token is a part of, or it."""
        around = range(max(0, first - len(phrase)), end)
        return any(
            start < end and start + len(phrase) > first and self._whole_words(start, start + len(phrase))
            for start in self._finds(phrase, around.start, end + len(phrase))
        )

    def _finds(self, phrase: str, low: int, high: int) -> list[int]:
        found, start = [], self.whole.find(phrase, low, high)
        while start >= 0:
            found.append(start)
            start = self.whole.find(phrase, start + 1, high)
        return found

    def _whole_words(self, start: int, end: int) -> bool:
        """No word goes on beyond either end, unless a token ends there."""

        def parts(at: int) -> bool:
            inside = 0 < at < len(self.whole)
            return not inside or at in self._edges or not (self.whole[at - 1].isalnum() and self.whole[at].isalnum())

        return parts(start) and parts(end)


# --- by meaning -----------------------------------------------------------------------------------------------------


class MeaningJudge:
    """Calls the half of the texts that lie closest to the label the fitting ones.

    Of a marked text it reads the marked token and the one before.
    """

    name = "minilm"

    def __init__(self, embed: Embed, name: str = "minilm") -> None:
        self.name = name
        self._embed = embed

    def verdicts(self, label: str, questions: Sequence[Question]) -> list[bool | None]:
        if label.strip() == UNCLEAR or not questions:
            return [None] * len(questions)
        vectors = self._embed([label, *map(_around, questions)])
        close = vectors[1:] @ vectors[0]
        return [bool(value > np.median(close)) for value in close]


def _around(question: Question) -> str:
    if question.marked is None:
        return "".join(question.tokens)
    return "".join(question.tokens[max(0, question.marked - 1) : question.marked + 1])
