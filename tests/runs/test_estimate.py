"""What a run would take, told before it begins, beside what it takes."""

import json

import pytest

import clew
from clew import files
from clew.runs.estimate import parameters_of
from clew.training import DictionaryConfig
from tests.cli.test_train import MODEL, SMALL, refused, write_text


@pytest.fixture
def run(run, tmp_path):
    """The command line in a folder with some text."""
    write_text(tmp_path)
    return run


def test_an_estimate_comes_before_anything_is_written(run, tmp_path, monkeypatch):
    code, out, err = run("train", "--estimate", "--text", "text.txt", *SMALL)
    assert code == 0, err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt"]
    assert "clt of minnow: 6 layers of 48 features" in out
    assert "measured over the last 16 of 20 steps" in " ".join(out.split())
    memory = float(out.split("memory")[1].split()[0].replace(",", "")) * (
        1e9 if " GB" in out.split("measured")[0] else 1e6
    )
    assert 100e6 < memory < 4e9
    huge = ("--features", "100000000")
    refused(run("train", "--estimate", "--text", "text.txt", *SMALL, *huge), "take", "free", "--reach")
    with monkeypatch.context() as patched:
        patched.setattr(files, "free_bytes", lambda path: 1_000_000)
        refused(run("train", "--estimate", "--text", "text.txt", *SMALL), "the run writes", "1 MB are free")
    (tmp_path / "few.txt").write_text("The capital of France is Paris.\n" * 310)  # 2,170 positions, a tenth held out
    for command in (["a"], ["--estimate"]):
        refused(run("train", *command, "--text", "few.txt", *SMALL), "fewer than the buffer's 2,048")


@pytest.mark.alone
def test_an_estimate_is_what_the_run_takes(run, tmp_path):
    options = ("--text", "text.txt", "--cache", *SMALL, "--features", "256", "--steps", "60")
    code, out, err = run("train", "--estimate", "--json", *options)
    assert code == 0, err
    told = json.loads(out)
    code, _, err = run("train", "a", "--yes", "--check-every", "0", *options)
    assert code == 0, err
    written = sum(path.stat().st_size for path in (tmp_path / "a").rglob("*") if path.is_file())
    written += (tmp_path / "a" / "checkpoint.safetensors").stat().st_size  # the last one, until the next is whole
    activations = sum(path.stat().st_size for path in (tmp_path / "a" / "activations").iterdir())
    assert activations > 0.3 * written
    assert told["disk_bytes"] == pytest.approx(written, rel=0.2)

    rate = files.read_table("a/metrics.parquet")["tokens_per_second"][-1]
    again = json.loads(run("train", "--estimate", "--json", *options)[1])[
        "tokens_per_second"
    ]  # other work comes and goes
    assert min(again, told["tokens_per_second"]) / 3 < rate < 3 * max(again, told["tokens_per_second"])
    assert told["hours"] > 60 * 256 / told["tokens_per_second"] / 3600  # the cache comes first


def test_an_estimate_counts_what_a_run_allocates():
    from clew.training.run_state import RunState

    subject = clew.Subject.load(MODEL)
    for change in (
        {},
        {"features": (20, 8, 30, 3, 4, 5)},
        {"skip": True},
        {"kind": "plt"},
        {"reach": 2},
        {"nonlinearity": "jumprelu"},
    ):
        config = DictionaryConfig(**{"features": 20, "k": 3} | change)
        made = RunState(6, 128, config)
        rows = [made.decoder_bias, made.skip, *(own for layer in made.layers for own in layer.rows.values())]
        counted = sum(own.weight.numel() for own in rows)
        thresholds = 6 * 20 if change.get("nonlinearity") == "jumprelu" else 0
        assert parameters_of(subject, config) + thresholds == counted
