"""Gradients of one layer's features and the optimizer's step on them, on a GPU: kernels in Triton.

A program works on a tile of columns of a few features (one, on a GPU): it reads the gradient of the outputs at the
positions where the feature is active, and the feature's weights and moments once. Moments in 16 bits are rounded as
`clew.kernels.numba_update` does, by a hash of step and place.
"""

from typing import Any, NamedTuple

import triton.language as tl

from clew.kernels.triton_loops import Matrix, kernel

__all__ = ["Matrix", "MovedRows", "PairsOfFeatures", "Parts", "update_decoder", "update_encoder"]


class PairsOfFeatures(NamedTuple):
    """Active pairs by feature, for the features that a step concerns."""

    ids: Any
    bounds: Any
    """The pairs of feature f are order[bounds[f]]..order[bounds[f + 1]]."""
    order: Any
    position: Any
    weight: Any
    """What a pair multiplies its row with: the activation, or the gradient of the pre-activation."""
    feature_weight: Any
    """What a feature adds of `Parts.added`, or of its own row."""
    n_ids: Any


class MovedRows(NamedTuple):
    """Weights with their moments, and the optimizer's numbers."""

    weight: Any
    mean: Any
    square: Any
    width: Any
    rule: Any
    seed: Any
    """Of the rounding of moments in 16 bits; places are added to it."""


class Parts(NamedTuple):
    """What the programs of different tiles leave, to be summed in their order."""

    value: Any
    """[tile, pair]: decoder . gradient."""
    norm: Any
    """[tile, id]: the squared length of the decoder after the step."""
    n_pairs: Any


class Inputs(NamedTuple):
    """What a layer reads."""

    total: Any
    """The sum over positions."""
    n_pos: Any
    bias: Any
    """`MovedRows` of width one."""


@kernel
def noise(place):
    """32 bits by the hash of a place, which has 32 bits too."""
    h = place * 2654435761
    h = (h ^ (h >> 15)) * 2246822519
    return h ^ (h >> 13)


@kernel
def rounded(value, bits):
    """The upper half of a float32, after adding 16 bits at random to the lower."""
    whole = value.to(tl.uint32, bitcast=True) + bits
    return (whole >> 16).to(tl.uint16).to(tl.int16, bitcast=True)


@kernel
def widened(half):
    """The float32 whose upper half it is."""
    return (half.to(tl.int32) << 16).to(tl.float32, bitcast=True)


@kernel
def moved(rows: "MovedRows", place, mask, row, gradient):
    """Adam on some cells of the rows, whose moments are written; returns the weights."""
    rate, b1, b2 = tl.load(rows.rule), tl.load(rows.rule + 1), tl.load(rows.rule + 2)
    c1, c2 = tl.load(rows.rule + 3), tl.load(rows.rule + 4)
    correction, eps = tl.load(rows.rule + 5), tl.load(rows.rule + 6)
    mean = tl.load(rows.mean + place, mask=mask, other=0)
    square = tl.load(rows.square + place, mask=mask, other=0)
    if rows.mean.dtype.element_ty == tl.int16:
        m = b1 * widened(mean) + c1 * gradient
        v = b2 * widened(square) + c2 * gradient * gradient
        bits = noise(place.to(tl.uint32) + tl.load(rows.seed).to(tl.uint32))
        tl.store(rows.mean + place, rounded(m, bits & 0xFFFF), mask=mask)
        tl.store(rows.square + place, rounded(v, bits >> 16), mask=mask)
    else:
        m = b1 * mean + c1 * gradient
        v = b2 * square + c2 * gradient * gradient
        tl.store(rows.mean + place, m, mask=mask)
        tl.store(rows.square + place, v, mask=mask)
    return row - rate * m / (tl.sqrt(v) * correction + eps)


@kernel
def features_of(pairs: "PairsOfFeatures", slot):
    """Whether there are such features, which they are, and where their pairs begin and end."""
    inside = slot < pairs.n_ids
    f = tl.load(pairs.ids + slot, mask=inside, other=0)
    begin = tl.load(pairs.bounds + f, mask=inside, other=0)
    return inside, f, begin, tl.load(pairs.bounds + f + 1, mask=inside, other=0)


@kernel
def some_pairs(pairs: "PairsOfFeatures", begin, end, first, matrix: "Matrix", cols, narrow, PAIRS: tl.constexpr):
    """Some pairs of every feature: whether they are there, which, their weights, and a matrix at their positions."""
    j = begin[:, None] + first + tl.arange(0, PAIRS)[None, :]
    there = j < end[:, None]
    pair = tl.load(pairs.order + j, mask=there, other=0)
    position = tl.load(pairs.position + pair, mask=there, other=0)
    weight = tl.load(pairs.weight + pair, mask=there, other=0.0)
    cells = matrix.cells + position[:, :, None] * matrix.stride + cols[None, None, :]
    return there, pair, weight, tl.load(cells, mask=there[:, :, None] & narrow[None, None, :], other=0.0)


@kernel
def update_decoder(
    pairs: "PairsOfFeatures", slope: "Matrix", rows: "MovedRows", parts: "Parts", ITEMS: tl.constexpr,
    PAIRS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """Parts of the gradients of activations, and Adam on decoders; `feature_weight` shrinks them."""
    slot, tile = tl.program_id(0) * ITEMS + tl.arange(0, ITEMS), tl.program_id(1)
    inside, f, begin, end = features_of(pairs, slot)
    cols = tile * COLS + tl.arange(0, COLS)
    narrow = cols < rows.width
    place = f[:, None] * rows.width + cols[None, :]
    mask = inside[:, None] & narrow[None, :]
    row = tl.load(rows.weight + place, mask=mask, other=0.0)
    gradient = tl.load(pairs.feature_weight + f, mask=inside, other=0.0)[:, None] * row
    for first in range(0, tl.max(end - begin, axis=0), PAIRS):
        there, pair, weight, signal = some_pairs(pairs, begin, end, first, slope, cols, narrow, PAIRS)
        gradient += tl.sum(weight[:, :, None] * signal, axis=1)
        tl.store(parts.value + tile * parts.n_pairs + pair, tl.sum(row[:, None, :] * signal, axis=2), mask=there)
    row = tl.where(mask, moved(rows, place, mask, row, gradient), 0.0)
    tl.store(rows.weight + place, row, mask=mask)
    tl.store(parts.norm + tile * pairs.n_ids + slot, tl.sum(row * row, axis=1), mask=inside)


@kernel
def update_encoder(
    pairs: "PairsOfFeatures", x: "Matrix", rows: "MovedRows", inputs: "Inputs", ITEMS: tl.constexpr,
    PAIRS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """Adam on encoders, and by the programs of the first tile on biases; `feature_weight` is the drift."""
    slot, tile = tl.program_id(0) * ITEMS + tl.arange(0, ITEMS), tl.program_id(1)
    inside, f, begin, end = features_of(pairs, slot)
    cols = tile * COLS + tl.arange(0, COLS)
    narrow = cols < rows.width
    drift = tl.load(pairs.feature_weight + f, mask=inside, other=0.0)
    total = tl.load(inputs.total + cols, mask=narrow, other=0.0)
    gradient, of_bias = drift[:, None] * total[None, :], drift * inputs.n_pos
    for first in range(0, tl.max(end - begin, axis=0), PAIRS):
        _, _, weight, values = some_pairs(pairs, begin, end, first, x, cols, narrow, PAIRS)
        gradient += tl.sum(weight[:, :, None] * values, axis=1)
        of_bias += tl.sum(weight, axis=1)
    place = f[:, None] * rows.width + cols[None, :]
    mask = inside[:, None] & narrow[None, :]
    row = tl.load(rows.weight + place, mask=mask, other=0.0)
    tl.store(rows.weight + place, moved(rows, place, mask, row, gradient), mask=mask)
    if tile == 0:
        bias = tl.load(inputs.bias.weight + f, mask=inside, other=0.0)
        tl.store(inputs.bias.weight + f, moved(inputs.bias, f, inside, bias, of_bias), mask=inside)
