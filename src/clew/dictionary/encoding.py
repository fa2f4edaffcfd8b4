"""Which features of one layer are active, found in blocks of features.

A dense [position, feature] matrix of a large dictionary would outgrow everything else that a trace keeps. ReLU and
thresholds decide each feature alone, so a block's active features are final. TopK compares all of them: every
position's best candidates are carried from block to block, exact and with ties as in the dense form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from clew.dictionary.layer import ActiveFeatures
from clew.dictionary.nonlinearity import BatchTopK, JumpReLU, Nonlinearity, TopK
from clew.kernels.decode import largest

BLOCK = 1 << 22
"""Entries of pre-activations, or of encoder rows in another dtype, that are held at once."""
_LEAST = 256  # features of a block, of which fewer would make slow products

Preactivations = Callable[[slice], Float[Tensor, "pos block"]]
"""Pre-activations of a range of features."""


def block_size(n_positions: int, d_model: int) -> int:
    """Features of one block."""
    return max(_LEAST, BLOCK // max(1, n_positions, d_model))


def active_features(
    preactivations: Preactivations, nonlinearity: Nonlinearity, n_features: int, size: int
) -> ActiveFeatures:
    """The active features, `size` of them looked at together."""
    blocks = (slice(start, min(n_features, start + size)) for start in range(0, n_features, size))
    if isinstance(nonlinearity, TopK):
        return _largest_of(((block, preactivations(block)) for block in blocks), nonlinearity.k)
    position, index, activation, preactivation = [], [], [], []
    for block in blocks:
        pre = preactivations(block)
        activations = _of_block(nonlinearity, block).apply(pre)
        position_of_block, index_of_block = activations.nonzero(as_tuple=True)
        position.append(position_of_block)
        index.append(index_of_block + block.start)
        activation.append(activations[position_of_block, index_of_block])
        preactivation.append(pre[position_of_block, index_of_block])
    order = torch.argsort(torch.cat(position), stable=True)  # within a position the blocks are in order already
    return ActiveFeatures(
        position=torch.cat(position)[order],
        index=torch.cat(index)[order],
        activation=torch.cat(activation)[order],
        preactivation=torch.cat(preactivation)[order],
    )


def _of_block(nonlinearity: Nonlinearity, block: slice) -> Nonlinearity:
    """The same for some features only."""
    if isinstance(nonlinearity, JumpReLU | BatchTopK) and nonlinearity.threshold.ndim:
        return replace(nonlinearity, threshold=nonlinearity.threshold[block])
    return nonlinearity


def _largest_of(blocks: Iterator[tuple[slice, Float[Tensor, "pos block"]]], k: int) -> ActiveFeatures:
    """The k largest positive values of every position; where values are equal, the lowest index."""
    best: list[Tensor] = []
    indices: list[Tensor] = []
    for block, pre in blocks:
        numbers = torch.arange(block.start, block.stop, device=pre.device).expand(len(pre), -1)
        values, numbers = _largest(pre.relu(), numbers, k)
        # Those before stand first, so that indices rise.
        values, numbers = _largest(torch.cat([*best, values], 1), torch.cat([*indices, numbers], 1), k)
        best, indices = [values], [numbers]
    position, place = best[0].nonzero(as_tuple=True)
    value, index = best[0][position, place], indices[0][position, place]
    return ActiveFeatures(position=position, index=index, activation=value, preactivation=value)


def _largest(values: Tensor, indices: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of every row in the order in which they stand; all, if there are fewer."""
    if values.shape[1] <= k:
        return values, indices
    place = largest(values, k).nonzero()[:, 1].view(len(values), k)
    return values.gather(1, place), indices.gather(1, place)
