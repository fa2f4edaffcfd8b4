"""`clew.evaluate` gives what `clew eval` prints, for a run, a dictionary in memory, or a kit's own."""

import json

import pytest
import torch

import clew
from clew.errors import FileError, InputError
from tests import models
from tests.runs.test_train import SETTINGS, WORDS


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a tiny model, some text, and a finished run on them."""
    folder = tmp_path_factory.mktemp("evaluate")
    models.model("llama", torch.float32).save_pretrained(folder / "llama")
    models.tokenizer().save_pretrained(folder / "llama")
    (folder / "text.txt").write_text("\n".join(WORDS))
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        list(clew.train("L", model="llama", text="text.txt", **SETTINGS))
    return folder


def test_a_run_is_measured_as_the_command_line_does(run, trained, monkeypatch):
    monkeypatch.chdir(trained)
    seen = []
    assessments = clew.evaluate("L", null_steps=5, count=2, by_layer=False, report=seen.append)
    assert [a.name for a in assessments] == ["clt of llama", "untrained clt", "clt of llama with random weights"]
    code, out, err = run("eval", trained / "L", "--null-steps", "5", "--count", "2", "--no-by-layer", "--json")
    assert code == 0, err
    assert json.loads(out) == [a.to_json() for a in assessments]
    assert [p.of for p in seen if p.what == "training on shuffled weights" and not p.done] == [5]
    assert {"rows", "prompts", "steps"} == {p.unit for p in seen}


def test_a_dictionary_in_memory_is_measured_on_prompts_and_text_of_ones_own(trained, monkeypatch):
    monkeypatch.chdir(trained)
    subject, dictionary = clew.Subject.load("llama"), clew.Dictionary.load("L/dictionary")
    text = {"text": "text.txt", "held_out": 300, "buffer": 1024}
    first, untrained = clew.evaluate(dictionary, subject=subject, prompts=["w1 w2 w3"], nulls=False, **text)
    assert first.scores.prompts == 1
    assert first.evaluation.positions == untrained.evaluation.positions >= 300
    assert first.evaluation.kl == clew.evaluate("L/dictionary", nulls=False, count=0, by_layer=False)[0].evaluation.kl


def test_wrong_settings_are_refused(trained, monkeypatch):
    monkeypatch.chdir(trained)
    with pytest.raises(InputError, match="--count is -3"):
        clew.evaluate("L", count=-3)
    with pytest.raises(FileError):
        clew.evaluate("missing", model="llama", text="text.txt")
    with pytest.raises(TypeError, match="unexpected keyword argument 'layers'"):
        clew.evaluate("L", layers=True)


def test_hops_skipped_stand_beside_their_null_where_neurons_are_exact():
    kit = clew.load("minnow")
    settings = {"held_out": 400, "buffer": 2048, "nulls": False, "by_layer": False, "count": 3}
    ours, untrained = clew.evaluate(None, kit="minnow", **settings)
    assert ours.hops.prompts == 3
    assert ours.hops.null.value < ours.hops.share.value < 0.5
    neurons = clew.evaluate(clew.Dictionary.from_neurons(kit.subject), kit="minnow", **settings)[0]
    assert neurons.hops.share.value == pytest.approx(0, abs=1e-6)
    plain = json.loads(json.dumps(ours.to_json()))["hop_skipping"]
    assert plain == {"prompts": 3, "share": list(ours.hops.share), "null": list(ours.hops.null)}
    assert untrained.hops is not None
    assert ours.truth.prompts == 3
    assert ours.truth.best.value > 0.8 > ours.truth.best_null
    assert ours.truth.each.value > ours.truth.each_null


def test_a_plt_skips_no_hop_and_nothing_is_traced_to_find_that_out(trained, monkeypatch):
    """`tests/intervention/test_hop_skipping.py` computes the same zeros."""
    monkeypatch.chdir(trained)
    monkeypatch.setattr("clew.runs.evaluate.skipped", lambda *arguments: pytest.fail("computed"))
    subject = clew.Subject.load("llama")
    plt, text = models.dictionary("plt", subject), {"text": "text.txt", "held_out": 300, "buffer": 1024}
    hops = clew.evaluate(plt, subject=subject, prompts=["w1 w2 w3"], nulls=False, by_layer=False, **text)[0].hops
    assert (hops.prompts, list(hops.share), list(hops.null)) == (1, [0, 0, 0], [0, 0, 0])
    skipping = models.dictionary("skip-plt", subject)
    with pytest.raises(pytest.fail.Exception, match="computed"):
        clew.evaluate(skipping, subject=subject, prompts=["w1 w2 w3"], nulls=False, by_layer=False, **text)


def test_a_model_whose_neurons_are_no_dictionary_has_no_hops(trained, monkeypatch):
    monkeypatch.chdir(trained)
    subject, text = models.subject("gpt_oss", torch.float32), {"text": "text.txt", "held_out": 300, "buffer": 1024}
    clt = models.dictionary("clt", subject)
    first = clew.evaluate(clt, subject=subject, prompts=["w1 w2", "w3"], nulls=False, by_layer=False, **text)[0]
    assert first.scores.prompts == 2
    assert first.hops is None
    assert first.to_json()["hop_skipping"] is None
