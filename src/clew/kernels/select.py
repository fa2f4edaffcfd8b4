"""Which kernels a device gets: modules with the same functions, of which a run uses one."""

from __future__ import annotations

from importlib.util import find_spec
from types import ModuleType

import torch

from clew.kernels import torch_rows


def kernels_for(device: torch.device | str, *, compiled: bool | None = None) -> ModuleType:
    """The compiled kernels on a CPU where numba is installed, the plain torch ones elsewhere; `compiled` overrides."""
    if compiled is None:
        compiled = torch.device(device).type == "cpu" and find_spec("numba") is not None
    if not compiled:
        return torch_rows
    from clew.kernels import compiled as compiled_kernels

    return compiled_kernels
