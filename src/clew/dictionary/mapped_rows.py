"""A matrix of weights whose rows are put together when they are asked for.

Published files keep a decoder by the layer it writes to, cut by rank, or with a scale beside it, where a Layer wants
one tensor [feature, out_layer, d_model]. Such a tensor would be a copy of all decoders. `MappedRows` stands for it: it
has the shape and dtype of that tensor, gathers the rows that are asked for out of mapped files, and applies the scales
to them. Whatever else is done with it, it becomes that tensor first, which takes its whole memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

Shards = Sequence[Sequence[Tensor]]
"""Parts of the features, one after the other; each part has a matrix [feature, d_model] for every slot."""
_aten = torch.ops.aten


def mapped_rows(
    shards: Shards,
    *,
    slots: bool,
    columns: Sequence[Tensor | float] | None = None,
    rows: Tensor | None = None,
) -> Tensor:
    """One tensor [feature, d_model], or with slots [feature, slot, d_model], of parts that stay mapped.

    `columns` are factors of each slot, numbers or [d_model]; `rows` are factors of each feature. What needs nothing of
    this comes back as the plain tensor that it is.
    """
    factors = None if columns is None else tuple(torch.as_tensor(factor) for factor in columns)
    if len(shards) == 1 and factors is None and rows is None and len(shards[0]) == 1:
        return shards[0][0][:, None] if slots else shards[0][0]
    lazy = MappedRows(tuple(tuple(shard) for shard in shards), slots, factors, rows)
    return lazy if min(lazy.shape[0], lazy.shape[-1]) > 1 else lazy.whole()  # else its strides say it is contiguous


def stored_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype in which weights lie on the disk, whatever is made of them when they are read."""
    while isinstance(tensor, MappedRows):
        tensor = tensor.shards[0][0]
    return tensor.dtype


class MappedRows(Tensor):
    """See `mapped_rows`; written to, it raises TypeError."""

    shards: tuple[tuple[Tensor, ...], ...]
    slots: bool
    columns: tuple[Tensor, ...] | None
    row_factors: Tensor | None

    def __new__(
        cls,
        shards: tuple[tuple[Tensor, ...], ...],
        slots: bool,
        columns: tuple[Tensor, ...] | None,
        row_factors: Tensor | None,
    ) -> MappedRows:
        """Shaped as the tensor that it stands for, with strides of no tensor that lies in one piece."""
        first = shards[0][0]
        n = sum(len(shard[0]) for shard in shards)
        shape = (n, len(shards[0]), first.shape[1]) if slots else (n, first.shape[1])
        strides = (1, n, n * shape[1]) if slots else (1, n)
        scaled = columns is not None or row_factors is not None
        dtype = torch.promote_types(first.dtype, torch.float32) if scaled else first.dtype
        self: MappedRows = Tensor._make_wrapper_subclass(cls, shape, strides=strides, dtype=dtype, device=first.device)
        self.shards, self.slots, self.columns, self.row_factors = shards, slots, columns, row_factors
        return self

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"MappedRows({list(self.shape)}, {self.dtype}, {len(self.shards)} shards)"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Rows and slices stay lazy; for all else the whole tensor takes its place."""
        if func._schema.is_mutable:
            raise TypeError("rows of mapped files cannot be written to: convert the dictionary first")
        lazy = _LAZY.get(func)
        if lazy is not None and isinstance(args[0], cls):
            result = lazy(*args, **(kwargs or {}))
            if result is not None:
                return result
        args, kwargs = tree_map(_whole, (args, kwargs or {}))
        return func(*args, **kwargs)

    def whole(self) -> Tensor:
        """The tensor that it stands for."""
        return torch.cat([self._gathered(shard, slice(None), rows) for shard, rows in self._parts()])

    def rows(self, ids: Tensor) -> Tensor:
        """Rows by number, as `index_select` gives them."""
        ids = ids.to(self.device)
        out = torch.empty(len(ids), *self.shape[1:], dtype=self.dtype, device=self.device)
        start = 0
        for shard, factors in self._parts():
            inside = (ids >= start) & (ids < start + len(shard[0]))
            out[inside] = self._gathered(shard, ids[inside] - start, factors)
            start += len(shard[0])
        return out

    def cut(self, first: int, last: int) -> Tensor:
        """Some rows that follow one another, still mapped."""
        shards, start = [], 0
        for shard in self.shards:
            low, high = max(first - start, 0), min(last - start, len(shard[0]))
            if low < high:
                shards.append(tuple(slot[low:high] for slot in shard))
            start += len(shard[0])
        rows = None if self.row_factors is None else self.row_factors[first:last]
        if not shards:
            return torch.empty(0, *self.shape[1:], dtype=self.dtype, device=self.device)
        return MappedRows(tuple(shards), self.slots, self.columns, rows)

    def of_slots(self, numbers: Sequence[int], *, slots: bool) -> Tensor:
        """Some of the slots, still mapped."""
        shards = tuple(tuple(shard[i] for i in numbers) for shard in self.shards)
        columns = None if self.columns is None else tuple(self.columns[i] for i in numbers)
        return MappedRows(shards, slots, columns, self.row_factors)

    def _parts(self) -> list[tuple[tuple[Tensor, ...], Tensor | None]]:
        """Each shard with the factors of its rows."""
        if self.row_factors is None:
            return [(shard, None) for shard in self.shards]
        return list(zip(self.shards, self.row_factors.split([len(s[0]) for s in self.shards]), strict=True))

    def _gathered(self, shard: tuple[Tensor, ...], which: Tensor | slice, rows: Tensor | None) -> Tensor:
        """Rows of one shard, all slots, scaled."""
        parts = []
        for number, slot in enumerate(shard):
            part = (slot[which] if isinstance(which, slice) else slot.index_select(0, which)).to(self.dtype)
            if self.columns is not None:
                part = part * self.columns[number].to(part)
            parts.append(part if rows is None else part * rows[which, None].to(part))
        return torch.stack(parts, 1) if self.slots else parts[0]


def _whole(value: Any) -> Any:
    return value.whole() if isinstance(value, MappedRows) else value


def _same(rows: MappedRows) -> MappedRows:
    return MappedRows(rows.shards, rows.slots, rows.columns, rows.row_factors)


def _index_select(rows: MappedRows, dim: int, ids: Tensor) -> Tensor | None:
    return rows.rows(ids) if dim == 0 else None


def _index(rows: MappedRows, indices: list[Tensor | None]) -> Tensor | None:
    ids = indices[0]
    whole_numbers = ids is not None and ids.ndim == 1 and not ids.dtype.is_floating_point and ids.dtype != torch.bool
    return rows.rows(ids) if len(indices) == 1 and ids is not None and whole_numbers else None


def _slice(
    rows: MappedRows, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor | None:
    if dim not in (0, 1) or step != 1 or (dim == 1 and not rows.slots):
        return None
    first, last, _ = slice(start, end).indices(rows.shape[dim])
    if dim == 0:
        return rows.cut(first, max(first, last))
    return rows.of_slots(range(first, last), slots=True) if first < last else None


def _split(rows: MappedRows, size: int, dim: int = 0) -> list[Tensor] | None:
    if dim != 0:
        return None
    return [rows.cut(start, min(start + size, len(rows))) for start in range(0, max(1, len(rows)), size)]


def _select(rows: MappedRows, dim: int, number: int) -> Tensor | None:
    return rows.of_slots([number % rows.shape[1]], slots=False) if dim == 1 and rows.slots else None


_LAZY: dict[Any, Callable[..., Any]] = {
    _aten.detach.default: _same,
    _aten.alias.default: _same,
    _aten.index_select.default: _index_select,
    _aten.index.Tensor: _index,
    _aten.slice.Tensor: _slice,
    _aten.split.Tensor: _split,
    _aten.select.int: _select,
}
"""What is done without the whole tensor; None where it cannot be."""
