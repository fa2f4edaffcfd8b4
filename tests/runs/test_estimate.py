"""What a run would take, told before it begins, beside what it takes."""

import json

import pytest

import clew
from clew import files
from clew.memory import resident_peak
from clew.runs import estimate
from clew.training import encode_documents
from tests.cli.test_train import MODEL, SMALL, refused, write_text


@pytest.fixture
def run(run, tmp_path):
    """The command line in a folder with some text."""
    write_text(tmp_path)
    return run


def test_an_estimate_comes_before_anything_is_written(run, tmp_path, monkeypatch):
    before = resident_peak()  # what other tests took in this process counts as well
    code, out, err = run("train", "--estimate", "--text", "text.txt", *SMALL)
    assert code == 0, err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt"]
    assert "clt of minnow: 6 layers of 48 features" in out
    assert "told from a few steps" in " ".join(out.split())
    memory = float(out.split("memory")[1].split()[0].replace(",", "")) * (
        1e9 if " GB" in out.split("measured")[0] else 1e6
    )
    assert max(100e6, 0.95 * before) < memory < before + 2e9
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


def test_a_large_dictionary_is_told_from_a_smaller_one_and_counts_what_that_does_without(run, monkeypatch):
    options = ("train", "--estimate", "--json", "--text", "text.txt", *SMALL, "--features", "1024")
    whole = json.loads(run(*options)[1])
    monkeypatch.setattr(estimate, "WHOLE", whole["parameters"] - 1)
    monkeypatch.setattr(estimate, "PART", whole["parameters"] // 8)
    told = json.loads(run(*options)[1])
    assert (whole["measured_share"], told["measured_share"]) == (1.0, pytest.approx(1 / 8, rel=0.1))
    assert told["memory_bytes"] > told["state_bytes"] * 7 / 8
    assert {name: told[name] for name in ("parameters", "state_bytes", "disk_bytes", "positions")} == {
        name: whole[name] for name in ("parameters", "state_bytes", "disk_bytes", "positions")
    }


def test_how_much_text_there_is_is_told_from_its_characters(run, tmp_path):
    write_text(tmp_path)
    text = (tmp_path / "text.txt").read_text() + "\n"
    (tmp_path / "long.txt").write_text(text * 30)
    options = ("--text", "long.txt", *SMALL, "--steps", "2000")
    told = json.loads(run("train", "--estimate", "--json", *options)[1])
    subject = clew.Subject.load(MODEL)
    rows = encode_documents(subject, (text * 30).splitlines())
    assert told["positions"] == pytest.approx(int(rows.counts.sum()) - 300, rel=0.03)
    assert told["readings"] == pytest.approx(2000 * 256 / told["positions"])
    endless = json.loads(run("train", "--estimate", "--json", *options[:-2], "--steps", "100")[1])
    assert endless["readings"] < 1


def test_an_estimate_does_not_wait_for_the_model_to_write_its_text(run, monkeypatch):
    documents, drawn = estimate.sample_documents, []

    def counted(subject, **options):
        for document in documents(subject, **options):
            drawn.append(document)
            yield document

    monkeypatch.setattr(estimate, "sample_documents", counted)
    code, out, err = run("train", "--estimate", "--json", "--text", "samples", *SMALL)
    assert code == 0, err
    assert len(drawn) == 64
    assert json.loads(out)["hours"] > 0
