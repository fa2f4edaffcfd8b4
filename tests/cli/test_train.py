"""`clew train` as a user meets it: any text, a stop and a resume, an estimate, and one clear line for every mistake."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import clew
from clew import files, kit
from clew.cli import training_display as live
from clew.runs.plan import planned
from clew.settings import help_of
from clew.subject import Subject
from clew.training import CorpusConfig, DictionaryConfig, FineTuneConfig, cache, finetune, trainer
from clew.training.presets import PRESETS, SETTINGS, configured, preset, read_settings

MODEL = kit.BUNDLED / "minnow" / "model"
SMALL = ("--features", "48", "--k", "4", "--steps", "24", "--batch", "256", "--buffer", "2048", "--held-out", "300")
Run = Callable[..., tuple[int, str, str]]


def write_text(folder):
    lines = [f"The capital of {a} is {b}." for a, b in (("France", "Paris"), ("Italy", "Rome"), ("Spain", "Madrid"))]
    (folder / "text.txt").write_text("\n".join(lines * 300))


@pytest.fixture
def pictures() -> bool:
    """Whether runs draw their metrics, which takes a third of so short a run's time."""
    return False


@pytest.fixture
def run(run, tmp_path, monkeypatch, pictures) -> Run:
    """The command line in a folder with some text."""
    write_text(tmp_path)
    if not pictures:
        monkeypatch.setattr(files, "write_figure", lambda path, figure: None)
    return run


def refused(result, *words):
    code, out, err = result
    assert code == 2, (code, out, err)
    assert len(err.strip().splitlines()) == 1, err
    for word in words:
        assert word in err


@pytest.mark.parametrize("pictures", [True])
def test_a_text_file_and_a_dataset_folder_give_the_same_dictionary_and_a_table_of_the_run(run, tmp_path):
    import datasets

    datasets.Dataset.from_dict({"text": (tmp_path / "text.txt").read_text().splitlines()}).save_to_disk("data")
    code, out, err = run("train", "a", "--text", "text.txt", "--check-every", "10", *SMALL)
    assert code == 0, err
    assert "all MLPs replaced" in out
    assert run("train", "b", "--text", "data", "--check-every", "0", *SMALL)[0] == 0
    one, two = (clew.Dictionary.load(f"{name}/dictionary") for name in "ab")
    assert one.kind == "clt"
    assert one.fingerprint == two.fingerprint
    code, out, err = run(
        "trace", "The capital of France is", "--model", MODEL, "--dictionary", "a/dictionary", "--json"
    )
    assert code == 0, err
    assert json.loads(out)["outputs"][0][0] == " Paris"
    table = files.read_table("a/metrics.parquet")
    assert table["step"] == list(range(1, 25))
    assert table["tokens"][-1] == 24 * 256
    assert [table[f"nmse_{layer}"][-1] < table[f"nmse_{layer}"][0] for layer in range(6)] == [True] * 6
    measured = [step for step, kl in zip(table["step"], table["held_out_kl"], strict=True) if kl is not None]
    assert measured == [2, 10, 20, 24]  # the first after a tenth of the run
    assert files.read_table("b/metrics.parquet")["held_out_kl"] == [None] * 24
    assert (tmp_path / "a" / "metrics.png").read_bytes()[:4] == b"\x89PNG"


def test_ctrl_c_saves_and_the_resumed_run_ends_with_the_same_bits(run, tmp_path, monkeypatch):
    assert run("train", "whole", "--text", "text.txt", *SMALL)[0] == 0
    line = live.line

    def pressed(report, measured, batch):
        if report.step == 9:
            os.kill(os.getpid(), signal.SIGINT)
        return line(report, measured, batch)

    monkeypatch.setattr(live, "line", pressed)
    before = signal.getsignal(signal.SIGINT)
    code, out, err = run("train", "part", "--text", "text.txt", *SMALL)
    assert code == 130, err
    assert signal.getsignal(signal.SIGINT) == before
    assert "stopped at step 10 of 24; go on with: clew train part --resume" in out
    assert not (tmp_path / "part" / "dictionary").exists()
    assert files.read_table("part/metrics.parquet")["step"] == list(range(1, 11))
    refused(run("train", "part", "--text", "text.txt"), "part", "--resume")
    refused(run("train", "part", "--resume", "--learning-rate", "0.1"), "--learning-rate")
    (tmp_path / "text.txt").unlink()  # the run keeps its tokens
    monkeypatch.setattr(live, "line", line)
    code, out, err = run("train", "part", "--resume")
    assert code == 0, err
    assert files.read_table("part/metrics.parquet")["step"] == list(range(1, 25))
    code, out, err = run("train", "part", "--resume")  # nothing is left to do
    assert code == 0, err
    assert "stopped" not in out
    one, two = (clew.Dictionary.load(f"{name}/dictionary") for name in ("whole", "part"))
    assert one.fingerprint == two.fingerprint


def test_a_run_killed_before_its_first_checkpoint_begins_anew(run, monkeypatch):
    def killed(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("clew.training.trainer.train_dictionary", killed)
        assert run("train", "a", "--text", "text.txt", *SMALL)[0] == 130
    assert run("train", "a", "--resume")[0] == 0
    assert files.read_table("a/metrics.parquet")["step"] == list(range(1, 25))


def test_a_killed_run_has_measured_what_its_checkpoint_has_seen(run, monkeypatch):
    line = live.line

    def killed(report, measured, batch):
        if report.step == 9:
            raise KeyboardInterrupt
        return line(report, measured, batch)

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "CHECKPOINT_EVERY", 4)
        patched.setattr(live, "line", killed)
        run("train", "a", "--text", "text.txt", "--check-every", "0", *SMALL)
    assert files.read_table("a/metrics.parquet")["step"] == list(range(1, 9))
    code, out, err = run("train", "a", "--resume", "--check-every", "0", "--json")
    assert code == 0, err
    assert files.read_table("a/metrics.parquet")["step"] == list(range(1, 25))
    told = json.loads(out)
    assert told["dictionary"] == "a/dictionary"
    assert len(told["evaluation"]["nmse"]) == 6
    assert "step 24/24" in err


def without_the_model(monkeypatch):
    """Training that fails when it runs the model."""
    train = trainer.train_dictionary

    def cached_only(*arguments, **options):
        with monkeypatch.context() as patched:
            patched.setattr(Subject, "capture", lambda *_: pytest.fail("the model was run"))
            yield from train(*arguments, **options)

    monkeypatch.setattr(trainer, "train_dictionary", cached_only)


def test_a_cache_is_asked_about_and_read_in_place_of_the_model(run, tmp_path, monkeypatch):
    options = ("--text", "text.txt", "--check-every", "0", *SMALL)
    refused(run("train", "a", *options, "--cache"), "--yes")
    free = cache.SPARE + 1000
    with monkeypatch.context() as patched:
        patched.setattr(files, "free_bytes", lambda path: free)
        refused(run("train", "a", *options, "--cache", "--yes"), "a/activations", "train without a cache")
    assert not (tmp_path / "a").exists()
    without_the_model(monkeypatch)
    code, out, err = run("train", "a", *options, "--cache", "--yes")
    assert code == 0, err
    positions = 900 * 6 - 300  # about: a sentence has seven tokens or so
    size = sum(path.stat().st_size for path in (tmp_path / "a" / "activations").glob("*.safetensors"))
    assert size > positions * 6 * 128 * 4
    assert "positions take" in out
    assert clew.Dictionary.load("a/dictionary").kind == "clt"
    with pytest.raises(pytest.fail.Exception, match="the model was run"):
        run("train", "b", *options)


def test_a_cache_whose_writing_was_stopped_goes_on_with_the_same_command(run, tmp_path, monkeypatch):
    options = ("train", "a", "--text", "text.txt", "--check-every", "0", "--cache", "--yes", *SMALL)
    monkeypatch.setattr(cache, "SHARD_BYTES", 4 << 20)
    build = cache.build_cache

    def stopped(*arguments, **sites):
        yield next(build(*arguments, **sites))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cache, "build_cache", stopped)
        code, out, _ = run(*options)
    assert code == 130
    assert "the same command goes on" in out
    assert not (tmp_path / "a" / "run.json").exists()
    first = tmp_path / "a" / "activations" / "00000.safetensors"
    written = first.stat().st_mtime_ns
    code, _, err = run(*options)
    assert code == 0, err
    assert first.stat().st_mtime_ns == written
    assert (tmp_path / "a" / "activations" / "00001.safetensors").is_file()
    assert (tmp_path / "a" / "dictionary").is_dir()


def test_mistakes_are_one_line(run, tmp_path):
    (tmp_path / "none.txt").write_text("\n \n")
    (tmp_path / "few.txt").write_text("The capital of France is Paris.\n" * 20)
    refused(run("train", "a", "--text", "none.txt", *SMALL), "the corpus is empty")
    refused(run("train", "a", "--text", "few.txt", *SMALL), "fewer than the buffer's 2,048")
    refused(run("train", "a", "--text", "missing.txt", *SMALL), "missing.txt")
    refused(run("train", "a", "--text", "text.txt", "--k", "99", "--features", "48"), "99", "48")
    refused(run("train", "a", "--text", "text.txt", "--features", "48,24"), "for 2 layers", "the model has 6")
    refused(run("train", "a", "--text", "text.txt", "--features", "48,many"), "'48,many'", "give whole numbers")
    refused(run("train", "a", "--preset", "enormous"), "enormous", "tiny, small")
    refused(run("train", "--resume"), "which run")
    refused(run("train", "a", "--check-every", "-5"), "--check-every is -5")
    refused(run("train", "a", "--resume"), "run.json")
    (tmp_path / "c.yaml").write_text("kk: 3\n")
    refused(run("train", "a", "--config", "c.yaml"), "unknown setting 'kk'", "features")
    (tmp_path / "c.yaml").write_text("k: eight\n")
    refused(run("train", "a", "--config", "c.yaml"), "k is 'eight': give a whole number")
    (tmp_path / "c.yaml").write_text("features: [48, 4.5]\n")
    refused(run("train", "a", "--config", "c.yaml"), "features is [48, 4.5]", "one for each layer")
    (tmp_path / "c.yaml").write_text("- k\n")
    refused(run("train", "a", "--config", "c.yaml"), "holds no settings")
    (tmp_path / "c.yaml").write_text("k: [")
    refused(run("train", "a", "--config", "c.yaml"), "neither YAML nor JSON")
    assert not (tmp_path / "a").exists()


def test_numbers_that_are_none_and_seeds_that_cannot_be_are_one_line(run, tmp_path):
    for option, value, word in (
        ("--learning-rate", "nan", "learning_rate is nan: give a finite number"),
        ("--sparsity", "nan", "sparsity is nan"),
        ("--learning-rate", "inf", "learning_rate is inf"),
        ("--seed", "5000000000", "seed is 5000000000: give a whole number from 0"),
        ("--seed", "-1", "seed is -1"),
    ):
        refused(run("train", "a", "--text", "text.txt", *SMALL, option, value), word)
    assert run("train", "a", "--text", "text.txt", "--check-every", "0", *SMALL, "--seed", str(2**32 - 1))[0] == 0
    refused(run("tune", "a", "--learning-rate", "nan"), "learning_rate is nan")
    refused(run("tune", "a", "--prompts", "prompts.txt"), "--effects")
    refused(run("tune", "a", "--effects", "0.1", "--prompts", "prompts.txt"), "prompts.txt")


def test_a_run_that_is_not_whole_is_one_line(run, tmp_path):
    whole = {"format": "clew.training", "schema": 1, "model": "minnow", "settings": {}}
    for name in ("schema", "model", "settings"):
        files.write_json("a/run.json", {key: value for key, value in whole.items() if key != name})
        refused(run("train", "a", "--resume"), f"does not say its {name}")
    files.write_json("a/run.json", whole | {"settings": {"k": "many"}})
    refused(run("train", "a", "--resume"), "k is 'many'")
    files.write_json("a/run.json", whole | {"schema": 99})
    refused(run("train", "a", "--resume"), "schema 99", "upgrade")


def test_a_resumed_run_refuses_whatever_it_has_already(run):
    for option in (("--model", "nowhere"), ("--kit", "nope"), ("--preset", "x"), ("--cache",), ("--k", "3")):
        refused(run("train", "a", "--resume", *option), f"leave out {option[0]}")


def test_what_fits_the_preset_is_checked_with_it_and_a_file_holds_all_that_belongs_to_a_run(run):
    Path("c.yaml").write_text(
        "preset: large\nk: 3000\nlearning_rate: 1e-3\nsteps: 2\nbatch: 256\nlayer_weights: [1, 1, 1, 1, 1, 4]\n"
    )
    plan = planned({}, Path("c.yaml"), {})
    assert (plan.config.features, plan.config.k, plan.config.learning_rate) == (4096, 3000, 1e-3)
    assert plan.layer_weights == [1, 1, 1, 1, 1, 4]
    Path("c.yaml").write_text("start: nowhere\nlayer_weights: 1,1,1,1,1,2\n")
    plan = planned({}, Path("c.yaml"), {})
    assert (plan.start, plan.layer_weights) == ("nowhere", [1, 1, 1, 1, 1, 2])
    assert planned({"start": "there"}, Path("c.yaml"), {}).start == "there"
    refused(run("train", "a", "--config", "c.yaml"), "nowhere")
    Path("c.yaml").write_text("model: gpt2\n")
    refused(run("train", "a", "--config", "c.yaml"), "model stands in c.yaml", "give --model")


def test_nan_activations_stop_the_run_with_one_line(run, tmp_path):
    shutil.copytree(MODEL, "model")
    tensors = load_file("model/model.safetensors")
    name = next(name for name in tensors if name.endswith("h.2.mlp.c_proj.bias"))
    tensors[name] = tensors[name] * float("nan")
    save_file(tensors, "model/model.safetensors", metadata={"format": "pt"})
    refused(run("train", "a", "--model", "model", "--text", "text.txt", *SMALL), "layer 2", "batch 0")


def test_a_file_goes_over_the_preset_and_options_over_the_file(run):
    Path("c.yaml").write_text("preset: tiny\nfeatures: 48\nk: 4\nlearning_rate: 1\nskip: true\nsteps: 9\nbatch: 256\n")
    options = ("--config", "c.yaml", "--text", "text.txt", "--buffer", "512", "--steps", "6", "--no-skip")
    assert run("train", "a", *options)[0] == 0
    settings = files.read_json("a/run.json")["settings"]
    wanted = {"features": 48, "k": 4, "learning_rate": 1.0, "skip": False, "steps": 6, "batch": 256, "buffer": 512}
    assert {name: settings[name] for name in wanted} == wanted
    assert set(settings) == set(SETTINGS)


def test_layers_may_have_several_numbers_of_features(run):
    widths = "48,24,16,16,16,20"
    code, _, err = run("train", "a", "--text", "text.txt", *SMALL, "--features", widths)
    assert code == 0, err
    assert files.read_json("a/run.json")["settings"]["features"] == [48, 24, 16, 16, 16, 20]
    trained = clew.Dictionary.load("a/dictionary")
    assert all(trained.d_features(i) <= int(n) for i, n in enumerate(widths.split(",")))
    assert trained.d_features(0) > 24
    assert "48 + 24 + 16 + 16 + 16 + 20 features" in run("train", "--estimate", "--text", "text.txt", *SMALL,
                                                         "--features", widths)[1]  # fmt: skip


def test_layer_weights_are_kept_with_the_run_and_checked_before_it(run):
    refused(run("train", "a", "--text", "text.txt", *SMALL, "--layer-weights", "1,2"), "2 layer weights", "6 layers")
    refused(run("train", "a", "--text", "text.txt", *SMALL, "--layer-weights", "1,1,1,1,1,x"), "give numbers")
    assert not Path("a").exists()
    code, _, err = run("train", "a", "--text", "text.txt", *SMALL, "--layer-weights", "1,1,1,4,4,4")
    assert code == 0, err
    assert files.read_json("a/run.json")["layer_weights"] == [1, 1, 1, 4, 4, 4]
    assert clew.Dictionary.load("a/dictionary").provenance["layer_weights"] == [0.25, 0.25, 0.25, 1, 1, 1]
    refused(run("train", "a", "--resume", "--layer-weights", "1,1,1,4,4,4"), "leave out --layer-weights")
    refused(run("train", "a", "--resume", "--start", "a/dictionary"), "leave out --start")


def test_every_setting_is_an_option_with_its_docstring_as_help(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    code, out, _ = run("train", "--help")
    assert code == 0
    for name, meaning in SETTINGS.items():
        row = next(row for row in out.splitlines() if f" --{name.replace('_', '-')} " in row)
        assert meaning.replace("`", "")[:60] in row
    assert set(SETTINGS) == {f.name for config in (DictionaryConfig, CorpusConfig) for f in fields(config)}
    assert all(meaning.endswith(".") for meaning in SETTINGS.values())


def test_presets_grow_and_fit_every_width():
    for width in (32, 128, 768, 4096):
        made = [configured(preset(name, width))[0] for name in PRESETS]
        assert [c.features for c in made] == [4 * width, 8 * width, 16 * width, 32 * width]
        positions = [c.steps * c.batch for c in made]
        assert positions == sorted(positions)
    assert (preset("small", 128)["k"], preset("small", 768)["k"]) == (8, 16)


def test_a_json_file_is_read_as_well(tmp_path):
    (tmp_path / "c.json").write_text('{"k": 4, "skip": true, "sparsity": 0.5}')
    assert read_settings(tmp_path / "c.json") == {"k": 4, "skip": True, "sparsity": 0.5}
    made, corpus = configured({"sparsity": 1, "cut": "file"})
    assert (made.sparsity, corpus.cut) == (1.0, "file")
    for wrong in ({"skip": 1}, {"k": True}, {"k": 4.0}, {"cut": "word"}, {"text": 3}):
        with pytest.raises(clew.InputError, match=next(iter(wrong))):
            configured(wrong)
    assert help_of(CorpusConfig)["split"] == "The part of a dataset that is read."


def test_a_finished_run_is_tuned_beside_its_own_dictionary_and_an_unfinished_one_is_refused(run, tmp_path, monkeypatch):
    assert run("train", "a", "--text", "text.txt", "--check-every", "0", *SMALL)[0] == 0
    before = clew.Dictionary.load("a/dictionary").fingerprint
    fine_tune = finetune.fine_tune

    def pressed(*arguments):
        for report in fine_tune(*arguments):
            os.kill(os.getpid(), signal.SIGINT)
            yield report

    with monkeypatch.context() as patched:
        patched.setattr(finetune, "fine_tune", pressed)
        code, out, err = run("tune", "a", "--steps", "2", "--positions", "200")
    assert (code, err) == (130, "")
    assert out.splitlines() == ["stopped at step 1 of 2; nothing is written, the run stays as it was"]
    assert not (tmp_path / "a" / "tuned").exists()
    code, out, err = run("tune", "a", "--steps", "2", "--positions", "200", "--json")
    assert code == 0, err
    assert err.count("all MLPs replaced") == 2
    assert [each["dictionary"] for each in json.loads(out)] == ["a/dictionary", "a/tuned"]
    assert all(each["evaluation"]["replaced"]["kl"] > 0 for each in json.loads(out))
    told = clew.Dictionary.load("a/tuned").provenance["fine_tuning"]
    assert told == asdict(FineTuneConfig(steps=2, positions=200))
    assert clew.Dictionary.load("a/dictionary").fingerprint == before
    assert clew.Dictionary.load("a/tuned").fingerprint != before
    refused(run("tune", "a", "--steps", "2"), "a/tuned", "exists already")
    refused(run("tune", "a", "--steps", "0"), "above 0")
    shutil.rmtree("a/dictionary")
    refused(run("tune", "a"), "no dictionary yet", "clew train a --resume")


def test_a_run_begins_with_a_dictionary_and_goes_on_with_it_after_a_kill(run, tmp_path, monkeypatch):
    assert run("train", "a", "--text", "text.txt", *SMALL)[0] == 0
    jump = ("--start", "a/dictionary", "--text", "text.txt", "--nonlinearity", "jumprelu", *SMALL)
    code, _, err = run("train", "b", *jump)
    assert code == 0, err
    first, last = files.read_table("a/metrics.parquet"), files.read_table("b/metrics.parquet")
    assert last["nmse_0"][0] < 0.5 * first["nmse_0"][0]
    files.write_json("c/run.json", files.read_json("b/run.json"))
    shutil.copy("b/tokens.safetensors", "c/tokens.safetensors")  # killed before its first checkpoint
    assert run("train", "c", "--resume")[0] == 0
    assert clew.Dictionary.load("c/dictionary").fingerprint == clew.Dictionary.load("b/dictionary").fingerprint
    files.write_json("e/run.json", files.read_json("b/run.json") | {"start": "gone"})
    shutil.copy("b/tokens.safetensors", "e/tokens.safetensors")
    refused(run("train", "e", "--resume"), "gone")
    shutil.copy("b/checkpoint.safetensors", "e/checkpoint.safetensors")
    code, out, err = run("train", "e", "--resume")
    assert code == 0, err
    assert "goes on without what it began with" in out
    assert clew.Dictionary.load("e/dictionary").fingerprint == clew.Dictionary.load("b/dictionary").fingerprint
    ours = clew.Dictionary.load("a/dictionary")
    weights = {name: value[::-1] for name, value in ours.provenance["model_weights"].items()}
    replace(ours, provenance={**ours.provenance, "model_weights": weights}).save("theirs")
    code, _, err = run("train", "f", "--start", "theirs", "--text", "text.txt", *SMALL)
    assert (code, "begins with was made for another model (its weights are others)" in err) == (0, True), err
    assert clew.Dictionary.load("f/dictionary").provenance["start"]["model_weights"] == weights
    refused(run("train", "d", *jump, "--kind", "plt"), "clt of minnow", "a plt from")
    refused(run("train", "d", *jump, "--features", "32"), "--features 48 or more")
    refused(run("train", "d", "--start", "nowhere"), "nowhere")
    assert not (tmp_path / "d").exists()
