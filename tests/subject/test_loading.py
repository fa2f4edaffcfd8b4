"""A model folder is the whole model, or it is refused in one sentence: nothing is filled in, imported, asked or run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from clew.errors import ClewError, FileError, InputError, UnsupportedModelError
from clew.subject.subject import Subject
from tests import models
from tests.models import ARCHITECTURES, PROMPT, WIDTH

IDS = torch.tensor([PROMPT])
Weights = dict[str, Tensor]


def folder_of(architecture: str, folder: Path, **changes: Any) -> Path:
    models.model(architecture, torch.float32, **changes).save_pretrained(folder)
    models.tokenizer().save_pretrained(folder)
    return folder


def rewrite(folder: Path, change: Callable[[Weights], Weights]) -> None:
    path = folder / "model.safetensors"
    save_file(
        {name: tensor.clone() for name, tensor in change(load_file(path)).items()}, path, metadata={"format": "pt"}
    )


def configure(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def without(part: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name: tensor for name, tensor in weights.items() if part not in name}


def prefixed(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {prefix + name: tensor for name, tensor in weights.items()}


def with_size(name: str, size: int) -> Callable[[Weights], Weights]:
    return lambda weights: weights | {name: torch.zeros(size)}


def refusal(folder: Path, kind: type[ClewError] = FileError) -> str:
    with pytest.raises(kind) as caught:
        Subject.load(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert "`" not in message
    assert "ignore_mismatched" not in message
    return message


# --- weights -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "change", "expected"),
    [
        ("llama", without("layers.1.self_attn.o"), "1 weights are missing (model.layers.1.self_attn.o_proj.weight)"),
        ("gpt2", without(".h.2.mlp"), "4 weights are missing (transformer.h.2.mlp.c_fc.bias"),
        ("neox", prefixed("_orig_mod."), "are not the architecture's (_orig_mod.embed_out.weight"),
        ("llama", with_size("v_head.weight", 1), "1 are not the architecture's (v_head.weight)"),
        ("gemma2", with_size("model.norm.weight", 7), f"model.norm.weight is [7], not [{WIDTH}]"),
    ],
)
def test_weights_that_are_not_the_models_are_named(
    architecture: str, change: Callable[[Weights], Weights], expected: str, tmp_path: Path
) -> None:
    folder = folder_of(architecture, tmp_path)
    rewrite(folder, change)
    assert expected in refusal(folder)


def test_a_configuration_with_fewer_layers_than_the_weights_is_refused(tmp_path: Path) -> None:
    configure(folder_of("llama", tmp_path), num_hidden_layers=2)
    assert "9 are not the architecture's (model.layers.2." in refusal(tmp_path)


PREFIXES = {"gpt2": "transformer.", "llama": "model.", "neox": "gpt_neox.", "gemma2": "model."}
OLD_BUFFERS = {
    "gpt2": ["transformer.h.0.attn.bias", "transformer.h.0.attn.masked_bias"],
    "llama": ["model.layers.0.self_attn.rotary_emb.inv_freq"],
    "neox": ["gpt_neox.layers.0.attention.bias", "gpt_neox.layers.0.attention.rotary_emb.inv_freq"],
    "gemma2": ["model.layers.0.self_attn.rotary_emb.inv_freq"],
}


@pytest.mark.parametrize("architecture", PREFIXES)
def test_folders_of_older_versions_load_with_the_same_logits(architecture: str, tmp_path: Path) -> None:
    """Without the prefix of the base model, with masks and rotary tables among the weights, sharded."""
    model = models.model(architecture, torch.float32)
    models.tokenizer().save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    buffers = {name: torch.ones(1, 1, 4, 4, dtype=torch.uint8) for name in OLD_BUFFERS[architecture]}
    prefix = PREFIXES[architecture]
    rewrite(tmp_path, lambda w: {name.removeprefix(prefix): tensor for name, tensor in (w | buffers).items()})
    with torch.no_grad():
        assert torch.equal(Subject.load(tmp_path).logits(IDS), model(IDS).logits)
        (tmp_path / "model.safetensors").unlink()
        model.save_pretrained(tmp_path, max_shard_size="20KB")
        assert torch.equal(Subject.load(tmp_path).logits(IDS), model(IDS).logits)
    shard = sorted(tmp_path.glob("model-*.safetensors"))[1]
    shard.unlink()
    assert shard.name in refusal(tmp_path)


def test_a_pickle_of_weights_loads_and_one_that_runs_code_does_not(tmp_path: Path) -> None:
    folder = folder_of("llama", tmp_path)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with torch.no_grad():
        expected = models.model("llama", torch.float32)(IDS).logits
    assert torch.equal(Subject.load(folder).logits(IDS), expected)

    class Intruder:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"w": Intruder()}, folder / "pytorch_model.bin")
    assert ".bin file is damaged, or holds more than weights" in refusal(folder)
    assert not (tmp_path / "ran").exists()


# --- what the folder says of itself -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "quantization_config",
            {"quant_method": "compressed-tensors", "format": "int-quantized"},
            "compressed-tensors",
        ),
        ("quantization_config", {"quant_method": "hqq"}, "hqq"),
        ("compression_config", {"format": "pack-quantized"}, "its config.json says so"),
    ],
)
def test_a_quantised_folder_is_refused_before_anything_is_imported(
    key: str, value: Any, said: str, tmp_path: Path
) -> None:
    configure(folder_of("llama", tmp_path), **{key: value})
    assert f"is quantised ({said})" in refusal(tmp_path, UnsupportedModelError)


def test_weights_in_whole_numbers_are_refused_even_if_nothing_says_that_they_are_quantised(tmp_path: Path) -> None:
    folder_of("llama", tmp_path)
    name = "model.layers.0.mlp.up_proj.weight"
    rewrite(tmp_path, lambda w: w | {name: (w[name] * 50).to(torch.int8)})
    assert name in refusal(tmp_path, UnsupportedModelError)


@pytest.mark.parametrize("kind", ["config", "tokenizer"])
def test_a_folders_own_code_never_runs_and_nobody_is_asked(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda prompt="": asked.append(prompt) or "y")
    folder = folder_of("llama", tmp_path / "model")
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nfrom transformers import LlamaConfig as C\n")
    if kind == "config":
        configure(folder, model_type="own", auto_map={"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"})
    else:
        path = folder / "tokenizer_config.json"
        own = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.T", None]}}
        path.write_text(json.dumps(json.loads(path.read_text()) | own))
    assert "code of its own" in refusal(folder)
    assert not asked
    assert not (tmp_path / "ran").exists()


def test_folders_that_hold_something_else_are_told_apart(tmp_path: Path) -> None:
    adapter = folder_of("llama", tmp_path / "adapter")
    (adapter / "adapter_config.json").write_text("{}")
    assert "merge it into its base model" in refusal(adapter, UnsupportedModelError)
    (tmp_path / "llama.gguf").write_bytes(b"GGUF")
    assert "GGUF" in refusal(tmp_path)
    assert "GGUF" in refusal(tmp_path / "llama.gguf")
    bare = tmp_path / "bare"
    models.model("llama", torch.float32).save_pretrained(bare)
    assert f"{bare} has no tokenizer that can be read (put its tokenizer.json into the folder)" in refusal(bare)
    assert Subject.load(bare, models.tokenizer()).encode("w5").tolist() == [models.BOS, 5]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_attention_heads": 5}, "not a multiple of the number of attention heads (5)"),
        ({"hidden_act": "nothing"}, "'nothing' is not known"),
        ({"model_type": "gpt2"}, "describes GPT2LMHeadModel"),
        ({"architectures": None, "model_type": "t5"}, "names no architecture"),
    ],
)
def test_a_faulty_configuration_is_refused_for_its_fault(settings: Any, said: str, tmp_path: Path) -> None:
    configure(folder_of("llama", tmp_path), **settings)
    assert said in refusal(tmp_path, ClewError)


def test_a_configuration_that_names_no_architecture_is_that_of_its_model_type(tmp_path: Path) -> None:
    configure(folder_of("llama", tmp_path), architectures=None)
    assert Subject.load(tmp_path).family.architecture == "LlamaForCausalLM"


# --- dtypes and models in memory ----------------------------------------------------------------------------------


def test_models_in_numbers_that_cannot_be_computed_with_are_refused() -> None:
    for dtype in (torch.float8_e4m3fn, torch.int8):
        with pytest.raises(InputError, match=r"choose from torch\.float32"):
            Subject.load(models.model("llama"), dtype=dtype)
    mixed = models.model("llama", torch.float16)
    mixed.model.norm.float()
    with pytest.raises(UnsupportedModelError, match=r"torch\.float16, torch\.float32: give one with dtype="):
        Subject.load(mixed)
    assert Subject.load(mixed, dtype=torch.float32).dtype == torch.float32


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_family_loads_what_it_saves(architecture: str, tmp_path: Path) -> None:
    model = models.model(architecture, torch.float32)
    with torch.no_grad():
        assert torch.equal(Subject.load(folder_of(architecture, tmp_path)).logits(IDS), model(IDS).logits)
