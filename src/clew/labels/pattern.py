"""A label as a pattern: conditions that hold together, as text that can be read back.

`the token "is"`, `"is" after "how long"`, `a number with "plus" before`, `the start of "Morris"`, `says a capital`.
Every condition has one value, or several of which one holds (`after "beneath" or "upon"`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

from clew.labels.reading import GENERAL_KINDS, TextReading, of_kind
from clew.organism.word_kinds import word_kinds

HEADS = ("at", "start", "inside", "end", "place", "repeat")
"""Relations that say what the token itself is."""
ORDER = (*HEADS, "says", "previous", "soon previous", "next", "soon next", "earlier")
_WORDS = {
    "start": "the start of {}",
    "inside": "inside {}",
    "end": "the end of {}",
    "repeat": "a repeated word",
    "says": "says {}",
    "previous": "after {}",
    "soon previous": "soon after {}",
    "next": "before {}",
    "soon next": "soon before {}",
    "earlier": "with {} before",
}
_QUOTED = r'"(?:[^"\\]|\\.)+"'


@dataclass(frozen=True)
class Condition:
    """What stands where: one of the values, in this relation to the token."""

    relation: str
    values: tuple[str, ...]

    def mask(self, reading: TextReading) -> int:
        """Bits of the tokens at which it holds."""
        relation = "next" if self.relation == "says" else self.relation
        bits = 0
        for value in self.values:
            bits |= reading.mask(relation, value)
        return bits


@dataclass(frozen=True)
class Pattern:
    """Conditions that hold at one token, in the order of ORDER."""

    conditions: tuple[Condition, ...]

    def mask(self, reading: TextReading) -> int:
        """Bits of the tokens at which all of them hold."""
        bits = -1
        for condition in self.conditions:
            bits &= condition.mask(reading)
        return bits

    @cached_property
    def text(self) -> str:
        """The label, which `parsed` reads back."""
        first, *rest = self.conditions
        alone = not rest and first.relation == "at"
        text = _worded(first, alone=alone)
        for condition in rest:
            text += (", " if condition.relation == "says" else " ") + _worded(condition, alone=False)
        return text


def pattern_of(conditions: tuple[Condition, ...]) -> Pattern:
    """Conditions in the order in which they are told: what it says stands first where no head does."""
    ordered = sorted(conditions, key=lambda condition: ORDER.index(condition.relation))
    if ordered[0].relation in HEADS:
        ordered.sort(key=lambda condition: condition.relation == "says")
    return Pattern(tuple(ordered))


def _worded(condition: Condition, *, alone: bool) -> str:
    values = " or ".join(condition.values)
    match condition.relation:
        case "at":
            return f"the token {values}" if alone and values.startswith('"') else values
        case "place":
            (place,) = condition.values
            return "the first token of a text" if place == "1" else f"token {place} of a text"
        case relation:
            return _WORDS[relation].format(values)


@lru_cache(maxsize=1)
def _parts() -> list[tuple[str, re.Pattern[str]]]:
    """What each relation looks like; the longer wording of two that begin alike comes first."""
    kinds = {kind for each in word_kinds().values() for kind in each} | {*GENERAL_KINDS}
    names = "|".join(sorted((re.escape(of_kind(kind)) for kind in kinds), key=len, reverse=True))
    value = rf"(?:{_QUOTED}|(?:{names})(?!\w))"
    values = rf"(?P<values>{value}(?: or {value})*)"
    parts = [(relation, re.compile(re.escape(words).replace(r"\{\}", values))) for relation, words in _WORDS.items()]
    places = re.compile(r"(?:the (?P<first>first) token|token (?P<place>\d+)) of a text")
    return [("place", places), *parts, ("at", re.compile(rf"(?:the token )?{values}"))]


@lru_cache(maxsize=1 << 15)
def parsed(text: str) -> Pattern | None:
    """The pattern of a label, None where it is worded in another way."""
    conditions, end = [], 0
    while end < len(text):
        for relation, part in _parts():
            if match := part.match(text, end):
                conditions.append(Condition(relation, _values(relation, match)))
                end = match.end()
                break
        else:
            return None
        if end < len(text) and not (space := re.compile(r",? ").match(text, end)):
            return None
        end = space.end() if end < len(text) and space else end
    return Pattern(tuple(conditions)) if conditions else None


def _values(relation: str, match: re.Match[str]) -> tuple[str, ...]:
    if relation == "repeat":
        return ("",)
    if relation == "place":
        return (match["place"] or "1",)
    return tuple(re.findall(rf"{_QUOTED}|an? [^\"]+?(?= or |$)", match["values"]))
