"""Rows of token ids, and what a model reads and writes at their positions: what is trained on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

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
    first: Int[Tensor, " row"]
    """The first position that counts: 1 where the row begins with a special token, else 0."""
    cache: StoredActivations | None = None
    """Activations of these rows, to be read in place of running the model."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> Int[Tensor, " row"]:
        """Tokens of every row."""
        return self.starts.diff()

    @property
    def counts(self) -> Int[Tensor, " row"]:
        """Positions of every row that are trained on."""
        return (self.lengths - self.first).clamp_min(0)

    @property
    def mark(self) -> str:
        """SHA-256 of the tokens and where they are cut."""
        digest = hashlib.sha256(self.tokens.int().numpy().tobytes())
        digest.update(self.starts.long().numpy().tobytes() + self.first.long().numpy().tobytes())
        return digest.hexdigest()

    def padded(self, rows: Int[Tensor, " n"]) -> tuple[Int[Tensor, "n pos"], Bool[Tensor, "n pos"]]:
        """Some rows padded on the right, and which positions count."""
        lengths = self.lengths[rows]
        column = torch.arange(int(lengths.max()), device=lengths.device)
        real = column < lengths[:, None]
        source = (self.starts[rows][:, None] + column).clamp_max(len(self.tokens) - 1)
        return self.tokens[source].long() * real, real & (column >= self.first[rows][:, None])

    def slice(self, start: int, stop: int) -> Documents:
        """Some rows in a run as documents of their own, for example to hold them out."""
        bounds = self.starts[start : stop + 1]
        tokens = self.tokens[int(bounds[0]) : int(bounds[-1])]
        return Documents(tokens=tokens, starts=bounds - bounds[0], first=self.first[start:stop])


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
