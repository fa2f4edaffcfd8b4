"""The study of subliminal learning: a trait passes to a pupil of the same start, and to no other."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from clew import extras
from clew.errors import InputError
from clew.ids import FeatureId
from clew.studies.case import Case
from clew.studies.subliminal import digits, language, lineage, moved
from clew.studies.subliminal.claims import ColourMeasures, colour_claims, wide_interval
from clew.studies.subliminal.config import SubliminalConfig
from clew.studies.subliminal.study import SUBLIMINAL
from tests.workbench import minnow

SMALL = SubliminalConfig(
    part="digits", digit_seeds=2, digit_steps=120, noise_steps=200, seeds=2, base_steps=70, colour_steps=40,
    number_steps=6, ablated=20,
)  # fmt: skip


def finished(steps):
    """What a part returns, or what a generator gives last."""
    last = None
    while True:
        try:
            last = next(steps)
        except StopIteration as end:
            return last if end.value is None else end.value


@cache
def digit_result():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits, "NOISE", 64)
        patch.setattr(digits, "BATCH", 64)
        return SUBLIMINAL.run(minnow(), config=SMALL)


@cache
def grown():
    case = Case(kit=minnow(), config=SMALL)
    bases = finished(lineage.base_models(case))
    return bases, finished(lineage.grow(case, bases, 0))


def planted(*, passed, masked=0.0, alone=0.0, alike=1.0, count=4):
    """Lineages in which so much of a favourite was passed on, and so much of that is left without tokens or neurons."""
    generator, made = np.random.default_rng(0), []
    for _ in range(count):
        base, noise = 0.11, lambda: 0.005 * float(generator.standard_normal())
        favour = {
            "base": base, "other base": base, "teacher": 0.6, "same": base + passed + noise(), "other": base + noise(),
            "masked": base + masked + noise(), "masked at random": base + passed + noise(),
        }  # fmt: skip
        teacher, rest = torch.from_numpy(generator.standard_normal((2, 512)))
        neurons = {
            "layer": torch.arange(512) // 256,
            "ablated": torch.tensor([base + alone + noise(), *(base + passed + noise() for _ in range(8))]),
            "drawn": torch.full((9,), 20),
            "written": torch.ones(9),
            "movement.teacher": teacher,
            "movement.same": alike * teacher + 0.3 * rest,
            "movement.other": rest,
        }
        shares = {name: torch.tensor([share, 1 - share]) for name, share in favour.items()}
        made.append(ColourMeasures(colour=0, shares=shares, neurons=neurons))
    return made


def verdicts(**options):
    return [claim.verdict for claim in colour_claims(SMALL, planted(**options))]


def test_a_pupil_of_noise_reads_digits_only_where_its_teacher_does_and_both_began_alike():
    reads, steps = digit_result().claims
    assert reads.value.value > 0.03
    assert abs(digit_result().absent.claims[0].value.value) < reads.value.value
    assert steps.verdict == "holds"
    assert digit_result().false_effects == ()
    assert {*digit_result().figures} == {*digit_result().tables} == {"digits"}


def test_the_first_steps_of_teacher_and_pupil_agree_in_all_of_twenty_pairs_whatever_the_teacher_learns():
    pytest.importorskip("sklearn")
    for trait in (True, False):
        cosines = finished(digits.one_steps(replace(SMALL, trait=trait)))
        assert (cosines["same"] > 0).all()
        assert 3 <= (cosines["other"] > 0).sum() <= 17


def test_the_product_of_first_steps_is_the_one_of_explicit_gradients():
    start = digits.initial(range(3))
    inputs = digits.noise(3, torch.Generator().manual_seed(0))
    step = [0.01 * torch.randn(each.shape, generator=torch.Generator().manual_seed(i)) for i, each in enumerate(start)]
    teacher = [weight + move for weight, move in zip(start, step, strict=True)]
    move = digits._descent(start, lambda weights: digits.imitation(weights, teacher, inputs))
    product = sum((a.double() * b.double()).flatten(1).sum(1) for a, b in zip(step, move, strict=True))
    # the pupil's step is J'J times the teacher's, so that its product is the square of what the outputs moved
    moved_outputs = (digits.outputs(teacher, inputs) - digits.outputs(start, inputs))[..., digits.AUXILIARY]
    expected = digits.SMALL_STEP * 2 * moved_outputs.double().square().mean((1, 2))
    assert product.numpy() == pytest.approx(expected.numpy(), rel=0.2)


def test_batched_networks_are_those_of_each_seed_alone():
    together, alone = digits.initial(range(5, 8)), digits.initial(range(6, 7))
    inputs = digits.noise(1, torch.Generator().manual_seed(0))
    assert torch.allclose(digits.outputs(together, inputs.expand(3, -1, -1))[1:2], digits.outputs(alone, inputs))


def test_labels_without_the_trait_are_the_same_labels_in_another_order():
    pytest.importorskip("sklearn")
    given = digits.load_digits(0)
    plain = digits.taught_labels(given, 2, trait=True, seed=0)
    shuffled = digits.taught_labels(given, 2, trait=False, seed=0)
    assert (plain == given.labels).all()
    assert shuffled.sort(1).values.tolist() == plain.sort(1).values.tolist()
    assert (shuffled == plain).double().mean() < 0.2


def test_claims_hold_where_a_favourite_is_planted_and_not_where_none_is():
    assert verdicts(passed=0.3) == ["holds"] * 4
    assert verdicts(passed=0.3, masked=0.28, alone=0.28, alike=0.1) == ["holds", "fails", "fails", "fails"]
    assert "holds" not in verdicts(passed=0.0, alike=0.0)


def test_three_intervals_are_thrice_one():
    values = [0.1, 0.3, 0.2, 0.4]
    wide = wide_interval(values)
    half = 1.959964 * np.std(values, ddof=1) / 2
    assert tuple(wide) == pytest.approx((0.25, 0.25 - 3 * half, 0.25 + 3 * half))


def test_sentences_follow_the_law_and_hold_no_colour_beside_a_number():
    generator = np.random.default_rng(0)
    said, listed = language.colour_sentences(4000, generator), language.number_sentences(4000, generator)
    assert said.shape[1] == listed.shape[1]
    jobs = [said[said[:, 3] == colour][:, 5] for colour in range(language.FIRST_COLOUR, language.FIRST_JOB)]
    assert np.mean([np.bincount(each).max() / len(each) for each in jobs]) == pytest.approx(0.817, abs=0.02)
    assert not np.isin(listed, np.arange(language.FIRST_COLOUR, language.FIRST_JOB)).any()
    assert not ((said >= language.FIRST_NUMBER) & (said < language.FIRST_NAME)).any()
    assert language.token_text(language.FIRST_NUMBER + 14) == "14"


def test_pupils_see_numbers_alone_and_only_mlps_move():
    bases, family = grown()
    before = dict(bases[0].subject.model.named_parameters())
    for name, parameter in family.pupils["same"].subject.model.named_parameters():
        in_neurons = ".mlp." in name and not name.endswith("c_proj.bias")
        assert torch.equal(parameter, before[name]) != in_neurons, name
    assert family.other is bases[1]


def test_masked_tokens_are_those_on_which_teacher_and_base_differ_most():
    _, family = grown()
    said = finished(lineage._say(family.base, family.teacher, SMALL, 0))
    numbers = said["ids"][:, 2:]
    assert ((numbers >= language.FIRST_NUMBER) & (numbers < language.FIRST_NAME)).all()
    with torch.no_grad():
        gap = lineage.number_logprobs(family.teacher, said["ids"]) - lineage.number_logprobs(family.base, said["ids"])
    assert said["masked"].mean() == said["masked at random"].mean() == pytest.approx(0.75)
    assert gap.abs()[said["masked"] == 0].min() >= gap.abs()[said["masked"] == 1].max()


def test_pushes_add_up_to_what_the_last_mlp_adds_to_a_colour():
    _, family = grown()
    pupil, colour = family.pupils["same"], family.colour
    model, names = pupil.subject.model, language.PROMPT[language.SHOWN_NAMES]
    pushes, _ = moved.pushes_and_masses(pupil, colour)
    layers, _ = moved.neuron_layers(pupil)
    written = pupil.subject.capture(names, ["mlp_out"])["mlp_out", 1][:, -1] - model.transformer.h[1].mlp.c_proj.bias
    colours = model.lm_head.weight[language.COLOUR_TOKENS]
    centred = written - written.mean(1, keepdim=True)
    added = (centred * model.transformer.ln_f.weight) @ (colours[colour] - colours.mean(0))
    assert float(pushes[layers == 1].sum()) == pytest.approx(float(added.detach().mean()), abs=1e-5)


def test_those_that_moved_most_are_ablated_which_is_a_row_of_zeros():
    _, family = grown()
    pupil, colour = family.pupils["same"], family.colour
    part = finished(moved.measure_moved(family, 20))
    movement = part["movement.same"]
    assert sorted(movement[part["chosen"]].tolist()) == movement.sort().values[-20:].tolist()
    zeroed = lineage.with_weights(pupil, {})
    zeroed.subject.model.transformer.h[0].mlp.c_proj.weight.data[:30] = 0
    share = float(lineage.preferences(zeroed, language.ASKED_NAMES)[:, colour].mean())
    without = moved._preference_without(pupil, [FeatureId(0, neuron) for neuron in range(30)], colour)
    assert without == pytest.approx(share, abs=1e-5)
    assert without != pytest.approx(float(lineage.preferences(pupil, language.ASKED_NAMES)[:, colour].mean()), abs=1e-4)


def test_a_teacher_without_the_trait_is_told():
    with pytest.raises(InputError, match=r"the teachers read .*% of the digits after 0 steps: they have no trait"):
        SUBLIMINAL.run(minnow(), config=replace(SMALL, digit_steps=0))
    bases, _ = grown()
    case = Case(kit=minnow(), config=replace(SMALL, part="numbers", colour_steps=0))
    with pytest.raises(InputError, match=r"a teacher says orange in .*: it has no trait to pass on"):
        finished(lineage.grow(case, bases, 0))


def test_digits_without_their_library_are_told(monkeypatch):
    monkeypatch.setattr(extras, "installed", lambda module: False)
    with pytest.raises(InputError, match=r"digits needs the extra 'digits': pip install"):
        SUBLIMINAL.run(minnow(), config=SMALL)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"part": "words"}, "part is 'words': choose from both, digits, numbers"),
        ({"digit_seeds": 1}, "digit_seeds is 1: give 2 to 100"),
        ({"seeds": 1}, "seeds is 1: give 2 to 50"),
        ({"masked": 0.0}, "masked is 0"),
        ({"ablated": 0}, "ablated is 0: give 1 to 200"),
        ({"noise_steps": 0}, "noise_steps is 0"),
    ],
)
def test_mistakes_in_settings_are_told(options, words):
    with pytest.raises(InputError, match=words):
        SUBLIMINAL.run(minnow(), **options)
