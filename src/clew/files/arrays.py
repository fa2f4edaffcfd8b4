"""Arrays of NumPy's .npz files, mapped into memory where they are stored uncompressed; nothing is unpickled."""

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clew.errors import FileError

_LOCAL_HEADER, _SIGNATURE = 30, b"PK\x03\x04"


def load_arrays(path: Path | str) -> dict[str, Tensor]:
    """The arrays of one .npz file as tensors; pages of those that `numpy.savez` wrote are read when touched.

    A compressed array is read whole. FileError when the file is truncated or foreign, or an array holds Python objects.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"cannot read {path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
            return {member.filename.removesuffix(".npy"): _tensor(path, archive, member) for member in members}
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, struct.error) as error:
        raise FileError(f"{path} is not a whole .npz file ({error})") from error


def _tensor(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Tensor:
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read(stream)
        if dtype.hasobject:
            raise FileError(f"{path}: {member.filename} holds Python objects, which may run code and are never opened")
        start = stream.tell()
    order: Any = "F" if by_columns else "C"
    if member.compress_type != zipfile.ZIP_STORED:
        content = archive.read(member)[start:]
        array = np.frombuffer(bytearray(content), dtype).reshape(shape, order=order)
    elif member.file_size - start < dtype.itemsize * int(np.prod(shape)):
        raise ValueError(f"{member.filename} is cut short")
    else:
        place = _data_start(path, member) + start
        array = np.memmap(path, dtype, mode="c", offset=place, shape=shape, order=order)  # "c": torch wants it writable
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    return torch.from_numpy(np.asarray(array))


def _data_start(path: Path, member: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: its own header says how long that is."""
    with path.open("rb") as opened:
        opened.seek(member.header_offset)
        header = opened.read(_LOCAL_HEADER)
    if header[:4] != _SIGNATURE:
        raise ValueError(f"{member.filename} does not begin where it should")
    name, extra = struct.unpack("<HH", header[26:30])
    return member.header_offset + _LOCAL_HEADER + int(name) + int(extra)
