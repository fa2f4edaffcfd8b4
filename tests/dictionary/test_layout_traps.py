"""What is missing, cut, mixed, turned or not computed here is refused in one line that names it; nothing is guessed."""

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from clew.dictionary import Dictionary, save_circuit_tracer
from clew.errors import FileError
from tests.dictionary import layout_writers as writers
from tests.dictionary import model_wide_writers as wide
from tests.dictionary.layout_writers import D, F, L
from tests.dictionary.test_dictionary import build

Damage = Callable[[Path], object]


def one(folder: Path, pattern: str) -> Path:
    return sorted(folder.rglob(pattern))[0]


def drop(pattern: str) -> Damage:
    return lambda folder: one(folder, pattern).unlink()


def cut(pattern: str) -> Damage:
    return lambda folder: one(folder, pattern).write_bytes(one(folder, pattern).read_bytes()[:-60])


def put(pattern: str, **tensors: Tensor | None) -> Damage:
    """Other tensors in a file; None takes one away."""

    def damage(folder: Path) -> None:
        path = one(folder, pattern)
        names = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
        kept = {name: t.clone() for name, t in load_file(path).items() if name not in names}
        path.unlink()
        save_file(kept | {name: t for name, t in names.items() if t is not None}, path)

    return damage


def setting(pattern: str, **settings: Any) -> Damage:
    """Other settings in a JSON file; None takes one away."""

    def damage(folder: Path) -> None:
        path = one(folder, pattern)
        config = json.loads(path.read_text()) | settings
        path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))

    return damage


def array(**arrays: Any) -> Damage:
    """Other arrays in a NumPy file; None takes one away."""

    def damage(folder: Path) -> None:
        path = one(folder, "params.npz")
        kept = dict(np.load(path)) | arrays
        np.savez(path, **{name: a for name, a in kept.items() if a is not None})

    return damage


def both(first: Damage, second: Damage) -> Damage:
    return lambda folder: (first(folder), second(folder))


SAE, SPARSE, MOSS = "sae_weights.safetensors", "sae.safetensors", "sae_weights.safetensors"
G, G2, CLT2 = writers.gemma_scope, writers.gemma_scope_2, writers.gemma_scope_2_clt
S, SP, SPC = writers.saelens, writers.sparsify, writers.sparsify_clt
X, FORGE, MOSS_ONE, MOSS_CLT = wide.crosslayer_transcoder, wide.clt_forge, wide.openmoss, wide.openmoss_clt
CASES: dict[str, tuple[Callable[..., Any], dict[str, Any], Damage, str]] = {
    # missing, cut
    "no threshold": (G, {}, array(threshold=None), "threshold is missing"),
    "npz cut": (G, {}, cut("params.npz"), "is not a whole .npz file"),
    "objects": (G, {}, array(b_dec=np.array([{}], dtype=object)), "holds Python objects, which may run code"),
    "CLT without a layer": (CLT2, {}, drop("params_layer_1*"), "params_layer_1.safetensors is missing"),
    "layer without weights": (S, {}, drop(SAE), f"{SAE} is missing beside its cfg.json"),
    "module without weights": (
        G2,
        {},
        drop("params.safetensors"),
        "params.safetensors is missing beside its config.json",
    ),
    "weights cut": (S, {}, cut(SAE), "is not a whole safetensors file"),
    "SAELens without settings": (S, {"layers": (1,)}, drop("cfg.json"), "cfg.json is missing, without which"),
    "sparsify without settings": (SP, {}, drop("cfg.json"), "cfg.json is missing, without which"),
    "crosslayer without settings": (X, {}, drop("config.yaml"), "config.yaml is missing, without which"),
    "CLT-Forge without settings": (FORGE, {}, drop("clt_cfg.json"), "clt_cfg.json is missing, without which"),
    "OpenMOSS without settings": (MOSS_CLT, {}, drop("config.json"), "cfg.json is missing, without which"),
    "a rank is missing": (FORGE, {"ranks": 3}, drop("rank1_*"), "rank1_clt_weights.safetensors is missing"),
    "the last rank is missing": (FORGE, {"ranks": 3}, drop("rank2_*"), "hold 16 features a layer, 24 wanted"),
    "a layer of a CLT is missing": (
        SPC,
        {},
        lambda d: [p.unlink() for p in sorted((d / "h.1.mlp").iterdir())],
        "is incomplete: of the layers 0 to 2",
    ),
    "the last layer of a CLT is missing": (
        SPC,
        {},
        lambda d: [p.unlink() for p in sorted((d / "h.2.mlp").iterdir())],
        "writes up to layer 2, which is missing",
    ),
    "a decoder is missing": (X, {}, put("checkpoint*", decoder__W_1=None), "decoder.W_1 is missing"),
    "a mean is missing": (X, {}, put("checkpoint*", input_standardizer__mean=None), "but its mean or std is missing"),
    "theta is missing": (X, {}, put("checkpoint*", nonlinearity__theta=None), "JumpReLU, but its threshold is missing"),
    "log_threshold is missing": (FORGE, {}, put("clt_w*", log_threshold=None), "but log_threshold is missing"),
    "OpenMOSS' threshold is missing": (
        MOSS_CLT,
        {},
        put(MOSS, activation_function__log_jumprelu_threshold=None),
        "log_jumprelu_threshold is missing",
    ),
    "a norm is missing": (
        MOSS_CLT,
        {},
        put(MOSS, **{"dataset_average_activation_norm__blocks__1__hook_mlp_out": None}),
        "hook_mlp_out is missing",
    ),
    "SAELens' threshold is missing": (S, {}, put(SAE, threshold=None), "jumprelu, but its threshold is missing"),
    # shapes
    "decoder turned (npz)": (
        G,
        {},
        array(W_dec=np.ones((D, F), np.float32)),
        r"its decoder is \[8, 24\], expected \[24, 8\]",
    ),
    "encoder turned": (S, {}, put(SAE, W_enc=torch.ones(F, D)), r"its b_enc is \[24\], expected \[8\]"),
    "decoder turned": (S, {}, put(SAE, W_dec=torch.ones(D, F)), r"its decoder is \[8, 24\], expected \[24, 8\]"),
    "decoder turned (sparsify)": (
        SP,
        {},
        put(SPARSE, W_dec=torch.ones(D, F)),
        r"its decoder is \[8, 24\], expected \[24, 8\]",
    ),
    "pairs": (FORGE, {}, put("clt_w*", W_dec=torch.ones(3, F, D)), "W_dec and b_dec have 3 and 6 decoders, expected 6"),
    "writes back": (CLT2, {}, put("params_layer_1*", w_dec=torch.ones(F, L, D)), "w_dec writes to layers before 1"),
    # skip
    "skip lost": (G2, {}, put("params*", affine_skip_connection=None), "has none, but its config.json says otherwise"),
    "skip not said": (
        G2,
        {},
        setting("config.json", affine_connection=False),
        "has one, but its config.json says otherwise",
    ),
    "W_skip lost": (
        SP,
        {"skip": True},
        put(SPARSE, W_skip=None),
        "W_skip is missing, but cfg.json says skip_connection",
    ),
    "skip across layers": (SPC, {"cross_skip": True}, lambda d: None, r"W_skips\.\d reaches a later layer"),
    "W_skip across layers": (
        S,
        {"architecture": "skip_transcoder"},
        put(SAE, W_skip=None),
        "has none, but its architecture",
    ),
    "W_skip not said": (
        S,
        {"architecture": "transcoder"},
        put(SAE, W_skip=torch.ones(D, D)),
        "has one, but its architecture",
    ),
    # activation functions
    "no k": (SP, {}, setting("cfg.json", k=None), "k is None: expected a whole number above zero"),
    "groupmax": (SP, {}, setting("cfg.json", activation="groupmax"), "its activation function is groupmax"),
    "signed": (SP, {}, setting("cfg.json", signed=True), "its activation function is signed"),
    "batchtopk without threshold": (
        SPC,
        {},
        setting("cfg.json", activation="batchtopk"),
        "is batchtopk, and only topk",
    ),
    "topk without k": (S, {"architecture": "topk"}, setting("cfg.json", k=None), "topk, and k is not given"),
    "layertopk": (MOSS_CLT, {}, setting("config.json", act_fn="layertopk"), "'layertopk' depends on other layers"),
    "groupmax of CLT-Forge": (
        FORGE,
        {},
        setting("clt_cfg.json", activation_fn="groupmax"),
        "'groupmax' is not computed here",
    ),
    "gated, said standard": (
        S,
        {"architecture": "gated"},
        setting("cfg.json", architecture="standard"),
        "b_enc is missing",
    ),
    "gated with b_enc": (
        S,
        {"architecture": "gated"},
        put(SAE, b_enc=torch.ones(F)),
        "it is gated, but b_enc or a threshold",
    ),
    "standard with a gate": (
        S,
        {"architecture": "standard"},
        put(SAE, b_gate=torch.ones(F)),
        "b_gate are there, but its",
    ),
    "unknown architecture": (
        S,
        {},
        setting("cfg.json", architecture="matching_pursuit"),
        "'matching_pursuit' is not read",
    ),
    "bias of active features": (SPC, {"offset": 0.5}, lambda d: None, r"post_encs\.\d adds to activations that are on"),
    # normalisation
    "layer norm": (S, {}, setting("cfg.json", normalize_activations="layer_norm"), "'layer_norm': fold it into"),
    "factor not given": (
        S,
        {},
        setting("cfg.json", normalize_activations="expected_average_only_in"),
        "or give the factor as norm_scaling_factor",
    ),
    "fine-tuned, not said": (
        S,
        {"scaled": "finetuned"},
        setting("cfg.json", finetuning_scaling_factor=False),
        "scaling_factor is not one",
    ),
    "norm of a token": (
        MOSS_CLT,
        {},
        setting("config.json", norm_activation="token-wise"),
        "norm_activation is 'token-wise'",
    ),
    "standardized by token": (
        X,
        {"standardizer": "Samplewise"},
        lambda d: None,
        "SamplewiseInputStandardizer, which is not",
    ),
    "norm without numbers": (
        SP,
        {},
        setting("cfg.json", normalize_io=True),
        "normalize_io is set, but out_norm is missing",
    ),
    "GLU": (MOSS_CLT, {}, setting("config.json", use_glu_encoder=True), "use_glu_encoder is True"),
    "other kinds": (MOSS_ONE, {}, setting("config.json", sae_type="lorsa"), "sae_type 'lorsa' is not read here"),
    # sites
    "repository of attention": (G, {"repository": "gemma-scope-2b-pt-att"}, lambda d: None, "reads inside attention"),
    "folder without a name": (G, {"repository": "mine"}, lambda d: None, "nothing says where it reads"),
    "hook of attention": (
        S,
        {"layers": (1,)},
        setting("cfg.json", metadata={"hook_name": "blocks.1.attn.hook_z"}),
        "'attn.hook_z' is not known",
    ),
    "single heads": (S, {}, setting("cfg.json", hook_head_index=3), "it reads single heads of attention"),
    "hooks out of turn": (
        MOSS_CLT,
        {},
        setting("config.json", hook_points_in=["blocks.1.hook_resid_mid"] * L),
        "are not one hook of",
    ),
    "other inputs": (
        SP,
        {},
        setting("config.json", hookpoints_in=["layers.0.norm"]),
        "hookpoints_in differ from hookpoints",
    ),
    # two of them
    "two layers": (
        G,
        {},
        lambda d: (d / "layer_1").rename(d / "layer_0" / "layer_0"),
        "holds two dictionaries of layer 0",
    ),
    "two sites": (
        S,
        {},
        setting("cfg.json", metadata={"hook_name": "blocks.0.hook_resid_post"}),
        "holds two sets: blocks.0.hook_resid_pre",
    ),
    "two forms of shards": (
        FORGE,
        {"ranks": 2},
        lambda d: (d / "clt_weights.safetensors").write_bytes(b""),
        "and shards of 2 ranks",
    ),
    "dtypes": (
        S,
        {},
        put(SAE, W_dec=torch.ones(F, D, dtype=torch.bfloat16)),
        "is a mixture: encoder and decoder are in",
    ),
    "whole numbers": (
        S,
        {},
        put(SAE, W_dec=torch.ones(F, D, dtype=torch.int8)),
        "W_dec is torch.int8, expected a floating",
    ),
    "unknown tensor": (S, {}, put(SAE, W_other=torch.ones(F)), "W_other cannot be read"),
    "NaN": (S, {}, put(SAE, b_enc=torch.full((F,), torch.nan)), "b_enc holds NaN or infinity"),
    "settings are a list": (S, {}, lambda d: one(d, "cfg.json").write_text("[]"), "cfg.json holds no settings"),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_in_one_line_that_names_it(name: str, tmp_path: Path) -> None:
    write, options, damage, said = CASES[name]
    folder = write(tmp_path, **options).folder
    damage(folder)
    with pytest.raises(FileError, match=said) as caught:
        Dictionary.load(folder)
    assert "\n" not in str(caught.value)


PAIRS = [(a, b) for a, b in [(SP, S), (X, FORGE), (G, G2), (MOSS_CLT, X)]]


@pytest.mark.parametrize("pair", PAIRS)
def test_two_layouts_in_one_folder_are_refused(pair: tuple[Callable[..., Any], ...], tmp_path: Path) -> None:
    target = tmp_path / "both"
    for number, write in enumerate(pair):
        folder = write(tmp_path / str(number)).folder
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            place = target / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            path.rename(place)
    with pytest.raises(FileError, match=r"holds two layouts, .* and .*: name the folder of one"):
        Dictionary.load(target)


def test_two_of_circuit_tracers_layouts_are_refused_and_a_foreign_config_is_not(tmp_path: Path) -> None:
    save_circuit_tracer(build("clt"), tmp_path / "clt", model_name="m", scan="s")
    save_circuit_tracer(build("plt"), tmp_path / "d", model_name="m", scan="s")
    (tmp_path / "d" / "config.json").write_text("{}")  # some repositories carry one, so that downloads are counted
    assert Dictionary.load(tmp_path / "d").fingerprint == build("plt").fingerprint
    (tmp_path / "clt" / "W_enc_0.safetensors").rename(tmp_path / "d" / "W_enc_0.safetensors")
    with pytest.raises(FileError, match="holds two layouts, circuit-tracer CLT and circuit-tracer PLT"):
        Dictionary.load(tmp_path / "d")


@pytest.mark.parametrize("name", ["sae.pt", "ae.bin", "weights.pkl"])
def test_a_pickle_is_refused_and_never_opened(name: str, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "opened",))

    (tmp_path / "d").mkdir()
    (tmp_path / "d" / name).write_bytes(pickle.dumps(Bomb()))
    for place in (tmp_path / "d", tmp_path / "d" / name):
        with pytest.raises(FileError, match=r"is a pickle, which may run code and is never opened"):
            Dictionary.load(place)
    assert not (tmp_path / "opened").exists()


def test_objects_in_a_numpy_file_are_never_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "opened",))

    folder = G(tmp_path, layers=(0,)).folder
    np.savez(one(folder, "params.npz"), W_enc=np.array([Bomb()], dtype=object))
    with pytest.raises(FileError, match="holds Python objects"):
        Dictionary.load(folder)
    assert not (tmp_path / "opened").exists()


def test_a_compressed_numpy_file_reads_the_same(tmp_path: Path) -> None:
    plain, compressed = (G(tmp_path / str(save), save=save).folder for save in (np.savez, np.savez_compressed))
    with zipfile.ZipFile(one(compressed, "params.npz")) as archive:
        assert archive.infolist()[0].compress_type == zipfile.ZIP_DEFLATED
    assert Dictionary.load(plain).fingerprint == Dictionary.load(compressed).fingerprint


def test_arrays_by_columns_and_of_the_other_byte_order_read_the_same(tmp_path: Path) -> None:
    folder = G(tmp_path, layers=(0,)).folder
    before = Dictionary.load(folder).fingerprint
    path = one(folder, "params.npz")
    np.savez(path, **{name: np.asfortranarray(a).astype(">f4") for name, a in np.load(path).items()})
    assert Dictionary.load(folder).fingerprint == before
