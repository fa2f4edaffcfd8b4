"""What a device does fast."""

from __future__ import annotations

from functools import cache

import torch


@cache
def fast_in_16_bits(device: str) -> bool:
    """Whether a device ("cpu", "cuda") multiplies matrices of bfloat16 faster than of float32.

    A CPU without instructions for it takes eight times as long.
    """
    return device != "cpu" or bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())
