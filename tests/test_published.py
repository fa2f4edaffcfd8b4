"""What is said of published pairs follows from their models' shapes; a pair that is in the hub's cache is loaded."""

from pathlib import Path
from typing import Any

import pytest
import torch

import clew
from clew import kit as kits
from clew.errors import FileError
from clew.published import PUBLISHED, HubFiles, PublishedModel, PublishedPair
from clew.subject.packaged import SMOLLM2
from tests import models

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai-community/gpt2": ("gpt2", {}),
    "google/gemma-2-2b": (
        "gemma2",
        {"intermediate_size": 9216, "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 256_000},
    ),
    "meta-llama/Llama-3.2-1B": (
        "llama",
        {"intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256},
    ),
    "Qwen/Qwen3-0.6B": ("qwen3", {"intermediate_size": 3072, "num_attention_heads": 16}),
    "Qwen/Qwen3-1.7B": ("qwen3", {"intermediate_size": 6144, "num_attention_heads": 16}),
    "Qwen/Qwen3-4B": ("qwen3", {"intermediate_size": 9728, "num_attention_heads": 32}),
    "Qwen/Qwen3-8B": ("qwen3", {"intermediate_size": 12_288, "num_attention_heads": 32}),
    "Qwen/Qwen3-14B": ("qwen3", {"intermediate_size": 17_408, "num_attention_heads": 40}),
}
"""The rest of every model's shape, as its configuration says it."""
TIED = ("openai-community/gpt2", "google/gemma-2-2b", "meta-llama/Llama-3.2-1B", "Qwen/Qwen3-0.6B", "Qwen/Qwen3-1.7B")
TIED += ("Qwen/Qwen3-4B",)


@pytest.mark.parametrize("model", {pair.model.repository: pair.model for pair in PUBLISHED.values()}.values(), ids=str)
def test_a_models_parameters_are_those_of_its_shape(model: PublishedModel) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, shape = CONFIGS[model.repository]
    qwen = {"head_dim": 128, "num_key_value_heads": 8, "vocab_size": 151_936} if kind == "qwen3" else {}
    config = AutoConfig.for_model(
        kind,
        num_hidden_layers=model.layers,
        hidden_size=model.width,
        tie_word_embeddings=model.repository in TIED,
        **qwen,
        **shape,
    )
    with torch.device("meta"):
        built = AutoModelForCausalLM.from_config(config)
    assert sum(parameter.numel() for parameter in built.parameters()) == model.parameters


def test_sizes_are_those_on_disk() -> None:
    """Measured: the folder of the largest (159.05 GiB), its first decoder (10.97), and Llama's PLT (32.26)."""
    sizes = {name: pair.size or 0 for name, pair in PUBLISHED.items()}
    assert sizes["gemma-2-2b-clt-2.5m"] / 2**30 == pytest.approx(159.05, abs=0.01)
    assert pytest.approx(10.97, abs=0.01) == 98_304 * 26 * 2304 * 2 / 2**30
    assert sizes["gemma-2-2b-clt"] * 6 == sizes["gemma-2-2b-clt-2.5m"]
    assert sizes["llama-3.2-1b-plt"] / 2**30 == pytest.approx(32.26, rel=0.01)
    assert PUBLISHED["qwen3-14b-plt"].size is None


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PublishedPair:
    """A tiny pair whose two repositories lie in a hub's cache, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    subject = models.subject("llama")
    folders = {}
    for repository in ("org/tiny", "org/tiny-clt"):
        folder = HubFiles(repository=repository, files=(), bytes=0).folder
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("a" * 40)
        folders[repository] = folder / "snapshots" / ("a" * 40)
        folders[repository].mkdir(parents=True)
    subject.model.save_pretrained(folders["org/tiny"])
    models.tokenizer().save_pretrained(folders["org/tiny"])
    folders["org/tiny-clt"].rmdir()
    models.dictionary("clt", subject).save(folders["org/tiny-clt"])
    tiny = PublishedPair(
        name="tiny-clt",
        model=PublishedModel(repository="org/tiny", parameters=1, layers=3, width=models.WIDTH),
        dictionary="org/tiny-clt",
        kind="clt",
        files=("config.json", "layer_*.safetensors"),
    )
    monkeypatch.setattr(kits, "PUBLISHED", {tiny.name: tiny})
    return tiny


def test_a_pair_in_the_hubs_cache_is_a_kit(pair: PublishedPair) -> None:
    kit = clew.load("tiny-clt")
    assert (kit.name, kit.subject.name) == ("tiny-clt", "org/tiny")
    assert kit.provenance == {"model": "org/tiny", "dictionary": "org/tiny-clt"}
    subject = models.subject("llama", torch.float32)
    expected = clew.Kit(subject, models.dictionary("clt", models.subject("llama"))).trace(models.PROMPT)
    torch.testing.assert_close(kit.trace(models.PROMPT).adjacency, expected.adjacency, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("absent", [("org/tiny",), ("org/tiny-clt",), ("org/tiny", "org/tiny-clt")])
def test_what_a_pair_lacks_is_said_in_one_line(absent: tuple[str, ...], pair: PublishedPair, tmp_path: Path) -> None:
    for repository in absent:
        (tmp_path / f"models--{repository.replace('/', '--')}").rename(tmp_path / repository.replace("/", "."))
    with pytest.raises(FileError) as caught:
        clew.load("tiny-clt")
    said = str(caught.value)
    assert "\n" not in said
    for repository, files in (
        ("org/tiny", "config.json, model*.safetensors, tokenizer*.json"),
        ("org/tiny-clt", "config.json, layer_*.safetensors"),
    ):
        assert (f"{repository} ({files})" in said) == (repository in absent)
    assert f"into {tmp_path}, or give two folders" in said


def test_a_damaged_pair_is_refused_for_its_damage(pair: PublishedPair, tmp_path: Path) -> None:
    layer = next((tmp_path / "models--org--tiny-clt").glob("snapshots/*/layer_1.safetensors"))
    layer.write_bytes(layer.read_bytes()[:100])
    with pytest.raises(FileError, match=r"layer_1\.safetensors is not a whole safetensors file"):
        clew.load("tiny-clt")


def test_the_model_of_a_pair_or_kit_takes_another_dictionary(pair: PublishedPair, tmp_path: Path) -> None:
    own = clew.load("tiny-clt")
    plt = models.dictionary("plt", own.subject)
    plt.save(tmp_path / "plt")
    kit = clew.load("tiny-clt", dictionary=tmp_path / "plt")
    assert (kit.subject.name, kit.dictionary.fingerprint) == ("org/tiny", plt.fingerprint)
    neurons = clew.load("tiny-clt", dictionary="neurons")
    assert neurons.dictionary.fingerprint == clew.Kit(own.subject).dictionary.fingerprint
    kits.build(tmp_path / "built", name="x", model="minnow", dictionary=kits.BUNDLED / "minnow" / "dictionary")
    built = clew.load(tmp_path / "built")
    assert built.subject.weights_hash() == clew.load("minnow").subject.weights_hash()
    assert built.provenance["model"] == clew.load("minnow").provenance["model"] != {}  # how it was trained is kept
    minnow, again = clew.load("minnow"), clew.load("minnow", dictionary=kits.BUNDLED / "minnow" / "dictionary")
    prompt = "The capital of France is"
    assert torch.equal(again.trace(prompt).rows, minnow.trace(prompt).rows)


def test_a_packages_model_takes_a_dictionary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = models.subject("llama")
    subject.name = SMOLLM2.name
    monkeypatch.setattr(kits, "load_packaged", lambda model, device: subject)
    models.dictionary("clt", subject).save(tmp_path / "clt")
    assert clew.load("smollm2", dictionary=tmp_path / "clt").dictionary.kind == "clt"
    assert kits.load_subject("smollm2") is subject
    assert clew.load("smollm2").provenance["sha256"] == SMOLLM2.sha256
