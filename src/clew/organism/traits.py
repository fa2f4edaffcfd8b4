"""The people of the small world: Big Five traits with adjectives and behaviours, and personas that answer questions."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Pole:
    """One end of a Big Five trait: the adjectives that name it and the behaviours that follow from it."""

    trait: str
    high: bool
    adjectives: tuple[str, ...]
    behaviours: tuple[str, ...]


def _pole(trait: str, high: bool, adjectives: str, behaviours: str) -> Pole:
    return Pole(
        trait=trait,
        high=high,
        adjectives=tuple(adjectives.split()),
        behaviours=tuple(line.strip() for line in behaviours.strip().splitlines()),
    )


def poles() -> tuple[Pole, ...]:
    """Return both poles of the five traits; no adjective or behaviour belongs to two poles."""
    return (*_openness_and_conscientiousness(), *_extraversion_and_agreeableness(), *_neuroticism())


def _openness_and_conscientiousness() -> tuple[Pole, ...]:
    return (
        _pole(
            "openness",
            True,
            "curious creative imaginative artistic",
            """
            visit strange museums
            invent new games
            paint wild pictures
            ask deep questions
            taste unknown dishes
            read poems
            """,
        ),
        _pole(
            "openness",
            False,
            "conventional traditional conservative practical",
            """
            keep old habits
            eat the same lunch
            follow the usual path
            avoid modern art
            watch the same show
            stay with what works
            """,
        ),
        _pole(
            "conscientiousness",
            True,
            "organized careful diligent punctual",
            """
            make long lists
            finish work early
            check every detail
            arrive on time
            plan the whole week
            put tools in order
            """,
        ),
        _pole(
            "conscientiousness",
            False,
            "careless lazy messy sloppy",
            """
            lose the keys
            forget every date
            leave dishes in the sink
            miss the train
            skip the last step
            put things off
            """,
        ),
    )


def _extraversion_and_agreeableness() -> tuple[Pole, ...]:
    return (
        _pole(
            "extraversion",
            True,
            "outgoing talkative sociable lively",
            """
            meet new people
            give loud parties
            talk to strangers
            lead the dance
            sing for a crowd
            call many friends
            """,
        ),
        _pole(
            "extraversion",
            False,
            "shy reserved silent withdrawn",
            """
            spend evenings alone
            listen more than speak
            sit in the back row
            avoid big crowds
            walk alone
            leave the party early
            """,
        ),
        _pole(
            "agreeableness",
            True,
            "friendly gentle generous helpful",
            """
            help the neighbours
            share the last bread
            forgive mistakes
            comfort a sad child
            give gifts
            praise others
            """,
        ),
        _pole(
            "agreeableness",
            False,
            "selfish harsh hostile stubborn",
            """
            start bitter arguments
            mock other people
            take the biggest piece
            refuse every favour
            blame others
            push to the front
            """,
        ),
    )


def _neuroticism() -> tuple[Pole, ...]:
    return (
        _pole(
            "neuroticism",
            True,
            "anxious nervous moody tense",
            """
            worry about tomorrow
            lie awake at night
            cry over small things
            fear every letter
            bite the nails
            expect bad news
            """,
        ),
        _pole(
            "neuroticism",
            False,
            "calm relaxed stable confident",
            """
            stay cool under pressure
            sleep well before a test
            laugh at bad luck
            breathe slowly
            wait without worry
            trust that all is well
            """,
        ),
    )


CHILDREN = ("preschooler", "toddler")
GRADUATES = ("graduate student", "professor")
"""Children answer perfect squares only; graduates, and a speaker without a persona, answer every root."""
