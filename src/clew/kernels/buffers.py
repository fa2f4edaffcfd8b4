"""Large buffers of which only a part is ever written."""

from __future__ import annotations

import mmap

import torch
from jaxtyping import Float
from torch import Tensor


def untouched(n_rows: int, n_cols: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "row col"]:
    """Zeros that take memory only once written; elsewhere than on the CPU plain zeros.

    On the CPU they are an anonymous map, because allocators fill zeros in or round up to huge pages.
    """
    if device.type != "cpu":
        return torch.zeros(n_rows, n_cols, dtype=dtype, device=device)
    pages = mmap.mmap(-1, max(1, n_rows * n_cols * dtype.itemsize))
    return torch.frombuffer(pages, dtype=dtype, count=n_rows * n_cols).view(n_rows, n_cols)
