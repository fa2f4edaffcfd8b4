"""Reading rows of active features on a GPU: how much a program of Triton takes on, and the launches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import triton
from jaxtyping import Float, Int
from torch import Tensor

from clew.kernels.triton_loops import Encoders, Matrix, PositionPairs, add_rows, dots
from clew.kernels.types import Pairs


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """How much a program works on; powers of two."""

    items: int
    """Positions, or features, whose pairs are summed."""
    pairs: int
    cols: int
    groups: int
    """Columns at once where the k largest are looked for."""
    product: tuple[int, int, int]
    """Positions, features and depth of a tile of the encoder's product."""


GPU = Blocks(items=1, pairs=8, cols=1024, groups=1024, product=(128, 128, 64))
INTERPRETER = Blocks(items=32, pairs=8, cols=16, groups=32, product=(32, 64, 16))
"""The interpreter takes as long for a program of many items as for one of few."""
OPTIONS: dict[str, Any] = {"num_warps": 4, "enable_fp_fusion": True}


def blocks() -> Blocks:
    """Those of the interpreter where it is on."""
    return INTERPRETER if triton.knobs.runtime.interpret else GPU


def preactivations(
    pairs: Pairs,
    x: Float[Tensor, "pos d_model"],
    encoder: Float[Tensor, "feature d_model"],
    bias: Float[Tensor, " feature"],
) -> Float[Tensor, " pair"]:
    """x . encoder + bias of every pair."""
    value, size, x = x.new_empty(len(pairs)), blocks(), x.contiguous()
    if len(pairs):
        encoders = Encoders(encoder.contiguous(), bias.contiguous(), bias, len(encoder))
        n = 4 * size.pairs
        inputs, cols = Matrix(x, x.stride(0), x.shape[1]), min(256, size.cols)
        grid = (triton.cdiv(len(pairs), n),)
        dots[grid](pairs.position, pairs.index, inputs, encoders, value, len(pairs), PAIRS=n, COLS=cols, **OPTIONS)
    return value


def decode(
    pairs: Pairs,
    value: Float[Tensor, " pair"],
    rows: Float[Tensor, "feature width"],
    out: Float[Tensor, "pos width"],
) -> None:
    """Add value times row to out, whose columns are contiguous."""
    if not len(pairs):
        return
    width, size = rows.shape[1], blocks()
    cols = columns(width)
    grid = (triton.cdiv(pairs.n_pos, size.items), triton.cdiv(width, cols))
    add_rows[grid](PositionPairs(pairs.starts, pairs.index, value.contiguous(), pairs.n_pos),
                   Matrix(rows, rows.stride(0), width), Matrix(out, out.stride(0), width),
                   ITEMS=size.items, PAIRS=size.pairs, COLS=cols, **OPTIONS)  # fmt: skip


def decode_rows(
    position: Int[Tensor, " active"],
    index: Int[Tensor, " active"],
    activation: Float[Tensor, " active"],
    rows: Float[Tensor, "feature width"],
    n_pos: int,
) -> Float[Tensor, "pos width"]:
    """The sum of activation times row at every position; `position` must be sorted, rows may be kept in 16 bits."""
    out = activation.new_zeros(n_pos, rows.shape[1])
    decode(Pairs.sorted(position, index, n_pos, len(rows)), activation, rows, out)
    return out


@cache
def columns(width: int) -> int:
    """Columns of a tile: as many as a program takes at once, fewer where a tenth or more of the last would be empty."""
    cols = min(blocks().cols, triton.next_power_of_2(width))
    while cols > 128 and triton.cdiv(width, cols) * cols > 1.1 * width:
        cols //= 2
    return cols
