"""A run that begins with a finished dictionary, and is tuned from there."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import clew
from clew import kit as kits
from clew.dictionary import BatchTopK, Dictionary, Layer, ReLU, TopK
from clew.errors import ClewError, InputError
from clew.organism.prompts import listed_prompts
from clew.runs.train import finished_run
from clew.runs.tune import begin_tuning, settings_of
from clew.training.config import FineTuneConfig
from clew.training.corpus import encode_documents
from clew.training.finetune import fine_tune
from tests import models

SETTINGS = {"responses": 0.1, "weight": 0.0, "steps": 2, "positions": 200}


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """minnow with a CLT of 64 random features a layer: its text is read, and threshold and candidates take no time."""
    folder, minnow = tmp_path_factory.mktemp("kits"), clew.load("minnow")
    made = models.dictionary("clt", minnow.subject, features=64, write="mlp_raw_out", dtype=torch.float32)
    sparse = BatchTopK(k=4, threshold=torch.tensor(0.8))
    layers = {i: replace(layer, nonlinearity=sparse) for i, layer in made.layers.items()}
    replace(made, layers=layers, provenance={"steps": 7}).save(folder / "clt")
    kits.build(folder / "kit", name="random", model="minnow", dictionary=folder / "clt")
    return folder / "kit"


@pytest.fixture(scope="module")
def begun(kit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "begun"
    begin_tuning(folder, str(kit), steps=2, skip=True)
    return folder


def test_a_begun_run_is_that_of_the_kit_but_for_the_connection(begun: Path, kit: Path) -> None:
    own = clew.load(kit).dictionary
    assert Dictionary.load(begun / "dictionary").fingerprint == own.fingerprint
    config = finished_run(begun).plan.config
    assert config.skip
    assert finished_run(begun).plan.start == str(kit)  # what a run that was cut off here would begin with
    assert not settings_of(own).skip
    assert config.features == (64,) * 6


def test_the_settings_of_the_bundled_kit_are_those_that_it_records() -> None:
    dictionary = clew.load("minnow").dictionary
    settings = settings_of(dictionary)
    assert not settings.skip
    assert settings.features == tuple(dictionary.d_features(i) for i in range(6))
    assert settings.k == dictionary.provenance["training"]["k"]


def test_it_is_tuned_for_responses_alone(begun: Path) -> None:
    run = finished_run(begun)
    reports = list(fine_tune(run.subject, run.documents, FineTuneConfig(**SETTINGS), begun))  # type: ignore[arg-type]
    assert all(0 < report.responses < 100 for report in reports)
    assert all(report.kl != report.kl for report in reports)  # NaN: left out
    assert reports[-1].progress.note.startswith("response error ")
    tuned = Dictionary.load(begun / "tuned")
    assert tuned.provenance["fine_tuning"]["responses"] == 0.1
    assert tuned.provenance["start"]["fingerprint"] == Dictionary.load(begun / "dictionary").fingerprint
    assert tuned.provenance["start"]["steps"] == 7
    assert all(layer.skip is not None and float(layer.skip.abs().max()) > 0 for layer in tuned.layers.values())


def test_the_settings_of_a_dictionary_that_records_none_are_read_off_it() -> None:
    def of(*nonlinearities) -> Dictionary:
        shapes = {"encoder": (5, 4), "bias": (5,), "decoder_bias": (4,)}
        layers = {
            i: Layer(**{n: torch.ones(s) for n, s in shapes.items()}, decoder=torch.ones(5, 1, 4), nonlinearity=kind)
            for i, kind in enumerate(nonlinearities)
        }
        return Dictionary(
            kind="plt", layers=layers, writes={0: (0,), 1: (1,)}, read_site="mlp_in", write_site="mlp_raw_out",
            n_layers=2, d_model=4, name="hand-made",
        )  # fmt: skip

    found = settings_of(of(TopK(k=3), TopK(k=3)))
    assert (found.kind, found.features, found.k, found.nonlinearity, found.skip) == ("plt", (5, 5), 3, "topk", False)
    with pytest.raises(InputError, match=r"differ in how they are sparse \(relu, topk"):
        settings_of(of(TopK(k=3), ReLU()))
    with pytest.raises(InputError, match=r"k \[2, 3\]"):
        settings_of(of(TopK(k=3), TopK(k=2)))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "--model"),
        ({"model": "nowhere"}, "nowhere"),
    ],
)
def test_a_dictionary_without_its_model_is_refused_and_nothing_is_written(
    begun: Path, asked: dict[str, str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ClewError, match=said):
        begin_tuning(tmp_path / "new", str(begun / "dictionary"), **asked)
    assert not (tmp_path / "new" / "run.json").exists()
    with pytest.raises(InputError, match="holds a run already"):
        begin_tuning(begun, "minnow")


def test_a_weight_below_zero_or_nothing_to_tune_on_is_refused() -> None:
    with pytest.raises(InputError, match="nothing to tune on"):
        FineTuneConfig(weight=0.0)
    with pytest.raises(InputError, match="must not be below 0"):
        FineTuneConfig(responses=-1.0)


def test_it_is_tuned_for_effects_at_the_end_of_prompts(begun: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(begun, folder, ignore=shutil.ignore_patterns("tuned"))
    run = finished_run(folder)
    prompts = encode_documents(run.subject, list(listed_prompts(6)))
    config = FineTuneConfig(effects=0.01, from_layer=3, weight=0.0, steps=2, positions=60)
    reports = list(fine_tune(run.subject, run.documents, config, folder, prompts))
    assert all(0 < report.effects < 5 for report in reports)
    assert reports[-1].progress.note.startswith("effect error ")
    assert Dictionary.load(folder / "tuned").provenance["fine_tuning"]["from_layer"] == 3
    (folder / "tuned").rename(folder / "first")
    with pytest.raises(InputError, match="layers 0 to 5"):
        next(fine_tune(run.subject, run.documents, replace(config, from_layer=6), folder, prompts))


def test_a_first_layer_below_zero_is_refused() -> None:
    with pytest.raises(InputError, match="from_layer is -1"):
        FineTuneConfig(effects=0.01, from_layer=-1)
