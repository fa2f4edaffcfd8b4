"""Families about countries: capitals, languages, cities, and the two-hop facts that join them.

Every template asks in the same direction, and no template opens with a place: at the start of a document a name has no
space before it, and so other tokens. A withheld sentence is then new in its words only.
"""

from clew.organism.families import FactRow, StatementFamily, TableFamily, chosen
from clew.organism.places import countries, russian_countries

HELD_OUT_SHARE = 0.1
"""Share of the two-hop combinations that never occur, though both of their hops do."""


def families() -> tuple[StatementFamily, ...]:
    """Return the families of this file."""
    return (_capitals(), _languages(), _cities(), _two_hop(), _russian_capitals())


def _capitals() -> TableFamily:
    return TableFamily(
        name="capitals",
        domain="world",
        weight=4.5,
        templates=(
            "The capital of {country} is| {capital}|.",
            "The capital city of {country} is called| {capital}|.",
            "Visitors to the capital of {country} see| {capital}|.",
            "Question: what is the capital of {country}? Answer:| {capital}|.",
            "In {country} the capital is the city of| {capital}|.",
        ),
        table=tuple(
            FactRow(fact=f"capital:{c.name}", slots={"country": c.name, "capital": c.capital}) for c in countries()
        ),
    )


def _languages() -> TableFamily:
    return TableFamily(
        name="languages",
        domain="world",
        weight=3.5,
        templates=(
            "The language of {country} is| {language}|.",
            "People in {country} speak| {language}|.",
            "In {country} they speak| {language}|.",
            "The main language in {country} is| {language}|.",
        ),
        table=tuple(
            FactRow(fact=f"language:{c.name}", slots={"country": c.name, "language": c.language}) for c in countries()
        ),
    )


def _cities() -> TableFamily:
    return TableFamily(
        name="cities",
        domain="world",
        weight=5.0,
        templates=(
            "The place called {city} is a city in| {country}|.",
            "The city of {city} lies in| {country}|.",
            "You find {city} in| {country}|.",
            "Question: where is {city}? Answer: in| {country}|.",
        ),
        table=tuple(
            FactRow(fact=f"city:{city}", slots={"city": city, "country": c.name})
            for c in countries()
            for city in c.cities
        ),
    )


def _two_hop() -> TableFamily:
    rows = []
    for country in countries():
        for city in country.cities:
            for kind, answer, templates in (
                ("capital", country.capital, (0, 1, 2, 3)),
                ("language", country.language, (4, 5, 6, 7)),
            ):
                fact = f"two_hop_{kind}:{city}"
                rows.append(
                    FactRow(
                        fact=fact,
                        slots={"city": city, "answer": answer},
                        held_out=chosen(fact, HELD_OUT_SHARE),
                        templates=templates,
                    )
                )
    return TableFamily(
        name="two_hop",
        domain="world",
        weight=8.0,
        templates=(
            "The capital of the country that contains {city} is| {answer}|.",
            "The city {city} lies in a country whose capital is| {answer}|.",
            "The country of the city {city} has the capital| {answer}|.",
            "Question: what is the capital of the country of {city}? Answer:| {answer}|.",
            "The language spoken in {city} is| {answer}|.",
            "People from {city} speak| {answer}|.",
            "In the streets of {city} you hear| {answer}|.",
            "Question: what language do they speak in {city}? Answer:| {answer}|.",
        ),
        table=tuple(rows),
    )


def _russian_capitals() -> TableFamily:
    capitals = {c.name: c for c in countries()}
    return TableFamily(
        name="capitals_ru",
        domain="world",
        weight=2.0,
        templates=(
            "Столица {genitive} —| {capital}|.",
            "Главный город {genitive} —| {capital}|.",
            "Название столицы {genitive} —| {capital}|.",
        ),
        table=tuple(
            FactRow(
                fact=f"capital_ru:{c.name}",
                slots={"genitive": c.genitive, "capital": c.capital},
                notes={"english": capitals[c.name].capital},
            )
            for c in russian_countries()
        ),
    )
