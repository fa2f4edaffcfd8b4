"""Why this token and not that one: effects on the difference, signed; what cannot be asked is refused."""

import pytest

import clew
from clew import Edit
from clew.errors import InputError, MismatchError
from tests import models
from tests.models import PROMPT

FRANCE = "The capital of France is"


@pytest.fixture(scope="module")
def kit():
    return clew.load("minnow")


def test_what_is_named_speaks_for_the_token_when_it_is_taken_away(kit):
    answer = kit.why_not(FRANCE, " Rome")
    assert (answer.said, answer.other) == (" Paris", " Rome")
    logits = kit.subject.record(FRANCE).logits[-1]
    ids = [kit.subject.token_ids(text)[0] for text in (" Paris", " Rome")]
    assert answer.margin == pytest.approx(float(logits[ids[0]] - logits[ids[1]]))
    assert answer.sentence.startswith("' Paris' (")
    sizes = [abs(reason.effect) for reason in answer.reasons]
    assert sizes == sorted(sizes, reverse=True)
    assert all(reason.effect > 0 for reason in answer.speaks_for)
    assert all(reason.effect < 0 for reason in answer.speaks_against)
    cases = [(FRANCE, [Edit.ablate(reason.node)]) for reason in answer.reasons[:5]]
    measured = answer.margin - kit.readings(cases, [" Paris - Rome"[1:]]).logits[:, 0]
    right = sum(
        (lost > 0) == (reason.effect > 0) for lost, reason in zip(measured.tolist(), answer.reasons, strict=False)
    )
    assert right >= 4
    assert answer.to_json()["reasons"][0]["node"] == answer.reasons[0].node
    assert answer.reasons[0].label


def test_a_graph_is_asked_where_its_output_stands(kit):
    graph = kit.trace(FRANCE, position=2)
    of_graph, of_prompt = kit.why_not(graph, " Rome"), kit.why_not(FRANCE, " Rome", position=2)
    assert of_graph.margin == pytest.approx(of_prompt.margin)
    assert of_graph.sentence == of_prompt.sentence
    assert of_graph.graph.targets[0].position == 2


def test_what_cannot_be_asked_is_refused_in_one_line(kit):
    for arguments, message in (
        ((FRANCE, " Paris"), "is what the model says here"),
        ((FRANCE, " elephants and mice"), "is not one token"),
        ((FRANCE, 99_999), "outside the vocabulary"),
    ):
        with pytest.raises(InputError, match=message):
            kit.why_not(*arguments)
    with pytest.raises(InputError, match="position 99 is outside"):
        kit.why_not(FRANCE, " Rome", position=99)
    subject = models.subject("gpt2")
    other = clew.Kit(subject, models.dictionary("plt", subject))
    with pytest.raises(MismatchError):
        kit.why_not(other.trace(PROMPT), " Rome")
