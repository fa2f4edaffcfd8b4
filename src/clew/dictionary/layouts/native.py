"""The native layout: config.json and one safetensors file a layer.

    config.json             schema, version, kind, sites, writes and nonlinearity of every layer, name, provenance
    layer_{i}.safetensors   encoder [feature, d_model], bias, threshold (if any), decoder [feature, out_layer, d_model],
                            decoder_bias [d_model], skip [d_model, d_model] (if any)

The tensors stay mapped: loading reads their headers and the small vectors only.

Packed (version 2), encoder and decoder are whole numbers of one byte, and encoder_scale [feature] and decoder_scale
[feature, out_layer] say what one is worth: a row's largest weight is 127. Loading such a dictionary unpacks it.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clew import files
from clew.dictionary.dictionary import Dictionary, Layer
from clew.dictionary.nonlinearity import BatchTopK, JumpReLU, Nonlinearity, ReLU, TopK
from clew.errors import FileError, InputError

ENVELOPE = files.Envelope(format="clew.dictionary", schema=2, what="dictionary", keys=("schema", "version"))
PACKED = ("encoder", "decoder")
LARGEST = 127
SMALL = ("bias", "threshold", "decoder_bias")


def recognises(folder: Path | str) -> bool:
    """Whether the folder claims to be in this layout."""
    return (Path(folder) / "config.json").is_file()


def save(dictionary: Dictionary, folder: Path | str, *, packed: bool = False) -> None:
    """Write the folder whole or not at all; packed, a quarter of float32's size."""
    dictionary.validate()
    check_replaceable(folder)
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
        for index, layer in dictionary.layers.items():
            tensors = _pack(layer.tensors()) if packed else layer.tensors()
            files.save_tensors(new / f"layer_{index}.safetensors", tensors)
        files.write_json(new / "config.json", config)


def load(folder: Path | str) -> Dictionary:
    """Map a folder in this layout; FileError says what is wrong with it."""
    folder = Path(folder)
    path = folder / "config.json"
    config = files.read_json(path)
    ENVELOPE.check(config, path)
    try:
        layers = {int(i): _load_layer(folder, int(i), about) for i, about in config["layers"].items()}
        return Dictionary(
            kind=config["kind"],
            layers=layers,
            writes={int(i): tuple(about["writes"]) for i, about in config["layers"].items()},
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


def _pack(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices in whole numbers of one byte, each beside its rows' scales; the rest in float32."""
    found = {name: tensor.float() for name, tensor in tensors.items() if name not in PACKED}
    for name in PACKED:
        rows = tensors[name].float()
        scale = rows.abs().amax(-1) / LARGEST
        found[f"{name}_scale"] = scale
        found[name] = (rows / scale.clamp_min(torch.finfo(scale.dtype).tiny)[..., None]).round().to(torch.int8)
    return found


def _unpack(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """In float32 what is packed, all else as it is; FileError when a scale is missing, misshapen or NaN."""
    found = dict(tensors)
    for name in PACKED:
        if name in found and found[name].dtype == torch.int8:
            scale = found.pop(f"{name}_scale", None)
            if scale is None or scale.shape != found[name].shape[:-1]:
                raise FileError(f"{path}: {name} is packed, but {name}_scale is missing or misshapen")
            if not torch.isfinite(scale).all():
                raise FileError(f"{path}: {name}_scale holds NaN or infinity")
            found[name] = found[name].float().mul_(scale[..., None])
    return found


def check_replaceable(folder: Path | str) -> None:
    """Refuse to write over a folder that holds anything but a dictionary."""
    path = Path(folder)
    if path.is_dir() and any(path.iterdir()) and not (recognises(path) or any(path.glob("*.safetensors"))):
        raise FileError(f"{path} exists and holds no dictionary: choose another folder")
    if path.exists() and not path.is_dir():
        raise FileError(f"{path} is a file: choose a folder")


def check_vector(path: Path, name: str, tensor: Tensor) -> None:
    """Refuse a small vector with NaN or infinity; matrices are checked when their rows are used."""
    if not tensor.is_floating_point():
        raise FileError(f"{path}: {name} is {tensor.dtype}, expected a floating type")
    if tensor.ndim <= 1 and not torch.isfinite(tensor).all():
        raise FileError(f"{path}: {name} holds NaN or infinity")


def _load_layer(folder: Path, index: int, about: dict[str, Any]) -> Layer:
    path = folder / f"layer_{index}.safetensors"
    tensors = _unpack(path, files.load_tensors(path))
    for name, tensor in tensors.items():
        check_vector(path, name, tensor)
    try:
        _check_shapes(path, tensors)
        return Layer(
            encoder=tensors["encoder"],
            bias=tensors["bias"],
            nonlinearity=_build(about["nonlinearity"], tensors),
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
    n, d = encoder
    wanted: dict[str, list[tuple[int, ...]]] = {
        "bias": [(n,)],
        "threshold": [(n,), ()],
        "decoder": [(n, decoder[1], d)],
        "decoder_bias": [(d,)],
    }
    for name, shapes in (wanted | {"skip": [(d, d)]}).items():
        if name in tensors and tuple(tensors[name].shape) not in shapes:
            raise FileError(f"{path}: {name} is {list(tensors[name].shape)}, but encoder is {[n, d]}")


def _describe(nonlinearity: Nonlinearity) -> dict[str, Any]:
    k = getattr(nonlinearity, "k", None)
    return {"name": nonlinearity.name} | ({} if k is None else {"k": k})


def _build(about: dict[str, Any], tensors: dict[str, Tensor]) -> Nonlinearity:
    match about["name"]:
        case "relu":
            return ReLU()
        case "jumprelu":
            return JumpReLU(threshold=tensors["threshold"])
        case "topk":
            return TopK(k=about["k"])
        case "batchtopk":
            return BatchTopK(k=about["k"], threshold=tensors["threshold"])
        case other:
            raise ValueError(f"unknown nonlinearity {other!r}")
