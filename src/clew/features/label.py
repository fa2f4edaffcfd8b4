"""A label of a feature as a value: its text, who gave it, how and when, and how well it was found to hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from clew.errors import InputError
from clew.ids import FeatureId

KINDS = ("person", "model", "heuristic")
"""Who gives labels, in the order in which theirs are shown: what a person says stands over what a model says."""
TESTS = ("detection", "fuzzing")
UNCLEAR = "unclear"
RULE_AUTHOR, RULE_METHOD = "clew", "agreement"  # of labels by rule (`labels.rules`), which an atlas carries
LONGEST = 2000  # characters: a label is a line, not a text


def now() -> str:
    """This moment in UTC; such texts sort by time."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def date_of(text: str) -> str:
    """A written date as `now` writes it; one without a zone is taken for UTC. InputError when it is none."""
    try:
        found = datetime.fromisoformat(text)
        if len(text) == 32 and text[10] == "T" and text.endswith("+00:00"):
            return text
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        return found.isoformat(timespec="microseconds")
    except (ValueError, OverflowError) as error:
        raise InputError(f"{text!r} is not a date: write it like 2025-01-31T12:00:00") from error


@dataclass(frozen=True, kw_only=True)
class Score:
    """How well a label tells where its feature fires, on contexts that the labeller did not see."""

    test: str
    """One of TESTS."""
    judge: str
    """Who read label and contexts."""
    value: float
    """Balanced accuracy: the mean of the shares judged right among those that fire and those that do not."""
    low: float
    high: float
    """Ends of its 95 % interval."""
    null: float | None
    """The same for labels of other features; None when there were none."""
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
    """What somebody or something says a feature means. InputError when it says nothing, or of an unknown kind."""

    feature: FeatureId
    text: str
    kind: str
    """One of KINDS."""
    author: str
    """A person's name, a program's, or a model's."""
    method: str = ""
    """How it was made, where an author has several ways: a new label by the same author and method stands in for the
    old one."""
    note: str = ""
    """What it rests on."""
    date: str = ""
    scores: tuple[Score, ...] = ()
    """The latest of every test and judge."""
    current: bool = True
    """False where a newer one stands in for it, or it was withdrawn."""
    id: int | None = None
    """In the store it came from; None until it is in one."""

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
        """It says something that can be right or wrong."""
        return self.text != UNCLEAR

    def score(self, test: str, judge: str | None = None) -> Score | None:
        """The score of one test, by one judge or the last one; None when there is none."""
        found = [s for s in self.scores if s.test == test and judge in (None, s.judge)]
        return found[-1] if found else None
