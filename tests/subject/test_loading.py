"""A model folder is the whole model, or it is refused in one sentence: nothing is filled in, imported, asked or run."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from clew.attribution.trace import trace
from clew.errors import ClewError, FileError, InputError, UnsupportedModelError
from clew.subject.loading import Place, check_devices
from clew.subject.subject import Subject
from tests import models
from tests.attribution.test_trace import assert_identity
from tests.gguf_files import tiny_gguf
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


def refusal(folder: Path | str, kind: type[ClewError] = FileError) -> str:
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
    assert "or one of its GGUF files (llama.gguf)" in refusal(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    assert "is a file: give a model folder" in refusal(tmp_path / "notes.txt")
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


def test_a_folder_in_several_dtypes_is_read_in_one(tmp_path: Path) -> None:
    folder = folder_of("llama", tmp_path)
    halves = {"layers.1.": torch.bfloat16, "layers.2.": torch.float16}
    rewrite(
        folder,
        lambda weights: {
            name: tensor.to(next((dtype for part, dtype in halves.items() if part in name), torch.float32))
            for name, tensor in weights.items()
        },
    )
    subject = Subject.load(folder)
    stored = load_file(folder / "model.safetensors")
    for name, parameter in subject.model.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, stored[name].float())
    assert {p.dtype for p in Subject.load(folder, dtype=torch.bfloat16).model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("kind", ["t5", "bert"])
def test_encoders_as_they_are_saved_are_refused_before_their_weights_are_read(kind: str, tmp_path: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM, T5Config, T5ForConditionalGeneration

    if kind == "t5":
        config = T5Config(vocab_size=97, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
        T5ForConditionalGeneration(config).save_pretrained(tmp_path)
        said = "T5ForConditionalGeneration (it reads more than text, or has an encoder) is not supported"
    else:
        shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        BertForMaskedLM(BertConfig(vocab_size=97, **shape)).save_pretrained(tmp_path)
        said = "architecture BertForMaskedLM is not supported"
    weights = tmp_path / "model.safetensors"
    assert said in refusal(tmp_path, UnsupportedModelError)
    assert weights.is_file()


@pytest.mark.parametrize("architecture", ["Gemma3ForConditionalGeneration", "T5ForConditionalGeneration"])
def test_models_of_more_than_text_and_encoders_are_refused_as_such(architecture: str, tmp_path: Path) -> None:
    configure(folder_of("llama", tmp_path), architectures=[architecture])
    said = refusal(tmp_path, UnsupportedModelError)
    assert f"{architecture} (it reads more than text, or has an encoder) is not supported" in said


# --- the hub, GGUF files, devices ---------------------------------------------------------------------------------


def test_a_hub_id_names_its_revision_behind_an_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "models--org--tiny-llama"
    (repository / "refs").mkdir(parents=True)
    for seed, (revision, commit) in enumerate({"main": "a" * 40, "v1.0": "b" * 40}.items()):
        models.model("llama", torch.float32, seed=seed).save_pretrained(repository / "snapshots" / commit)
        models.tokenizer().save_pretrained(repository / "snapshots" / commit)
        (repository / "refs" / revision).write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for seed, source in enumerate(("org/tiny-llama", "org/tiny-llama@v1.0")):
        subject = Subject.load(source)
        assert subject.name == "org/tiny-llama"
        with torch.no_grad():
            assert torch.equal(subject.logits(IDS), models.model("llama", torch.float32, seed=seed)(IDS).logits)
    for source in ("org/tiny-llama@v2", "org/other"):
        with pytest.raises(FileError, match="the hub gave no answer: check the name"):
            Subject.load(source)


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("gpt2", Place("gpt2")),
        ("org/name", Place("org/name")),
        ("gpt2@main", Place("gpt2", "main")),
        ("org/name@refs/pr/3", Place("org/name", "refs/pr/3")),
        ("org/name/tiny-q8_0.gguf", Place("org/name", gguf="tiny-q8_0.gguf")),
        ("org/name/sub/tiny.gguf@v2", Place("org/name", "v2", "sub/tiny.gguf")),
        ("./missing folder@3", Place("./missing folder@3")),
    ],
)
def test_a_name_says_the_hub_id_its_file_and_its_revision(source: str, place: Place) -> None:
    assert Place.of(source) == place


def test_a_folder_with_an_at_in_its_name_is_that_folder(tmp_path: Path) -> None:
    folder = folder_of("llama", tmp_path / "llama@3")
    assert Subject.load(folder).name == "llama@3"


def test_without_its_extra_a_gguf_file_and_a_device_map_say_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clew.subject.loading.installed", lambda module: False)
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    with pytest.raises(InputError, match=r"reading the GGUF file tiny.gguf needs the extra 'loading': pip install"):
        Subject.load(tmp_path / "tiny.gguf")
    with pytest.raises(InputError, match="a device_map needs the extra 'loading'"):
        Subject.load(folder_of("llama", tmp_path / "llama"), device_map="auto")


def test_a_gguf_file_is_read_with_its_tokenizer_and_can_be_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("accelerate")
    model = tiny_gguf(tmp_path / "tiny.gguf")
    subject = Subject.load(tmp_path / "tiny.gguf")
    assert (subject.name, subject.dtype) == ("tiny.gguf", torch.float32)
    with torch.no_grad():
        assert torch.equal(subject.logits(IDS), model(IDS).logits)
    assert subject.token_strings(subject.encode("abc").tolist()) == ("<bos>", "ab", "c")
    assert len(subject.record("abc")) == 3
    assert capsys.readouterr() == ("", "")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(64))
    assert "cannot load a model from" in refusal(tmp_path / "broken.gguf")


def test_a_device_map_on_one_device_is_followed(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    folder = folder_of("llama", tmp_path)
    with torch.no_grad():
        logits = models.model("llama", torch.float32)(IDS).logits
    assert torch.equal(Subject.load(folder, device_map={"": "cpu"}).logits(IDS), logits)
    with pytest.raises(InputError, match="in memory already"):
        Subject.load(models.model("llama"), device_map="auto")


def test_a_model_in_several_places_is_refused() -> None:
    model = models.model("llama")
    check_devices(model)
    model.model.layers[1].mlp.to("meta")
    with pytest.raises(UnsupportedModelError, match="left out of memory"):
        check_devices(model)
    with pytest.raises(UnsupportedModelError, match="left out of memory"):
        Subject.load(model)


def test_a_model_on_two_devices_names_them() -> None:
    class Spread:
        def parameters(self) -> list[SimpleNamespace]:
            return [SimpleNamespace(device=torch.device(name)) for name in ("cuda:1", "cuda:0", "cuda:1")]

    with pytest.raises(UnsupportedModelError, match="spread over cuda:0, cuda:1: put it on one of them"):
        check_devices(Spread())


def test_a_device_map_that_leaves_a_layer_on_the_disk_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    folder = folder_of("llama", tmp_path)
    parts = ["model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head", "model.layers.0", "model.layers.1"]
    places = dict.fromkeys(parts, "cpu") | {"model.layers.2": "disk"}
    with pytest.raises(UnsupportedModelError, match="left out of memory"):
        Subject.load(folder, device_map=places)


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_that_is_the_embedding_and_one_of_its_own_are_read_from_a_folder(tied: bool, tmp_path: Path) -> None:
    subject = Subject.load(folder_of("qwen3", tmp_path, tie_word_embeddings=tied))
    embedding = subject.model.get_input_embeddings().weight
    assert (subject.unembedding.data_ptr() == embedding.data_ptr()) == tied
    with torch.no_grad():
        real = models.model("qwen3", torch.float32, tie_word_embeddings=tied)(IDS).logits[0]
    torch.testing.assert_close(subject.record(PROMPT).logits, real, rtol=1e-4, atol=1e-4)


def test_a_vocabulary_that_is_padded_beyond_the_tokenizers_is_read_whole() -> None:
    subject = models.subject("llama", vocab_size=128)  # the tokenizer has 97
    assert subject.token_strings([96, 97, 127]) == ("w96", "#97", "#127")
    assert subject.encode([5, 127]).tolist() == [5, 127]
    graph = trace(subject, models.dictionary("clt", subject), [*PROMPT, 120], targets=[127, 5])
    assert graph.tokens[-1] == "#120"
    assert [target.label for target in graph.targets] == ["#127", "w5"]
    assert_identity(graph)


def test_a_tokenizer_with_more_tokens_than_the_model_says_which_token_is_too_many() -> None:
    subject = models.subject("llama", vocab_size=50)
    assert subject.encode("w49").tolist() == [models.BOS, 49]
    with pytest.raises(InputError, match=r"outside 0\.\.49"):
        subject.encode("w60")


FOUR_BITS = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])


def in_four_bits(folder: Path) -> Weights:
    """Put random MXFP4 weights in the place of a folder's experts; returns what they stand for."""
    generator, exact = torch.Generator().manual_seed(0), {}
    signed = torch.cat([FOUR_BITS, -FOUR_BITS])

    def quantised(weights: Weights) -> Weights:
        for name in [name for name in weights if name.endswith(("gate_up_proj", "down_proj"))]:
            experts, inside, outside = weights.pop(name).shape
            blocks = torch.randint(0, 256, (experts, outside, inside // 32, 16), generator=generator).byte()
            scales = torch.randint(123, 126, (experts, outside, inside // 32), generator=generator).byte()
            pairs = torch.stack([signed[(blocks & 15).long()], signed[(blocks >> 4).long()]], -1).flatten(-2)
            exact[name] = (pairs * 2.0 ** (scales[..., None].float() - 127)).flatten(2).mT
            weights[f"{name}_blocks"], weights[f"{name}_scales"] = blocks, scales
        return weights

    rewrite(folder, quantised)
    configure(folder, quantization_config={"quant_method": "mxfp4"})
    return exact


def test_the_four_bits_of_gpt_oss_become_the_numbers_that_they_stand_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of("gpt_oss", tmp_path, intermediate_size=32)
    model = models.model("gpt_oss", torch.float32, intermediate_size=32)
    model.load_state_dict(in_four_bits(folder), strict=False)
    capsys.readouterr()
    subject = Subject.load(folder)
    assert capsys.readouterr() == ("", "")
    assert subject.dtype == torch.float32
    with torch.no_grad():
        assert torch.equal(subject.logits(IDS), model(IDS).logits)
    assert len(subject.record(PROMPT)) == len(PROMPT)
    path = folder / "config.json"
    settings = json.loads(path.read_text())
    del settings["quantization_config"]
    path.write_text(json.dumps(settings))
    assert "are not the architecture's" in refusal(folder)


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
