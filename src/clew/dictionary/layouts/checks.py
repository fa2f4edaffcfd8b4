"""Checks that every layout makes: what a folder may be replaced by, and what its tensors and settings may hold."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clew import files
from clew.dictionary.dictionary import Dictionary
from clew.dictionary.layer_checks import DTYPES
from clew.dictionary.mapped_rows import stored_dtype
from clew.errors import FileError, InputError

EIGHT_BITS = (torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz)


def check_replaceable(folder: Path | str) -> None:
    """FileError where writing would replace a file, or a folder that holds anything but a dictionary."""
    path = Path(folder)
    if path.is_dir() and any(path.iterdir()):
        holds_dictionary = (path / "config.json").is_file() or any(path.glob("*.safetensors"))
        if not holds_dictionary:
            raise FileError(f"{path} exists and holds no dictionary: choose another folder")
    if path.exists() and not path.is_dir():
        raise FileError(f"{path} is a file: choose a folder")


def check_storable(dictionary: Dictionary) -> None:
    """InputError for neurons whose reading depends on the position: no layout can say them, and a model has them."""
    if dictionary.reads_by_position:
        raise InputError(
            f"{dictionary.name} cannot be written as a dictionary: they are the model's own, and --dictionary neurons "
            "(clew.Kit(subject) in Python) takes them from it"
        )


def readable(path: Path, tensors: Mapping[str, Tensor], known: Collection[str]) -> dict[str, Tensor]:
    """The tensors of a file, those in 8-bit floats in bfloat16, which holds each of them exactly.

    FileError at a tensor that the layout does not have, at whole numbers, or a vector with NaN or infinity. Matrices
    stay unread: their rows are checked when they are used.
    """
    if unknown := sorted(set(tensors) - set(known)):
        raise FileError(f"{path}: {', '.join(unknown[:3])} cannot be read: this layout has {', '.join(sorted(known))}")
    return {name: _readable(path, name, tensor) for name, tensor in tensors.items()}


def _readable(path: Path, name: str, tensor: Tensor) -> Tensor:
    if tensor.dtype in EIGHT_BITS:
        tensor = tensor.to(torch.bfloat16)
    if tensor.dtype not in DTYPES:
        raise FileError(f"{path}: {name} is {tensor.dtype}, expected a floating type of 8, 16, 32 or 64 bits")
    if tensor.ndim <= 1 and not torch.isfinite(tensor).all():
        raise FileError(f"{path}: {name} holds NaN or infinity")
    return tensor


def check_axes(path: Path, tensors: Mapping[str, Tensor], axes: Mapping[str, int]) -> None:
    """FileError when a tensor is missing, or has another number of axes."""
    for name, count in axes.items():
        if name not in tensors:
            raise FileError(f"{path}: {name} is missing; it holds {', '.join(sorted(tensors)) or 'nothing'}")
        if tensors[name].ndim != count:
            raise FileError(f"{path}: {name} is {list(tensors[name].shape)}, expected {count} axes")


def check_fit(
    path: Path,
    encoder: Tensor,
    vectors: Mapping[str, Tensor],
    slots: Sequence[Tensor],
    decoder_bias: Tensor | None = None,
    skip: Tensor | None = None,
) -> None:
    """FileError when tensors of one layer do not fit its encoder [feature, d_model]; matrices may be turned."""
    n, d = encoder.shape
    parts: list[tuple[str, Tensor, tuple[int, ...]]] = [(name, vector, (n,)) for name, vector in vectors.items()]
    parts += [(f"decoder {number}" if len(slots) > 1 else "decoder", slot, (n, d)) for number, slot in enumerate(slots)]
    parts += [] if decoder_bias is None else [("decoder's bias", decoder_bias, (d,))]
    parts += [] if skip is None else [("skip connection", skip, (d, d))]
    for name, tensor, expected in parts:
        if tuple(tensor.shape) != expected:
            raise FileError(
                f"{path}: its {name} is {list(tensor.shape)}, expected {list(expected)}: its encoder has {n} features "
                f"of width {d}"
            )


def read_settings(path: Path, *, needed: bool = True) -> dict[str, Any]:
    """The settings in a JSON file; FileError when they are missing and needed, or are none."""
    if not path.is_file() and not needed:
        return {}
    if not path.is_file():
        raise FileError(f"{path.parent} is incomplete: {path.name} is missing, without which its weights mean nothing")
    settings = files.read_json(path)
    if not isinstance(settings, dict):
        raise FileError(f"{path} holds no settings")
    return settings


def check_dtypes(folder: Path, dictionary: Dictionary) -> None:
    """FileError when layers are stored in different dtypes, as a mixture of two sets is."""
    seen: dict[tuple[torch.dtype, torch.dtype], int] = {}
    for index in sorted(dictionary.layers):
        layer = dictionary.layers[index]
        seen.setdefault((stored_dtype(layer.encoder), stored_dtype(layer.decoder)), index)
    if len(seen) > 1:
        (one, i), (other, j) = list(seen.items())[:2]
        names = [
            f"{_named(encoder)} and {_named(decoder)} in layer {k}" for (encoder, decoder), k in ((one, i), (other, j))
        ]
        raise FileError(
            f"{folder} is a mixture: encoder and decoder are in {names[0]}, but {names[1]}: two sets are mixed"
        )


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@contextmanager
def faults_of(place: Path) -> Iterator[None]:
    """What does not fit within a dictionary that is read becomes a FileError that names its folder or file."""
    try:
        yield
    except InputError as error:
        raise FileError(f"{place} is no whole dictionary: {error}") from error
