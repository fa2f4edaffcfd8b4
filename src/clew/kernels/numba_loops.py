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

GROUP = 32  # values whose maximum is compared first
HALVINGS = 12  # of the range in which the k-th largest maximum lies
BLOCK = 64  # values that are compared at once


def exact(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop that compares and copies. `unwrap` removes the tests' run-time check of types."""
    return njit(nogil=True, cache=True, error_model="numpy")(unwrap(function))


def fast(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop that adds up, in whatever order is fastest; NaN and infinity keep their meaning."""
    return njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"})(
        unwrap(function)
    )


@exact
def floor_of(row: np.ndarray, k: int, best: np.ndarray) -> float:
    """A value, zero or more, that at least k of a row's groups reach, or all; writes the groups' maxima into `best`."""
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
    """The k largest positive values of every row, as indices in rising order.

    1. Columns fall into groups, every n-th into the same, so that whole vectors give the groups' maxima.
    2. Bisection finds a floor that at least k maxima reach.
    3. Only groups whose maximum reaches the floor are searched.
    """
    n = pre.shape[1]
    n_groups = max(1, n // GROUP)
    best, value, order = np.empty(n_groups, pre.dtype), np.empty(k, pre.dtype), np.empty(k, np.int64)
    zero = pre.dtype.type(0)
    for p in range(begin, end):
        row = pre[p]
        floor = floor_of(row, k, best)
        n_kept = 0
        for g in range(n_groups):
            if best[g] < floor or best[g] <= zero:
                continue
            for f in range(g, n, n_groups):
                x = row[f]
                if x < floor or x <= zero:
                    continue
                if n_kept < k or x > value[k - 1] or (x == value[k - 1] and f < order[k - 1]):
                    n_kept = insert(value, order, n_kept, k, x, f)
        for j in range(n_kept):
            slot = j
            while slot > 0 and index[p, slot - 1] > order[j]:
                index[p, slot] = index[p, slot - 1]
                slot -= 1
            index[p, slot] = order[j]
        count[p] = n_kept


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
    """What may be among the k largest of a row, whose values are the bits of 16-bit floats.

    Before its last rounding, by `unit` of itself, a value of row p was off by at most `off[p]`. The count is -1 where
    the list has no room, or where values that are not positive may belong to it.
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
        cut, n_listed = bits.dtype.type(exact_bits[0] >> np.uint32(16)), 0  # rounded down
        for g in range(n_groups):
            if best[g] >= cut:
                for f in range(g, n, n_groups):
                    if row[f] >= cut:
                        if n_listed < room:
                            index[p, n_listed] = f
                        n_listed += 1
        if n_listed <= room:
            index[p, :n_listed].sort()
            count[p] = n_listed


@exact
def strongest_of_rows(
    begin: int, end: int, starts: np.ndarray, index: np.ndarray, value: np.ndarray, k: int, keep: np.ndarray
) -> None:
    """Mark each row's k largest positive values; the lowest index first where they are equal."""
    largest, order = np.empty(k, value.dtype), np.empty(k, np.int64)
    for p in range(begin, end):
        n_kept = 0
        for j in range(starts[p], starts[p + 1]):
            x = value[j]
            if x > 0 and (n_kept < k or x > largest[k - 1]):
                n_kept = insert(largest, order, n_kept, k, x, j)
        for j in order[:n_kept]:
            keep[j] = True


@exact
def insert(value: np.ndarray, order: np.ndarray, n_kept: int, k: int, x: float, f: int) -> int:
    """Put x into a list of at most k, largest first, lower f first where equal; returns the list's new length."""
    slot = min(n_kept, k - 1)
    while slot > 0 and (value[slot - 1] < x or (value[slot - 1] == x and order[slot - 1] > f)):
        value[slot], order[slot] = value[slot - 1], order[slot - 1]
        slot -= 1
    value[slot], order[slot] = x, f
    return min(n_kept + 1, k)


@exact
def count_above(begin: int, end: int, pre: np.ndarray, cut: np.ndarray, count: np.ndarray) -> None:
    """How many values of every row are above their feature's cut."""
    for p in range(begin, end):
        row, n = pre[p], 0
        for f in range(row.shape[0]):
            n += row[f] > cut[f]
        count[p] = n


@exact
def list_above(begin: int, end: int, pre: np.ndarray, cut: np.ndarray, starts: np.ndarray, index: np.ndarray) -> None:
    """Their indices, from `starts` on."""
    n = pre.shape[1]
    for p in range(begin, end):
        row, slot = pre[p], starts[p]
        for start in range(0, n, BLOCK):
            stop = min(n, start + BLOCK)
            reached = False
            for f in range(start, stop):
                reached |= row[f] > cut[f]
            if reached:
                for f in range(start, stop):
                    if row[f] > cut[f]:
                        index[slot] = f
                        slot += 1


@exact
def sort_by_feature(index: np.ndarray, order: np.ndarray, starts: np.ndarray) -> None:
    """Pairs in the order of their features, each feature's in their own; starts [feature + 1] must be zero."""
    for j in range(len(index)):
        starts[index[j] + 1] += 1
    for f in range(len(starts) - 1):
        starts[f + 1] += starts[f]
    following = starts[:-1].copy()
    for j in range(len(index)):
        f = index[j]
        order[following[f]] = j
        following[f] += 1


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
    """x . encoder + bias of the pairs begin..end."""
    for j in range(begin, end):
        inputs, row = x[position[j]], encoder[index[j]]
        total = value.dtype.type(0)
        for c in range(x.shape[1]):
            total += inputs[c] * row[c]
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
