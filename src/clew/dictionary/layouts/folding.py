"""Arithmetic that publishers leave to their programs, and that a Layer has in its tensors: folded in, to rounding."""

from collections.abc import Sequence

import torch
from torch import Tensor

BLOCK = 1 << 14
"""How many features are converted at once."""


def centred_bias(bias: Tensor, encoder: Tensor, centre: Tensor, rows: Tensor | None = None) -> Tensor:
    """The encoder's bias where `centre` is subtracted from what it reads; reads the encoder once.

    `rows` are factors of the encoder's rows that do not stand in it.
    """
    dtype = torch.promote_types(bias.dtype, torch.float32)
    shift = torch.cat([part.to(dtype) @ centre.to(dtype) for part in encoder.split(BLOCK)])
    return bias.to(dtype) - (shift if rows is None else rows.to(dtype) * shift)


def decoder_norms(slots: Sequence[Tensor]) -> Tensor:
    """The norm of every feature's decoders over all slots, in float32 or better; reads the decoders once."""
    dtype = torch.promote_types(slots[0].dtype, torch.float32)
    squares = [torch.cat([part.to(dtype).square().sum(1) for part in slot.split(BLOCK)]) for slot in slots]
    return torch.stack(squares).sum(0).sqrt()
