"""Gradients of one layer's features and the optimizer's step on them, as loops that numba compiles.

Decoder, encoder, their gradients and moments are read and written tile by tile in one pass over a feature's rows.
Functions marked `inlined` are part of `update_rows` once compiled. Moments in 16 bits are the upper half of a float32,
as unsigned integers; see `clew.kernels.compiled`.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import unwrap
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from clew.kernels.numba_loops import fast
from clew.kernels.types import DECODER_SEED, ENCODER_OFFSET, ENCODER_SEED

TILE = 2048  # columns of a row that are worked on at once: they, their gradient and moments stay in the cache


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile as a part of the functions that call it, under their rules."""
    return njit(inline="always")(unwrap(function))


class FeaturePairs(NamedTuple):
    """Active pairs, and their order by feature."""

    starts: np.ndarray
    """Where every feature's pairs begin in `order`."""
    order: np.ndarray
    position: np.ndarray
    activation: np.ndarray
    extra: np.ndarray
    """Derivative of the penalty by the activation."""
    gate: np.ndarray
    """Derivative of the activation by the pre-activation."""


class Signals(NamedTuple):
    """What a layer reads, and the gradient of what it writes."""

    x: np.ndarray
    total: np.ndarray
    """The sum of x over positions."""
    slope: np.ndarray
    """Gradient of the outputs; position p begins at p * stride."""
    stride: int


class Penalty(NamedTuple):
    """Gradients of the penalties by feature; see `clew.kernels.types.Terms`."""

    shrink: np.ndarray
    drift: np.ndarray


class RowArrays(NamedTuple):
    """Weights with their moments, one row a feature."""

    weight: np.ndarray
    mean: np.ndarray
    square: np.ndarray


class LayerArrays(NamedTuple):
    """What the optimizer moves in one layer."""

    decoder: RowArrays
    encoder: RowArrays
    bias: RowArrays
    norm: np.ndarray


class Optimizer(NamedTuple):
    """Adam's numbers, and the step, which seeds the rounding of moments."""

    rule: np.ndarray
    step: int


class PairGradients(NamedTuple):
    """Gradients of activations and of pre-activations, one a pair; written by `update_rows`."""

    value: np.ndarray
    pre: np.ndarray


@fast
def adam(row: np.ndarray, mean: np.ndarray, square: np.ndarray, g: np.ndarray, rule: np.ndarray) -> None:
    rate, b1, b2, c1, c2, correction, eps = rule[0], rule[1], rule[2], rule[3], rule[4], rule[5], rule[6]
    for c in range(row.shape[0]):
        m = b1 * mean[c] + c1 * g[c]
        v = b2 * square[c] + c2 * g[c] * g[c]
        mean[c] = m
        square[c] = v
        row[c] -= rate * m / (np.sqrt(v) * correction + eps)


@fast
def adam16(
    row: np.ndarray, mean: np.ndarray, square: np.ndarray, g: np.ndarray, rule: np.ndarray, seed: np.uint32
) -> None:
    rate, b1, b2, c1, c2, correction, eps = rule[0], rule[1], rule[2], rule[3], rule[4], rule[5], rule[6]
    n = row.shape[0]
    m_bits, v_bits = np.empty(n, np.uint32), np.empty(n, np.uint32)
    m, v = m_bits.view(np.float32), v_bits.view(np.float32)
    for c in range(n):
        m_bits[c] = np.uint32(mean[c]) << np.uint32(16)
        v_bits[c] = np.uint32(square[c]) << np.uint32(16)
    for c in range(n):
        m[c] = b1 * m[c] + c1 * g[c]
        v[c] = b2 * v[c] + c2 * g[c] * g[c]
        row[c] -= rate * m[c] / (np.sqrt(v[c]) * correction + eps)
    for c in range(n):
        h = np.uint32((np.uint32(c) + seed) * np.uint32(2654435761))  # products are 64 bits wide until cut
        h = np.uint32((h ^ (h >> np.uint32(15))) * np.uint32(2246822519))
        h = np.uint32(h ^ (h >> np.uint32(13)))
        mean[c] = np.uint16((m_bits[c] + (h & np.uint32(0xFFFF))) >> np.uint32(16))
        square[c] = np.uint16((v_bits[c] + (h >> np.uint32(16))) >> np.uint32(16))


@inlined
def move_row(
    rows: RowArrays, f: int, first: int, last: int, gradient: np.ndarray, optimizer: Optimizer, seed: np.uint32
) -> None:
    """Adam on some columns of a row; `seed` rounds moments that are kept in 16 bits."""
    row, mean, square = rows.weight[f, first:last], rows.mean[f, first:last], rows.square[f, first:last]
    if mean.itemsize == 2:
        adam16(row, mean, square, gradient, optimizer.rule, seed)
    else:
        adam(row, mean, square, gradient, optimizer.rule)


@fast
def four_pairs(
    pairs: np.ndarray,
    position: np.ndarray,
    activation: np.ndarray,
    slope: np.ndarray,
    stride: int,
    row: np.ndarray,
    g: np.ndarray,
    d_value: np.ndarray,
) -> None:
    """Four pairs of a feature at a time, so that its row and gradient are read a quarter as often."""
    n, zero = row.shape[0], row.dtype.type(0)
    p0, p1, p2, p3 = pairs[0], pairs[1], pairs[2], pairs[3]
    i0, i1, i2, i3 = position[p0] * stride, position[p1] * stride, position[p2] * stride, position[p3] * stride
    s0, s1, s2, s3 = slope[i0 : i0 + n], slope[i1 : i1 + n], slope[i2 : i2 + n], slope[i3 : i3 + n]
    a0, a1, a2, a3 = activation[p0], activation[p1], activation[p2], activation[p3]
    d0, d1, d2, d3 = zero, zero, zero, zero
    for c in range(n):
        w = row[c]
        d0 += w * s0[c]
        d1 += w * s1[c]
        d2 += w * s2[c]
        d3 += w * s3[c]
        g[c] += (a0 * s0[c] + a1 * s1[c]) + (a2 * s2[c] + a3 * s3[c])
    d_value[p0] += d0
    d_value[p1] += d1
    d_value[p2] += d2
    d_value[p3] += d3


@inlined
def decoder_gradient(
    f: int, first: int, row: np.ndarray, part: np.ndarray, pairs: FeaturePairs, signals: Signals, d_value: np.ndarray
) -> None:
    """Add to `part` the gradient of columns from `first` on, and to `d_value` what they tell of the activations."""
    n, j, stop = row.shape[0], pairs.starts[f], pairs.starts[f + 1]
    slope, stride = signals.slope[first:], signals.stride
    while j + 4 <= stop:
        four_pairs(pairs.order[j : j + 4], pairs.position, pairs.activation, slope, stride, row, part, d_value)
        j += 4
    while j < stop:
        pair = pairs.order[j]
        begin, a, dot = pairs.position[pair] * stride, pairs.activation[pair], row.dtype.type(0)
        s = slope[begin : begin + n]
        for c in range(n):
            dot += row[c] * s[c]
            part[c] += a * s[c]
        d_value[pair] += dot
        j += 1


@inlined
def update_decoder(
    f: int,
    g: np.ndarray,
    pairs: FeaturePairs,
    signals: Signals,
    shrink: float,
    layer: LayerArrays,
    optimizer: Optimizer,
    d_value: np.ndarray,
) -> None:
    """Gradients of a feature's activations, and Adam on its decoder, a tile at a time."""
    decoder = layer.decoder.weight
    width, size = decoder.shape[1], decoder.dtype.type(0)
    for j in range(pairs.starts[f], pairs.starts[f + 1]):
        d_value[pairs.order[j]] = pairs.extra[pairs.order[j]]
    for first in range(0, width, TILE):
        last = min(width, first + TILE)
        row, part = decoder[f, first:last], g[: last - first]
        for c in range(last - first):
            part[c] = shrink * row[c]
        decoder_gradient(f, first, row, part, pairs, signals, d_value)
        seed = np.uint32(np.uint32(optimizer.step) * np.uint32(DECODER_SEED) + np.uint32(f * width + first))
        move_row(layer.decoder, f, first, last, part, optimizer, seed)
        for c in range(last - first):
            size += row[c] * row[c]
    layer.norm[f] = np.sqrt(size)


@inlined
def update_encoder(
    f: int,
    g: np.ndarray,
    pairs: FeaturePairs,
    signals: Signals,
    drift: float,
    layer: LayerArrays,
    optimizer: Optimizer,
    gradients: PairGradients,
) -> None:
    """Gradients of a feature's pre-activations, and Adam on its bias and encoder; `g` has one place more."""
    x, d = signals.x, layer.encoder.weight.shape[1]
    part, d_bias = g[:d], g[d : d + 1]
    for c in range(d):
        part[c] = drift * signals.total[c]
    d_bias[0] = drift * x.shape[0]
    for j in range(pairs.starts[f], pairs.starts[f + 1]):
        pair = pairs.order[j]
        inputs, weight = x[pairs.position[pair]], pairs.gate[pair] * gradients.value[pair] - drift * pairs.gate[pair]
        gradients.pre[pair] = weight
        d_bias[0] += weight
        for c in range(d):
            part[c] += weight * inputs[c]
    adam(layer.bias.weight[f], layer.bias.mean[f], layer.bias.square[f], d_bias, optimizer.rule)
    seed = np.uint32(np.uint32(optimizer.step) * np.uint32(ENCODER_SEED) + np.uint32(f * d + ENCODER_OFFSET))
    move_row(layer.encoder, f, 0, d, part, optimizer, seed)


@fast
def update_rows(
    begin: int,
    end: int,
    pairs: FeaturePairs,
    signals: Signals,
    penalty: Penalty,
    layer: LayerArrays,
    optimizer: Optimizer,
    gradients: PairGradients,
) -> None:
    """Move features begin..end; see `clew.kernels.torch_rows.update`. Those that take no part stay as they are."""
    width, d, zero = layer.decoder.weight.shape[1], layer.encoder.weight.shape[1], layer.norm.dtype.type(0)
    g = np.empty(max(min(TILE, width), d + 1), layer.norm.dtype)
    for f in range(begin, end):
        shrink, drift = penalty.shrink[f], penalty.drift[f]
        if pairs.starts[f] == pairs.starts[f + 1] and shrink == zero and drift == zero:
            continue
        update_decoder(f, g, pairs, signals, shrink, layer, optimizer, gradients.value)
        update_encoder(f, g, pairs, signals, drift, layer, optimizer, gradients)
