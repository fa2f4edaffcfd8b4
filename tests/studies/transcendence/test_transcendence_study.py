"""The study of transcendence: spread errors are outvoted, errors that agree are not, and both are told apart."""

from functools import cache

import numpy as np
import pytest
import torch

import clew
from clew.errors import InputError
from clew.kit import Kit
from clew.studies.leakage.prompts import all_pairs, items
from clew.studies.transcendence.claims import better_than_experts, temperature_helps, votes_with_experts
from clew.studies.transcendence.experts import drawn_experts, planted, vote_accuracy, votes
from clew.studies.transcendence.groups import planted_group, world_group
from clew.studies.transcendence.study import TRANSCENDENCE, TranscendenceConfig
from tests import models
from tests.workbench import minnow

SMALL = TranscendenceConfig(names=2, questions=40, steps=200)


@cache
def result():
    return TRANSCENDENCE.run(minnow(), config=SMALL)


def group(*, agree, sharp=1.0):
    """Planted experts, and a model that answers by their law exactly, or sharper."""
    experts = planted(200, 9, agree=agree, seed=0)
    powers = experts.law**sharp
    return planted_group(experts, 0.9 * powers / powers.sum(1, keepdims=True), agree=agree)


def verdicts(of):
    return [each.verdict for each in (better_than_experts(of), temperature_helps(of, 50, 0), votes_with_experts(of))]


def test_a_model_of_experts_whose_errors_are_spread_is_better_than_each_and_where_they_agree_it_is_not():
    assert verdicts(group(agree=False)) == ["holds", "holds", "holds"]
    assert verdicts(group(agree=True))[:2] == ["fails", "fails"]


def test_a_model_that_answers_by_chance_is_better_than_nobody():
    experts = planted(200, 9, agree=False, seed=0)
    flat = planted_group(experts, np.full((200, 12), 1 / 12), agree=False)
    assert verdicts(flat) == ["fails", "fails", "fails"]


@pytest.mark.parametrize("agree", [False, True])
def test_planted_experts_are_right_as_often_whether_their_errors_agree_or_not(agree):
    experts = planted(200, 9, agree=agree, seed=3)
    right = (experts.answers == experts.right).mean(1)
    assert right == pytest.approx(np.linspace(0.5, 0.8, 9), abs=0.003)
    assert experts.law.sum(1) == pytest.approx(1)


def test_a_vote_beats_every_expert_only_where_errors_are_spread():
    generator = np.random.default_rng(0)
    for agree, low, high in ((False, 0.95, 1.0), (True, 0.6, 0.7)):
        experts = planted(200, 9, agree=agree, seed=0)
        assert low <= vote_accuracy(experts.answers, experts.right, 9, 1, generator) <= high
        alone = vote_accuracy(experts.answers, experts.right, 1, 60, generator)
        assert alone == pytest.approx(0.65, abs=0.04)


def test_a_vote_is_that_of_a_plain_count_and_equals_share():
    answers = np.array([[0, 1, 2], [0, 1, 1], [1, 0, 0]])
    assert votes(answers, 3).tolist() == [[1, 0, 0], [0, 1, 0], [1 / 3, 1 / 3, 1 / 3]]


def test_drawn_experts_answer_by_the_law():
    law = np.array([[0.8, 0.1, 0.1], [0.0, 0.5, 0.5]])
    drawn = drawn_experts(law, 20_000, np.random.default_rng(0))
    shares = np.stack([np.bincount(column, minlength=3) for column in drawn.T]) / 20_000
    assert shares == pytest.approx(law, abs=0.02)


def test_in_the_world_every_expert_is_right_as_often_as_the_law_says():
    pairs = all_pairs(minnow(), "world")
    asked = items(minnow(), ("Anna", "Tom"), "associated", "taught")
    by_kind = {pair.kind: pair for pair in pairs}
    said = np.stack([by_kind[item.kind].law["associated"][item.concept] for item in asked])
    of = world_group("taught", asked, said, pairs, experts=50, agree=False, seed=0)
    assert of.best == pytest.approx(0.8 + 0.2 / 12)
    assert np.mean(of.expert_accuracies) == pytest.approx(of.best, abs=0.02)
    assert of.accuracy(1.0).value == pytest.approx(of.best)
    assert of.accuracy(0.0).value == 1.0
    dealt = world_group("taught", asked, said, pairs, experts=50, agree=True, seed=0)
    assert (dealt.right != of.right).all()
    assert better_than_experts(dealt).verdict == "fails"


def test_accuracy_at_a_temperature_is_that_of_answers_that_are_drawn():
    of = group(agree=False)
    powers = of.answers ** (1 / 0.7)
    powers /= powers.sum(1, keepdims=True)
    drawn = drawn_experts(powers, 2000, np.random.default_rng(0))
    assert (drawn == of.right).mean() == pytest.approx(of.accuracy(0.7).value, abs=0.01)


def test_minnow_and_a_taught_model_are_better_than_their_experts_and_nothing_is_seen_where_errors_agree():
    assert [claim.verdict for claim in result().claims[:3]] == ["holds"] * 3
    assert result().claims[3].verdict == "holds"
    assert result().false_effects == ()
    assert {*result().figures} == {"temperatures", "votes"}


def test_a_kit_whose_tokenizer_cuts_the_worlds_words_is_told_what_is_needed():
    kit = Kit(clew.Subject(models.model("gpt2", torch.float32, vocab_size=257), models.byte_tokenizer(), "bytes"))
    with pytest.raises(InputError, match=r"cannot answer transcendence: .* must be one token each"):
        TRANSCENDENCE.run(kit)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"names": 1}, "names is 1: give 2 to 20"),
        ({"questions": 5}, "questions is 5"),
        ({"experts": 2}, "experts is 2"),
        ({"steps": -1}, "steps is -1"),
    ],
)
def test_mistakes_in_settings_are_told(options, words):
    with pytest.raises(InputError, match=words):
        TRANSCENDENCE.run(minnow(), **options)
