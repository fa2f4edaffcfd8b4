"""Loops over rows that numba compiles: a range of positions or features each, without a lock.

Every output belongs to one position or one feature and is summed in a fixed order. `clew.kernels.compiled` runs them
on several threads.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import unwrap
from typing import Any

import numpy as np
from numba import njit

GROUP = 32  # values whose maximum is looked at first
HALVINGS = 12  # of the range in which their floor lies
BLOCK = 64  # values that are compared at once
TILE = 2048  # columns of a row that are worked on at once: they, their gradient and moments stay in the cache


def exact(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile what compares and copies; `unwrap` takes off what checks types in the tests."""
    return njit(nogil=True, cache=True, error_model="numpy")(unwrap(function))


def fast(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile what adds up, in whatever order is fastest; NaN and infinity keep their meaning."""
    return njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"})(
        unwrap(function)
    )


@exact
def floor_of(row: np.ndarray, k: int, best: np.ndarray) -> float:
    """A value, zero or more, that at least k of a row's groups reach, or all; `best` is given the groups' maxima."""
    n, n_groups, zero = row.shape[0], best.shape[0], row.dtype.type(0)
    best[:] = zero
    for first in range(0, n, n_groups):
        part = row[first : min(n, first + n_groups)]
        for g in range(part.shape[0]):
            best[g] = max(best[g], part[g])
    floor, above = zero, best.max()
    for _ in range(HALVINGS):
        middle = row.dtype.type(floor + (above - floor) / 2)
        reached = 0
        for g in range(n_groups):
            reached += best[g] >= middle
        if reached >= k:
            floor = middle
        else:
            above = middle
    return floor


@exact
def top_of_rows(begin: int, end: int, pre: np.ndarray, k: int, index: np.ndarray, count: np.ndarray) -> None:
    """1. Columns fall into groups, every n-th into one, so that their maxima are found by whole vectors.

    2. Halving finds a floor that at least k maxima reach. 3. Only groups that reach it are looked into.
    """
    n = pre.shape[1]
    n_groups = max(1, n // GROUP)
    best, value, order = np.empty(n_groups, pre.dtype), np.empty(k, pre.dtype), np.empty(k, np.int64)
    zero = pre.dtype.type(0)
    for p in range(begin, end):
        row = pre[p]
        floor = floor_of(row, k, best)
        held = 0
        for g in range(n_groups):
            if best[g] < floor or best[g] <= zero:
                continue
            for f in range(g, n, n_groups):
                x = row[f]
                if x < floor or x <= zero:
                    continue
                if held < k or x > value[k - 1] or (x == value[k - 1] and f < order[k - 1]):
                    held = insert(value, order, held, k, x, f)
        for j in range(held):
            at = j
            while at > 0 and index[p, at - 1] > order[j]:
                index[p, at] = index[p, at - 1]
                at -= 1
            index[p, at] = order[j]
        count[p] = held


@exact
def shortlist_of_rows(
    begin: int,
    end: int,
    bits: np.ndarray,
    k: int,
    off: np.ndarray,
    unit: float,
    index: np.ndarray,
    count: np.ndarray,
) -> None:
    """What may be among the k largest of a row whose values, bits of 16-bit floats, are off by no more than said.

    A count of -1 where the list has no room, or where values that are not positive may belong to it.
    """
    n, room = bits.shape[1], index.shape[1]
    n_groups = max(1, n // GROUP)
    best, exact_bits = np.empty(n_groups, bits.dtype), np.empty(1, np.uint32)
    number = exact_bits.view(np.float32)
    for p in range(begin, end):
        row = bits[p]
        floor = floor_of(row, k, best)
        exact_bits[0] = np.uint32(floor) << np.uint32(16)
        number[0] = number[0] * (1 - 2 * unit) - 2 * off[p]
        count[p] = -1
        if not number[0] > 0:
            continue
        cut, held = bits.dtype.type(exact_bits[0] >> np.uint32(16)), 0  # rounded down
        for g in range(n_groups):
            if best[g] >= cut:
                for f in range(g, n, n_groups):
                    if row[f] >= cut:
                        if held < room:
                            index[p, held] = f
                        held += 1
        if held <= room:
            index[p, :held].sort()
            count[p] = held


@exact
def strongest_of_rows(
    begin: int, end: int, starts: np.ndarray, index: np.ndarray, value: np.ndarray, k: int, keep: np.ndarray
) -> None:
    """Mark each row's k largest positive values; the lowest index first where they are equal."""
    largest, order = np.empty(k, value.dtype), np.empty(k, np.int64)
    for p in range(begin, end):
        held = 0
        for j in range(starts[p], starts[p + 1]):
            x = value[j]
            if x > 0 and (held < k or x > largest[k - 1]):
                held = insert(largest, order, held, k, x, j)
        for j in order[:held]:
            keep[j] = True


@exact
def insert(value: np.ndarray, order: np.ndarray, held: int, k: int, x: float, f: int) -> int:
    """Put x into a list of at most k, largest first, lower f first where equal; returns how many there are now."""
    at = min(held, k - 1)
    while at > 0 and (value[at - 1] < x or (value[at - 1] == x and order[at - 1] > f)):
        value[at], order[at] = value[at - 1], order[at - 1]
        at -= 1
    value[at], order[at] = x, f
    return min(held + 1, k)


@exact
def count_above(begin: int, end: int, pre: np.ndarray, cut: np.ndarray, count: np.ndarray) -> None:
    for p in range(begin, end):
        row, n = pre[p], 0
        for f in range(row.shape[0]):
            n += row[f] > cut[f]
        count[p] = n


@exact
def list_above(begin: int, end: int, pre: np.ndarray, cut: np.ndarray, starts: np.ndarray, index: np.ndarray) -> None:
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
def sort_by_feature(index: np.ndarray, order: np.ndarray, starts: np.ndarray) -> None:
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
def dots(
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
def add_rows(
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


@fast
def four_pairs(
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
def update_rows(
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
                four_pairs(order[j : j + 4], position, activation, slope, stride, first, row, part, d_value)
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
                adam(row, decoder_mean[f, first:last], decoder_square[f, first:last], part, rule)
            else:
                seed = np.uint32(np.uint32(step) * np.uint32(40503) + np.uint32(f * width + first))
                adam16(row, decoder_mean[f, first:last], decoder_square[f, first:last], part, rule, seed)
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
        adam(bias[f], bias_mean[f], bias_square[f], d_bias, rule)
        if scratch is None:
            adam(encoder[f], encoder_mean[f], encoder_square[f], part, rule)
        else:
            seed = np.uint32(np.uint32(step) * np.uint32(69069) + np.uint32(f * d + 12345))
            adam16(encoder[f], encoder_mean[f], encoder_square[f], part, rule, seed)
