"""What tells two models apart that have one name: a hash of their weights."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def weights_hash(model: nn.Module) -> str:
    """Hexadecimal SHA-256 of every parameter's name and bytes, in the model's order; half a second a gigabyte or so.

    The same weights in another dtype have another hash.
    """
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
