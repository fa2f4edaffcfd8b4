"""What is asked, what is measured of it, what the study finds on the bundled kit, and whom it refuses."""

import numpy as np
import pytest
import torch

import clew
from clew.errors import InputError
from clew.kit import Kit
from clew.studies.greater_than.claims import YearsMeasured, gaps, gone, scale_claim
from clew.studies.greater_than.prompts import (
    YEARS,
    GreaterThanConfig,
    ask,
    difference,
    later_years,
    law,
    renormalised,
    sharpness,
    year_tokens,
)
from clew.studies.greater_than.scales import COLUMNS
from clew.studies.greater_than.study import GREATER_THAN
from tests import models
from tests.workbench import minnow


def test_every_start_year_is_asked_and_its_token_is_the_years():
    asked = ask(minnow(), GreaterThanConfig(copies=1))
    assert sorted(asked.starts) == [*range(2, 99)]
    assert (asked.starts == asked.judged).all()
    for prompt, start in zip(asked.prompts, asked.starts, strict=True):
        assert prompt.token_ids[prompt.last("year")] == int(asked.years[start])
        assert prompt.text.endswith(prompt.values["century"])
        assert prompt.values["year"] == f"{start:02d}"


def test_the_absent_case_judges_no_prompt_by_its_own_year():
    asked = ask(minnow(), GreaterThanConfig(copies=2, dealt=True))
    assert (asked.starts != asked.judged).all()
    pairs = {*zip(asked.starts.tolist(), asked.judged.tolist(), strict=True)}
    assert len(pairs) == 97


def test_the_law_is_sharp_and_sure_and_a_blind_guess_is_not():
    starts = np.arange(2, 99)
    exact = law(starts)
    assert difference(exact, starts) == pytest.approx(np.ones(97))
    assert sharpness(exact, starts) == pytest.approx(1 / (99 - starts))
    blind = np.tile(exact.mean(0), (97, 1))
    assert 0.4 < difference(blind, starts).mean() < 0.6
    half = exact / 2
    assert difference(half, starts) == pytest.approx(0.5 * np.ones(97))
    assert difference(renormalised(half), starts) == pytest.approx(np.ones(97))


def test_later_years_are_a_contrast_of_all_years():
    asked = ask(minnow(), GreaterThanConfig(copies=1))
    contrast = later_years(asked, 98)
    assert [token for token, _ in contrast.plus] == [int(asked.years[99])]
    assert len(contrast.minus) == YEARS - 1


def test_what_goes_while_a_step_is_held_is_a_share_of_the_distance():
    rows = np.zeros((2, len(COLUMNS)))
    for name, joint in (("nothing", 4.0), ("gates", 1.0), ("norms", -6.0)):
        rows[:, COLUMNS.index(f"joint {name}")] = joint
    shares = {
        n: gone(np.stack([gaps(rows, n).sum(), gaps(rows, "nothing").sum()])[:, None])[0] for n in ("gates", "norms")
    }
    assert shares == {"gates": 0.75, "norms": -0.5}


def test_the_null_of_a_step_holds_another_step_alone_and_never_the_one_under_test():
    rows = np.zeros((6, len(COLUMNS)))
    for name, joint in (("nothing", 4.0), ("gates", 0.5), ("attention", 3.0), ("norms", -3.0)):
        rows[:, COLUMNS.index(f"joint {name}")] = joint
    m = object.__new__(YearsMeasured)  # of which two fields are asked for
    vars(m).update(scales=rows, config=GreaterThanConfig())
    gates, attention = scale_claim(m, "gates"), scale_claim(m, "attention")
    assert (gates.value.value, gates.verdict) == (0.875, "holds")
    assert gates.null.draws == pytest.approx([0.25] * 100), "of attention and of norms, whose signs do not cancel"
    assert "gates" not in gates.null.what
    assert {*np.round(attention.null.draws, 9)} == {0.25, 0.875}
    assert attention.verdict == "fails"


def test_a_kit_that_cannot_answer_is_told_what_it_lacks():
    silent = Kit(models.subject("gpt2", torch.float32, with_tokenizer=False), name="silent")
    with pytest.raises(InputError, match="silent cannot answer greater-than: its model has no tokenizer"):
        GREATER_THAN.run(silent)
    model = models.model("gpt2", torch.float32, vocab_size=257)
    letters = Kit(clew.Subject(model, models.byte_tokenizer(), "letters"), name="letters")
    with pytest.raises(InputError, match="00 is 2 tokens, and years must be tokens of two digits"):
        GREATER_THAN.run(letters)


def test_years_are_a_token_each_in_the_bundled_model():
    tokens = year_tokens(minnow())
    assert minnow().subject.token_strings(tokens[[0, 7, 99]].tolist()) == ("00", "07", "99")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"template": "The {noun} lasted to {XX}"}, r"must have \{XXYY\} and \{XX\} once each"),
        ({"template": "From {XXYY} to {XX} the {noun}"}, r"must end with \{XX\}"),
        ({"template": "It lasted from {XXYY} to {XX}"}, r"must have \{noun\} and no further slot"),
        ({"copies": 0}, "copies is 0: give at least 1"),
        ({"first_century": 19, "last_century": 18}, "centuries 19 to 18"),
    ],
)
def test_mistakes_in_the_settings_are_told(options, words):
    with pytest.raises(InputError, match=words):
        GreaterThanConfig(**options)
