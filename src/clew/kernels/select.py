"""Which kernels a device gets: modules with the same functions, of which a run uses one."""

from __future__ import annotations

from importlib.util import find_spec
from types import ModuleType

import torch

from clew.kernels import torch_rows


def kernels_for(device: torch.device | str, *, compiled: bool | None = None) -> ModuleType:
    """Triton's kernels on CUDA and the compiled ones on a CPU, where the packages are installed; else the plain torch
    ones. `compiled=False` asks for these, `compiled=True` for those that numba compiles."""
    kind = torch.device(device).type
    if compiled is None and kind == "cuda" and find_spec("triton") is not None:
        from clew.kernels import triton_rows

        return triton_rows
    if compiled is None:
        compiled = kind == "cpu" and find_spec("numba") is not None
    if not compiled:
        return torch_rows
    from clew.kernels import compiled as compiled_kernels

    return compiled_kernels
