"""Checks that every layout makes: what a folder may be replaced by, and what a small tensor may hold."""

from pathlib import Path

import torch
from jaxtyping import Shaped
from torch import Tensor

from clew.errors import FileError


def check_replaceable(folder: Path | str) -> None:
    """FileError where writing would replace a file, or a folder that holds anything but a dictionary."""
    path = Path(folder)
    if path.is_dir() and any(path.iterdir()):
        holds_dictionary = (path / "config.json").is_file() or any(path.glob("*.safetensors"))
        if not holds_dictionary:
            raise FileError(f"{path} exists and holds no dictionary: choose another folder")
    if path.exists() and not path.is_dir():
        raise FileError(f"{path} is a file: choose a folder")


def check_vector(path: Path, name: str, tensor: Shaped[Tensor, "..."]) -> None:
    """FileError at a tensor of whole numbers, or a vector with NaN or infinity.

    Matrices stay unread: their rows are checked when they are used.
    """
    if not tensor.is_floating_point():
        raise FileError(f"{path}: {name} is {tensor.dtype}, expected a floating type")
    if tensor.ndim <= 1 and not torch.isfinite(tensor).all():
        raise FileError(f"{path}: {name} holds NaN or infinity")
