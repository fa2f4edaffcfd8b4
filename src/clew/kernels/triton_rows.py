"""The kernels of `clew.kernels.torch_rows` for GPUs, in Triton; equal to those but for rounding.

What reads or writes rows of active features is a kernel of its own (`triton_loops`, `triton_update`); sorts and short
vectors are torch's. Two things are never in memory: activations of all layers (TopK's are a block of positions of one
layer, those above a cut are listed where they are computed), and gradients of a layer's weights.

With TRITON_INTERPRET=1 the same programs run on the CPU, in Python: that is how they are tested without a GPU.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from clew.kernels import torch_rows
from clew.kernels.torch_rows import above, narrows
from clew.kernels.triton_decode import OPTIONS, blocks, columns, decode, preactivations
from clew.kernels.triton_loops import Chosen, Encoders, Matrix, encode_above, list_strongest, pick_strongest
from clew.kernels.triton_update import Inputs, MovedRows, PairsOfFeatures, Parts, update_decoder, update_encoder
from clew.kernels.types import DECODER_SEED, ENCODER_OFFSET, ENCODER_SEED, Adam, Features, Pairs, Rows, Terms

__all__ = ["above", "decode", "encode", "fuses", "narrows", "preactivations", "top", "update"]

PRODUCT = 1 << 28  # elements of pre-activations held at once where the k largest are picked
ROOM = 4  # times k: candidates of a row for its k largest; rows with more, which are full of ties, are torch's
LISTED = 256  # features above their cut that a position has room for at first
MOST_LISTED = 1 / 8  # of all features: where more are active, a list is no gain


def fuses() -> bool:
    """Whether `encode` finds active features without the whole of a layer's pre-activations."""
    return True


def top(pre: Float[Tensor, "pos feature"], k: int) -> Pairs:
    """The k largest positive values of every row; the lowest index first where they are equal."""
    (n_pos, n), size = pre.shape, blocks()
    room = max(64, triton.next_power_of_2(ROOM * k))
    bits, wide, n_bits = _bits(pre)
    listed = pre.new_empty(n_pos, room, dtype=torch.long)
    chosen = Chosen(listed, listed.new_empty(n_pos, room, dtype=_torch_of(wide)), _counts(pre), room)
    groups, rows = max(size.groups, triton.next_power_of_2(2 * k)), size.items
    grid = (triton.cdiv(n_pos, rows),)
    list_strongest[grid](Matrix(bits, bits.stride(0), n), chosen, k, n_pos, ROWS=rows, GROUPS=groups, BITS=n_bits,
                         WIDE=wide, **OPTIONS)  # fmt: skip
    index, count = listed.new_zeros(n_pos, k), _counts(pre)
    pick_strongest[grid](chosen, k, index, count, n_pos, ROWS=rows, ROOM=room, BITS=n_bits, **OPTIONS)
    crowded = (chosen.count > room).nonzero()[:, 0]
    if len(crowded):
        exact = torch_rows.top(pre[crowded], k)
        count[crowded] = exact.starts.diff().to(count.dtype)
        rank = torch.arange(len(exact), device=pre.device) - exact.starts[exact.position]
        index[crowded[exact.position], rank] = exact.index
    return Pairs.of_counts(count.long(), index[torch.arange(k, device=pre.device) < count[:, None]], n)


def encode(
    x: Float[Tensor, "pos d_model"],
    encoder: Float[Tensor, "feature d_model"],
    bias: Float[Tensor, " feature"],
    k: int,
    cut: Float[Tensor, " feature"] | None,
) -> tuple[Pairs, Float[Tensor, " pair"]]:
    """Pairs above a cut, or the k largest of every position, and their pre-activations in the precision of `bias`."""
    if cut is None:
        return _blockwise(x, encoder, bias, lambda pre: top(pre, k))
    room, n = LISTED, len(encoder)
    while room < max(LISTED + 1, MOST_LISTED * n):
        chosen = _listed(x, encoder, bias, cut, room)
        longest = int(chosen.count.max()) if len(x) else 0
        if longest <= room:
            return _sorted(chosen, n)
        room = triton.next_power_of_2(longest)
    return _blockwise(x, encoder, bias, lambda pre: above(pre, cut))


def update(
    pairs: Pairs, terms: Terms, slope: Float[Tensor, "pos width"], x: Float[Tensor, "pos d_model"], layer: Features,
    adam: Adam,
) -> tuple[Float[Tensor, " pair"], Float[Tensor, " pair"]]:  # fmt: skip
    """See `clew.kernels.torch_rows.update`."""
    ids = ((pairs.counts > 0) | (terms.shrink != 0) | (terms.drift != 0)).nonzero().flatten()
    bounds = torch.cat([pairs.counts.new_zeros(1), pairs.counts.cumsum(0)])
    of_decoder = PairsOfFeatures(ids, bounds, pairs.index.argsort(stable=True), pairs.position, terms.activation,
                              terms.shrink.contiguous(), len(ids))  # fmt: skip
    if not len(ids):
        return torch.empty_like(terms.activation), torch.empty_like(terms.activation)
    size, width, d = blocks(), layer.decoder.weight.shape[1], x.shape[1]
    cols, rule, n_pairs = columns(width), torch.tensor(adam.numbers, dtype=x.dtype, device=x.device), len(pairs)
    tiles = triton.cdiv(width, cols)
    parts = Parts(x.new_empty(tiles, n_pairs), x.new_empty(tiles, len(ids)), n_pairs)
    shape = {"ITEMS": size.items, "PAIRS": size.pairs} | OPTIONS
    grid = (triton.cdiv(len(ids), size.items), tiles)
    decoder = _moved(layer.decoder, rule, adam.step * DECODER_SEED)
    update_decoder[grid](of_decoder, Matrix(slope, slope.stride(0), width), decoder, parts, COLS=cols, **shape)
    layer.norm[ids] = parts.norm.sum(0).sqrt()
    d_value = parts.value.sum(0) + terms.extra
    d_pre = terms.gate * (d_value - terms.drift[pairs.index])
    of_encoder = of_decoder._replace(weight=d_pre, feature_weight=terms.drift.contiguous())
    inputs = Inputs(x.sum(0), len(x), _moved(layer.bias, rule, 0))
    encoder, cols = _moved(layer.encoder, rule, adam.step * ENCODER_SEED + ENCODER_OFFSET), columns(d)
    grid = (grid[0], triton.cdiv(d, cols))
    update_encoder[grid](of_encoder, Matrix(x, x.stride(0), d), encoder, inputs, COLS=cols, **shape)
    return d_value, d_pre


def _blockwise(
    x: Tensor, encoder: Tensor, bias: Tensor, choose: Callable[[Tensor], Pairs]
) -> tuple[Pairs, Float[Tensor, " pair"]]:
    """Pairs chosen from the pre-activations of some positions at a time, and their values."""
    counts, indices, values = [], [], []
    for part in x.split(max(1, PRODUCT // len(encoder))):
        pre = torch.addmm(bias.to(part.dtype), part, encoder.T)
        pairs = choose(pre)
        counts.append(pairs.starts.diff())
        indices.append(pairs.index)
        values.append(pre[pairs.position, pairs.index].to(bias.dtype))
    return Pairs.of_counts(torch.cat(counts), torch.cat(indices), len(encoder)), torch.cat(values)


def _counts(like: Tensor) -> Tensor:
    return torch.zeros(len(like), dtype=torch.int32, device=like.device)


def _bits(pre: Tensor) -> tuple[Tensor, tl.dtype, int]:
    """Floats as the integers of the same bits, the integers to count in, and how many bits count."""
    integers = {2: (torch.int16, tl.int32, 15), 4: (torch.int32, tl.int32, 31), 8: (torch.int64, tl.int64, 63)}
    narrow, wide, n_bits = integers[pre.element_size()]
    return pre.view(narrow), wide, n_bits


def _torch_of(dtype: tl.dtype) -> torch.dtype:
    return torch.int64 if dtype == tl.int64 else torch.int32


def _moved(rows: Rows, rule: Tensor, seed: int) -> MovedRows:
    half = rows.mean.dtype == torch.bfloat16
    mean, square = (t.view(torch.int16) if half else t for t in (rows.mean, rows.square))
    return MovedRows(rows.weight, mean, square, rows.weight.shape[1], rule, rule.new_tensor(seed, dtype=torch.long))


def _listed(x: Tensor, encoder: Tensor, bias: Tensor, cut: Tensor, room: int) -> Chosen:
    """What is above the cut, in any order; lists that are too short are cut off, their counts are not."""
    n, (pos, features, depth) = len(encoder), blocks().product
    chosen = Chosen(torch.full((len(x), room), n, dtype=torch.int32, device=x.device),
                    bias.new_empty(len(x), room), _counts(x), room)  # fmt: skip
    if len(x):
        grid = (triton.cdiv(len(x), pos), triton.cdiv(n, features))
        encoders = Encoders(encoder.contiguous(), bias.contiguous(), cut.to(bias.dtype).contiguous(), n)
        x = x.contiguous()
        encode_above[grid](Matrix(x, x.stride(0), x.shape[1]), encoders, chosen, len(x), POS=pos, FEATURES=features,
                           DEPTH=depth, WIDEN=triton.knobs.runtime.interpret, **OPTIONS | {"num_warps": 8})  # fmt: skip
    return chosen


def _sorted(chosen: Chosen, n_features: int) -> tuple[Pairs, Tensor]:
    """Lists in rising order of features: what programs listed in whatever order has the same bits."""
    index, order = chosen.index.sort(dim=1)
    there = index < n_features
    return Pairs.of_counts(chosen.count.long(), index[there].long(), n_features), chosen.value.gather(1, order)[there]
