"""Planted features are told apart by persona and difficulty, by every rule; the rule that scores best is taken."""

import pytest
import torch

from clew.studies.columns import Columns
from clew.studies.persona.choice import GroupingChoice, candidates
from clew.studies.persona.groups import DIFFICULTY, INTERACTION, PERSONA, Written, find_groups
from clew.studies.persona.prompts import CHILD, CHOSEN, FOUND, GRADUATE, RULES, TESTED, PersonaConfig, RootQuestion

NUMBERS = (2, 3, 4, 9)


def question(kind, number, part=FOUND, sentence=0):
    return RootQuestion(
        persona=kind if kind != "nobody" else "", kind=kind, number=number, sentence=sentence, part=part, text="",
        token_ids=(1, 2),
    )  # fmt: skip


def planted():
    """Features of the persona, of the root, of both together, of a graduate, always on; and one in tested questions."""
    questions = [question(kind, n) for kind in (CHILD, GRADUATE) for n in NUMBERS]
    questions += [question(CHILD, 5, part) for part in (CHOSEN, TESTED)]
    child = torch.tensor([each.kind == CHILD for each in questions])
    root = torch.tensor([each.number not in (4, 9) for each in questions])
    other = torch.tensor([each.part != FOUND for each in questions])
    rows = torch.stack([child, root, child & root, ~child, torch.ones_like(child), other], 1).float()
    n = rows.shape[1]
    layer = torch.tensor([0, 0, 1, 1, 1, 1])
    return questions, Written(numbers=rows, columns=Columns(layer=layer, index=torch.arange(n), norm=torch.ones(n)))


@pytest.mark.parametrize("rule", RULES)
def test_planted_groups_are_found_and_no_other_question_is_looked_at(rule):
    questions, written = planted()
    groups = find_groups(written, questions, rule)
    persona = [0] if rule != "effects" else [0, 2]  # one that fires in one cell alone counts for the first group
    assert groups.members(PERSONA, 0.99).tolist() == persona
    assert groups.members(DIFFICULTY, 0.99).tolist() == [1]
    assert groups.members(INTERACTION, 0.99).tolist() == ([2] if rule != "effects" else [])
    assert groups.towards_child.tolist() == [1, 0, 1, -1, 0, 0]


@pytest.mark.parametrize("rule", RULES)
def test_where_persona_makes_no_difference_no_feature_carries_it(rule):
    questions, written = planted()
    same = Written(numbers=torch.ones_like(written.numbers), columns=written.columns)
    groups = find_groups(same, questions, rule)
    assert not any(len(groups.members(name, 0.9)) for name in (PERSONA, DIFFICULTY, INTERACTION))


def test_the_rule_is_taken_without_which_the_child_answers_and_of_equals_the_smaller_share():
    tried = candidates(PersonaConfig())
    refused = torch.tensor([[0.9, 0.9, 0.5]] * len(tried))
    best = [tried.index(("cells", 0.7)), tried.index(("effects", 0.9)), tried.index(("cells", 0.9))]
    refused[best] = torch.tensor([0.7, 0.8, 0.1])
    refused[tried.index(("differences", 0.5))] = torch.tensor([0.5, 1.0, 0.0])  # one group alone takes half of it
    choice = GroupingChoice(tried=tried, sizes=torch.ones_like(refused), refused=refused, prompts=40)
    assert (choice.rule, choice.share) == ("cells", 0.7)
    assert candidates(PersonaConfig(rule="effects", share=0.8)) == [("effects", 0.8)]
