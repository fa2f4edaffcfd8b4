"""Sums over large matrices, a piece at a time that stays in the cache of a CPU.

Each entry is read from memory once, and nothing of the matrix's size is written beside it: neither its absolute values
nor a copy in another dtype.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

_CACHED = 1 << 17  # entries of a piece on a CPU: half a megabyte
_LARGE = 1 << 22  # elsewhere, where many small steps would take longer than the memory


def absolute_times(matrix: Float[Tensor, "row col"], weights: Float[Tensor, " col"]) -> Float[Tensor, " row"]:
    """|matrix| @ weights."""
    product = matrix.new_empty(len(matrix))
    for part in _pieces(len(matrix), matrix):
        torch.mv(matrix[part].abs(), weights, out=product[part])
    return product


def times_absolute(
    weights: Float[Tensor, " member"], matrix: Float[Tensor, "row col"], members: Int[Tensor, " member"] | None = None
) -> Float[Tensor, " col"]:
    """weights @ |matrix|, or of some of its rows."""
    product = matrix.new_zeros(matrix.shape[1])
    for part in _pieces(len(weights), matrix):
        rows = matrix[part].abs() if members is None else matrix.index_select(0, members[part]).abs_()
        product.addmv_(rows.T, weights[part])
    return product


def mean_row(matrix: Float[Tensor, "row col"], dtype: torch.dtype) -> Float[Tensor, " col"]:
    """The mean of all rows in a dtype of at least their precision."""
    if matrix.dtype == dtype:
        return matrix.mean(0)
    total = matrix.new_zeros(matrix.shape[1], dtype=dtype)
    for part in _pieces(len(matrix), matrix):
        total += matrix[part].to(dtype).sum(0)
    return total / len(matrix)


def take_rows(matrix: Float[Tensor, "row col"], rows: Int[Tensor, " taken"]) -> Float[Tensor, "taken col"]:
    """Some rows; zero where the matrix has ended before."""
    taken = matrix.index_select(0, rows.clamp_max(len(matrix) - 1))
    behind = rows >= len(matrix)
    return taken.masked_fill_(behind[:, None], 0) if bool(behind.any()) else taken


def reorder_columns(matrix: Float[Tensor, "row col"], order: Int[Tensor, " col"]) -> None:
    """Put the columns into another order, in place."""
    for part in _pieces(len(matrix), matrix):
        matrix[part] = matrix[part].index_select(1, order)


def _pieces(n_rows: int, matrix: Tensor) -> Iterator[slice]:
    size = max(1, (_CACHED if matrix.device.type == "cpu" else _LARGE) // max(1, matrix.shape[1]))
    return (slice(start, min(n_rows, start + size)) for start in range(0, n_rows, size))
