"""Tensors as safetensors files: written atomically, mapped into memory when they are read."""

import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from clew.errors import FileError
from clew.files.atomic import free_bytes, replace_file

SPARE = 1 << 30  # bytes of a disk that scratch files leave free


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


@contextmanager
def scratch_tensor(shape: tuple[int, ...]) -> Iterator[Tensor]:
    """A float32 tensor in a file that is mapped into memory and gone when the block ends.

    It lies where TMPDIR says, else in /var/tmp, which is a disk where /tmp may be memory. FileError without room.
    """
    folder = os.environ.get("TMPDIR") or ("/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir())
    size = math.prod(shape)
    if 4 * size + SPARE > free_bytes(folder):
        raise FileError(
            f"{4 * size / 1e9:.1f} GB are needed in {folder}, {free_bytes(folder) / 1e9:.1f} GB are free there: name "
            "another folder with TMPDIR, or take less at once"
        )
    with tempfile.TemporaryDirectory(dir=folder, prefix="clew-", ignore_cleanup_errors=True) as place:
        path = Path(place) / "scratch"
        try:
            _reserve(path, 4 * size)
        except OSError as error:
            raise FileError(f"cannot write {4 * size / 1e9:.1f} GB in {folder} ({error.strerror or error})") from error
        tensor = torch.from_file(str(path), shared=True, size=size, dtype=torch.float32).view(shape)
        if os.name == "posix":
            path.unlink()  # the pages stay until the tensor goes, and a process that is killed leaves nothing
        yield tensor


def _reserve(path: Path, size: int) -> None:
    """A file of zeros whose blocks are taken at once: a disk that is full when a page is written kills the process."""
    with path.open("wb") as opened:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(opened.fileno(), 0, size)
        else:
            opened.truncate(size)
