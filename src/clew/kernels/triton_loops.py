"""Reading and choosing active features on a GPU: kernels in Triton, launched by `clew.kernels.triton_rows`.

A program works on a few positions (or pairs) and one tile of columns, and sums in a fixed order: the bits do not depend
on how programs are scheduled. Parameters have no types that Triton knows: pointers and numbers come in named tuples.
"""

from collections.abc import Callable
from inspect import unwrap
from typing import Any, NamedTuple

import triton
import triton.language as tl

FLOOR_BITS = tl.constexpr(20)
"""Of the floor above which candidates are listed: enough that few values lie between it and the k-th largest."""


def kernel(function: Callable[..., Any]) -> Any:
    """Compile by Triton. `unwrap` removes the tests' run-time check of types."""
    return triton.jit(unwrap(function))


class PositionPairs(NamedTuple):
    """Active pairs sorted by position."""

    starts: Any
    """The pairs of position p are starts[p]..starts[p + 1]."""
    index: Any
    value: Any
    n_pos: Any


class Matrix(NamedTuple):
    """Some columns of a matrix."""

    cells: Any
    stride: Any
    """Cells from one row to the next."""
    width: Any


class Chosen(NamedTuple):
    """Lists of features, one a position, with room for the same number each."""

    index: Any
    value: Any
    count: Any
    """How many belong to the list; more than have room when it is too short."""
    room: Any


class Encoders(NamedTuple):
    """Of one layer's features."""

    weight: Any
    bias: Any
    cut: Any
    """What a pre-activation must exceed."""
    n_features: Any


@kernel
def add_rows(
    pairs: "PositionPairs", rows: "Matrix", out: "Matrix", ITEMS: tl.constexpr, PAIRS: tl.constexpr,
    COLS: tl.constexpr,
):  # fmt: skip
    """Add to out the rows of active features times their values; each row is read once a position."""
    position = tl.program_id(0) * ITEMS + tl.arange(0, ITEMS)
    inside = position < pairs.n_pos
    cols = tl.program_id(1) * COLS + tl.arange(0, COLS)
    narrow = cols < rows.width
    begin = tl.load(pairs.starts + position, mask=inside, other=0)
    end = tl.load(pairs.starts + position + 1, mask=inside, other=0)
    total = tl.zeros([ITEMS, COLS], dtype=pairs.value.dtype.element_ty)
    for first in range(0, tl.max(end - begin, axis=0), PAIRS):
        pair = begin[:, None] + first + tl.arange(0, PAIRS)[None, :]
        there = pair < end[:, None]
        feature = tl.load(pairs.index + pair, mask=there, other=0)
        value = tl.load(pairs.value + pair, mask=there, other=0.0)
        cells = rows.cells + feature[:, :, None] * rows.stride + cols[None, None, :]
        row = tl.load(cells, mask=there[:, :, None] & narrow[None, None, :], other=0.0)
        total += tl.sum(value[:, :, None] * row.to(value.dtype), axis=1)
    target = out.cells + position.to(tl.int64)[:, None] * out.stride + cols[None, :]
    mask = inside[:, None] & narrow[None, :]
    tl.store(target, tl.load(target, mask=mask, other=0.0) + total, mask=mask)


@kernel
def dots(
    position, index, x: "Matrix", encoders: "Encoders", value, n_pairs, PAIRS: tl.constexpr, COLS: tl.constexpr
):  # fmt: skip
    """x . encoder + bias of pairs."""
    pair = tl.program_id(0) * PAIRS + tl.arange(0, PAIRS)
    there = pair < n_pairs
    place = tl.load(position + pair, mask=there, other=0)
    feature = tl.load(index + pair, mask=there, other=0)
    total = tl.load(encoders.bias + feature, mask=there, other=0.0)
    for first in range(0, x.width, COLS):
        cols = first + tl.arange(0, COLS)
        mask = there[:, None] & (cols < x.width)[None, :]
        inputs = tl.load(x.cells + place[:, None] * x.stride + cols[None, :], mask=mask, other=0.0)
        row = tl.load(encoders.weight + feature[:, None] * x.width + cols[None, :], mask=mask, other=0.0)
        total += tl.sum(inputs * row, axis=1)
    tl.store(value + pair, total, mask=there)


@kernel
def keys(bits: "Matrix", row, cols, inside, WIDE: tl.constexpr):
    """Floats, given as the integers of the same bits, as integers in the same order; 0 where they are not positive."""
    mask = inside[:, None] & (cols < bits.width)[None, :]
    values = tl.load(bits.cells + row[:, None] * bits.stride + cols[None, :], mask=mask, other=0)
    return tl.maximum(values.to(WIDE), 0)


@kernel
def kth_largest(values, k, ROWS: tl.constexpr, BITS: tl.constexpr, DECIDED: tl.constexpr):
    """The k-th largest of every row of integers that are not negative, bit by bit from the highest.

    The bits behind those to be decided are zero: the result is at most the k-th largest.
    """
    cut = tl.zeros([ROWS], dtype=values.dtype)
    step = tl.full([ROWS], 1, dtype=values.dtype) << (BITS - 1)
    for _ in range(DECIDED):
        reached = tl.sum((values >= (cut + step)[:, None]).to(tl.int32), axis=1)
        cut = tl.where(reached >= k, cut + step, cut)
        step = step >> 1
    return cut


@kernel
def list_strongest(
    bits: "Matrix", chosen: "Chosen", k, n_pos, ROWS: tl.constexpr, GROUPS: tl.constexpr, BITS: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """List what may be among the k largest positive values of every row, in rising order of columns.

    1. Columns fall into groups, every n-th into the same; the k-th largest of the groups' maxima is a floor that the
       k largest values reach.
    2. What reaches it is listed.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = row < n_pos
    best = tl.zeros([ROWS, GROUPS], dtype=WIDE)
    for first in range(0, bits.width, GROUPS):
        best = tl.maximum(best, keys(bits, row, first + tl.arange(0, GROUPS), inside, WIDE))
    decided: tl.constexpr = BITS if BITS < FLOOR_BITS else FLOOR_BITS
    floor = tl.maximum(kth_largest(best, k, ROWS, BITS, decided), 1)
    count = tl.zeros([ROWS], dtype=tl.int32)
    for first in range(0, bits.width, GROUPS):
        cols = first + tl.arange(0, GROUPS)
        key = keys(bits, row, cols, inside, WIDE)
        listed = key >= floor[:, None]
        slot = count[:, None] + tl.cumsum(listed.to(tl.int32), axis=1) - 1
        fits = listed & (slot < chosen.room)
        place = row[:, None] * chosen.room + slot
        tl.store(chosen.index + place, tl.broadcast_to(cols[None, :], [ROWS, GROUPS]).to(tl.int64), mask=fits)
        tl.store(chosen.value + place, key, mask=fits)
        count += tl.sum(listed.to(tl.int32), axis=1)
    tl.store(chosen.count + row, count, mask=inside)


@kernel
def pick_strongest(
    chosen: "Chosen", k, index, kept, n_pos, ROWS: tl.constexpr, ROOM: tl.constexpr, BITS: tl.constexpr
):  # fmt: skip
    """The k largest of every list, in its order; the first come first where they are equal."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = row < n_pos
    slot = tl.arange(0, ROOM)
    count = tl.load(chosen.count + row, mask=inside, other=0)
    there = (slot[None, :] < count[:, None]) & (slot < chosen.room)[None, :]
    place = row[:, None] * chosen.room + slot[None, :]
    key = tl.load(chosen.value + place, mask=there, other=0)
    cut = kth_largest(key, k, ROWS, BITS, BITS)
    larger = key > cut[:, None]
    tied = (key == cut[:, None]) & (key > 0)
    room = k - tl.sum(larger.to(tl.int32), axis=1)
    keep = larger | (tied & (tl.cumsum(tied.to(tl.int32), axis=1) <= room[:, None]))
    rank = tl.cumsum(keep.to(tl.int32), axis=1) - 1
    feature = tl.load(chosen.index + place, mask=keep, other=0)
    tl.store(index + row[:, None] * k + rank, feature, mask=keep)
    tl.store(kept + row, tl.sum(keep.to(tl.int32), axis=1), mask=inside)


@kernel
def encode_above(
    x: "Matrix", encoders: "Encoders", chosen: "Chosen", n_pos, POS: tl.constexpr, FEATURES: tl.constexpr,
    DEPTH: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """List the pre-activations above their features' cuts, in any order: they are never in memory as a matrix."""
    position = tl.program_id(0) * POS + tl.arange(0, POS)
    feature = tl.program_id(1) * FEATURES + tl.arange(0, FEATURES)
    inside, known = position < n_pos, feature < encoders.n_features
    wide: tl.constexpr = chosen.value.dtype.element_ty
    total = tl.zeros([POS, FEATURES], dtype=wide)
    for first in range(0, x.width, DEPTH):
        cols = first + tl.arange(0, DEPTH)
        narrow = cols < x.width
        inputs = x.cells + position.to(tl.int64)[:, None] * x.stride + cols[None, :]
        weight = encoders.weight + feature.to(tl.int64)[None, :] * x.width + cols[:, None]
        left = tl.load(inputs, mask=inside[:, None] & narrow[None, :], other=0.0)
        right = tl.load(weight, mask=narrow[:, None] & known[None, :], other=0.0)
        if WIDEN:  # the interpreter multiplies no 16-bit floats; the products are the same
            left, right = left.to(wide), right.to(wide)
        total += tl.dot(left, right, input_precision="ieee", out_dtype=wide)
    total += tl.load(encoders.bias + feature, mask=known, other=0.0)[None, :]
    cut = tl.load(encoders.cut + feature, mask=known, other=0.0)
    listed = (total > cut[None, :]) & inside[:, None] & known[None, :]
    count = tl.sum(listed.to(tl.int32), axis=1)
    begin = tl.atomic_add(chosen.count + position, count, mask=inside & (count > 0))
    slot = begin[:, None] + tl.cumsum(listed.to(tl.int32), axis=1) - 1
    fits = listed & (slot < chosen.room)
    place = position.to(tl.int64)[:, None] * chosen.room + slot
    tl.store(chosen.index + place, tl.broadcast_to(feature[None, :], [POS, FEATURES]), mask=fits)
    tl.store(chosen.value + place, total, mask=fits)
