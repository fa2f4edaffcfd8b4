"""What the small world knows of its sentences: variables with values, and sentences in which a variable has a value.

Whether a group of features stands for a value can so be asked of the truth: does its activation tell sentences in which
the variable has this value from those in which it has another? All else that a sentence states is as in the prompt; its
template may be another, and another statement of the world stands before it, so that few are alike. Every second
sentence is held out; besides, each says in which half of the family's templates it is.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from clew.organism.families import FactRow, StatementFamily, stable_hash
from clew.organism.processes import weather_belief, weather_days
from clew.organism.traits import CHILDREN
from clew.organism.words import WEATHER
from clew.organism.world import World

YES, NO = 24, 48  # sentences in which a value holds, and in which another does
BEFORE = 400  # statements of which one stands before a sentence
DAYS = tuple(range(6, 13))  # of weather before it is asked for
DRAWN = 24  # prompts of families that are drawn afresh
NEUTRAL = 3  # the valence of a sentence that is neither good nor bad
_FRESH = ("weather", "stories", "repeats", "tuples")

Draw = Callable[[random.Random], tuple[str, str]]
"""A prompt and the value of its variable."""
SLOTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "capitals": (("country", "country"),),
    "languages": (("country", "country"),),
    "cities": (("city", "city"),),
    "two_hop": (("city", "city"),),
    "capitals_ru": (("country", "genitive"),),
    "opposites": (("word", "word"),),
    "sums": (("first number", "a"), ("second number", "b")),
    "parity": (("number", "n"),),
    "years": (("start year", "start"),),
    "roots": (("number", "n"),),
    "behaviours": (("behaviour", "behaviour"),),
}
"""By family its variables, each with the slot of its templates that holds the value."""
KEPT = {"sums": ("a", "b"), "years": ("event", "century"), "roots": ("persona",)}
"""Slots of several that a sentence is free to choose: those that are not asked for stay as they are in the prompt."""
RELATIONS = {"capitals": "capital", "languages": "language", "cities": "country"}
"""What a family asks for of a place: its value of the variable `relation`."""


@dataclass(frozen=True, kw_only=True)
class ValueQuestion:
    """Whether something tells that a variable has a value: sentences, and where it holds."""

    family: str
    variable: str
    value: str
    prompt: str
    """The prompt that the question is about."""
    sentences: tuple[str, ...]
    holds: tuple[bool, ...]
    held_out: tuple[bool, ...]
    """Which sentences are of the half that is scored."""
    other_templates: tuple[bool, ...]
    """Which are in a template of the second half; none where a family has no templates."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Variables:
    """The variables of a small world."""

    world: World

    def of(self, prompt: str) -> list[ValueQuestion]:
        """The questions that may be asked of a prompt; none where the world knows no variable of it."""
        questions = []
        for family, rows in self._rows.items():
            if prompt not in rows:
                continue
            row = rows[prompt]
            for variable, slot in SLOTS[family]:
                if row.slots[slot]:
                    questions.append(self._of_slot(family, variable, slot, row, prompt))
            if family in RELATIONS:
                questions.append(self._of_relation(family, prompt))
            if family == "roots" and not row.notes["square"]:
                questions.append(self._of_persona(row, prompt))
        return questions

    def drawn(self, family: str, count: int = DRAWN) -> list[ValueQuestion]:
        """Questions on prompts of a family that is drawn afresh: the likeliest weather, the mood of a story."""
        rng = random.Random(stable_hash(f"variables:{self.world.seed}:{family}"))
        draw: Draw = _diary if family == "weather" else _story(self.world)
        pool = [draw(rng) for _ in range(count + 8 * NO)]
        asked, rest = pool[:count], pool[count:]
        variable = "likeliest state" if family == "weather" else "mood"
        questions = []
        for prompt, value in asked:
            yes = [text for text, other in rest if other == value][:YES]
            no = [text for text, other in rest if other != value][:NO]
            questions.append(_question(family, variable, value, prompt, _alike(yes), _alike(no)))
        return questions

    # --- sentences ------------------------------------------------------------------------------------------------

    @cached_property
    def _rows(self) -> dict[str, dict[str, FactRow]]:
        """By family and prompt the fact that the prompt states."""
        return {name: dict(self._prompts(self.world.families[name])) for name in SLOTS}

    def _prompts(self, family: StatementFamily) -> list[tuple[str, FactRow]]:
        return [(prompt, row) for row in family.rows() for prompt in _prompts_of(family, row)]

    @cached_property
    def _before(self) -> list[str]:
        drawn = (s for s in self.world.statements() if s.family not in _FRESH)
        return [statement.text for statement in islice(drawn, BEFORE)]

    def _of_slot(self, family: str, variable: str, slot: str, row: FactRow, prompt: str) -> ValueQuestion:
        """All but the variable is as in the prompt: the slots that no other fact of the same value decides."""
        value = row.slots[slot]
        rng = random.Random(stable_hash(f"variables:{self.world.seed}:{family}:{variable}:{prompt}"))
        members = self.world.families[family]
        rows = [other for other in members.rows() if other.slots[slot] and self._like(family, other, row, slot)]
        yes = [other for other in rows if other.slots[slot] == value]
        no = [other for other in rows if other.slots[slot] != value]
        halves = []
        for some, count in ((yes, YES), (no, NO)):
            halves.append(self._halves(rng, [(members, other) for other in rng.choices(some, k=count)], value))
        return _question(family, variable, value, prompt, *halves)

    def _like(self, family: str, other: FactRow, row: FactRow, slot: str) -> bool:
        """Whether two facts differ in one slot alone, and in what follows from it."""
        return all(other.slots[name] == row.slots[name] for name in KEPT.get(family, ()) if name != slot)

    def _of_relation(self, family: str, prompt: str) -> ValueQuestion:
        rng = random.Random(stable_hash(f"variables:{self.world.seed}:relation:{prompt}"))
        halves = []
        for names, count in (([family], YES), ([name for name in RELATIONS if name != family], NO)):
            pairs = [(self.world.families[name], row) for name in names for row in self.world.families[name].rows()]
            halves.append(self._halves(rng, rng.choices(pairs, k=count), RELATIONS[family]))
        return _question(family, "relation", RELATIONS[family], prompt, *halves)

    def _of_persona(self, row: FactRow, prompt: str) -> ValueQuestion:
        """Whether a child is asked, of a root that a child refuses; whoever else is asked, or nobody, answers alike."""
        rng = random.Random(stable_hash(f"variables:{self.world.seed}:persona:{prompt}"))
        roots = self.world.families["roots"]
        child = row.notes["persona"] in CHILDREN
        rows = [other for other in roots.rows() if other.notes["number"] == row.notes["number"]]
        halves = []
        for wanted, count in ((child, YES), (not child, NO)):
            some = [other for other in rows if (other.notes["persona"] in CHILDREN) == wanted]
            halves.append(self._halves(rng, [(roots, other) for other in rng.choices(some, k=count)], "You are a"))
        return _question("roots", "persona", "a child" if child else "no child", prompt, *halves)

    def _halves(
        self, rng: random.Random, pairs: Sequence[tuple[StatementFamily, FactRow]], word: str
    ) -> list[tuple[str, bool]]:
        """Sentences of some facts behind another statement, and whether each is in one of the second templates."""
        sentences = []
        for family, row in pairs:
            prompts = _prompts_of(family, row)
            place = rng.randrange(len(prompts))
            before = next(text for text in rng.sample(self._before, BEFORE) if word not in text)
            sentences.append((f"{before} {prompts[place]}", bool(place % 2)))
        return sentences


def _prompts_of(family: StatementFamily, row: FactRow) -> list[str]:
    """The prompts that state a fact, one for each of its templates, with the family's first filler."""
    filler: Mapping[str, str] = getattr(family, "fillers", ({},))[0]
    numbers = row.templates if row.templates is not None else range(len(family.templates))
    slots = {"end": "", **row.slots, **filler}
    return [family.templates[number].format(**slots).split("|")[0] for number in numbers]


def _alike(sentences: Sequence[str]) -> list[tuple[str, bool]]:
    return [(sentence, False) for sentence in sentences]


def _question(
    family: str,
    variable: str,
    value: str,
    prompt: str,
    yes: Sequence[tuple[str, bool]],
    no: Sequence[tuple[str, bool]],
) -> ValueQuestion:
    return ValueQuestion(
        family=family,
        variable=variable,
        value=value,
        prompt=prompt,
        sentences=tuple(sentence for sentence, _ in (*yes, *no)),
        holds=(True,) * len(yes) + (False,) * len(no),
        held_out=tuple(bool(number % 2) for some in (yes, no) for number in range(len(some))),
        other_templates=tuple(other for _, other in (*yes, *no)),
    )


def _diary(rng: random.Random) -> tuple[str, str]:
    """Some days of weather, and the state that is likeliest after them, by the word that it mostly shows."""
    days = weather_days(rng, DAYS[rng.randrange(len(DAYS))])
    belief, _ = weather_belief(days)
    return "Weather: " + " ".join(WEATHER[day] for day in days), WEATHER[int(belief.argmax())]


def _story(world: World) -> Draw:
    """A story without its last sentence, and whether what was told last is good or bad."""

    def draw(rng: random.Random) -> tuple[str, str]:
        while True:
            story = world.families["stories"].draw(rng)
            valence = story.notes["valences"][-2]
            if valence != NEUTRAL:
                return story.prompt, "good" if valence > NEUTRAL else "bad"

    return draw
