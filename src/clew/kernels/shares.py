"""Division that leaves what has no size alone."""

from __future__ import annotations

import torch
from torch import Tensor


def share(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole of any shapes that broadcast, 0 where the whole is 0; no whole may be negative."""
    return torch.where(whole > 0, part / whole.clamp_min(torch.finfo(whole.dtype).tiny), 0.0)
