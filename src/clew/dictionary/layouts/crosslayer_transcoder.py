"""crosslayer-transcoder: CLTs and PLTs in one file, `config.yaml` and `checkpoint.safetensors`.

`encoder.W` [layer, d_model, feature], `encoder.b`; `decoder.W_{t}` [t + 1, feature, d_model] with the decoders of all
layers that write to t, `decoder.b` [layer, d_model]; a PLT has `decoder.W` [layer, feature, d_model] alone. The classes
in `config.yaml` say the nonlinearity: JumpReLU has `nonlinearity.theta` [1, layer, feature], BatchTopK one
`nonlinearity.threshold`. Standardizers keep `mean` and `std` of what is read and written, a number or a vector a layer;
with `is_folded` the weights have them already. They read the stream before the MLP's norm and write the MLP's output.
"""

from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clew import files
from clew.dictionary.dictionary import Dictionary
from clew.dictionary.layer import Layer
from clew.dictionary.layouts.assembly import name_of
from clew.dictionary.layouts.checks import check_axes, check_fit, faults_of, readable
from clew.dictionary.layouts.folding import centred_bias
from clew.dictionary.layouts.hook_names import READ_HOOKS, WRITE_HOOKS, site_of
from clew.dictionary.layouts.layout import Layout
from clew.dictionary.layouts.yaml_settings import read_yaml
from clew.dictionary.mapped_rows import mapped_rows
from clew.dictionary.nonlinearity import JumpReLU, Nonlinearity, ReLU, TopK
from clew.errors import FileError

FILE = "checkpoint.safetensors"
DEFAULT_HOOKS = {"feature_input_hook": "hook_resid_mid", "feature_output_hook": "mlp.hook_out"}
_PARTS = ("encoder", "decoder", "nonlinearity", "input_standardizer", "output_standardizer")
_IDENTITY = ("", "Standardizer")
_LINEAR = tuple(f"{kind}{end}Standardizer" for kind in ("Dimensionwise", "Layerwise") for end in ("Input", "Output"))


def load(folder: Path) -> Dictionary:
    """Map a folder in this layout; FileError says what is wrong with it."""
    name, config = read_yaml(folder)
    if name is None:
        raise FileError(f"{folder} is incomplete: config.yaml is missing, without which its weights mean nothing")
    path = folder / FILE
    stored = files.load_tensors(path)
    ours = {key: tensor for key, tensor in stored.items() if key != "nonlinearity.bandwidth"}
    tensors = readable(path, ours, [key for key in ours if key.split(".")[0] in _PARTS])
    model = next((part for part in _mappings(config) if "nonlinearity" in part), {})
    check_axes(path, tensors, {"encoder.W": 3})
    n_layers, d_model, n_features = tensors["encoder.W"].shape
    per_layer = "decoder.W" in tensors
    needed = {"decoder.W": 3} if per_layer else {f"decoder.W_{t}": 3 for t in range(n_layers)}
    check_axes(path, tensors, needed)
    folded = any(part.get("is_folded") for part in _mappings(config))
    scales = {end: _standardizer(path, tensors, model, end, folded) for end in ("input", "output")}
    writes = {i: (i,) if per_layer else tuple(range(i, n_layers)) for i in range(n_layers)}
    with faults_of(folder):
        layers = {
            i: _layer(path, i, writes[i], tensors, scales, _nonlinearity(path, tensors, model, i, n_features))
            for i in range(n_layers)
        }
        return Dictionary(
            kind="plt" if per_layer else "clt",
            layers=layers,
            writes=writes,
            read_site=site_of((DEFAULT_HOOKS | config)["feature_input_hook"], READ_HOOKS),
            write_site=site_of((DEFAULT_HOOKS | config)["feature_output_hook"], WRITE_HOOKS),
            n_layers=n_layers,
            d_model=d_model,
            name=str(config.get("scan") or name_of(folder)),
            provenance={"layout": "crosslayer-transcoder", "config": name, **config},
        )


def _layer(
    path: Path,
    i: int,
    writes: tuple[int, ...],
    tensors: Mapping[str, Tensor],
    scales: Mapping[str, tuple[Tensor, Tensor] | None],
    nonlinearity: Nonlinearity,
) -> Layer:
    encoder = tensors["encoder.W"][i].T
    n_features, d_model = encoder.shape
    bias = tensors["encoder.b"][i] if "encoder.b" in tensors else torch.zeros(n_features, dtype=encoder.dtype)
    added = tensors["decoder.b"][i] if "decoder.b" in tensors else torch.zeros(d_model, dtype=encoder.dtype)
    whole = tensors.get("decoder.W")
    slots = [tensors[f"decoder.W_{t}"][i] if whole is None else whole[i] for t in writes]
    check_fit(path, encoder, {"bias": bias}, slots, added)
    read, written = scales["input"], scales["output"]
    inner = None if read is None else [1 / read[1][i]]
    if read is not None:
        bias = centred_bias(bias, encoder, (read[0][i] / read[1][i]).expand(d_model))
    return Layer(
        encoder=mapped_rows([[encoder]], slots=False, columns=inner),
        bias=bias,
        nonlinearity=nonlinearity,
        decoder=mapped_rows([slots], slots=True, columns=None if written is None else [written[1][t] for t in writes]),
        decoder_bias=added if written is None else added * written[1][i] + written[0][i],
    )


def _standardizer(
    path: Path, tensors: Mapping[str, Tensor], model: Mapping[str, Any], end: str, folded: bool
) -> tuple[Tensor, Tensor] | None:
    """Mean and deviation of every layer, [layer, 1] or [layer, d_model]; None where weights have them already."""
    name = _class(model.get(f"{end}_standardizer"))
    if folded or name in _IDENTITY:
        return None
    if name not in _LINEAR:
        raise FileError(f"{path}: its {end}_standardizer is {name}, which is not linear: no dictionary here can say it")
    found = [tensors.get(f"{end}_standardizer.{part}") for part in ("mean", "std")]
    if found[0] is None or found[1] is None:
        raise FileError(f"{path}: its {end}_standardizer is {name}, but its mean or std is missing")
    mean, std = (t if t.ndim == 2 else t[:, None] for t in found if t is not None)
    n_layers, d_model, _ = tensors["encoder.W"].shape
    if any(tuple(t.shape) not in ((n_layers, 1), (n_layers, d_model)) for t in (mean, std)) or not bool(
        (std > 0).all()
    ):
        raise FileError(f"{path}: mean and std of its {end}_standardizer are {list(mean.shape)} and {list(std.shape)}")
    return mean, std


def _nonlinearity(
    path: Path, tensors: Mapping[str, Tensor], model: Mapping[str, Any], i: int, n_features: int
) -> Nonlinearity:
    name = _class(model.get("nonlinearity"))
    threshold = tensors.get("nonlinearity.theta" if name == "JumpReLU" else "nonlinearity.threshold")
    if name == "ReLU":
        return ReLU()
    if name == "PerLayerTopK":
        k = (model["nonlinearity"].get("init_args") or {}).get("k")
        if not isinstance(k, int) or k < 1:
            raise FileError(f"{path}: its nonlinearity is {name}, and k is {k!r}: expected a whole number above zero")
        return TopK(k=k)
    if name not in ("JumpReLU", "BatchTopK", "PerLayerBatchTopK"):
        raise FileError(f"{path}: its nonlinearity is {name or 'not named in config.yaml'}: this is not computed here")
    if threshold is None:
        raise FileError(f"{path}: its nonlinearity is {name}, but its threshold is missing")
    n_layers = len(tensors["encoder.W"])
    shape = {"JumpReLU": (n_layers, n_features), "PerLayerBatchTopK": (n_layers, 1)}.get(name, (1, 1))
    if threshold.numel() != shape[0] * shape[1]:
        raise FileError(f"{path}: the threshold of {name} is {list(threshold.shape)}")
    own = threshold.reshape(shape)[i if shape[0] > 1 else 0].clamp_min(0).expand(n_features)  # values are positive
    return JumpReLU(threshold=own.contiguous())


def _class(part: Any) -> str:
    """The class that a part of the configuration names, without its module."""
    return str(part["class_path"]).rsplit(".", 1)[-1] if isinstance(part, Mapping) and "class_path" in part else ""


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    """A configuration and all mappings in it."""
    if isinstance(value, Mapping):
        yield value
        for part in value.values():
            yield from _mappings(part)


def _recognise(names: Set[str]) -> bool:
    return FILE in names


LAYOUT = Layout(
    name="crosslayer-transcoder",
    recognise=_recognise,
    load=load,
    save=None,
    files="`config.yaml`, `checkpoint.safetensors`",
    published_by="crosslayer-transcoder",
    notes="ReLU, JumpReLU, TopK and BatchTopK (by its threshold); standardizers folded in, one a token refused",
    verified="its program's source",
)
