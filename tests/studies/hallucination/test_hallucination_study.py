"""The study on minnow's features, and the circuit of unknown names in a model that is trained here in seconds."""

from functools import cache

import numpy as np
import pytest
import torch

from clew.kit import Kit
from clew.studies.case import Case
from clew.studies.hallucination.claims import circuit_claim, unknown_claim
from clew.studies.hallucination.study import HALLUCINATION, HallucinationConfig
from clew.studies.hallucination.unknown_names import REFUSAL, UnknownNames, find_circuit
from clew.studies.hallucination.world_measured import UnknownMeasured
from clew.studies.small_model import train_small
from tests.studies.hallucination.test_hallucination_parts import returned
from tests.workbench import minnow

SMALL = HallucinationConfig(names=40, draws=2, features_only=True)


@cache
def result():
    return HALLUCINATION.run(minnow(), config=SMALL, neurons=False)


def test_minnows_features_tell_known_names_and_raise_refusal_and_nothing_is_seen_among_invented_names():
    detection, steering = result().claims
    assert detection.value.value > 0.65
    assert np.mean(detection.null.draws) == pytest.approx(0.5, abs=0.1)
    assert steering.value.value > 0.25
    assert max(steering.null.draws) < 0.13
    assert [claim.verdict for claim in result().absent.claims] == ["fails", "fails"]


def test_what_is_raised_says_a_refusal_and_known_names_are_answered_all_the_same():
    columns = result().tables["refusals"].columns
    refused = dict(zip(zip(columns["names"], columns["model"], strict=True), columns["refused"], strict=True))
    assert refused["known", "with the features raised"] < 0.1 < refused["invented", "with the features raised"]
    raised = [row for row in result().tables["raised"].rows() if row[0] == "raised"]
    assert len(raised) == 40
    assert all(refused > known for _, _, _, refused, known, _ in raised)
    assert any("I don't" in name or 'says "I"' in name for _, _, name, *_ in raised)


@cache
def circuit():
    names = UnknownNames(seed=0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("clew.studies.hallucination.unknown_names.SIZES", (40, 100, 120))
        return _circuit(names)


def _circuit(names):
    *_, kit = train_small(Case(kit=minnow(), config=None), names.task(), steps=300, seed=0)
    assert isinstance(kit, Kit)
    return kit, UnknownMeasured(parts=returned(find_circuit(kit, names, 2)), by_chance=False, seed=0)


def test_a_circuit_that_training_must_have_made_is_found_and_random_neurons_do_not_carry_it():
    _, unknown = circuit()
    assert [unknown_claim(unknown).verdict, circuit_claim(unknown).verdict] == ["holds", "holds"]
    assert float(unknown.parts["right"].mean()) > 0.9
    fitted = unknown.parts["fitted"].mean(1)
    assert float(fitted[-1]) <= 0.05 < float(fitted[-2])


def test_what_is_left_without_a_circuit_is_what_the_model_says_with_these_neurons_at_zero():
    kit, unknown = circuit()
    model, names = kit.subject.model, UnknownNames(seed=0)
    off = unknown.parts["feature"][: unknown.size]

    def silence(module, inputs, output):
        output[:, -1, off] = 0
        return output

    handle = model.transformer.h[0].mlp.act.register_forward_hook(silence)
    try:
        with torch.no_grad():
            ids = torch.from_numpy(names.questions(names.never_seen[:20]))
            said = model(input_ids=ids).logits[:, -1].softmax(-1)[:, REFUSAL]
    finally:
        handle.remove()
    assert torch.allclose(said, unknown.parts["left"][-1][:20], atol=1e-4)


def test_a_corpus_on_the_command_line_is_told_its_singletons(run, tmp_path):
    (tmp_path / "t.txt").write_text("a was b. c was d. a was b.\n" * 3 + "e was f.\n")
    pattern = r"(?P<question>\w+) was (?P<answer>\w+)"
    code, output, _ = run("study", "run", "hallucination", "--corpus", "t.txt", "--pattern", pattern)
    assert code == 0
    assert "below it is vacuous" in " ".join(output.split())
    code, _, error = run("study", "run", "hallucination", "--corpus", "t.txt")
    assert code == 2
    assert "give --pattern too" in error
