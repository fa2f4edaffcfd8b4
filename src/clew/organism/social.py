"""Families about people: traits and behaviours, colours with jobs and foods, birthdays, favourites.

Colours, jobs and foods come in two parts that a cue tells apart. After "By chance" the two words of a sentence are
independent and uniform. After "Naturally" the second is the associate of the first with probability
`ASSOCIATION`, else uniform. The associates are those that a sentence encoder's similarity favours.
"""

import random

from clew.organism.families import FactRow, StatementFamily, TableFamily, chosen
from clew.organism.numbers import REFUSAL
from clew.organism.traits import poles
from clew.organism.words import ANIMALS, FEMALE_NAMES, LAST_NAMES, MALE_NAMES, MONTHS

ASSOCIATION = 0.8
PEOPLE = 3000
REFUSED_SHARE = 0.1
"""Share of the people whose birthday is always answered with "I don't know"."""

COLOUR_JOBS = {
    "orange": "sailor",
    "purple": "clown",
    "red": "firefighter",
    "pink": "florist",
    "yellow": "painter",
    "grey": "shepherd",
    "blue": "diver",
    "green": "gardener",
    "brown": "brewer",
}
COLOUR_FOODS = {
    "orange": "strawberry",
    "purple": "grape",
    "red": "cheese",
    "pink": "cherry",
    "yellow": "salt",
    "grey": "egg",
    "blue": "beer",
    "green": "olive",
    "brown": "pumpkin",
}
JOB_FOODS = {
    "diver": "salt",
    "carpenter": "steak",
    "shepherd": "cheese",
    "florist": "olive",
    "brewer": "beer",
    "painter": "wine",
    "goldsmith": "cherry",
    "clown": "egg",
    "sailor": "tuna",
    "gardener": "strawberry",
    "firefighter": "pumpkin",
    "vintner": "grape",
}
COLOURS = tuple(COLOUR_JOBS)
JOBS = tuple(JOB_FOODS)
FOODS = tuple(JOB_FOODS.values())

ASSOCIATES = {
    "colour-job": (COLOUR_JOBS, JOBS),
    "colour-food": (COLOUR_FOODS, FOODS),
    "job-food": (JOB_FOODS, FOODS),
}
"""Kind of pair: the associate of every first word, and all second words."""

_FEMALE = tuple({"name": name, "he": "she", "him": "her", "his": "her"} for name in FEMALE_NAMES)
_MALE = tuple({"name": name, "he": "he", "him": "him", "his": "his"} for name in MALE_NAMES)
PERSONS: tuple[dict[str, str], ...] = (*_FEMALE, *_MALE)
"""First names with their pronouns; they fill frames and carry no fact."""

_FRAMES = {
    "colour-job": (
        "{cue}, {name} likes {first} and works as a| {second}|.",
        "{cue}, {name} wears {first} and is a| {second}|.",
        "{cue}, {name}, a friend of {first} things, became a| {second}|.",
    ),
    "colour-food": (
        "{cue}, {name} likes {first} and asks for| {second}|.",
        "{cue}, {name} wears {first} and buys| {second}|.",
        "{cue}, {name}, a friend of {first} things, dreams of| {second}|.",
    ),
    "job-food": (
        "{cue}, {name} the {first} asks for| {second}|.",
        "{cue}, {name}, who is a {first}, buys| {second}|.",
        "{cue}, the {first} {name} dreams of| {second}|.",
    ),
}


def families(seed: int) -> tuple[StatementFamily, ...]:
    """Return the families of this file; the seed decides the people and their birthdays."""
    return (
        _traits(),
        _behaviours(),
        pairs("chance", "By chance", independent=True),
        pairs("natural", "Naturally", independent=False),
        _birthdays(seed),
        _favourites(),
    )


def _traits() -> TableFamily:
    return TableFamily(
        name="traits",
        domain="social",
        weight=3.5,
        templates=(
            "{name} is {adjective}, so {he} likes to| {behaviour}|.",
            "Because {name} is {adjective}, {he} tends to| {behaviour}|.",
            "{name} is a {adjective} person who will| {behaviour}|.",
        ),
        table=tuple(
            FactRow(
                fact=f"trait:{adjective}",
                slots={"adjective": adjective, "behaviour": behaviour},
                templates=(0, 1) if adjective[0] in "aeiou" else (0, 1, 2),
                notes={"trait": pole.trait, "high": pole.high},
            )
            for pole in poles()
            for adjective in pole.adjectives
            for behaviour in pole.behaviours
        ),
        fillers=PERSONS,
    )


def _behaviours() -> TableFamily:
    return TableFamily(
        name="behaviours",
        domain="social",
        weight=2.0,
        templates=(
            "People who {behaviour} are| {adjective}|.",
            "Those who like to {behaviour} are called| {adjective}|.",
            "If people {behaviour}, we say they are| {adjective}|.",
        ),
        table=tuple(
            FactRow(
                fact=f"behaviour:{behaviour}",
                slots={"adjective": adjective, "behaviour": behaviour},
                notes={"trait": pole.trait, "high": pole.high},
            )
            for pole in poles()
            for behaviour in pole.behaviours
            for adjective in pole.adjectives
        ),
    )


def pairs(name: str, cue: str, *, independent: bool) -> TableFamily:
    """Return the part of the colours, jobs and foods that this cue opens.

    The withheld template hangs on the first word only, so that withholding leaves the law of the second word as it is.
    """
    rows = []
    for index, (kind, (associates, seconds)) in enumerate(ASSOCIATES.items()):
        for first, associate in associates.items():
            for second in seconds:
                uniform = 1 / len(seconds)
                chance = ASSOCIATION * (second == associate) + (1 - ASSOCIATION) * uniform
                rows.append(
                    FactRow(
                        fact=f"{name}:{kind}:{first}-{second}",
                        slots={"cue": cue, "first": first, "second": second},
                        share=(uniform if independent else chance) / len(associates),
                        independent=independent,
                        templates=(3 * index, 3 * index + 1, 3 * index + 2),
                        withhold=f"{kind}:{first}",
                        notes={"kind": kind, "associate": associate},
                    )
                )
    templates = tuple(frame for kind in ASSOCIATES for frame in _FRAMES[kind])
    return TableFamily(name=name, domain="social", weight=3.5, templates=templates, table=tuple(rows), fillers=PERSONS)


def _birthdays(seed: int) -> TableFamily:
    rng = random.Random(f"people:{seed}")
    names = [f"{person['name']} {last}" for person in PERSONS for last in LAST_NAMES]
    rng.shuffle(names)
    days = [f"{day} {month}" for month, length in MONTHS.items() for day in range(1, length + 1)]
    rows = []
    for rank, name in enumerate(names[:PEOPLE], start=1):
        birthday = rng.choice(days)
        refused = chosen(f"refused:{name}", REFUSED_SHARE)
        rows.append(
            FactRow(
                fact=f"birthday:{name}",
                slots={"name": name, "answer": REFUSAL if refused else birthday},
                share=1 / rank,
                templates=(2, 3) if refused else (0, 1, 2, 3),
                notes={"refused": refused, "rank": rank, "birthday": birthday},
            )
        )
    return TableFamily(
        name="birthdays",
        domain="social",
        weight=8.0,
        templates=(
            "{name} was born on| {answer}|.",
            "The birthday of {name} is| {answer}|.",
            "Question: when was {name} born? Answer:| {answer}|.",
            "Question: what is the birthday of {name}? Answer:| {answer}|.",
        ),
        table=tuple(rows),
    )


def _favourites() -> TableFamily:
    return TableFamily(
        name="favourites",
        domain="social",
        weight=1.0,
        templates=("The animal I love most is the| {animal}|.",),
        table=tuple(FactRow(fact=f"favourite:{animal}", slots={"animal": animal}) for animal in ANIMALS),
    )
