"""Tensors as safetensors files: written atomically, mapped into memory when they are read."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from clew.errors import FileError
from clew.files.atomic import replace_file


def save_tensors(path: Path | str, tensors: Mapping[str, Tensor], note: Mapping[str, str] | None = None) -> None:
    """Write one safetensors file atomically, without a copy in memory; `note` is its string metadata.

    FileError when it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    whole: dict[str, Tensor] = {}
    stored: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        start = plain.untyped_storage().data_ptr()
        whole[name] = plain.clone() if start in stored else plain  # the format refuses tensors that share memory
        stored.add(start)

    def write(temporary: Path) -> None:
        try:
            save_file(whole, str(temporary), metadata=dict(note or {}))
        except SafetensorError as error:  # it says so when the disk is full
            raise FileError(f"cannot write {path}: {error}") from error

    replace_file(Path(path), write)


def load_tensors(path: Path | str, names: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Map the tensors of one safetensors file, or those named; pages are read when touched.

    FileError when it is truncated or foreign, or lacks one.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileError(f"cannot read {path}: no such file")
    try:
        with safe_open(str(path), framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in (opened.keys() if names is None else names)}
    except (SafetensorError, OSError, ValueError) as error:
        raise FileError(f"{path} is not a whole safetensors file ({error})") from error


def load_note(path: Path | str) -> dict[str, str]:
    """The string metadata of one safetensors file; FileError when it is missing, truncated or foreign."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileError(f"cannot read {path}: no such file")
    try:
        with safe_open(str(path), framework="pt") as opened:
            return dict(opened.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise FileError(f"{path} is not a whole safetensors file ({error})") from error
