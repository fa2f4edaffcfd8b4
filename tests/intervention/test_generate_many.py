"""Many texts at once are what each is alone, with its own seed and edits."""

import pytest

import clew
from clew.errors import InputError
from clew.intervention.edit import Edit
from clew.intervention.generate import generate
from clew.intervention.generate_many import generate_many
from tests import models

PROMPTS = ([0, 5, 8, 3, 9], [0, 5, 8], [0, 22, 4, 7, 7, 9, 1], [0, 5, 8, 3, 9], [0, 9, 2])


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_each_text_is_what_it_is_alone_with_its_seed(architecture: str, temperature: float) -> None:
    subject = models.subject(architecture)
    dictionary = models.dictionary("clt", subject, threshold=0.3)
    edits = ([], [Edit.scale("L0/3", 4.0)], [Edit.add("L1/2", 3.0), Edit.ablate("L0/3")], [Edit.steer("L1/4", 5.0)], [])
    cases = list(zip(PROMPTS, edits, strict=True))
    options = {"temperature": temperature, "tokens": 8, "stop": False}
    found = generate_many(subject, dictionary, cases, seed=11, **options)
    assert [each.seed for each in found] == [11, 12, 13, 14, 15]
    for number, ((prompt, own), text) in enumerate(zip(cases, found, strict=True)):
        steps = list(generate(subject, dictionary, prompt, own, seed=11 + number, **options))
        assert text.token_ids == tuple(step.token_id for step in steps)
        assert text.prompt_ids == tuple(prompt)
        assert text.probabilities == pytest.approx([step.probability for step in steps], rel=1e-4)
        assert text.end == steps[-1].end == "tokens"


def test_texts_of_one_prompt_differ_by_their_seeds_and_stop_where_they_end() -> None:
    kit = clew.load("minnow")
    prompt = "The capital of France is"
    found = kit.generate_many([(prompt, [])] * 12, temperature=1.5, tokens=12)
    assert len({each.token_ids for each in found}) > 3
    assert {each.end for each in found} <= {"eos", "tokens"}
    again = kit.generate_many([(prompt, [])] * 2, seeds=[3, 7], temperature=1.5, tokens=12)
    assert [each.token_ids for each in again] == [found[3].token_ids, found[7].token_ids]
    [alone] = kit.generate_many([(prompt, [])], tokens=12)
    assert alone.text == "".join(step.text for step in kit.generate(prompt, tokens=12))


def test_what_cannot_be_generated_is_refused_in_one_line() -> None:
    subject = models.subject("gpt2")
    kit = clew.Kit(subject, models.dictionary("plt", subject))
    for work, message in (
        (lambda: kit.generate_many([(PROMPTS[0], [])], seeds=[1, 2]), "1 cases, but 2 seeds"),
        (lambda: kit.generate_many([PROMPTS[1]]), "case 0 is .*: give a prompt and a list of edits"),
        (lambda: kit.generate_many("w1 w2"), "is one text"),
        (lambda: kit.generate_many([(PROMPTS[0], [Edit.ablate("L0/999")])]), "has features 0..39"),
        (lambda: kit.generate_many([(PROMPTS[0], [])], temperature=-1.0), "give 0 or a positive number"),
    ):
        with pytest.raises(InputError, match=message):
            work()
    assert kit.generate_many([]) == []
