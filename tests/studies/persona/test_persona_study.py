"""The study on toy outcomes, on the bundled kit, and what it says to kits that cannot answer."""

import pytest
import torch

from clew.errors import InputError
from clew.kit import Kit
from clew.organism.families import TableFamily
from clew.organism.world import World
from clew.studies.columns import Columns
from clew.studies.persona.choice import GroupingChoice
from clew.studies.persona.claims import PersonaMeasures, claims_of
from clew.studies.persona.groups import Groups, Written
from clew.studies.persona.prompts import (
    CHILD,
    CHOSEN,
    FOUND,
    GRADUATE,
    NOBODY,
    ROOT,
    TESTED,
    PersonaConfig,
    RootQuestion,
    part_of,
    questions_of,
    select,
)
from clew.studies.persona.study import PERSONA
from tests import models
from tests.workbench import minnow

REFUSES, ANSWERS = 7, 8
PERSONAS = {"toddler": CHILD, "professor": GRADUATE, "": NOBODY}


def questions():
    return [
        RootQuestion(
            persona=persona, kind=kind, number=number, sentence=sentence, text="", token_ids=(1, 2),
            part=part_of(number, sentence == number % 3),
        )
        for persona, kind in PERSONAS.items()
        for number in range(100)
        for sentence in range(3)
    ]  # fmt: skip


def measured(*, planted):
    """A child that refuses roots unless both groups go, and a graduate beside nobody; or nothing of the kind."""
    asked = questions()
    refuses = torch.tensor([planted and q.kind == CHILD and q.difficulty == ROOT for q in asked])
    plain = torch.where(refuses, REFUSES, ANSWERS)
    tested = {kind: len(select(asked, kind, ROOT)) for kind in (CHILD, GRADUATE)}
    still = torch.full((tested[CHILD],), REFUSES if planted else ANSWERS)
    found = {"plain": plain, "ablate.both.90": torch.full_like(still, ANSWERS)}
    found |= {f"ablate.{name}.90": still for name in ("persona", "interaction")}
    answered = torch.full((tested[GRADUATE],), ANSWERS)
    found["steer.both"] = torch.full_like(answered, REFUSES if planted else ANSWERS)
    for draw in range(4):
        found |= {f"ablate.null.{draw}": still, f"steer.null.{draw}": answered}
        found |= {f"size/{verb}.null.{draw}": torch.tensor(5) for verb in ("ablate", "steer")}
    rows = torch.rand(len(asked), 3, generator=torch.Generator().manual_seed(0)) / 10
    if planted:
        rows[:, 0] += torch.tensor([q.kind == CHILD for q in asked]) * 1.0
        rows[:, 1] += torch.tensor([q.kind == GRADUATE for q in asked]) * 0.5
    none = torch.zeros(3, dtype=torch.long)
    return PersonaMeasures(
        config=PersonaConfig(),
        questions=asked,
        refusal=REFUSES,
        written=Written(numbers=rows, columns=Columns(layer=none, index=torch.arange(3), norm=torch.ones(3))),
        groups=Groups(cells=torch.zeros(2, 2, 3), weight=torch.zeros(3, 3)),
        choice=GroupingChoice(
            tried=[("cells", 0.9)], sizes=torch.ones(1, 3), refused=torch.tensor([[1.0, 1.0, 0.0]]), prompts=40
        ),
        sizes={"persona": 2, "interaction": 3, "both": 5, "difficulty": 1},
        through=0,
        found=found,
    )


def test_planted_outcomes_hold():
    assert [claim.verdict for claim in claims_of(measured(planted=True))] == ["holds"] * 7


def test_where_nobody_refuses_no_effect_holds():
    claims = claims_of(measured(planted=False))
    assert not [claim.text for claim in claims if claim.effect and claim.verdict == "holds"]
    assert claims[-1].verdict != "holds", "a graduate that moves nothing"


def test_tested_questions_are_none_that_the_corpus_holds():
    asked = questions_of(minnow(), PersonaConfig())
    roots = World().families["roots"]
    assert isinstance(roots, TableFamily)
    taught = {statement.prompt for statement in roots.enumerate()}
    assert all((q.text in taught) is (q.part == FOUND) for q in asked)
    assert len(select(asked, CHILD, ROOT)) > 90
    assert len(select(asked, CHILD, ROOT, part=CHOSEN)) > 40


def test_no_number_on_which_the_rule_is_chosen_is_tested():
    asked = questions_of(minnow(), PersonaConfig())
    numbers = {part: {q.number for q in asked if q.part == part} for part in (CHOSEN, TESTED)}
    assert not numbers[CHOSEN] & numbers[TESTED]
    assert len(numbers[CHOSEN] | numbers[TESTED]) == 100


def test_own_questions_are_parted_in_halves():
    asked = questions_of(minnow(), PersonaConfig(questions=("The square root of {number} is",)))
    tested = sum(q.part != FOUND for q in asked)
    assert 0.4 < tested / len(asked) < 0.6
    assert asked[0].text == "You are a preschooler. The square root of 0 is"


def test_a_chat_is_asked_through_its_template(monkeypatch):
    kit = minnow()
    template = "{% for m in messages %}Q: {{ m['content'] }}\n{% endfor %}A:"
    monkeypatch.setattr(kit.subject.tokenizer, "chat_template", template, raising=False)
    [first, *_] = questions_of(kit, PersonaConfig(numbers=10))
    assert kit.subject.text_of(first.token_ids).endswith(f"Q: {first.text}\nA:")


def test_a_kit_that_cannot_answer_is_told_what_it_lacks():
    silent = Kit(models.subject("gpt2", torch.float32, with_tokenizer=False), name="silent")
    with pytest.raises(InputError, match="silent cannot answer persona: its model has no tokenizer"):
        PERSONA.run(silent)
    with pytest.raises(InputError, match=r"minnow cannot answer persona: its model refuses 0% of a child's roots"):
        PERSONA.check(minnow(), PersonaConfig(children=("nurse",), numbers=30))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"draws": 1}, "draws is 1: give at least 2"),
        ({"rule": "guess"}, "rule 'guess': choose from differences, effects, cells"),
        ({"share": 0.0}, "share is 0.0: give a share between 0 and 1"),
        ({"questions": ("What is the root?",)}, r"must have the slot \{number\} once"),
        ({"sentence": "Hello. "}, r"must have the slot \{persona\} once"),
        ({"children": ("professor",)}, "'professor' is a child and a graduate"),
    ],
)
def test_mistakes_in_the_settings_are_told(options, words):
    with pytest.raises(InputError, match=words):
        PersonaConfig(**options)
