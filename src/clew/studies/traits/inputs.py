"""Statements, factors with their keywords, items of scales: a built-in example each, or a user's tables.

statements  statement                what somebody says of himself
factors     factor, keyword          the keywords of every factor
items       item, scale, keyed       items of scales; `keyed` (plus or minus) may be left out. Or the questions.json of
                                     the npm package @alheimsins/b5-johnson-120-ipip-neo-pi-r, in any of its languages

Every mistake is told with its line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from clew import files
from clew.errors import FileError
from clew.organism.social import FOODS, JOBS
from clew.organism.tales import SENTENCES
from clew.organism.traits import poles
from clew.organism.words import ANIMALS, MONTHS
from clew.studies.user_rows import read_rows

STATEMENTS = (
    "I like to work hard.",
    "I enjoy being active.",
    "I like to meet new people.",
    "I prefer to follow routines.",
    "I love trying new things.",
)
FACTORS: Mapping[str, tuple[str, ...]] = {
    "Openness to Experience": ("Creativity", "Intellectual curiosity", "Aesthetic sensitivity"),
    "Conscientiousness": ("Goal-oriented", "Self-discipline", "Organization"),
    "Extraversion": ("Sociability", "Enthusiasm", "Activity"),
    "Agreeableness": ("Altruism", "Empathy", "Cooperation"),
    "Neuroticism": ("Anxiety", "Emotional instability", "Stress"),
}
PUBLISHED: Mapping[tuple[str, str], float] = {
    ("I like to work hard.", "Creativity"): 0.2303,
    ("I enjoy being active.", "Creativity"): 0.4643,
    ("I prefer to follow routines.", "Creativity"): -0.072,
    ("I enjoy being active.", "Activity"): 0.608,
    ("I like to work hard.", "Anxiety"): 0.220,
    ("I like to work hard.", "Emotional instability"): 0.182,
}
"""Cosines that were published for the built-in example with distilbert-base-nli-stsb-mean-tokens."""
OPPOSED: tuple[tuple[str, str, str], ...] = (
    ("Sociability", "I like people.", "I avoid people."),
    ("Sociability", "I often go to parties.", "I never go to parties."),
    ("Creativity", "I have many ideas of my own.", "I have no ideas of my own."),
    ("Creativity", "I love to invent things.", "I hate to invent things."),
    ("Intellectual curiosity", "I want to know how things work.", "I do not care how things work."),
    ("Self-discipline", "I finish what I begin.", "I give up what I begin."),
    ("Organization", "I keep my desk in order.", "I leave my desk in a mess."),
    ("Goal-oriented", "I know what I want to reach.", "I do not know what I want to reach."),
    ("Enthusiasm", "I am easily excited.", "I am never excited."),
    ("Activity", "I am always busy.", "I am never busy."),
    ("Altruism", "I help others before myself.", "I help myself before others."),
    ("Empathy", "I feel what others feel.", "I do not notice what others feel."),
    ("Cooperation", "I work well with others.", "I work badly with others."),
    ("Anxiety", "I worry about everything.", "I worry about nothing."),
    ("Stress", "I am under pressure.", "I am at ease."),
)
"""A keyword, a statement that agrees with it, and one that denies it."""
_FACETS = {
    "N": ("Anxiety", "Anger", "Depression", "Self-consciousness", "Immoderation", "Vulnerability"),
    "E": ("Friendliness", "Gregariousness", "Assertiveness", "Activity level", "Excitement-seeking", "Cheerfulness"),
    "O": ("Imagination", "Artistic interests", "Emotionality", "Adventurousness", "Intellect", "Liberalism"),
    "A": ("Trust", "Morality", "Altruism", "Cooperation", "Modesty", "Sympathy"),
    "C": ("Self-efficacy", "Orderliness", "Dutifulness", "Achievement-striving", "Self-discipline", "Cautiousness"),
}
"""The facets of the IPIP-NEO by domain, in their order."""
_DOMAINS = {
    "N": "Neuroticism",
    "E": "Extraversion",
    "O": "Openness",
    "A": "Agreeableness",
    "C": "Conscientiousness",
}
FEWEST_SCALES = 4


@dataclass(frozen=True, kw_only=True)
class ScaleItem:
    """An item of a scale: `sign` is -1 where agreeing with it speaks against the scale."""

    text: str
    scale: str
    sign: int = 1
    factor: str = ""
    """The broad factor that the scale is a part of; empty where scales are all there is."""


def read_statements(path: Path | str) -> list[str]:
    """A user's statements; FileError for what `read_rows` refuses, one that stands twice, and fewer than two."""
    lines: dict[str, int] = {}
    for row in read_rows(path, ("statement",)):
        text = row.cells["statement"]
        if text in lines:
            raise FileError(f"line {row.line} of {path} has the statement of line {lines[text]} again: remove one")
        lines[text] = row.line
    if len(lines) < 2:
        raise FileError(f"{path} has one statement: give at least two, so that they can be compared")
    return list(lines)


def read_factors(path: Path | str) -> dict[str, tuple[str, ...]]:
    """A user's factors; FileError for what `read_rows` refuses, a keyword that stands twice, and fewer than two."""
    factors: dict[str, list[str]] = {}
    lines: dict[str, int] = {}
    for row in read_rows(path, ("factor", "keyword")):
        keyword = row.cells["keyword"]
        if keyword.casefold() in lines:
            raise FileError(
                f"line {row.line} of {path} has the keyword {keyword!r} of line {lines[keyword.casefold()]} again: "
                "give every keyword to one factor"
            )
        lines[keyword.casefold()] = row.line
        factors.setdefault(row.cells["factor"], []).append(keyword)
    if len(lines) < 2:
        raise FileError(f"{path} has one keyword: give at least two, so that they can be compared")
    return {factor: tuple(keywords) for factor, keywords in factors.items()}


def read_items(path: Path | str) -> list[ScaleItem]:
    """Items of scales, from a table or a questions.json.

    FileError for what cannot be read, a scale with one item, and fewer than four scales.
    """
    items = _questions(path) if files.ending(path) == ".json" else _item_rows(path)
    counts = Counter(item.scale for item in items)
    if len(counts) < FEWEST_SCALES:
        raise FileError(f"{path} has {len(counts)} scales: give at least {FEWEST_SCALES}")
    if alone := [scale for scale, count in counts.items() if count < 2]:
        raise FileError(f"{path}: the scale {alone[0]!r} has one item: give every scale two or more")
    return items


def _item_rows(path: Path | str) -> list[ScaleItem]:
    items = []
    for row in read_rows(path, ("item", "scale"), optional=("keyed",)):
        keyed = row.cells.get("keyed", "plus") or "plus"
        if keyed not in ("plus", "minus"):
            raise FileError(f"line {row.line} of {path} is keyed {keyed!r}: write plus or minus")
        sign = 1 if keyed == "plus" else -1
        items.append(ScaleItem(text=row.cells["item"], scale=row.cells["scale"], sign=sign))
    return items


def _questions(path: Path | str) -> list[ScaleItem]:
    value = files.read_json(path)
    if not isinstance(value, list) or not value:
        raise FileError(f"{path} is no list of questions: give the questions.json of the package, or a CSV")
    items = []
    for number, each in enumerate(value, 1):
        try:
            scale = _FACETS[each["domain"]][int(each["facet"]) - 1]
            sign = {"plus": 1, "minus": -1}[each["keyed"]]
            items.append(ScaleItem(text=str(each["text"]), scale=scale, sign=sign, factor=_DOMAINS[each["domain"]]))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise FileError(
                f"question {number} of {path} needs text, keyed (plus or minus), domain (N, E, O, A or C) and facet "
                f"(1 to 6): {error!r}"
            ) from error
    return items


def world_items() -> list[ScaleItem]:
    """Two scales for each pole of the small world's traits: an adjective, and half of the pole's behaviours."""
    return [
        ScaleItem(text=f"I {behaviour}.", scale=pole.adjectives[half].capitalize())
        for pole in poles()
        for half in (0, 1)
        for behaviour in pole.behaviours[3 * half : 3 * half + 3]
    ]


def random_keywords(kept: Sequence[str]) -> list[str]:
    """Words that name no trait."""
    words = (word.capitalize() for word in chain(JOBS, FOODS, ANIMALS, MONTHS))
    taken = {word.casefold() for word in kept}
    return [word for word in dict.fromkeys(words) if word.casefold() not in taken]


def random_statements(kept: Sequence[str]) -> list[str]:
    """Statements in the first person that are about no trait: what happens in the small world's stories."""
    forms = {"He": "I", "His": "My", "he": "I", "his": "my", "him": "me"}
    texts = [sentence.format(**forms) for sentences in SENTENCES.values() for sentence in sentences]
    return [text for text in texts if text not in kept]
