"""`clew.train`: a run from Python is the run that the command line continues, and every setting is a keyword."""

import inspect
from pathlib import Path

import pytest
import torch

import clew
from clew import files
from clew.errors import InputError
from tests import models, toy

SETTINGS = {"features": 32, "k": 4, "steps": 24, "batch": 128, "buffer": 1024, "held_out": 300, "check_every": 0}
WORDS = [f"w{1 + i % 7} w{1 + i % 11} w{1 + i % 5} w{1 + i % 13} w{1 + i % 3}" for i in range(1200)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tiny model and some text."""
    models.model("llama", torch.float32).save_pretrained(tmp_path / "llama")
    models.tokenizer().save_pretrained(tmp_path / "llama")
    (tmp_path / "text.txt").write_text("\n".join(WORDS))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_from_python_is_continued_by_the_command_line_with_the_same_bits(folder, run):
    sources = {"model": "llama", "text": "text.txt"}
    assert [report.progress.done for report in clew.train("whole", **sources, **SETTINGS)] == list(range(1, 25))
    reports = []
    for report in clew.train("part", stop=lambda: len(reports) >= 9, **sources, **SETTINGS):
        reports.append(report)
    assert (reports[-1].progress.done, reports[-1].progress.of) == (10, 24)
    assert not Path("part/dictionary").exists()
    code, _, err = run("train", "part", "--resume", "--check-every", "0")
    assert code == 0, err
    whole, part = (clew.Dictionary.load(f"{name}/dictionary") for name in ("whole", "part"))
    assert whole.fingerprint == part.fingerprint
    assert files.read_table("part/metrics.parquet")["step"] == list(range(1, 25))
    assert files.read_json("part/run.json")["model"] == "llama"


def test_a_model_and_documents_in_memory_are_trained_on_and_measured_on_the_way(folder):
    subject = toy.trained_subject()
    documents = [row.tolist() for row in toy.sentences(400, torch.Generator().manual_seed(1))]
    settings = SETTINGS | {"check_every": 12, "cache": True}
    written = []
    reports = list(clew.train("a", subject=subject, corpus=documents, report=written.append, **settings))
    assert (written[0].what, written[0].done, written[-1].done) == ("activations", 0, written[-1].of)
    assert [report.held_out_step for report in reports] == [0] + [2] * 10 + [12] * 12 + [24]
    assert reports[-1].held_out.loss == pytest.approx(reports[5].held_out.loss)  # of the same rows
    assert clew.Dictionary.load("a/dictionary").kind == "clt"
    with pytest.raises(InputError, match="holds a run already"):
        list(clew.train("a", subject=subject, corpus=documents, **settings))
    assert list(clew.train("a", subject=subject, resume=True)) == []


def test_wrong_settings_are_refused(folder):
    with pytest.raises(InputError, match="leave out --k"):
        list(clew.train("a", resume=True, k=3))
    with pytest.raises(TypeError, match="unexpected keyword argument 'featurs'"):
        clew.train("a", featurs=3)
    with pytest.raises(InputError, match="k is 'many'"):
        list(clew.train("a", model="llama", k="many"))
    with pytest.raises(InputError, match="check-every is -5"):
        list(clew.train("a", model="llama", check_every=-5))
    assert not Path("a").exists()


def test_every_setting_of_dictionary_text_and_run_is_a_keyword():
    parameters = inspect.signature(clew.train).parameters
    assert parameters["features"].default == 2048
    assert parameters["text"].default == "world"
    assert {"kit", "preset", "start", "layer_weights", "learning_rate", "held_out"} <= set(parameters)
