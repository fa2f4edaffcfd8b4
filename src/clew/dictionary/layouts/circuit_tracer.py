"""circuit-tracer's layouts, read and written: sets of cross-layer and of per-layer transcoders.

CLT: `config.yaml`; `W_enc_{i}.safetensors` with `W_enc_{i}` [feature, d_model], `b_enc_{i}`, `b_dec_{i}` and an
optional `threshold_{i}` (absent: ReLU); `W_dec_{i}.safetensors` with `W_dec_{i}` [feature, L - i, d_model].

PLT: `layer_{i}.safetensors` with `W_enc`, `W_dec` [feature, d_model], `b_enc`, `b_dec` and optional
`activation_function.threshold`, `k` and `W_skip` (adds x @ W_skip.T). TopK often stands in the configuration only
(`activation_keys`), which is sometimes missing and once named `wanb-config.yaml`. An unknown tensor is refused.
"""

import re
from collections.abc import Mapping, Set
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from clew import files
from clew.dictionary.dictionary import Dictionary
from clew.dictionary.layer import Layer
from clew.dictionary.layouts import activation_keys
from clew.dictionary.layouts.assembly import name_of
from clew.dictionary.layouts.checks import check_replaceable, check_storable, readable
from clew.dictionary.layouts.hook_names import READ_HOOKS, WRITE_HOOKS, hook_of, site_of
from clew.dictionary.layouts.layout import Layout
from clew.dictionary.layouts.yaml_settings import CONFIGS, read_yaml, yaml_module
from clew.dictionary.nonlinearity import BatchTopK, JumpReLU, TopK
from clew.errors import FileError, InputError
from clew.progress import Progress, Report, silent

DEFAULT_HOOKS = {"feature_input_hook": "mlp.hook_in", "feature_output_hook": "mlp.hook_out"}
WEIGHTS = ("W_enc", "b_enc", "W_dec", "b_dec")
CLT_FILE, PLT_FILE = "W_enc_{}.safetensors", "layer_{}.safetensors"
"""The file whose numbers say which layers a folder holds."""


def load(folder: Path, kind: Literal["clt", "plt"]) -> Dictionary:
    """Map a folder in the layout of this kind; FileError says what is wrong with it."""
    file, read_layer = (CLT_FILE, _clt_layer) if kind == "clt" else (PLT_FILE, _plt_layer)
    indices = _numbered({path.name for path in folder.iterdir()}, file)
    n_layers = indices[-1] + 1
    if missing := sorted(set(range(n_layers)) - set(indices)):
        raise FileError(f"{folder} is incomplete: {file.format(missing[0])} is missing")
    config_name, config = read_yaml(folder)
    hooks = DEFAULT_HOOKS | config
    layers = {i: read_layer(folder, i, config) for i in indices}
    try:
        return Dictionary(
            kind=kind,
            layers=layers,
            writes={i: tuple(range(i, n_layers)) if kind == "clt" else (i,) for i in indices},
            read_site=site_of(hooks["feature_input_hook"], READ_HOOKS),
            write_site=site_of(hooks["feature_output_hook"], WRITE_HOOKS),
            n_layers=n_layers,
            d_model=layers[0].encoder.shape[1],
            name=str(config.get("scan") or name_of(folder)),
            provenance={
                "layout": f"circuit-tracer {kind}",
                "config": config_name or "missing: hooks assumed",
                **config,
            },
        )
    except InputError as error:
        raise FileError(f"{folder} is no whole dictionary: {error}") from error


def save_circuit_tracer(
    dictionary: Dictionary, folder: Path | str, *, model_name: str, scan: str, report: Report = silent
) -> None:
    """Write the CLT or the PLT layout, as the Dictionary's kind asks; a BatchTopK becomes the JumpReLU it computes.

    InputError when a weight is NaN or infinite, or the layout has no place for something this Dictionary holds.
    FileError when the folder holds something else.
    """
    check_storable(dictionary)
    config = _new_config(dictionary, model_name, scan)
    check_replaceable(folder)
    dictionary.validate(report)
    write_layer = _write_clt_layer if dictionary.kind == "clt" else _write_plt_layer
    with files.new_folder(folder) as new:
        for done, i in enumerate(sorted(dictionary.layers)):
            report(Progress(what="written", done=done, of=len(dictionary.layers), unit="layers"))
            write_layer(new, i, dictionary)
        files.write_text(new / "config.yaml", yaml_module().safe_dump(config))


def _write_clt_layer(folder: Path, i: int, dictionary: Dictionary) -> None:
    layer = dictionary.layers[i]
    threshold = _threshold(layer)
    if dictionary.writes[i] != tuple(range(i, dictionary.n_layers)) or layer.skip is not None:
        raise InputError(f"layer {i} has a skip or does not write to all later layers: this layout cannot say it")
    tensors = {f"W_enc_{i}": layer.encoder, f"b_enc_{i}": layer.bias, f"b_dec_{i}": layer.decoder_bias}
    tensors |= {} if threshold is None else {f"threshold_{i}": threshold}
    files.save_tensors(folder / CLT_FILE.format(i), tensors)
    files.save_tensors(folder / f"W_dec_{i}.safetensors", {f"W_dec_{i}": layer.decoder})


def _write_plt_layer(folder: Path, i: int, dictionary: Dictionary) -> None:
    layer = dictionary.layers[i]
    threshold = _threshold(layer)
    tensors = {"W_enc": layer.encoder, "b_enc": layer.bias, "b_dec": layer.decoder_bias}
    tensors |= {"W_dec": layer.decoder[:, 0]} | ({} if layer.skip is None else {"W_skip": layer.skip})
    tensors |= {} if threshold is None else {"activation_function.threshold": threshold}
    files.save_tensors(folder / PLT_FILE.format(i), tensors)


def _new_config(dictionary: Dictionary, model_name: str, scan: str) -> dict[str, Any]:
    if dictionary.kind == "sae":
        raise InputError("an SAE has no circuit-tracer layout: save it natively")
    if set(dictionary.layers) != set(range(dictionary.n_layers)):
        raise InputError(f"this layout needs all {dictionary.n_layers} layers, got {sorted(dictionary.layers)}")
    config: dict[str, Any] = {
        "model_kind": "cross_layer_transcoder" if dictionary.kind == "clt" else "transcoder_set",
        "feature_input_hook": hook_of(dictionary.read_site, READ_HOOKS),
        "feature_output_hook": hook_of(dictionary.write_site, WRITE_HOOKS),
        "model_name": model_name,
        "scan": scan,
    }
    rules = [layer.nonlinearity for layer in dictionary.layers.values()]
    ks = {rule.k for rule in rules if isinstance(rule, TopK)}
    if not ks:
        return config
    mixed = not all(isinstance(rule, TopK) for rule in rules)
    if dictionary.kind == "clt" or mixed or len(ks) > 1:
        raise InputError("this layout holds TopK for per-layer transcoders only, with one k for all layers")
    return config | {"activation": "topk", "k": ks.pop()}


def _threshold(layer: Layer) -> Tensor | None:
    match layer.nonlinearity:
        case JumpReLU(threshold=threshold):
            return threshold
        case BatchTopK(threshold=threshold):
            return threshold.clamp_min(0).expand(len(layer.encoder)).contiguous()
        case _:
            return None


def _clt_layer(folder: Path, i: int, config: Mapping[str, Any]) -> Layer:
    path = folder / f"W_enc_{i}.safetensors"
    tensors = files.load_tensors(path) | files.load_tensors(folder / f"W_dec_{i}.safetensors")
    tensors = {name.removesuffix(f"_{i}"): tensor for name, tensor in tensors.items()}
    return layer_of(path, tensors, config, 3)


def _plt_layer(folder: Path, i: int, config: Mapping[str, Any]) -> Layer:
    path = folder / f"layer_{i}.safetensors"
    return layer_of(path, files.load_tensors(path), config, 2)


def layer_of(path: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any], decoder_axes: int) -> Layer:
    """The layer that tensors of published names are; FileError when they are not whole."""
    for name in WEIGHTS:
        if name not in tensors:
            raise FileError(f"{path}: {name} is missing; it holds {', '.join(sorted(tensors)) or 'nothing'}")
    counts = {name: tensor for name, tensor in tensors.items() if name == "k"}  # the only tensor of whole numbers
    known = (*WEIGHTS, *activation_keys.TENSORS, *(() if decoder_axes == 3 else ("W_skip",)))
    tensors = counts | readable(path, {name: tensors[name] for name in tensors.keys() - counts}, known)
    encoder, bias, decoder = tensors["W_enc"], tensors["b_enc"], tensors["W_dec"]
    if encoder.ndim != 2 or bias.ndim != 1 or decoder.ndim != decoder_axes or tensors["b_dec"].ndim != 1:
        shapes = ", ".join(f"{name} {list(tensors[name].shape)}" for name in WEIGHTS)
        raise FileError(f"{path}: shapes disagree with the layout: {shapes}")
    if len({len(encoder), len(bias), len(decoder)}) > 1 or decoder.shape[-1] != encoder.shape[1]:
        shapes = f"W_enc {list(encoder.shape)}, b_enc {list(bias.shape)}, W_dec {list(decoder.shape)}"
        raise FileError(f"{path}: shapes disagree: {shapes}")
    return Layer(
        encoder=encoder,
        bias=_bias(path, tensors, config),
        nonlinearity=activation_keys.activation_of(path, tensors, config),
        decoder=decoder if decoder_axes == 3 else decoder[:, None],
        decoder_bias=tensors["b_dec"],
        skip=tensors.get("W_skip"),
    )


def _bias(path: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Tensor:
    """The encoder's bias; where b_dec is subtracted from what the encoder reads, that is part of it."""
    subtracted = config.get("apply_b_dec_to_input", False)
    if not isinstance(subtracted, bool):
        raise FileError(f"{path}: apply_b_dec_to_input is {subtracted!r}: expected true or false")
    bias = tensors["b_enc"]
    if not subtracted:
        return bias
    dtype = torch.promote_types(bias.dtype, torch.float32)
    centre = tensors["b_dec"].to(dtype)
    return bias.to(dtype) - torch.cat([rows.to(dtype) @ centre for rows in tensors["W_enc"].split(1 << 14)])


def _numbered(names: Set[str], file: str) -> list[int]:
    """The numbers of the files that are named by a pattern, rising."""
    prefix, suffix = file.split("{}")
    pattern = re.escape(prefix) + r"(\d+)" + re.escape(suffix)
    return sorted(int(match[1]) for name in names if (match := re.fullmatch(pattern, name)))


def _recognise_clt(names: Set[str]) -> bool:
    return bool(_numbered(names, CLT_FILE))


def _recognise_plt(names: Set[str]) -> bool:
    return bool(_numbered(names, PLT_FILE)) and ("config.json" not in names or any(name in names for name in CONFIGS))


CLT = Layout(
    name="circuit-tracer CLT",
    recognise=_recognise_clt,
    load=partial(load, kind="clt"),
    save=save_circuit_tracer,
    files="`config.yaml`, `W_enc_{i}.safetensors`, `W_dec_{i}.safetensors`",
    published_by="circuit-tracer; `mntss/clt-gemma-2-2b-426k`, `mntss/clt-llama-3.2-1b-524k`",
    notes="ReLU and JumpReLU; hooks from `config.yaml`, in 8-bit floats too",
    verified="circuit-tracer 0.5: the same edges (tests marked `peer`)",
)
PLT = Layout(
    name="circuit-tracer PLT",
    recognise=_recognise_plt,
    load=partial(load, kind="plt"),
    save=save_circuit_tracer,
    files="`config.yaml`, `layer_{i}.safetensors`",
    published_by="circuit-tracer; `mwhanna/qwen3-*-transcoders`, `mntss/transcoder-Llama-3.2-1B`",
    notes="ReLU, JumpReLU and TopK, `W_skip`; `config.yaml` may be missing (hooks assumed) or named `wanb-config.yaml`",
    verified="circuit-tracer 0.5: the same edges (tests marked `peer`)",
)
