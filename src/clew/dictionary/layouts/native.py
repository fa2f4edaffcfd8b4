"""The native layout: config.json and one safetensors file a layer.

    config.json             schema, version, kind, sites, writes and nonlinearity of every layer, name, provenance
    layer_{i}.safetensors   encoder [feature, d_model], bias, threshold (if any), decoder [feature, out_layer, d_model],
                            decoder_bias [d_model], skip [d_model, d_model] (if any)

The tensors stay mapped: loading reads their headers and the small vectors only.

Packed (version 2), encoder and decoder are whole numbers of one byte, and encoder_scale [feature] and decoder_scale
[feature, out_layer] say what one is worth: a row's largest weight is 127. Loading such a dictionary unpacks it.
"""

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clew import files
from clew.dictionary.dictionary import Dictionary
from clew.dictionary.layer import Layer
from clew.dictionary.layouts.checks import check_replaceable, check_storable, readable
from clew.dictionary.layouts.layout import Layout
from clew.dictionary.nonlinearity import BatchTopK, JumpReLU, Nonlinearity, ReLU, TopK
from clew.errors import FileError, InputError
from clew.kernels.shares import share
from clew.progress import Progress, Report, silent

ENVELOPE = files.Envelope(format="clew.dictionary", schema=2, what="dictionary", keys=("schema", "version"))
NEEDED = ("encoder", "bias", "decoder", "decoder_bias")
PACKED = ("encoder", "decoder")
LARGEST = 127
"""The whole number that a row's largest weight becomes."""


def save(dictionary: Dictionary, folder: Path | str, *, packed: bool = False, report: Report = silent) -> None:
    """Write the folder whole or not at all; packed, a quarter of float32's size.

    InputError when a weight is NaN or infinite, FileError when the folder holds something else.
    """
    check_storable(dictionary)
    check_replaceable(folder)
    dictionary.validate(report)
    config = {
        **ENVELOPE.head(version=ENVELOPE.schema if packed else 1),
        "kind": dictionary.kind,
        "name": dictionary.name,
        "n_layers": dictionary.n_layers,
        "d_model": dictionary.d_model,
        "read_site": dictionary.read_site,
        "write_site": dictionary.write_site,
        "layers": {
            str(i): {"writes": list(dictionary.writes[i]), "nonlinearity": _describe(dictionary.layers[i].nonlinearity)}
            for i in sorted(dictionary.layers)
        },
        "provenance": dict(dictionary.provenance),
    }
    with files.new_folder(folder) as new:
        for done, (index, layer) in enumerate(dictionary.layers.items()):
            report(Progress(what="written", done=done, of=len(dictionary.layers), unit="layers"))
            tensors = _pack(layer.tensors()) if packed else layer.tensors()
            files.save_tensors(new / f"layer_{index}.safetensors", tensors)
        files.write_json(new / "config.json", config)


def recognise(names: Set[str]) -> bool:
    """Whether a folder with files of these names claims to be in this layout."""
    return "config.json" in names


def is_ours(folder: Path) -> bool:
    """Whether a folder's config.json says that it is in this layout, whole or not; FileError when it is no JSON."""
    config = files.read_json(folder / "config.json")
    return isinstance(config, dict) and config.get("schema") == ENVELOPE.format


def load(folder: Path) -> Dictionary:
    """Map a folder in this layout; FileError says what is wrong with it."""
    path = folder / "config.json"
    config = files.read_json(path)
    ENVELOPE.check(config, path)
    try:
        layers = {int(i): _load_layer(folder, int(i), settings) for i, settings in config["layers"].items()}
        return Dictionary(
            kind=config["kind"],
            layers=layers,
            writes={int(i): tuple(settings["writes"]) for i, settings in config["layers"].items()},
            read_site=config["read_site"],
            write_site=config["write_site"],
            n_layers=config["n_layers"],
            d_model=config["d_model"],
            name=config["name"],
            provenance=config.get("provenance", {}),
        )
    except KeyError as error:
        raise FileError(f"{path} lacks {error}") from error
    except (InputError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"{folder} is no whole dictionary: {error}") from error


def _pack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices in whole numbers of one byte, each beside its rows' scales; the rest in float32."""
    packed = {name: tensor.float() for name, tensor in tensors.items() if name not in PACKED}
    for name in PACKED:
        rows = tensors[name].float()
        scale = rows.abs().amax(-1) / LARGEST
        packed[f"{name}_scale"] = scale
        packed[name] = share(rows, scale[..., None]).round().to(torch.int8)
    return packed


def _unpack(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """In float32 what is packed, all else as it is; FileError when a scale is missing, misshapen or NaN."""
    unpacked = dict(tensors)
    for name in PACKED:
        if name in unpacked and unpacked[name].dtype == torch.int8:
            rows, scale = unpacked[name], unpacked.pop(f"{name}_scale", None)
            if scale is None or scale.shape != rows.shape[:-1]:
                raise FileError(f"{path}: {name} is packed, but {name}_scale is missing or misshapen")
            if not torch.isfinite(scale).all():
                raise FileError(f"{path}: {name}_scale holds NaN or infinity")
            unpacked[name] = rows.float().mul_(scale[..., None])
    return unpacked


def _load_layer(folder: Path, index: int, settings: Mapping[str, Any]) -> Layer:
    path = folder / f"layer_{index}.safetensors"
    stored = files.load_tensors(path)
    if missing := [name for name in NEEDED if name not in stored]:
        raise FileError(f"{path} lacks {missing[0]!r}")
    tensors = readable(path, _unpack(path, stored), (*NEEDED, "threshold", "skip"))
    try:
        _check_shapes(path, tensors)
        return Layer(
            encoder=tensors["encoder"],
            bias=tensors["bias"],
            nonlinearity=_build(settings["nonlinearity"], tensors),
            decoder=tensors["decoder"],
            decoder_bias=tensors["decoder_bias"],
            skip=tensors.get("skip"),
        )
    except KeyError as error:
        raise FileError(f"{path} lacks {error}") from error


def _check_shapes(path: Path, tensors: dict[str, Tensor]) -> None:
    encoder, decoder = tensors["encoder"].shape, tensors["decoder"].shape
    if len(encoder) != 2 or len(decoder) != 3:
        raise FileError(f"{path}: encoder is {list(encoder)} and decoder {list(decoder)}: expected 2 and 3 axes")
    n_features, d_model = encoder
    expected: dict[str, list[tuple[int, ...]]] = {
        "bias": [(n_features,)],
        "threshold": [(n_features,), ()],
        "decoder": [(n_features, decoder[1], d_model)],
        "decoder_bias": [(d_model,)],
        "skip": [(d_model, d_model)],
    }
    for name, shapes in expected.items():
        if name in tensors and tuple(tensors[name].shape) not in shapes:
            raise FileError(f"{path}: {name} is {list(tensors[name].shape)}, but encoder is {list(encoder)}")


def _describe(nonlinearity: Nonlinearity) -> dict[str, Any]:
    k = getattr(nonlinearity, "k", None)
    return {"name": nonlinearity.name} | ({} if k is None else {"k": k})


def _build(settings: Mapping[str, Any], tensors: dict[str, Tensor]) -> Nonlinearity:
    if "threshold" in tensors and settings["name"] in ("relu", "topk"):
        raise ValueError(f"its nonlinearity is {settings['name']}, but a threshold is there")
    match settings["name"]:
        case "relu":
            return ReLU()
        case "jumprelu":
            return JumpReLU(threshold=tensors["threshold"])
        case "topk":
            return TopK(k=settings["k"])
        case "batchtopk":
            return BatchTopK(k=settings["k"], threshold=tensors["threshold"])
        case other:
            raise ValueError(f"unknown nonlinearity {other!r}")


LAYOUT = Layout(
    name="native",
    recognise=recognise,
    load=load,
    save=save,
    files="`config.json`, `layer_{i}.safetensors`",
    published_by="Clew: `clew train`, `clew convert`, kits",
    notes="everything that a dictionary can be; packed ones are unpacked when they are read",
    verified="round trips of every kind and dtype",
)
