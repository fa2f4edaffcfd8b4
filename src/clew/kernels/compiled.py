"""The kernels of `clew.kernels.torch_rows` for the CPU, compiled by numba; equal to those but for rounding.

A pass over a feature's rows does all that a step asks of them: gradients of its values, of its decoder and encoder, and
Adam, tile by tile, so that weights and moments are read and written once. A kernel works on a range of positions or
features and holds no lock; `spread` runs it on several threads. Every output belongs to one position or one feature and
is summed in a fixed order: the bits do not depend on the threads.

Moments in 16 bits are the upper half of a float32, rounded at random by a hash of step and place, so that changes too
small for 16 bits survive on average.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clew.kernels.capability import fast_in_16_bits
from clew.kernels.numba_loops import (
    add_rows,
    count_above,
    dots,
    list_above,
    shortlist_of_rows,
    sort_by_feature,
    strongest_of_rows,
    top_of_rows,
)
from clew.kernels.numba_update import (
    FeaturePairs,
    LayerArrays,
    Optimizer,
    PairGradients,
    Penalty,
    RowArrays,
    Signals,
    update_rows,
)
from clew.kernels.types import Adam, Features, Pairs, Rows, Terms

ROOM = 16  # times k: the longest list from which the k largest are picked
CHUNKS = 8  # parts a thread, so that no thread waits for a long one


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="clew")


def spread(kernel: Callable[..., None], n: int, *arguments: Any) -> None:
    """Run `kernel(begin, end, *arguments)` over 0..n in parts, on as many threads as torch uses."""
    threads = torch.get_num_threads()
    size = max(1, -(-n // (CHUNKS * threads)))
    parts = [(begin, min(n, begin + size)) for begin in range(0, n, size)]
    arrays = [_array(a) if isinstance(a, Tensor) else a for a in arguments]
    if threads == 1 or len(parts) < 2:
        kernel(0, n, *arrays)
        return
    for future in [_pool(threads).submit(kernel, *part, *arrays) for part in parts]:
        future.result()


def _comparable(pre: Tensor) -> Tensor:
    """16-bit floats as integers: positive ones are ordered as their bits are, negative ones stay negative."""
    return pre.view(torch.int16) if pre.dtype == torch.bfloat16 else pre


def top(pre: Tensor, k: int) -> Pairs:
    """The k largest positive values of every row; the lowest index first where they are equal."""
    n_pos, n = pre.shape
    index, count = torch.empty(n_pos, k, dtype=torch.long), torch.empty(n_pos, dtype=torch.long)
    spread(top_of_rows, n_pos, _comparable(pre), k, index, count)
    active = index.flatten() if int(count.min()) == k else index[torch.arange(k) < count[:, None]]
    return Pairs.of_counts(count, active, n)


def narrows() -> bool:
    """Whether this CPU multiplies 16-bit floats fast enough for a first choice by them to pay."""
    return fast_in_16_bits("cpu")


def fuses() -> bool:
    """Whether active features are found without the whole of a layer's pre-activations: not on a CPU."""
    return False


def shortlist(pre: Tensor, k: int, off: Tensor, unit: float) -> Pairs | None:
    """What may be among the k largest of each row of 16-bit floats.

    Before its last rounding, by `unit` of itself, a value was off by at most its row's `off`. None where a row has many
    candidates, or some that may not be positive.
    """
    n_pos, n = pre.shape
    index, count = torch.empty(n_pos, ROOM * k, dtype=torch.long), torch.empty(n_pos, dtype=torch.long)
    spread(shortlist_of_rows, n_pos, _comparable(pre), k, off, unit, index, count)
    if int(count.min()) < 0:
        return None
    return Pairs.of_counts(count, index[torch.arange(ROOM * k) < count[:, None]], n)


def strongest(pairs: Pairs, value: Tensor, k: int) -> tuple[Pairs, Tensor]:
    """The k largest positive values of every row, the lowest index first where they are equal."""
    keep = torch.zeros(len(pairs), dtype=torch.bool)
    spread(strongest_of_rows, pairs.n_pos, pairs.starts, pairs.index, value, k, keep)
    return pairs.taken(keep), value[keep]


def above(pre: Tensor, cut: Tensor) -> Pairs:
    """Every value above its feature's cut, which must not be negative."""
    pre, cut = _comparable(pre), _comparable(cut.to(pre.dtype))
    count = torch.empty(len(pre), dtype=torch.long)
    spread(count_above, len(pre), pre, cut, count)
    starts = count.cumsum(0) - count
    index = torch.empty(int(count.sum()), dtype=torch.long)
    spread(list_above, len(pre), pre, cut, starts, index)
    return Pairs.of_counts(count, index, pre.shape[1])


def preactivations(pairs: Pairs, x: Tensor, encoder: Tensor, bias: Tensor) -> Tensor:
    """x . encoder + bias of every pair."""
    value = torch.empty(len(pairs), dtype=x.dtype)
    spread(dots, len(pairs), pairs.position, pairs.index, x, encoder, bias, value)
    return value


def decode(pairs: Pairs, value: Tensor, rows: Tensor, out: Tensor) -> None:
    """Add value times row to out [pos, width], a view of a matrix whose columns are contiguous."""
    flat, stride = _flat(out)
    spread(add_rows, len(out), pairs.starts, pairs.index, value, rows, flat, stride)


def update(pairs: Pairs, terms: Terms, slope: Tensor, x: Tensor, layer: Features, adam: Adam) -> tuple[Tensor, Tensor]:
    """See `clew.kernels.torch_rows.update`."""
    order, starts = torch.empty(len(pairs), dtype=torch.long), torch.zeros(pairs.n_features + 1, dtype=torch.long)
    sort_by_feature(pairs.index.numpy(), order.numpy(), starts.numpy())
    d_value, d_pre = (torch.empty(len(pairs), dtype=x.dtype) for _ in range(2))
    flat, stride = _flat(slope)
    spread(
        update_rows,
        pairs.n_features,
        FeaturePairs(*_arrays(starts, order, pairs.position, terms.activation, terms.extra, terms.gate)),
        Signals(_array(x), _array(x.sum(0)), _array(flat), stride),
        Penalty(*_arrays(terms.shrink, terms.drift)),
        LayerArrays(_rows(layer.decoder), _rows(layer.encoder), _rows(layer.bias), *_arrays(layer.norm)),
        Optimizer(np.array(adam.numbers, dtype=_array(x).dtype), adam.step),
        PairGradients(*_arrays(d_value, d_pre)),
    )
    return d_value, d_pre


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def _arrays(*tensors: Tensor) -> Iterator[np.ndarray]:
    return map(_array, tensors)


def _rows(rows: Rows) -> RowArrays:
    return RowArrays(*_arrays(rows.weight, bits(rows.mean), bits(rows.square)))


def _flat(matrix: Tensor) -> tuple[Tensor, int]:
    """A view of some of a matrix' columns as one run of memory from its first element on, and the length of a row."""
    stride = matrix.stride(0)
    return matrix.as_strided(((len(matrix) - 1) * stride + matrix.shape[1],), (1,)), stride


def bits(tensor: Tensor) -> Tensor:
    """16-bit floats as unsigned integers, others as they are."""
    return tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor
