"""How a training ends early, who may train in a folder, and what a run is told of its text."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import clew
from clew import files
from clew.cli import training_display as live
from clew.organism import training as organism
from clew.training import finetune
from clew.training.corpus import load_tokens
from clew.training.documents import split_held_out
from tests.cli.test_train import MODEL, SMALL, Run, refused, write_text

OPTIONS = ("--text", "text.txt", "--check-every", "0", *SMALL)


@pytest.fixture
def run(run, tmp_path, monkeypatch) -> Run:
    """The command line in a folder with some text; runs draw no metrics."""
    write_text(tmp_path)
    monkeypatch.setattr(files, "write_figure", lambda path, figure: None)
    return run


def terminated_at(step, monkeypatch):
    """A training whose process gets SIGTERM twice at a step, as from a scheduler that is in a hurry."""
    line = live.line

    def signalled(report, measured, batch):
        if report.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
        return line(report, measured, batch)

    monkeypatch.setattr(live, "line", signalled)


def test_sigterm_saves_and_the_resumed_run_ends_with_the_same_bits(run, monkeypatch):
    assert run("train", "whole", *OPTIONS)[0] == 0
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        terminated_at(9, patch)
        code, out, err = run("train", "part", *OPTIONS)
    assert (code, err) == (143, "")
    assert signal.getsignal(signal.SIGTERM) == before
    assert "stopped at step 10 of 24; go on with: clew train part --resume" in out
    assert sorted(path.name for path in Path("part").iterdir() if path.name.startswith(".")) == []
    assert run("train", "part", "--resume")[0] == 0
    one, two = (clew.Dictionary.load(f"{name}/dictionary") for name in ("whole", "part"))
    assert one.fingerprint == two.fingerprint


def test_sigterm_at_the_last_step_leaves_a_finished_run(run, monkeypatch):
    terminated_at(24, monkeypatch)
    code, out, _ = run("train", "a", *OPTIONS)
    assert code == 143
    assert out.splitlines()[-1].startswith("stopped after the last step: the dictionary is in a/dictionary")
    assert clew.Dictionary.load("a/dictionary").kind == "clt"


def test_sigterm_stops_fine_tuning_and_leaves_the_run_as_it_was(run, monkeypatch):
    assert run("train", "a", *OPTIONS)[0] == 0
    fine_tune = finetune.fine_tune

    def signalled(*arguments):
        for report in fine_tune(*arguments):
            os.kill(os.getpid(), signal.SIGTERM)
            yield report

    monkeypatch.setattr(finetune, "fine_tune", signalled)
    code, out, _ = run("tune", "a", "--steps", "2", "--positions", "200")
    assert code == 143
    assert out.splitlines() == ["stopped at step 1 of 2; nothing is written, the run stays as it was"]
    assert not Path("a/tuned").exists()


def test_sigterm_stops_the_small_worlds_training_with_a_checkpoint(run, monkeypatch):
    def steps(config, folder, *, resume, stop):
        for step in (1, 2, 3):
            if step == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            yield organism.StepReport(
                step=step, steps=9, loss=1.0, learning_rate=0.1, tokens=1, tokens_per_second=1.0, seconds=1.0
            )
            if stop():
                return

    monkeypatch.setattr(organism, "train", steps)
    code, out, err = run("organism", "train", "world", "--steps", "9")
    assert (code, err) == (143, "")
    assert out.splitlines()[-1] == "stopped at step 2 of 9; the same command goes on"


def test_a_run_that_another_trains_is_left_alone_by_every_verb_that_writes_there(run):
    assert run("train", "a", *OPTIONS)[0] == 0
    with files.lock_folder("a", "training"), files.lock_folder("b", "training"), files.lock_folder("w", "training"):
        words = f"a is in use by process {os.getpid()} (training): wait until it has ended"
        refused(run("train", "a", "--resume"), words)
        refused(run("train", "b", *OPTIONS), f"b is in use by process {os.getpid()}")
        refused(run("tune", "a", "--steps", "2"), words)
        refused(run("organism", "train", "w", "--steps", "2"), f"w is in use by process {os.getpid()}")
        assert not Path("b/run.json").exists()
        assert run("eval", "a", "--no-nulls", "--count", "0")[0] == 0  # which only reads
    assert run("train", "a", "--resume")[0] == 0


def test_a_notebook_that_trains_holds_its_folder_until_it_leaves_the_loop(run):
    settings = {"text": "text.txt", "features": 48, "k": 4, "steps": 24, "batch": 256, "buffer": 2048, "held_out": 300}
    reports = clew.train("a", check_every=0, **settings)
    next(reports)
    with pytest.raises(clew.FileError, match="a is in use by process"):
        next(clew.train("a", resume=True))
    reports.close()
    assert [report.training.step for report in clew.train("a", resume=True)][-1] == 24


def test_a_resumed_run_whose_models_weights_were_exchanged_is_one_line(run):
    shutil.copytree(MODEL, "model")
    assert run("train", "a", *OPTIONS, "--model", "model")[0] == 0
    tensors = load_file("model/model.safetensors")
    name = next(name for name in tensors if name.endswith("h.2.mlp.c_proj.bias"))
    save_file(tensors | {name: tensors[name] + 0.01}, "model/model.safetensors", metadata={"format": "pt"})
    refused(run("train", "a", "--resume"), "the weights have changed since the run began")
    refused(run("tune", "a", "--steps", "2"), "the weights have changed since the run began")


def test_a_text_smaller_than_the_training_is_said_to_be_read_again_before_and_during_it(run):
    options = ("--text", "text.txt", *SMALL, "--steps", "120")
    code, told, err = run("train", "a", "--estimate", *options)
    assert code == 0, err
    code, out, err = run("train", "a", "--check-every", "0", *options)
    assert code == 0, err
    subject = clew.Subject.load(MODEL)
    positions = int(split_held_out(load_tokens("a/tokens.safetensors", subject), 300)[1].counts.sum())
    times = 120 * 256 / positions
    assert 4 < times < 8
    words = f"the text's {positions:,} positions are read {times:.1f} times"
    assert words in out
    assert words in told
    lines = [line for line in out.splitlines() if line.startswith("step ")]
    assert "read" not in lines[0]
    assert lines[-1].endswith(f"text read {times:.1f} times")
    assert json.loads(run("train", "a", "--estimate", *options, "--json")[1])["readings"] == pytest.approx(times)
    assert "are read" not in run("train", "b", "--check-every", "0", *options, "--steps", "20")[1]
