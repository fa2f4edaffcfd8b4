"""A hash of what a Dictionary computes, read a block of rows at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from clew.dictionary.layer import Layer

BLOCK = 1 << 26
"""How many elements of a tensor are in memory at once."""


def fingerprint(head: Sequence[Any], layers: Mapping[int, Layer], writes: Mapping[int, tuple[int, ...]]) -> str:
    """SHA-256 of some facts and, layer by layer, of nonlinearities and weights."""
    digest = hashlib.sha256()
    for index in sorted(layers):
        layer = layers[index]
        shape = [(name, list(t.shape), str(t.dtype)) for name, t in sorted(layer.tensors().items())]
        k = getattr(layer.nonlinearity, "k", None)
        digest.update(json.dumps([*head, index, writes[index], layer.nonlinearity.name, k, shape]).encode())
        for _, tensor in sorted(layer.tensors().items()):
            for _, block in blocks(tensor):
                digest.update(block.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def blocks(tensor: Tensor, size: int = BLOCK) -> Iterator[tuple[int, Tensor]]:
    """Rows of a tensor in blocks of some elements, each with the number of its first row."""
    rows = tensor.reshape(1) if tensor.ndim == 0 else tensor
    n_rows = max(1, size // max(1, rows[:1].numel()))
    return ((start, rows[start : start + n_rows]) for start in range(0, len(rows), n_rows))
