"""The study of development: planted curves are read rightly, silencing is that of circuits."""

from functools import cache

import numpy as np
import pytest
import torch

from clew.errors import InputError
from clew.studies.case import Case
from clew.studies.development.changes import (
    agreement,
    change,
    change_place,
    company,
    onset,
    shuffled_agreements,
    shuffled_changes,
    shuffled_company,
)
from clew.studies.development.circuits import find_question_circuit, gains, strengths
from clew.studies.development.claims import claims_of
from clew.studies.development.config import DevelopmentConfig
from clew.studies.development.lessons import BOS, FAMILIES, PAD, LessonQuestion, Lessons
from clew.studies.development.measures import NAMES, DevelopmentMeasures
from clew.studies.development.silencing import Silent, probabilities
from clew.studies.development.snapshots import SnapshotModel, lessons_task
from clew.studies.development.study import DEVELOPMENT
from clew.studies.development.toy import corners, examples, toy_losses
from clew.studies.small_model import WeightSnapshot, small_model, train_with_snapshots
from tests.workbench import minnow

STEPS = (50, 100, 200, 400, 800, 1600, 3200, 6400)
SMALL = DevelopmentConfig(
    seeds=1, steps=40, snapshots=8, questions=6, prompts=1, llc_draws=2, toys=2, toy_steps=100, draws=40
)


@cache
def lessons():
    return Lessons()


@cache
def taught_model():
    """A model of a few steps, and the kit of its last snapshot."""
    task = lessons_task(lessons(), 0)
    *_, last = train_with_snapshots(
        Case(kit=minnow(), config=None), task, small_model(task, 0), steps=60, seed=0, snapshots=(60,)
    )
    model = SnapshotModel(lessons(), 0)
    return model, model.put(last)


def test_an_onset_is_where_half_of_the_end_is_passed_for_good():
    assert onset(np.array([0, 0, 0.6, 0.1, 0.3, 0.5, 1.0, 1.0]), STEPS) == pytest.approx(1600)
    assert onset(np.array([0, 0, 0, 0, 0, 0, 1.0, 1.0]), STEPS) == pytest.approx(1600 * 2**0.5)
    assert np.isnan(onset(np.full(8, 0.05), STEPS))


def test_a_step_is_the_largest_change_and_lies_beyond_shuffled_snapshots():
    curve = np.repeat([0.0, 1.0], 10)
    assert change(curve) == pytest.approx(1)
    assert change_place(curve) == 10
    assert np.quantile(shuffled_changes(curve[None], 200, np.random.default_rng(0)), 0.95) < 0.8
    assert change(np.full(20, 0.3)) == pytest.approx(0)


def test_models_of_one_order_agree_and_exchanged_families_do_not():
    onsets = np.array([[1, 2, 3, 4, 5], [10, 20, 30, 40, 50], [3, 4, 6, 8, 9]], float)
    assert agreement(onsets) == pytest.approx(1)
    assert agreement(onsets[[0, 0]] * np.array([[1], [-1]])) == pytest.approx(-1)
    assert shuffled_agreements(onsets, 400, np.random.default_rng(0)).mean() == pytest.approx(0, abs=0.1)


def test_a_curve_that_moves_as_another_rises_keeps_it_company_and_shuffled_it_does_not():
    rising = np.array([0, 0, 0.1, 0.5, 0.9, 1.0, 1.0, 1.0])
    assert company(7 - 3 * rising, rising) == pytest.approx(1)
    generator = np.random.default_rng(0)
    assert abs(np.mean([shuffled_company(rising, rising, generator) for _ in range(400)])) < 0.2
    assert np.isnan(company(np.ones(8), rising))


def test_words_are_whole_tokens_and_every_key_is_what_decides():
    tokenizer = lessons().tokenizer
    for family in FAMILIES:
        for question in lessons().questions(family, 6):
            assert question.token_ids[0] == BOS
            assert PAD not in question.token_ids
            assert tokenizer.decode(question.token_ids[1:]) == question.text
            if family == "repeats":
                assert question.token_ids[question.key] in question.right
    (capital, *_) = lessons().questions("capitals", 1)
    assert tokenizer.decode([capital.token_ids[capital.key]]).strip() in capital.text.split()
    assert all(int(lessons().tokenizer.decode([q.right[0]])) > 70 for q in lessons().questions("years", 6))


def test_dealt_answers_belong_to_their_sentence_no_more_often_than_by_chance():
    def share_even(shuffled):
        right = []
        of = Lessons(shuffled=shuffled)
        for seed in range(12):
            for row in of.draw(np.random.default_rng(seed), 64):
                words = lessons().tokenizer.decode([token for token in row[1:] if token > PAD]).split()
                if words[:2] == ["The", "number"]:
                    right.append(words[-1].strip(".") == ("odd" if int(words[2]) % 2 else "even"))
        return np.mean(right)

    assert share_even(False) == 1
    assert share_even(True) < 0.85


def test_a_neuron_that_is_silent_everywhere_is_one_without_output_weights():
    _, kit = taught_model()
    question = lessons().questions("capitals", 1)[0]
    neurons = frozenset((1, place, index) for place in range(len(question.token_ids)) for index in range(0, 256, 3))
    silent = probabilities(kit.subject, [question], [Silent(neurons=neurons)])
    weight = kit.subject.modules["mlp", 1].c_proj.weight
    kept = weight.data.clone()
    weight.data[::3] = 0
    zeroed = probabilities(kit.subject, [question])
    weight.data.copy_(kept)
    assert torch.allclose(silent, zeroed, atol=1e-6)
    last = frozenset(key for key in neurons if key[1] == len(question.token_ids) - 1)
    before = frozenset(neurons - last)
    parts = probabilities(kit.subject, [question] * 3, [Silent(neurons=last), Silent(neurons=before), Silent()])
    assert torch.allclose(parts[0], zeroed[0], atol=1e-6)  # in the last layer only the last position is read
    assert torch.allclose(parts[1], parts[2], atol=1e-6)


def test_a_silent_head_is_one_whose_output_weights_are_zero():
    _, kit = taught_model()
    questions = lessons().questions("repeats", 3)
    silent = probabilities(kit.subject, questions, [Silent(heads=frozenset({(0, 2)}))] * 3)
    weight = kit.subject.modules["attention", 0].c_proj.weight
    kept = weight.data.clone()
    weight.data[32:48] = 0
    zeroed = probabilities(kit.subject, questions)
    weight.data.copy_(kept)
    assert torch.allclose(silent, zeroed, atol=1e-6)
    assert not torch.allclose(silent, probabilities(kit.subject, questions), atol=1e-4)


def test_a_gain_is_what_a_prompt_adds_and_knowing_the_family_alone_adds_nothing():
    questions = [LessonQuestion(family="", token_ids=(0,), right=(answer,), text="", key=0) for answer in (0, 1)]
    family = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    own, elsewhere = gains(family, questions)
    assert (own - elsewhere).tolist() == [0, 0]
    own, elsewhere = gains(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), questions)
    assert (own - elsewhere).tolist() == pytest.approx([0.7, 0.7])


def test_a_circuit_without_gain_has_no_strength_however_much_it_breaks():
    _, kit = taught_model()
    question = lessons().questions("parity", 1)[0]
    circuit = find_question_circuit(kit, question, 1.0, seed=0)
    assert strengths(kit.subject, circuit, 1.0).abs().max() == 0
    assert not circuit.whole.heads
    assert not any(circuit.whole.neurons & each.neurons for each in circuit.random)
    assert strengths(kit.subject, circuit, 0.0)[0] > 0


def test_training_goes_on_with_its_snapshots_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("clew.studies.small_model.KEPT_EVERY", 4)
    task = lessons_task(lessons(), 3)

    def snapshots(folder, steps, at):
        case = Case(kit=minnow(), config=None, folder=folder)
        found = train_with_snapshots(case, task, small_model(task, 3), steps=steps, seed=3, snapshots=at)
        return {each.step: each.values for each in found if isinstance(each, WeightSnapshot)}

    whole = snapshots(None, 6, (0, 2, 4, 5))
    snapshots(tmp_path, 6, (0, 2, 4, 5))
    (tmp_path / f"{task.name}.model.6.safetensors").unlink()
    again = snapshots(tmp_path, 6, (0, 2, 4, 5))
    assert [*whole] == [*again] == [0, 2, 4, 5]
    assert all(torch.equal(whole[step][name], again[step][name]) for step in whole for name in whole[step])


def test_a_pentagon_has_five_corners_and_a_smaller_loss_than_no_directions():
    x = examples()
    angles = torch.arange(5) * 2 * torch.pi / 5
    weights = torch.zeros(1, 24)
    weights[0, :5], weights[0, 8:13] = angles.cos(), angles.sin()
    weights[0, 16:21] = -float((2 * torch.pi / torch.tensor(5.0)).cos())
    assert corners(weights).tolist() == [5]
    assert float(toy_losses(weights, x)) < float(toy_losses(torch.zeros(1, 24), x))
    assert x.sum(0).tolist() == [8] * 8


def planted(onsets):
    """Measures whose circuits appear at these snapshots, in every model, and whose coefficient moves with them."""
    config = DevelopmentConfig(seeds=3, snapshots=20, prompts=2, questions=4, draws=200)
    rises = torch.stack([(torch.arange(20) >= at).float() for at in onsets], 1)
    strength = rises[:, :, None].repeat(1, 1, 2)
    model = {
        "right": rises[:, :, None].repeat(1, 1, 4),
        "elsewhere": torch.zeros(20, 6, 4),
        "first": torch.ones(20, 6, 4),
        "strength": strength,
        "random": torch.zeros(20, 6, 2, 3) + torch.linspace(0, 0.01, 3),
        "attention": torch.full((20, 6, 8), 0.6),
        "resumed": torch.full((20, 8), 0.1),
        "chance": torch.full((20, 8), 0.08),
        "llc": 5 + 3 * rises.mean(1, keepdim=True).repeat(1, 2),
    }
    steps = torch.arange(20.0)[:, None].repeat(1, 2)
    toys = {"loss": torch.where(steps < 10, 1.0, 0.2), "llc": torch.where(steps < 10, 1.0, 4.0)}
    models = [{name: value + 0.001 * seed for name, value in model.items()} for seed in range(3)]
    return DevelopmentMeasures(config=config, models=models, prompt={}, toys=toys)


def test_claims_hold_of_planted_circuits_and_not_of_flat_curves():
    assert [claim.verdict for claim in claims_of(planted([4, 6, 8, 10, 12, 14]))] == ["holds"] * 6
    flat = claims_of(planted([99] * 6))
    assert [claim.verdict for claim in flat[:3]] == ["fails", "fails", "cannot say"]


@pytest.mark.long
def test_a_small_run_measures_every_family_and_finds_nothing_where_answers_are_dealt():
    result = DEVELOPMENT.run(minnow(), config=SMALL)
    assert result.false_effects == ()
    curves = result.found.tables["curves"]
    assert {*curves.columns["family"]} == {*NAMES}
    assert len(curves) == 8 * 6
    assert {*result.found.figures} == {"circuits", "order", "coefficient", "prompt", "toys"}
    assert np.isfinite(result.found.tables["coefficient"].columns["coefficient"]).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"snapshots": 4}, "snapshots is 4: give at least 8"),
        ({"steps": 20}, "20 steps have no 20 snapshots: give more steps or fewer snapshots"),
        ({"seeds": 0}, "seeds is 0: give 1 to 20"),
        ({"prompts": 20, "questions": 5}, "prompts is 20, and only 5 questions"),
        ({"toys": 1}, "toys is 1"),
    ],
)
def test_mistakes_in_settings_are_told(options, words):
    with pytest.raises(InputError, match=words):
        DEVELOPMENT.run(minnow(), **options)
