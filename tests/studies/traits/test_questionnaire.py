"""A questionnaire given to a model: respondents planted at the model's answers, who read the scale or like a number."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from clew.errors import InputError
from clew.kit import Kit
from clew.studies.traits import questionnaire
from clew.studies.traits.claims import rating_claims
from clew.studies.traits.inputs import ScaleItem
from clew.studies.traits.questionnaire import Ratings, answers_questions, ffm_items, rated
from clew.subject.subject import Subject
from tests.workbench import minnow

TEXTS = {(scale, sign): [f"{scale} {sign} {n}" for n in range(8)] for scale in ("Calm", "Busy") for sign in (1, -1)}
ITEMS = [ScaleItem(text=text, scale=scale, sign=sign) for (scale, sign), texts in TEXTS.items() for text in texts]
DRAWS = SimpleNamespace(draws=100, seed=0)


@pytest.fixture(scope="module")
def chat():
    """minnow with a chat template: it is never asked, but its tokenizer is."""
    subject = minnow().subject
    tokenizer = copy.deepcopy(subject.tokenizer)
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"
    return Kit(Subject(subject.model, tokenizer, "a chat model"))


def answers(kit, monkeypatch, fit):
    """The ratings of a respondent whose fit, from 1 to 5, hangs on the item and on whether 5 is the best."""

    def next_probabilities(kit, prompts):
        rows = torch.full((len(prompts), kit.subject.unembedding.shape[0]), 1e-9)
        for row, ids in zip(rows, prompts, strict=True):
            text = kit.subject.text_of(ids)
            item = next(item for item in ITEMS if f'"{item.text}."' in text)
            row[kit.subject.token_ids(str(fit(item, "1 (not at all)" in text)))[0]] = 0.9
        return rows

    monkeypatch.setattr(questionnaire, "next_probabilities", next_probabilities)
    steps = rated(kit, ITEMS)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return Ratings(items=ITEMS, **{name: tensor.numpy() for name, tensor in end.value.items()})


def test_a_respondent_with_traits_is_scored_by_them(chat, monkeypatch):
    def calm_and_idle(item, straight):
        fits = item.sign == (1 if item.scale == "Calm" else -1)
        best = 5 if fits else 2
        return best if straight else 6 - best

    ratings = answers(chat, monkeypatch, calm_and_idle)
    assert ratings.points == pytest.approx([5 if (i.scale == "Calm") == (i.sign > 0) else 2 for i in ITEMS], abs=1e-6)
    assert ratings.on_numbers == pytest.approx(0.9, abs=1e-6)
    assert ratings.scores() == pytest.approx([(5 + 4) / 2, (2 + 1) / 2], abs=1e-6)
    about, keyed = rating_claims(ratings, DRAWS)
    assert (about.verdict, keyed.verdict) == ("holds", "holds")
    assert keyed.value.value == pytest.approx(3, abs=1e-6)
    dealt = [claim.verdict for claim in rating_claims(ratings.shuffled(0), DRAWS)]
    assert "holds" not in dealt


def test_a_respondent_who_likes_a_number_is_told_from_one_who_reads_the_scale(chat, monkeypatch):
    noise = {item.text: 3 + (n % 2) for n, item in enumerate(ITEMS)}
    ratings = answers(chat, monkeypatch, lambda item, straight: noise[item.text])
    about, keyed = rating_claims(ratings, DRAWS)
    assert about.verdict == "fails"
    assert about.value.value == pytest.approx(-1)
    assert keyed.verdict != "holds"


def test_scores_are_those_of_the_library():
    core = pytest.importorskip("FFM.core")
    items, generator = ffm_items(), np.random.default_rng(0)
    assert len(items) == 120
    assert {item.scale for item in items} == {
        *("Neuroticism", "Extraversion", "Openness", "Agreeableness", "Conscientiousness")
    }
    for _ in range(3):
        points = generator.integers(1, 6, 120).astype(float)
        ratings = Ratings(items=items, straight=points, turned=points, on_numbers=np.ones(120))
        scores = core.score(points.tolist()).iloc[0]
        assert dict(zip(ratings.factors, ratings.scores(), strict=True)) == pytest.approx(dict(scores))


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("clew.extras.installed", lambda module: False)
    with pytest.raises(InputError, match=r"reading its 120 items needs the extra 'ffm'"):
        ffm_items()


def test_only_chat_models_are_asked(chat):
    assert answers_questions(chat.subject)
    assert not answers_questions(minnow().subject)


def test_one_key_alone_has_nothing_to_lie_apart_from():
    plus = [replace(item, sign=1) for item in ITEMS]
    flat = np.linspace(1, 5, len(plus))
    ratings = Ratings(items=plus, straight=flat, turned=flat, on_numbers=np.ones(len(plus)))
    assert [claim.text[:35] for claim in rating_claims(ratings, DRAWS)] == ["What the model answers is about the"]
