"""The kernels of `clew.training.rows` for the CPU, compiled by numba; equal to those but for rounding.

A pass over a feature's rows does all that a step asks of them: gradients of its values, of its decoder and encoder, and
Adam, tile by tile, so that weights and moments are read and written once. A kernel works on a range of positions or
features and holds no lock; `spread` runs it on several threads. Every output belongs to one position or one feature and
is summed in a fixed order: the bits do not depend on the threads.

Moments in 16 bits are the upper half of a float32, rounded at random by a hash of step and place, so that changes too
small for 16 bits survive on average.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from inspect import unwrap
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from clew.training.rows import Adam, Pairs, Rows

CHUNKS = 8  # parts that each thread is given, so that none waits for a long one
GROUP = 32  # values whose maximum is looked at first
BLOCK = 64  # values that are compared at once
TILE = 2048  # columns of a row that are worked on at once: they, their gradient and moments stay in the cache


def exact(function: Callable[..., None]) -> Callable[..., None]:
    """Compile what compares and copies; `unwrap` takes off what checks types in the tests."""
    return njit(nogil=True, cache=True, error_model="numpy")(unwrap(function))


def fast(function: Callable[..., None]) -> Callable[..., None]:
    """Compile what adds up, in whatever order is fastest; NaN and infinity keep their meaning."""
    return njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"})(
        unwrap(function)
    )


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="clew")


def spread(kernel: Callable[..., None], n: int, *arguments: Any) -> None:
    """Run `kernel(begin, end, *arguments)` over 0..n in parts, on as many threads as torch uses."""
    threads = torch.get_num_threads()
    size = max(1, -(-n // (CHUNKS * threads)))
    parts = [(begin, min(n, begin + size)) for begin in range(0, n, size)]
    plain = [a.detach().numpy() if isinstance(a, Tensor) else a for a in arguments]
    if threads == 1 or len(parts) < 2:
        kernel(0, n, *plain)
        return
    for done in [_pool(threads).submit(kernel, *part, *plain) for part in parts]:
        done.result()


def _comparable(pre: Tensor) -> Tensor:
    """16-bit floats as integers: positive ones are ordered as their bits are, negative ones stay negative."""
    return pre.view(torch.int16) if pre.dtype == torch.bfloat16 else pre


def top(pre: Tensor, k: int) -> Pairs:
    """The k largest positive values of every row; the lowest index first where they are equal."""
    n_pos, n = pre.shape
    index, count = torch.empty(n_pos, k, dtype=torch.long), torch.empty(n_pos, dtype=torch.long)
    spread(_top, n_pos, _comparable(pre), k, index, count)
    held = index.flatten() if int(count.min()) == k else index[torch.arange(k) < count[:, None]]
    return Pairs.of_counts(count, held, n)


def above(pre: Tensor, cut: Tensor) -> Pairs:
    """Every value above its feature's cut, which must not be negative."""
    pre, cut = _comparable(pre), _comparable(cut.to(pre.dtype))
    count = torch.empty(len(pre), dtype=torch.long)
    spread(_count_above, len(pre), pre, cut, count)
    starts = count.cumsum(0) - count
    index = torch.empty(int(count.sum()), dtype=torch.long)
    spread(_list_above, len(pre), pre, cut, starts, index)
    return Pairs.of_counts(count, index, pre.shape[1])


def preactivations(pairs: Pairs, x: Tensor, encoder: Tensor, bias: Tensor) -> Tensor:
    """x . encoder + bias of every pair."""
    value = torch.empty(len(pairs), dtype=x.dtype)
    spread(_preactivations, len(pairs), pairs.position, pairs.index, x, encoder, bias, value)
    return value


def decode(pairs: Pairs, value: Tensor, rows: Tensor, out: Tensor) -> None:
    """Add value times row to out [pos, width], a view of a matrix whose columns are contiguous."""
    flat, stride = _flat(out)
    spread(_decode, len(out), pairs.starts, pairs.index, value, rows, flat, stride)


def update(
    pairs: Pairs,
    activation: Tensor,
    slope: Tensor,
    extra: Tensor,
    gate: Tensor,
    shrink: Tensor,
    drift: Tensor,
    x: Tensor,
    decoder: Rows,
    encoder: Rows,
    bias: Rows,
    norm: Tensor,
    adam: Adam,
) -> tuple[Tensor, Tensor]:
    """See `clew.training.rows.update`."""
    order, starts = torch.empty(len(pairs), dtype=torch.long), torch.zeros(pairs.n_features + 1, dtype=torch.long)
    _sort(pairs.index.numpy(), order.numpy(), starts.numpy())
    d_value, d_pre = (torch.empty(len(pairs), dtype=x.dtype) for _ in range(2))
    rule = torch.tensor(adam.numbers, dtype=x.dtype)
    moments = [bits(t) for t in (decoder.mean, decoder.square, encoder.mean, encoder.square)]
    scratch = torch.empty(0) if decoder.mean.dtype == torch.bfloat16 else None
    total, (flat, stride) = x.sum(0), _flat(slope)
    spread(
        _update, pairs.n_features, starts, order, pairs.position, activation, flat, stride, extra, gate, shrink, drift,
        x, total, decoder.weight, *moments[:2], encoder.weight, *moments[2:], bias.weight, bias.mean, bias.square,
        norm, rule, adam.step, scratch, d_value, d_pre,
    )  # fmt: skip
    return d_value, d_pre


def _flat(matrix: Tensor) -> tuple[Tensor, int]:
    """A view of some of a matrix' columns as one run of memory from its first element on, and the length of a row."""
    stride = matrix.stride(0)
    return matrix.as_strided(((len(matrix) - 1) * stride + matrix.shape[1],), (1,)), stride


def bits(tensor: Tensor) -> Tensor:
    """16-bit floats as unsigned integers, others as they are."""
    return tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor


@exact
def _top(begin: int, end: int, pre: np.ndarray, k: int, index: np.ndarray, count: np.ndarray) -> None:
    """1. Columns fall into groups, every n-th into one, so that their maxima are found by whole vectors.

    2. The k-th largest maximum is a floor of what is kept. 3. Only groups that reach it are looked into.
    """
    n = pre.shape[1]
    n_groups = max(1, n // GROUP)
    best, value, order = np.empty(n_groups, pre.dtype), np.empty(k, pre.dtype), np.empty(k, np.int64)
    zero = pre.dtype.type(0)
    for p in range(begin, end):
        row = pre[p]
        best[:] = zero
        for first in range(0, n, n_groups):
            part = row[first : min(n, first + n_groups)]
            for g in range(part.shape[0]):
                best[g] = max(best[g], part[g])
        held = 0
        for g in range(n_groups):
            if best[g] > zero and (held < k or best[g] > value[k - 1]):
                held = _insert(value, order, held, k, best[g], g)
        floor = value[k - 1] if held == k else zero
        held = 0
        for g in range(n_groups):
            if best[g] < floor or best[g] <= zero:
                continue
            for f in range(g, n, n_groups):
                x = row[f]
                if x < floor or x <= zero:
                    continue
                if held < k or x > value[k - 1] or (x == value[k - 1] and f < order[k - 1]):
                    held = _insert(value, order, held, k, x, f)
        for j in range(held):
            at = j
            while at > 0 and index[p, at - 1] > order[j]:
                index[p, at] = index[p, at - 1]
                at -= 1
            index[p, at] = order[j]
        count[p] = held


@exact
def _insert(value: np.ndarray, order: np.ndarray, held: int, k: int, x: float, f: int) -> int:
    """Put x into a list of at most k, largest first, lower f first where equal; returns how many there are now."""
    at = min(held, k - 1)
    while at > 0 and (value[at - 1] < x or (value[at - 1] == x and order[at - 1] > f)):
        value[at], order[at] = value[at - 1], order[at - 1]
        at -= 1
    value[at], order[at] = x, f
    return min(held + 1, k)


@exact
def _count_above(begin: int, end: int, pre: np.ndarray, cut: np.ndarray, count: np.ndarray) -> None:
    for p in range(begin, end):
        row, n = pre[p], 0
        for f in range(row.shape[0]):
            n += row[f] > cut[f]
        count[p] = n


@exact
def _list_above(begin: int, end: int, pre: np.ndarray, cut: np.ndarray, starts: np.ndarray, index: np.ndarray) -> None:
    n = pre.shape[1]
    for p in range(begin, end):
        row, at = pre[p], starts[p]
        for start in range(0, n, BLOCK):
            stop = min(n, start + BLOCK)
            found = False
            for f in range(start, stop):
                found |= row[f] > cut[f]
            if found:
                for f in range(start, stop):
                    if row[f] > cut[f]:
                        index[at] = f
                        at += 1


@exact
def _sort(index: np.ndarray, order: np.ndarray, starts: np.ndarray) -> None:
    """Pairs in the order of their features, each feature's in their own; starts [feature + 1] must be zero."""
    for j in range(len(index)):
        starts[index[j] + 1] += 1
    for f in range(len(starts) - 1):
        starts[f + 1] += starts[f]
    at = starts[:-1].copy()
    for j in range(len(index)):
        f = index[j]
        order[at[f]] = j
        at[f] += 1


@fast
def _preactivations(
    begin: int,
    end: int,
    position: np.ndarray,
    index: np.ndarray,
    x: np.ndarray,
    encoder: np.ndarray,
    bias: np.ndarray,
    value: np.ndarray,
) -> None:
    for j in range(begin, end):
        one, row = x[position[j]], encoder[index[j]]
        total = value.dtype.type(0)
        for c in range(x.shape[1]):
            total += one[c] * row[c]
        value[j] = total + bias[index[j]]


@fast
def _decode(
    begin: int,
    end: int,
    starts: np.ndarray,
    index: np.ndarray,
    value: np.ndarray,
    rows: np.ndarray,
    out: np.ndarray,
    stride: int,
) -> None:
    """Four rows at a time, so that the output is read and written a quarter as often."""
    width = rows.shape[1]
    for p in range(begin, end):
        target, j, stop = out[p * stride : p * stride + width], starts[p], starts[p + 1]
        while j + 4 <= stop:
            r0, r1, r2, r3 = rows[index[j]], rows[index[j + 1]], rows[index[j + 2]], rows[index[j + 3]]
            a0, a1, a2, a3 = value[j], value[j + 1], value[j + 2], value[j + 3]
            for c in range(width):
                target[c] += (a0 * r0[c] + a1 * r1[c]) + (a2 * r2[c] + a3 * r3[c])
            j += 4
        while j < stop:
            row, a = rows[index[j]], value[j]
            for c in range(width):
                target[c] += a * row[c]
            j += 1


@fast
def _adam(row: np.ndarray, mean: np.ndarray, square: np.ndarray, g: np.ndarray, rule: np.ndarray) -> None:
    rate, b1, b2, c1, c2, correction, eps = rule[0], rule[1], rule[2], rule[3], rule[4], rule[5], rule[6]
    for c in range(row.shape[0]):
        m = b1 * mean[c] + c1 * g[c]
        v = b2 * square[c] + c2 * g[c] * g[c]
        mean[c] = m
        square[c] = v
        row[c] -= rate * m / (np.sqrt(v) * correction + eps)


@fast
def _adam16(
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
        h = (np.uint32(c) + seed) * np.uint32(2654435761)
        h ^= h >> np.uint32(15)
        h *= np.uint32(2246822519)
        h ^= h >> np.uint32(13)
        mean[c] = np.uint16((m_bits[c] + (h & np.uint32(0xFFFF))) >> np.uint32(16))
        square[c] = np.uint16((v_bits[c] + (h >> np.uint32(16))) >> np.uint32(16))


@fast
def _four(
    pairs: np.ndarray,
    position: np.ndarray,
    activation: np.ndarray,
    slope: np.ndarray,
    stride: int,
    first: int,
    row: np.ndarray,
    g: np.ndarray,
    d_value: np.ndarray,
) -> None:
    """Four pairs of a feature at a time, so that its row and gradient are read a quarter as often."""
    n, zero = row.shape[0], row.dtype.type(0)
    p0, p1, p2, p3 = pairs[0], pairs[1], pairs[2], pairs[3]
    i0, i1, i2, i3 = (
        position[p0] * stride + first,
        position[p1] * stride + first,
        position[p2] * stride + first,
        position[p3] * stride + first,
    )
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


@fast
def _update(
    begin: int,
    end: int,
    starts: np.ndarray,
    order: np.ndarray,
    position: np.ndarray,
    activation: np.ndarray,
    slope: np.ndarray,
    stride: int,
    extra: np.ndarray,
    gate: np.ndarray,
    shrink: np.ndarray,
    drift: np.ndarray,
    x: np.ndarray,
    total: np.ndarray,
    decoder: np.ndarray,
    decoder_mean: np.ndarray,
    decoder_square: np.ndarray,
    encoder: np.ndarray,
    encoder_mean: np.ndarray,
    encoder_square: np.ndarray,
    bias: np.ndarray,
    bias_mean: np.ndarray,
    bias_square: np.ndarray,
    norm: np.ndarray,
    rule: np.ndarray,
    step: int,
    scratch: np.ndarray | None,
    d_value: np.ndarray,
    d_pre: np.ndarray,
) -> None:
    width, d = decoder.shape[1], encoder.shape[1]
    g, d_bias = np.empty(max(min(TILE, width), d), decoder.dtype), np.empty(1, decoder.dtype)
    zero = decoder.dtype.type(0)
    for f in range(begin, end):
        lo, hi = starts[f], starts[f + 1]
        if lo == hi and shrink[f] == zero and drift[f] == zero:
            continue
        for j in range(lo, hi):
            d_value[order[j]] = extra[order[j]]
        size = zero
        for first in range(0, width, TILE):
            last = min(width, first + TILE)
            row, part = decoder[f, first:last], g[: last - first]
            for c in range(last - first):
                part[c] = shrink[f] * row[c]
            j = lo
            while j + 4 <= hi:
                _four(order[j : j + 4], position, activation, slope, stride, first, row, part, d_value)
                j += 4
            while j < hi:
                pair = order[j]
                at, a, dot = position[pair] * stride, activation[pair], zero
                s = slope[at + first : at + last]
                for c in range(last - first):
                    dot += row[c] * s[c]
                    part[c] += a * s[c]
                d_value[pair] += dot
                j += 1
            if scratch is None:
                _adam(row, decoder_mean[f, first:last], decoder_square[f, first:last], part, rule)
            else:
                seed = np.uint32(step) * np.uint32(40503) + np.uint32(f * width + first)
                _adam16(row, decoder_mean[f, first:last], decoder_square[f, first:last], part, rule, seed)
            for c in range(last - first):
                size += row[c] * row[c]
        norm[f] = np.sqrt(size)
        part = g[:d]
        for c in range(d):
            part[c] = drift[f] * total[c]
        d_bias[0] = drift[f] * x.shape[0]
        for j in range(lo, hi):
            pair = order[j]
            one, weight = x[position[pair]], gate[pair] * d_value[pair] - drift[f] * gate[pair]
            d_pre[pair] = weight
            d_bias[0] += weight
            for c in range(d):
                part[c] += weight * one[c]
        _adam(bias[f], bias_mean[f], bias_square[f], d_bias, rule)
        if scratch is None:
            _adam(encoder[f], encoder_mean[f], encoder_square[f], part, rule)
        else:
            seed = np.uint32(step) * np.uint32(69069) + np.uint32(f * d + 12345)
            _adam16(encoder[f], encoder_mean[f], encoder_square[f], part, rule, seed)
