"""Which kinds of thing the world's words are, so that a label can name many of them at once: `a capital`, `a food`.

The words are ordinary ones, so that the kinds hold in texts of other worlds too, as far as the lists go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from clew.organism import words
from clew.organism.places import countries, russian_countries
from clew.organism.social import COLOURS, FOODS, JOBS
from clew.organism.traits import poles

ARTICLES = {"animal": "an", "adjective": "an", "event": "an"}
"""Of the kinds that do not take `a`."""


@cache
def word_kinds() -> Mapping[str, tuple[str, ...]]:
    """The kinds of every word in the lists, as it is written: `Long` is a surname, `long` an adjective."""
    kinds: dict[str, tuple[str, ...]] = {}
    for kind, members in _lists():
        for word in members:
            if kind not in kinds.get(word, ()):
                kinds[word] = (*kinds.get(word, ()), kind)
    return kinds


def _lists() -> Iterator[tuple[str, Iterable[str]]]:
    places, russian = countries(), russian_countries()
    yield "country", [*(place.name for place in places), *(place.genitive for place in russian)]
    yield "capital", [*(place.capital for place in places), *(place.capital for place in russian)]
    yield "city", [city for place in places for city in place.cities]
    yield "language", [place.language for place in places]
    yield "animal", words.ANIMALS
    yield "month", words.MONTHS
    yield "event", words.EVENTS
    yield "thing", words.THINGS
    yield "colour", COLOURS
    yield "job", JOBS
    yield "food", FOODS
    yield "weather", words.WEATHER
    yield "trait", [adjective for pole in poles() for adjective in pole.adjectives]
    yield "adjective", [word for pair in words.OPPOSITES for word in pair[:2]]
    yield "Russian adjective", [word for pair in words.OPPOSITES for word in pair[2:]]
    yield "girl's name", words.FEMALE_NAMES
    yield "boy's name", words.MALE_NAMES
    yield "first name", [*words.FEMALE_NAMES, *words.MALE_NAMES]
    yield "surname", words.LAST_NAMES
