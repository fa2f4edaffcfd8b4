"""`clew eval` as a user meets it: a run's own model and rows, two nulls beside every figure, in 80 columns."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

import clew
from clew import files
from clew.cli import evaluate as evaluation
from clew.cli.evaluate import bars
from clew.runs import evaluate as runs_evaluate
from clew.runs.fidelity import measure_fidelity
from clew.runs.plan import read_run, rows_of
from clew.subject import Subject
from tests import models
from tests.cli.test_train import refused

WORDS = [f"w{1 + i % 7} w{1 + i % 11} w{1 + i % 5} w{1 + i % 13} w{1 + i % 3}" for i in range(1200)]
SMALL = ("--features", "32", "--k", "4", "--steps", "24", "--batch", "128", "--buffer", "1024", "--held-out", "300")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a tiny Llama, text, and a finished run on them."""
    from clew.cli import main  # not above: what is imported before the tests begin has no shapes checked

    folder = tmp_path_factory.mktemp("runs")
    models.model("llama", torch.float32).save_pretrained(folder / "llama")
    models.tokenizer().save_pretrained(folder / "llama")
    (folder / "text.txt").write_text("\n".join(WORDS))
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setattr("sys.argv", ["clew", "train", "L", "--model", "llama", "--text", "text.txt",
                                     "--check-every", "0", *SMALL])  # fmt: skip
        with pytest.raises(SystemExit) as end:
            main()
    assert not end.value.code
    return folder


@pytest.fixture
def run(run, trained, tmp_path):
    """The command line in a folder with the run."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return run


def measured(monkeypatch):
    """The rows that are measured, and the model."""
    seen = []
    assess = runs_evaluate.assess

    def watched(subject, dictionary, material):
        seen.append((subject, dictionary, material.documents))
        return assess(subject, dictionary, material)

    monkeypatch.setattr(runs_evaluate, "assess", watched)
    return seen


def test_a_runs_dictionary_is_measured_on_the_rows_that_the_run_held_out(run, monkeypatch):
    Path("text.txt").unlink()  # the run has its rows
    plan, seen = read_run(Path("L")), measured(monkeypatch)
    held_out, rest = rows_of(Path("L"), Subject.load("llama"), plan)
    quick = ("--no-nulls", "--count", "0", "--no-by-layer")
    for named in ("L", "L/dictionary"):
        code, out, err = run("eval", named, *quick)
        assert code == 0, err
        assert f"on {int(held_out.counts.sum())} positions" in out
        assert seen[-1][2].mark == held_out.mark
        assert rest.mark != held_out.mark
    shutil.copytree("L/dictionary", "L/tuned")
    assert run("eval", "L/tuned", "--held-out", "100", *quick)[0] == 0
    assert seen[-1][2].mark == held_out.slice(0, len(seen[-1][2])).mark
    assert 100 <= int(seen[-1][2].counts.sum()) < 110
    refused(run("eval", "L", "--held-out", "5000", *quick), "--held-out is 5,000", "L held out")


def test_what_is_said_goes_over_what_the_run_says(run, monkeypatch):
    seen = measured(monkeypatch)
    Path("other.txt").write_text("\n".join(reversed(WORDS)))
    models.model("llama", torch.float32, seed=5).save_pretrained("second")
    models.tokenizer().save_pretrained("second")
    quick = ("--no-nulls", "--count", "0", "--no-by-layer")
    code, _, err = run("eval", "L", "--model", "second", "--text", "other.txt", "--json", *quick)
    assert (code, "made for llama, and 'second' is another model" in err) == (2, True)
    code, out, err = run("eval", "L", "--model", "second", "--other-model", "--text", "other.txt", "--json", *quick)
    assert code == 0, err
    assert "clt of llama was made for llama, and is used on second since --other-model was said" in err
    subject, _, rows = seen[-1]
    assert subject.name != "llama"
    wanted = [int(word[1:]) for word in WORDS[-1].split()]
    assert rows.tokens[1 : int(rows.starts[1])].tolist() == wanted
    assert [each["name"] for each in json.loads(out)] == ["clt of llama", "untrained clt"]
    assert json.loads(out)[0]["other_model"]["made_for"] == "llama"
    refused(run("eval", "L", "--kit", "minnow", *quick), "tokenizer")
    refused(run("eval", "--model", "second", *quick, "--text", "other.txt"), "does not fit")  # the kit's dictionary
    shutil.rmtree("L/dictionary")
    refused(run("eval", "L", *quick), "no dictionary yet", "clew train L --resume")


def test_both_nulls_and_every_histogram_are_shown_in_80_columns(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run("eval", "L", "--null-steps", "6", "--count", "2")
    assert code == 0, err
    assert "training on shuffled weights: 6 steps" in err
    assert "…" not in out
    heads = [line for line in out.splitlines() if "dictionary" in line and "shuffled weights" in line]
    assert len(heads) == 2
    rows = [line for line in out.splitlines() if re.match(r"(L\d)? *(dictionary|untrained|shuffled weights) +\d", line)]
    assert len(rows) == 9
    head = next(line for line in out.splitlines() if line.startswith("layer") and "nats" in line)
    assert head.split() == ["layer", "error", "active", "unfired", "nats", "agreement", "recovered"]
    assert max(map(len, out.splitlines()[2:])) <= 80
    body = out[out.index("Features by the share") :]
    assert sum(any(bar in line for bar in evaluation.BARS) for line in body.splitlines()) == 3


def test_every_figure_stands_beside_both_nulls_unless_one_is_left_out(run):
    code, out, err = run("eval", "L", "--null-steps", "5", "--count", "2", "--json")
    assert code == 0, err
    names = [each["name"] for each in json.loads(out)]
    assert names == ["clt of llama", "untrained clt", "clt of llama with random weights"]
    for each in json.loads(out):
        assert each["scores"]["prompts"] == 2
        assert len(each["evaluation"]["density"]) == len(each["evaluation"]["by_layer"]) == 3
    code, out, err = run("eval", "L", "--no-nulls", "--count", "0")
    assert (code, err) == (0, "")
    assert "--nulls" in out
    refused(run("eval", "L", "--count", "-3"), "--count is -3")
    refused(run("eval", "L", "--null-steps", "0"), "--null-steps 0")


def test_a_bar_is_as_high_as_its_count_and_none_is_lost():
    assert bars([0, 1, 500, 1000]) == " ▁▄█"
    assert bars([0, 0]) == "  "
    assert bars(range(9)) == " ▁▂▃▄▅▆▇█"


def test_the_command_that_a_finished_run_prints_measures_it(run):
    code, out, err = run("train", "M", "--model", "llama", "--text", "text.txt", "--check-every", "0", *SMALL)
    assert code == 0, err
    command = out.strip().splitlines()[-1].split("clew ")[1].split()
    assert command == ["eval", "M"]
    code, out, err = run(*command, "--no-nulls", "--count", "0", "--json")
    assert code == 0, err
    assert json.loads(out)[0]["evaluation"]["nmse"] == pytest.approx(
        measure_fidelity(
            Subject.load("llama"), clew.Dictionary.load("M/dictionary"),
            rows_of(Path("M"), Subject.load("llama"), read_run(Path("M")))[0],
        ).nmse
    )  # fmt: skip
    assert files.read_json("M/run.json")["model"] == "llama"
