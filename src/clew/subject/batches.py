"""Many prompts of different lengths at once: prompts of like length in one batch, padded on the right.

In a causal model nothing behind a token reaches it, so a padded row is the row alone, to the rounding of its sums. Work
is taken in windows, so that a stream of any length is worked on in bounded memory and comes out in its own order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from clew.subject.subject import Subject

T = TypeVar("T")
WINDOW = 2048
"""Items that are put in order of length together."""
POSITIONS = 4096
"""Positions of a batch, if they fit into `KEPT_BYTES`."""
KEPT_BYTES = 1 << 30


def positions_at_once(subject: Subject, bytes_each: int = 0) -> int:
    """Positions of one batch: in every layer each keeps a few vectors, and `bytes_each` of what the caller adds."""
    kept = 4 * 4 * subject.n_layers * subject.d_model + bytes_each
    return max(1, min(POSITIONS, KEPT_BYTES // kept))


def windows(items: Iterable[T], size: int = WINDOW) -> Iterator[list[T]]:
    """Items, so many at a time."""
    stream = iter(items)
    while window := list(islice(stream, size)):
        yield window


def batches(order: Sequence[int], lengths: Sequence[int], costs: Sequence[int], most: int) -> Iterator[list[int]]:
    """Cut places, which are in rising order of length, where a batch would cost more than `most` positions.

    A place costs its own number or, if that is more, what padding makes of it. A batch has one place at least.
    """
    batch: list[int] = []
    cost = 0
    for place in order:
        added = max(costs[place], lengths[place])
        if batch and max(cost + added, lengths[place] * (len(batch) + 1)) > most:
            yield batch
            batch, cost = [], 0
        batch.append(place)
        cost += added
    if batch:
        yield batch


def padded(rows: Sequence[Int[Tensor, " _"]]) -> Int[Tensor, "row pos"]:
    """Rows of ids as one batch, padded on the right with id 0, which nothing before it sees."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
