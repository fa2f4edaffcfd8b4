"""Rows of token ids, and what a model reads and writes at their positions: what is trained on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clew.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What every layer reads and writes at some positions."""

    inputs: Float[Tensor, "layer pos d_model"]
    outputs: Float[Tensor, "layer pos d_model"]


@runtime_checkable
class StoredActivations(Protocol):
    """Activations of rows that need not be computed again, such as `clew.training.cache.Cache`."""

    def read(self, rows: Int[Tensor, " n"], read_site: str, write_site: str) -> Batch:
        """The activations of some rows at every position that counts; MismatchError at sites that are not stored."""


@dataclass(frozen=True, kw_only=True)
class Documents:
    """Token ids of many rows behind one another; row i is `tokens[starts[i] : starts[i + 1]]`."""

    tokens: Int[Tensor, " token"]
    starts: Int[Tensor, " bound"]
    counted: Bool[Tensor, " token"]
    """Which positions are trained on and measured: all but markers and first positions that are attention sinks."""
    cache: StoredActivations | None = None
    """Activations of these rows, to be read in place of running the model."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> Int[Tensor, " row"]:
        """Tokens of every row."""
        return self.starts.diff()

    @cached_property
    def counts(self) -> Int[Tensor, " row"]:
        """Positions of every row that are trained on."""
        if not len(self):
            return self.lengths
        sums = np.add.reduceat(self.counted.numpy(), self.starts[:-1].numpy(), dtype=np.int64)  # no row is empty
        return torch.from_numpy(sums)

    @property
    def first(self) -> Int[Tensor, " row"]:
        """1 where the first position of a row does not count, else 0."""
        return (~self.counted[self.starts[:-1]]).long()

    @property
    def mark(self) -> str:
        """SHA-256 of the tokens, where they are cut, and which do not count."""
        first = self.first
        digest = hashlib.sha256()
        for part in (self.tokens.int(), self.starts.long(), first.long()):
            digest.update(part.contiguous().numpy().data)  # no copy: a corpus may be most of the memory
        if int(self.counts.sum()) != len(self.tokens) - int(first.sum()):  # else as it was without such positions
            digest.update(np.packbits(self.counted.numpy()).tobytes())
        return digest.hexdigest()

    def padded(self, rows: Int[Tensor, " n"]) -> tuple[Int[Tensor, "n pos"], Bool[Tensor, "n pos"]]:
        """Some rows padded on the right, and which positions count."""
        inside, source = self._places(rows)
        return self.tokens[source].long() * inside, inside & self.counted[source]

    def left_out(self, rows: Int[Tensor, " n"]) -> Bool[Tensor, "n pos"]:
        """Of some rows, padded on the right, the positions that do not count; false where a row has ended."""
        inside, source = self._places(rows)
        return inside & ~self.counted[source]

    def _places(self, rows: Int[Tensor, " n"]) -> tuple[Bool[Tensor, "n pos"], Int[Tensor, "n pos"]]:
        """Where padded rows hold a token of their own, and its place among all tokens."""
        lengths = self.lengths[rows]
        column = torch.arange(int(lengths.max()), device=lengths.device)
        source = (self.starts[rows][:, None] + column).clamp_max(len(self.tokens) - 1)
        return column < lengths[:, None], source

    def slice(self, start: int, stop: int) -> Documents:
        """Some rows in a run as documents of their own, for example to hold them out."""
        bounds = self.starts[start : stop + 1]
        part = slice(int(bounds[0]), int(bounds[-1]))
        return Documents(tokens=self.tokens[part], starts=bounds - bounds[0], counted=self.counted[part])


def split_held_out(documents: Documents, positions: int) -> tuple[Documents, Documents]:
    """The first rows with about this many positions, at most a tenth of them all, and the rest.

    InputError when there are not two rows.
    """
    if len(documents) < 2:
        raise InputError("the corpus has one row only: give more text, so that some can be held out")
    ends = documents.counts.cumsum(0)
    wanted = min(positions, int(ends[-1]) // 10)
    cut = min(len(documents) - 1, int(torch.searchsorted(ends, wanted)) + 1)
    return documents.slice(0, cut), documents.slice(cut, len(documents))
