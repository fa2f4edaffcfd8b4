"""What the study `persona` asks: square roots, of a child, of a graduate and of nobody in particular.

A question is a persona, a number and a sentence, and has one of three parts. Features are FOUND in the questions that
the corpus of the world holds. Those that it withholds are parted by number: on some the rule is CHOSEN by which
features are grouped, on the others claims are TESTED. In sentences that are not the world's, a stable hash stands for
the corpus. A model with a chat template is asked through it, persona and question in one message.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

from clew.errors import InputError
from clew.kit import Kit
from clew.organism.families import FactRow, TableFamily, stable_hash
from clew.organism.numbers import REFUSAL, families
from clew.organism.traits import CHILDREN, GRADUATES
from clew.settings import option
from clew.studies.config_checks import at_least, is_share

RULES = ("differences", "effects", "cells")
"""Rules by which features are grouped; see `groups`."""
CHILD, GRADUATE, NOBODY = "child", "graduate", "nobody"
SQUARE, ROOT = "square", "root"
FOUND, CHOSEN, TESTED = PARTS = ("found", "chosen", "tested")
"""What a question is for: finding features, choosing the rule by which they are grouped, or testing claims."""


def _roots() -> TableFamily:
    family = next(each for each in families() if each.name == "roots")
    assert isinstance(family, TableFamily)
    return family


def _asked(template: str) -> str:
    return template.split("|")[0].replace("{persona}", "").replace("{n}", "{number}")


@dataclass(frozen=True, kw_only=True)
class PersonaConfig:
    """Settings of the study."""

    children: tuple[str, ...] = field(default=CHILDREN, metadata=option("--child", kind=list[str]))
    """A persona that answers perfect squares only; repeat it for several."""
    graduates: tuple[str, ...] = field(default=GRADUATES, metadata=option("--graduate", kind=list[str]))
    """A persona that answers all roots; repeat it for several, and leave it empty for nobody."""
    sentence: str = "You are a {persona}. "
    """What stands in front of a question and says who answers."""
    questions: tuple[str, ...] | None = field(default=None, metadata=option("--question", kind=list[str] | None))
    """A sentence that asks for the square root of {number}; repeat it for several. Left out, those of the world."""
    numbers: int = 100
    """Numbers below this one are asked."""
    refusal: str = REFUSAL
    """What a child answers; counted is its first token."""
    rule: str | None = None
    """By which numbers a feature belongs to a group: differences, effects or cells. Left out, the rule and the share
    are chosen on prompts of which nothing is claimed."""
    share: float | None = None
    """A group is the fewest features that hold this share of what the group writes; left out, chosen as the rule is."""
    draws: int = 6
    """How many sets of matched random features are ablated, and steered along, beside them."""
    through: int | None = None
    """The last layer whose MLP output is clamped; left out, the last one with a feature that is changed."""
    seed: int = 0
    """Seed of random features."""

    def __post_init__(self) -> None:
        at_least(self, draws=2, numbers=10)
        if self.share is not None:
            is_share("share", self.share)
        if self.rule not in (None, *RULES):
            raise InputError(f"rule {self.rule!r}: choose from {', '.join(RULES)}")
        texts = tuple(self.questions or map(_asked, _roots().templates))
        object.__setattr__(self, "questions", texts)
        slots = [(self.sentence, "{persona}"), *((text, "{number}") for text in texts)]
        for text, slot in slots:
            if text.count(slot) != 1:
                raise InputError(f"{text!r} must have the slot {slot} once")
        if not self.children or not self.graduates:
            raise InputError("a child and a graduate are needed: name one of each")
        if common := {*self.children} & {*self.graduates}:
            raise InputError(f"{min(common)!r} is a child and a graduate: give it once")


@dataclass(frozen=True, kw_only=True)
class RootQuestion:
    """One prompt, and where it belongs."""

    persona: str
    """Empty for nobody."""
    kind: str
    """CHILD, GRADUATE or NOBODY."""
    number: int
    sentence: int
    part: str
    """One of PARTS."""
    text: str
    token_ids: tuple[int, ...]

    @property
    def difficulty(self) -> str:
        """SQUARE for a perfect square, else ROOT."""
        return SQUARE if math.isqrt(self.number) ** 2 == self.number else ROOT


def questions_of(kit: Kit, config: PersonaConfig) -> list[RootQuestion]:
    """Every persona, number and sentence, nobody among the personas."""
    assert config.questions is not None
    world = _World(config)
    personas = [(each, CHILD) for each in config.children] + [(each, GRADUATE) for each in config.graduates]
    if "" not in config.graduates:
        personas.append(("", NOBODY))
    asked = []
    for (persona, kind), number, sentence in product(personas, range(config.numbers), range(len(config.questions))):
        known = world.taught(persona, number, sentence)
        if known is None:
            continue
        says = config.sentence.replace("{persona}", persona) if persona else ""
        text = says + config.questions[sentence].replace("{number}", str(number))
        ids = kit.subject.encode([{"role": "user", "content": text}] if chats(kit) else text).tolist()
        asked.append(
            RootQuestion(
                persona=persona, kind=kind, number=number, sentence=sentence, part=part_of(number, known), text=text,
                token_ids=tuple(ids),
            )
        )  # fmt: skip
    return asked


def part_of(number: int, known: bool) -> str:
    """What a question is for: no number on which the rule is chosen is tested, whatever the persona and sentence."""
    if known:
        return FOUND
    return CHOSEN if stable_hash(f"choose:{number}") % 3 == 0 else TESTED


def chats(kit: Kit) -> bool:
    """Whether the model is asked through a chat template."""
    return bool(getattr(kit.subject.tokenizer, "chat_template", None))


def refusal_token(kit: Kit, config: PersonaConfig) -> int:
    """The first token of the refusal."""
    text = config.refusal.strip() if chats(kit) else f" {config.refusal.strip()}"
    return int(kit.subject.encode(text, add_bos=False)[0])


class _World:
    """Which questions the corpus of the world holds."""

    def __init__(self, config: PersonaConfig) -> None:
        self.family, self.config = _roots(), config
        self.templates = [_asked(template) for template in self.family.templates]
        self.rows: dict[tuple[str, int], FactRow] = {
            (row.notes["persona"], row.notes["number"]): row for row in self.family.rows()
        }

    def taught(self, persona: str, number: int, sentence: int) -> bool | None:
        """Whether features may be found in a question; None where it is left out, a pair that is held out."""
        assert self.config.questions is not None
        text, row = self.config.questions[sentence], self.rows.get((persona, number))
        if row is None or text not in self.templates or not self.config.sentence.startswith("You are a "):
            return stable_hash(f"{persona}:{number}:{text}") % 2 == 0
        return None if row.held_out else self.family.withheld(row) != self.templates.index(text)


def select(
    questions: Sequence[RootQuestion], kind: str, difficulty: str, *, part: str = TESTED, sentence: int | None = None
) -> list[int]:
    """Places of the questions of one kind, difficulty and part."""
    return [
        place
        for place, each in enumerate(questions)
        if (each.kind, each.difficulty, each.part) == (kind, difficulty, part) and sentence in (None, each.sentence)
    ]
