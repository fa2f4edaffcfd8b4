"""`clew study` as a user meets it."""

import json

import pytest
import torch

from clew.cli.kits import KitOptions
from clew.cli.study.run import _command
from clew.kit import Kit
from clew.studies.result import Result
from tests import models
from tests.toy_study import TOY, tiny_kit

SMALL = ("--names", "2", "--features", "4", "--draws", "2", "--no-neurons")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from clew.studies.catalogue import study
    from tests.workbench import minnow

    folder = tmp_path_factory.mktemp("studies") / "leakage"
    study("leakage").run(minnow(), folder, names=2, features=4, draws=2, neurons=False)
    return folder


def test_studies_are_listed_with_their_settings(run):
    code, out, err = run("study", "list")
    assert (code, err) == (0, "")
    assert "leakage" in out
    assert "Does a word of the prompt leak" in out
    listed = json.loads(run("study", "list", "--json")[1])
    assert listed[0]["settings"]["names"] == {"help": "With how many names every sentence is asked.", "default": 4}


def test_a_finished_study_is_printed_and_read_again(run, folder):
    code, out, err = run("study", "run", "leakage", *SMALL, "--output", folder)
    assert code == 0, err
    assert "Where words are associated, the concept leaks" in " ".join(out.split())
    assert f"the report is in {folder / 'report.html'}" in err
    told = json.loads(run("study", "run", "leakage", *SMALL, "--output", folder, "--json")[1])
    assert told["config"]["names"] == 2
    assert {claim["verdict"] for claim in told["claims"]} <= {"holds", "fails", "cannot say"}
    assert Result.load(folder).to_json() == told


def test_a_command_runs_its_study_with_the_options_given(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(KitOptions, "load", lambda options: tiny_kit())
    _command(TOY)(
        kit=None, model=None, dictionary=None, other_model=False, device="cpu", shift=3.0, count=20, seed=0,
        record=None, killed=False, neurons=True, output=tmp_path / "toy", as_json=True,
    )  # fmt: skip
    told = json.loads(capsys.readouterr().out)
    assert (told["config"]["shift"], told["config"]["count"]) == (3.0, 20)
    assert told == Result.load(tmp_path / "toy").to_json()


def test_claims_are_printed_beside_those_of_the_neurons(monkeypatch, capsys):
    subject = models.subject("gpt2", torch.float32)
    kit = Kit(subject, models.dictionary("clt", subject, dtype=torch.float32), name="tiny clt")
    monkeypatch.setattr(KitOptions, "load", lambda options: kit)
    given = dict.fromkeys(("kit", "model", "dictionary", "output")) | {"other_model": False, "device": "cpu"}
    given["as_json"] = False
    settings = {"shift": 3.0, "count": 20, "seed": 0, "record": None, "killed": False}
    for neurons in (True, False):
        _command(TOY)(**given, **settings, neurons=neurons)
        out = " ".join(capsys.readouterr().out.split())
        assert ("Beside the model's own neurons" in out) is neurons
        for who in ("dictionary", "neurons"):
            assert (f"{who}: 2.68 (" in out) is neurons


def test_a_result_is_shown_with_nulls_and_the_absent_case(run, folder):
    code, out, err = run("study", "show", folder)
    assert (code, err) == (0, "")
    text = " ".join(out.split())
    assert "permuted concepts, 200 draws of 120 prompts, 120 under test" in text
    assert "0 of 6 effects are seen there" in text
    assert json.loads(run("study", "show", folder, "--json")[1])["study"] == "leakage"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "nowhere"), "nowhere holds no result of a study"),
        (("run", "leakage", "--names", "1"), "names is 1: give 2 to 20"),
        (("run", "leakage", "--kit", "nothing"), "no kit 'nothing'"),
        (("run", "leakage", "--similarity", "x"), "similarity 'x'"),
        (("run", "lekage"), "No such command 'lekage'"),
    ],
)
def test_mistakes_are_told_with_exit_code_2(run, arguments, words):
    code, out, err = run("study", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


def test_a_folder_of_other_settings_is_refused_in_one_line(run, folder):
    code, out, err = run("study", "run", "leakage", "--names", "3", "--output", folder)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "of another config (names): 2, not 3" in err
