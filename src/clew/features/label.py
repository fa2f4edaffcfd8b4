"""A label of a feature as a value: its text, author, method and date, and its scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from clew.errors import InputError
from clew.ids import FeatureId

KINDS = ("person", "model", "heuristic")
"""Who gives labels, in the order in which they are shown: a person's label stands before a model's."""
TESTS = ("detection", "fuzzing")
UNCLEAR = "unclear"
RULE_AUTHOR, RULE_METHOD = "clew", "agreement 2"  # of labels by rule (`labels.rules`), which an atlas carries
OLD_RULE_METHOD = "agreement"  # of those in an atlas of schema 2
LONGEST = 2000  # characters of a label


def now() -> str:
    """The time in UTC as text, which sorts by time."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def date_of(text: str) -> str:
    """A date in the form of `now`; without a zone it is taken as UTC. InputError when the text is no date."""
    try:
        date = datetime.fromisoformat(text)
        if len(text) == 32 and text[10] == "T" and text.endswith("+00:00"):
            return text
        date = date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
        return date.isoformat(timespec="microseconds")
    except (ValueError, OverflowError) as error:
        raise InputError(f"{text!r} is not a date: write it like 2025-01-31T12:00:00") from error


@dataclass(frozen=True, kw_only=True)
class Score:
    """How well a label predicts where its feature fires, on contexts that the labeller did not see.

    InputError when the test is unknown or a share is none.
    """

    test: str
    """One of TESTS."""
    judge: str
    """The judge that read label and contexts."""
    value: float
    """Balanced accuracy: the mean of the shares judged right among contexts that fire and that do not."""
    low: float
    high: float
    """Ends of its 95 % interval."""
    null: float | None
    """The mean score of labels of other features; None when there were none."""
    contexts: int
    """How many were judged."""

    def __post_init__(self) -> None:
        if self.test not in TESTS:
            raise InputError(f"a score's test is {self.test!r}: it is one of {', '.join(TESTS)}")
        shares = [self.value, self.low, self.high, *([] if self.null is None else [self.null])]
        if not all(math.isfinite(share) and 0 <= share <= 1 for share in shares) or self.contexts < 0:
            raise InputError(f"a score holds shares between 0 and 1 and a count, not {shares} of {self.contexts}")


@dataclass(frozen=True, kw_only=True)
class Label:
    """What a person, a model or a rule says that a feature means.

    InputError when the text is empty or too long, the kind unknown, the author missing, or the date none.
    """

    feature: FeatureId
    text: str
    kind: str
    """One of KINDS."""
    author: str
    """A person's name, a program's, or a model's."""
    method: str = ""
    """Tells an author's ways of labelling apart: a new label by the same author and method replaces the old one."""
    note: str = ""
    """The evidence for it."""
    date: str = ""
    scores: tuple[Score, ...] = ()
    """The latest score of every test and judge."""
    current: bool = True
    """False when a newer label has replaced it, or it was withdrawn."""
    id: int | None = None
    """Its number in the store; None until it is stored."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"a label's author is {self.kind!r}: it is one of {', '.join(KINDS)}")
        if not self.text.strip():
            raise InputError(f"the label of {self.feature} is empty: write what the feature means")
        if len(self.text) > LONGEST:
            raise InputError(f"the label of {self.feature} has {len(self.text)} characters: {LONGEST} are allowed")
        if not self.author.strip():
            raise InputError(f"the label of {self.feature} has no author: give a name")
        try:
            f"{self.text}{self.author}{self.method}{self.note}".encode()
        except UnicodeEncodeError as error:
            raise InputError(f"the label of {self.feature} holds half of a character: it is no whole text") from error
        if "\n" in self.text or "\r" in self.text:
            object.__setattr__(self, "text", " ".join(self.text.splitlines()))
        object.__setattr__(self, "date", date_of(self.date) if self.date else now())

    @property
    def clear(self) -> bool:
        """Whether it says something that can be right or wrong."""
        return self.text != UNCLEAR

    def score(self, test: str, judge: str | None = None) -> Score | None:
        """The score of a test, by a given judge or the last one; None when there is none."""
        scores = [score for score in self.scores if score.test == test and judge in (None, score.judge)]
        return scores[-1] if scores else None
