"""`clew edit` as a user meets it: what an edit changes, the text that follows, and one clear line for every mistake."""

import json
from dataclasses import replace

import pytest
import torch

import clew
from clew import Edit
from clew.intervention.edit import load_edits, save_edits

PROMPT = "You find Lyon in"
ITALY = ("edit", PROMPT, "--set", "L0/447@4=12")


@pytest.fixture(scope="module")
def kit():
    return clew.load("minnow")


def row(out, start):
    """The numbers of the first line that starts so."""
    line = next(line for line in out.splitlines() if line.startswith(start))
    return [float(word) for word in line[len(start) :].split() if word.replace(".", "").isdecimal()]


def test_one_feature_moves_lyon_to_italy(run, kit):
    code, out, err = run(*ITALY, "--generate", 5)
    assert (code, err) == (0, "")
    france, italy = row(out, "' France'"), row(out, "' Italy'")
    assert france[0] > 0.99 > 0.4 > france[2]
    assert italy[0] < 0.01 < 0.5 < italy[2]
    assert "set L0/447@4=12" in out
    assert "MLP output of layer 0 clamped" in " ".join(out.split())
    assert "Predicted by effects" in out
    assert "Predicted by the frozen model" in run(*ITALY, "--predict", "frozen")[1]
    assert row(out, "L0/447@4   ' in'") == [0.0, 12.0, 12.0]
    assert out.rstrip().splitlines()[-1].split() == ["France.", "■", "Italy.", "■"]
    effect = kit.edit(PROMPT, [Edit.set("L0/447@4", 12.0)])
    found = {i: (before, predicted, measured) for i, before, predicted, measured in effect.top_tokens()}
    assert italy[:3] == pytest.approx(found[kit.subject.token_ids(" Italy")[0]], abs=1e-4)


def test_json_says_what_the_library_says(run, kit):
    edits = [Edit.ablate("L1/78@4"), Edit.scale("L0/836", 3.0), Edit.add("L2/5@3,4", 0.5), Edit.steer("L1/140:L3", 2.0)]
    arguments = [word for edit in edits for word in (f"--{edit.verb}", edit.written)]
    code, out, err = run("edit", PROMPT, *arguments, "--through", 4, "--json")
    assert (code, err) == (0, "")
    value, effect = json.loads(out), kit.edit(PROMPT, edits, through=4)
    assert {Edit.from_json(one) for one in value["edits"]} == set(edits)
    assert (value["through"], value["prediction"], value["n_changed"]) == (4, "effects", len(effect.changes))
    for shown, (token, *numbers) in zip(value["outputs"], effect.top_tokens(), strict=True):
        assert shown["token"] == kit.subject.token_strings([token])[0]
        assert [shown["before"], shown["predicted"], shown["measured"]] == pytest.approx(numbers, abs=1e-6)
    for shown, change in zip(value["changes"], effect.changes, strict=False):
        assert shown["feature"] == str(change.node)
        assert shown["measured"] == pytest.approx(change.measured, abs=1e-4)
        assert [shown["label"]] == list(kit.names([change.node.feature]).values())


def test_generated_texts_are_those_of_the_library(run, kit):
    options = ("--generate", 12, "--temperature", 1.5, "--top-p", 0.9, "--seed", 3)
    code, out, _ = run("edit", PROMPT, "--steer", "L1/140@generated=8", *options, "--json")
    value = json.loads(out)
    assert code == 0
    assert "outputs" not in value  # before anything is generated, nothing is edited
    sampling = {"tokens": 12, "temperature": 1.5, "top_p": 0.9, "seed": 3}
    for name, edits in (("default", []), ("edited", [Edit.steer("L1/140@generated", 8.0)])):
        steps = list(kit.generate(PROMPT, edits, **sampling))
        made = value["generated"][name]
        assert [token["id"] for token in made["tokens"]] == [step.token_id for step in steps]
        assert made["text"] == "".join(step.text for step in steps)
        assert made["end"] == steps[-1].end


def test_the_prompts_part_of_edits_is_measured_as_generation_sees_it(run, kit):
    """The first generated token is drawn from what the table shows, also where a later edit clamps a later layer."""
    edits = ("--set", "L0/447@4,6=12", "--set", "L3/5@generated=2")
    value = json.loads(run("edit", PROMPT, *edits, "--generate", 3, "--json")[1])
    assert value["through"] == 3
    first = value["generated"]["edited"]["tokens"][0]
    shown = {one["token"]: one["measured"] for one in value["outputs"]}
    assert shown[first["text"]] == pytest.approx(first["probability"], abs=1e-5)


def test_edits_are_saved_and_read_again(run, kit, tmp_path):
    assert run(*ITALY, "--steer", "L1/78@generated=2", "--generate", 2, "--save-edits", "e.json")[0] == 0
    saved = (Edit.set("L0/447@4", 12.0), Edit.steer("L1/78@generated", 2.0))
    assert load_edits(tmp_path / "e.json", kit.dictionary) == saved
    value = json.loads(run("edit", PROMPT, "--edits", "e.json", "--ablate", "L1/78", "--generate", 2, "--json")[1])
    assert [Edit.from_json(one) for one in value["edits"]] == [*saved, Edit.ablate("L1/78")]


def test_steering_says_that_nothing_is_clamped(run):
    code, out, _ = run("edit", PROMPT, "--steer", "L0/447@4=10")
    assert code == 0
    assert "nothing clamped" in out
    assert row(out, "' Italy'")[2] > 0.3


def test_several_clamped_layers_are_named(run):
    out = run("edit", PROMPT, "--ablate", "L1/78@4", "--through", 3)[1]
    assert "layers 1 to 3 clamped" in " ".join(out.split())


def test_an_edit_that_changes_no_feature_says_so(run):
    code, out, _ = run("edit", PROMPT, "--scale", "L1/78=1")
    assert code == 0
    assert "No feature changed" in out


def test_a_full_context_is_said(run):
    out = run("edit", PROMPT, "--steer", "L1/78=1", "--generate", 500, "--temperature", 3, "--seed", 1)[1]
    assert "■" in out or "the context is full" in " ".join(out.split())


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((PROMPT,), ("no edit", "--ablate")),
        ((), ("give a prompt",)),
        (("", "--ablate", "L1/78"), ("empty",)),
        ((PROMPT, "--ablate", "1207"), ("'1207' is not a feature",)),
        ((PROMPT, "--ablate", "L9/1"), ("no layer 9", "0..5")),
        ((PROMPT, "--ablate", "L1/99999"), ("features 0..1982",)),
        ((PROMPT, "--ablate", "L1/78@5"), ("position 5", "5 tokens")),
        ((PROMPT, "--ablate", "L1/78@0"), ("position 0", "left out")),
        ((PROMPT, "--ablate", "L1/78@-1"), ("'-1' are no positions",)),
        ((PROMPT, "--ablate", "L1/78@30", "--generate", "5"), ("position 30", "5 generated")),
        ((PROMPT, "--ablate", "L1/78@generated"), ("no token is generated",)),
        ((PROMPT, "--ablate", "L1/78", "--set", "L1/78@4=2"), ("contradict",)),
        ((PROMPT, "--ablate", "L1/78@generated", "--set", "L1/78=2", "--generate", "5"), ("contradict",)),
        ((PROMPT, "--set", "L1/78=nan"), ("nan", "finite")),
        ((PROMPT, "--scale", "L1/78=x"), ("'x' is not a number",)),
        ((PROMPT, "--steer", "L3/1:L2=4"), ("writes to layers 3..5",)),
        ((PROMPT, "--ablate", "L3/1", "--through", "2"), ("through=2", "3..5")),
        ((PROMPT, "--ablate", "L3/1", "--through", "6"), ("through=6", "3..5")),
        ((PROMPT, "--steer", "L3/1=2", "--through", "4"), ("steering clamps nothing",)),
        ((PROMPT, "--ablate", "L3/1", "--generate", "0"), ("at least one",)),
        ((PROMPT, "--ablate", "L3/1", "--temperature", "1"), ("--generate",)),
        ((PROMPT, "--ablate", "L3/1", "--generate", "3", "--temperature", "nan"), ("temperature=nan",)),
        ((PROMPT, "--ablate", "L3/1", "--generate", "3", "--top-p", "2"), ("top_p=2",)),
        ((PROMPT, "--ablate", "L3/1", "--chat"), ("chat template",)),
        ((PROMPT, "--edits", "none.json"), ("none.json",)),
        ((PROMPT, "--ablate", "L1/78", "--kit", "whale"), ("whale",)),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(run, tmp_path, arguments, words):
    code, out, err = run("edit", *arguments, "--save-edits", "saved.json")
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1, err
    for word in words:
        assert word in err
    assert list(tmp_path.iterdir()) == []


def test_broken_and_foreign_files_of_edits_are_refused(run, kit, tmp_path):
    path = tmp_path / "e.json"
    layer = kit.dictionary.layers[0]
    other = replace(
        kit.dictionary,
        layers={
            **kit.dictionary.layers,
            0: layer.with_tensors({**layer.tensors(), "bias": torch.zeros_like(layer.bias)}),
        },
    )
    save_edits(path, [Edit.ablate("L1/78")], other)
    whole = path.read_text()
    cases = ((whole, "other meanings"), (whole[:-20], "JSON"), ('{"format": "clew.kit"}', "holds no edits"))
    for text, word in cases:
        path.write_text(text)
        code, out, err = run("edit", PROMPT, "--edits", path)
        assert (code, out) == (2, "")
        assert len(err.strip().splitlines()) == 1
        assert word in err
    save_edits(path, [], kit.dictionary)
    code, _, err = run("edit", PROMPT, "--edits", path)
    assert code == 2
    assert "no edit" in err
