"""The activation function of a published dictionary is the one that it means, in any spelling, or it is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from clew.dictionary import BatchTopK, Dictionary, JumpReLU, Nonlinearity, ReLU, TopK
from clew.errors import FileError, InputError

N, D, LAYERS = 12, 8, 2
HOOKS = {"feature_input_hook": "mlp.hook_in", "feature_output_hook": "mlp.hook_out"}
X = torch.randn(5, D, generator=torch.Generator().manual_seed(3))
PRE = torch.randn(5, N, generator=torch.Generator().manual_seed(4))
THRESHOLD = torch.linspace(0.1, 1.2, N)


def plt(folder: Path, config: dict[str, Any], **more: Tensor) -> Path:
    """A set of per-layer transcoders; tensors that are given stand in every layer's file."""
    generator = torch.Generator().manual_seed(1)
    folder.mkdir(exist_ok=True)
    for layer in range(LAYERS):
        weights = {
            "W_enc": torch.randn(N, D, generator=generator),
            "W_dec": torch.randn(N, D, generator=generator),
            "b_enc": torch.randn(N, generator=generator),
            "b_dec": torch.randn(D, generator=generator),
        }
        save_file(
            weights | {name: tensor.clone() for name, tensor in more.items()}, folder / f"layer_{layer}.safetensors"
        )
    (folder / "config.yaml").write_text(yaml.safe_dump(HOOKS | config))
    return folder


def loaded(folder: Path, config: dict[str, Any], **more: Tensor) -> Nonlinearity:
    return Dictionary.load(plt(folder, config, **more)).layers[1].nonlinearity


def same(a: Nonlinearity, b: Nonlinearity) -> bool:
    return type(a) is type(b) and torch.equal(a.apply(PRE), b.apply(PRE))


TOPK = [
    {"activation": "topk", "k": 3},
    {"activation": {"name": "topk", "k": 3}},
    {"activation_fn": "TopK", "k": 3},
    {"activation_function": "top_k", "top_k": 3},
    {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}},
    {"architecture": "topk", "activation_fn_str": "relu", "k": 3, "activation_fn_kwargs": {}},
    {"architecture": "topk_transcoder", "k": 3},
    {"topk": True, "k": 3},
    {"topk": 3},
]


@pytest.mark.parametrize("config", TOPK)
def test_every_spelling_of_topk_is_read(config: dict[str, Any], tmp_path: Path) -> None:
    assert same(loaded(tmp_path, config), TopK(k=3))


def test_topk_of_a_tensor_is_read(tmp_path: Path) -> None:
    assert same(loaded(tmp_path, {}, k=torch.tensor(3)), TopK(k=3))
    assert same(loaded(tmp_path, {"activation": "topk"}, k=torch.tensor([3])), TopK(k=3))


@pytest.mark.parametrize("config", [{}, {"activation": "relu"}, {"architecture": "standard"}, {"activation_fn": None}])
def test_relu_is_read(config: dict[str, Any], tmp_path: Path) -> None:
    assert same(loaded(tmp_path, config), ReLU())


@pytest.mark.parametrize("name", ["threshold", "activation_function.threshold"])
@pytest.mark.parametrize("config", [{}, {"activation": "jump_relu"}, {"architecture": "jumprelu_skip_transcoder"}])
def test_a_threshold_makes_jumprelu_under_either_name(name: str, config: dict[str, Any], tmp_path: Path) -> None:
    assert same(loaded(tmp_path, config, **{name: THRESHOLD}), JumpReLU(threshold=THRESHOLD))


def test_logarithms_of_thresholds_are_exponentiated(tmp_path: Path) -> None:
    rule = loaded(tmp_path, {}, log_threshold=THRESHOLD.log())
    assert isinstance(rule, JumpReLU)
    torch.testing.assert_close(rule.threshold, THRESHOLD)


def test_one_threshold_for_all_features_is_spread(tmp_path: Path) -> None:
    assert same(loaded(tmp_path, {}, threshold=torch.tensor(0.4)), JumpReLU(threshold=torch.full((N,), 0.4)))


def test_batchtopk_keeps_its_fixed_threshold(tmp_path: Path) -> None:
    config = {"activation": "batch_topk", "k": 3}
    assert same(loaded(tmp_path, config, threshold=THRESHOLD), BatchTopK(k=3, threshold=THRESHOLD))


@pytest.mark.parametrize(
    ("config", "tensors", "said"),
    [
        ({"activation": "topk", "k": 3}, {"threshold": THRESHOLD}, "topk, but a threshold is there"),
        ({"activation": "batchtopk", "k": 3}, {}, "batchtopk, but its threshold is missing"),
        ({"activation": "jumprelu"}, {}, "jumprelu, but its threshold is missing"),
        ({"activation": "topk", "architecture": "jumprelu", "k": 3}, {}, "is jumprelu and topk: one must go"),
        ({"activation": "topk", "k": 3, "top_k": 4}, {}, "k is 3, 4: one number is needed"),
        ({"activation": "topk", "k": True}, {}, "not given as a whole number"),
        ({"activation": "gelu"}, {}, "activation 'gelu' cannot be read"),
        ({"activation_kind": "topk", "k": 3}, {}, "the key 'activation_kind'"),
        ({"use_topk": True, "k": 3}, {}, "the key 'use_topk'"),
        ({"normalize_activations": "layer_norm"}, {}, "normalize_activations is 'layer_norm'"),
        ({}, {"threshold": THRESHOLD, "log_threshold": THRESHOLD}, "both threshold and log_threshold"),
        ({}, {"b_gate": THRESHOLD, "r_mag": THRESHOLD}, "b_gate, r_mag cannot be read"),
        ({}, {"W_enc_scale": THRESHOLD}, "W_enc_scale cannot be read"),
        ({"apply_b_dec_to_input": "yes"}, {}, "expected true or false"),
    ],
)
def test_what_contradicts_itself_or_is_not_known_is_refused(
    config: dict[str, Any], tensors: dict[str, Tensor], said: str, tmp_path: Path
) -> None:
    with pytest.raises(FileError) as caught:
        loaded(tmp_path, config, **tensors)
    assert said in str(caught.value)


def test_a_decoder_bias_that_is_subtracted_from_the_input_is_part_of_the_encoders(tmp_path: Path) -> None:
    dictionary = Dictionary.load(plt(tmp_path, {"apply_b_dec_to_input": True}))
    weights = load_file(tmp_path / "layer_1.safetensors")
    expected = (X - weights["b_dec"]) @ weights["W_enc"].T + weights["b_enc"]
    torch.testing.assert_close(dictionary.preactivations(1, X), expected)
    plain = Dictionary.load(plt(tmp_path, {"apply_b_dec_to_input": False}))
    torch.testing.assert_close(plain.preactivations(1, X), X @ weights["W_enc"].T + weights["b_enc"])


@pytest.mark.parametrize("eight_bits", [torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("layout", ["plt", "native"])
def test_weights_in_8_bit_floats_are_read_exactly(eight_bits: torch.dtype, layout: str, tmp_path: Path) -> None:
    folder = plt(tmp_path / "plt", {}, threshold=THRESHOLD)
    if layout == "native":
        Dictionary.load(folder).save(tmp_path / "native")
        folder = tmp_path / "native"
    for path in sorted(folder.glob("layer_*.safetensors")):
        save_file({name: tensor.to(eight_bits) for name, tensor in load_file(path).items()}, path)
    dictionary, stored = Dictionary.load(folder), load_file(path)
    names = ("W_enc", "b_enc") if layout == "plt" else ("encoder", "bias")
    encoder, bias = (stored[name].float() for name in names)
    torch.testing.assert_close(dictionary.preactivations(1, X), X @ encoder.T + bias)
    dictionary.save(tmp_path / "again")
    assert torch.equal(Dictionary.load(tmp_path / "again").preactivations(1, X), dictionary.preactivations(1, X))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.uint8, torch.bool])
def test_weights_in_whole_numbers_are_refused(dtype: torch.dtype, tmp_path: Path) -> None:
    path = plt(tmp_path, {}) / "layer_0.safetensors"
    save_file(load_file(path) | {"W_dec": torch.ones(N, D, dtype=dtype)}, path)
    with pytest.raises(FileError, match=f"W_dec is {dtype}, expected a floating type"):
        Dictionary.load(tmp_path)


def test_a_dictionary_cannot_be_put_into_8_bits_in_memory(tmp_path: Path) -> None:
    dictionary = Dictionary.load(plt(tmp_path, {}))
    with pytest.raises(InputError, match=r"layer 0: encoder is in torch\.float8_e4m3fn: convert it"):
        dictionary.to(dtype=torch.float8_e4m3fn)


def test_unknown_and_contradictory_tensors_of_the_native_layout_are_refused(tmp_path: Path) -> None:
    Dictionary.load(plt(tmp_path / "plt", {})).save(tmp_path / "d")
    path = tmp_path / "d" / "layer_1.safetensors"
    weights = load_file(path)
    for name, said in (("gate", "gate cannot be read"), ("threshold", "relu, but a threshold is there")):
        save_file(weights | {name: torch.ones(N)}, path)
        with pytest.raises(FileError, match=said):
            Dictionary.load(tmp_path / "d")
