"""Checks that every layout makes: what a folder may be replaced by, and what its tensors may hold."""

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from clew.dictionary.layer_checks import DTYPES
from clew.errors import FileError

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
