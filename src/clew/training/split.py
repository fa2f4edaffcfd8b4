"""How the work of a training step is parted among ranks.

Every rank has every batch, and takes the same step with the same bits, so that weights never drift apart.

*By tokens*: all ranks hold all features. Each picks the active pairs of its part of the positions (the encoder's dense
product, almost all arithmetic of a step) and reconstructs those positions. Pairs and errors are gathered. A gradient is
a sum over pairs of activation times error, or of error times input: its factors are gathered in place of the gradients
of every row, which would be hundreds of times as many bytes, and every rank sums the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.distributed import ALONE, Ranks
from clew.kernels.types import Pairs
from clew.training.objective import kept

Chosen = tuple[Pairs, Float[Tensor, " pair"]]
"""Pairs of one layer and a value of each."""


class Split(ABC):
    """Which part of a step is this rank's, and how the parts become one."""

    ranks: Ranks

    @abstractmethod
    def positions(self, n_pos: int) -> slice:
        """The positions of a batch that this rank encodes and reconstructs."""

    @abstractmethod
    def whole(self, layers: Sequence[Chosen]) -> list[Chosen]:
        """Every layer's pairs at all positions, from those at this rank's."""

    @abstractmethod
    def own(self, pairs: Pairs, value: Float[Tensor, " pair"]) -> Chosen:
        """Of one layer's pairs at all positions those at this rank's, counted from its first one."""

    @abstractmethod
    def written(self, out: Float[Tensor, "pos width"]) -> Float[Tensor, "pos width"]:
        """The reconstruction of all positions, from what this rank has written; in place."""

    @abstractmethod
    def counts(self, fired: Int[Tensor, " feature"]) -> Int[Tensor, " feature"]:
        """How often features fired at all positions, from this rank's."""

    def kept(self, scores: list[Tensor], n_kept: int) -> tuple[list[Tensor], float]:
        """Which of all layers' scores are among the n_kept largest, and the smallest of those."""
        return kept(scores, n_kept)


class Whole(Split):
    """One process takes the step: nothing is parted."""

    ranks = ALONE

    def positions(self, n_pos: int) -> slice:
        """All of them."""
        return slice(None)

    def whole(self, layers: Sequence[Chosen]) -> list[Chosen]:
        """The pairs themselves."""
        return list(layers)

    def own(self, pairs: Pairs, value: Tensor) -> Chosen:
        """The pairs themselves."""
        return pairs, value

    def written(self, out: Tensor) -> Tensor:
        """The reconstruction itself."""
        return out

    def counts(self, fired: Tensor) -> Tensor:
        """The counts themselves."""
        return fired


class ByTokens(Split):
    """Every rank has a part of the positions of each batch, and all features."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    def positions(self, n_pos: int) -> slice:
        """A range of about the same length on every rank."""
        return self.ranks.part(n_pos)

    def whole(self, layers: Sequence[Chosen]) -> list[Chosen]:
        """All layers together are gathered at once: how many pairs a position has, then features, then values."""
        ranks, n_layers = self.ranks, len(layers)
        own = torch.stack([pairs.starts.diff() for pairs, _ in layers], 1)  # [own position, layer]
        counts, _ = ranks.gather(own)
        index, bounds = ranks.gather(torch.cat([pairs.index for pairs, _ in layers]))
        value = layers[0][1].new_empty(bounds[-1])
        value[bounds[ranks.rank] : bounds[ranks.rank + 1]] = torch.cat([value for _, value in layers])
        value = ranks.fill(value, bounds)
        cuts = ranks.bounds(len(counts))
        by_rank = torch.stack([counts[a:b].sum(0) for a, b in pairwise(cuts)])
        sizes = by_rank.flatten().tolist()  # a rank behind the other, layer by layer
        indices, values = index.split(sizes), value.split(sizes)
        return [
            (
                Pairs.of_counts(counts[:, i], torch.cat(indices[i::n_layers]), layers[i][0].n_features),
                torch.cat(values[i::n_layers]),
            )
            for i in range(n_layers)
        ]

    def own(self, pairs: Pairs, value: Tensor) -> Chosen:
        """A range of them, since pairs are sorted by position."""
        part = self.positions(pairs.n_pos)
        starts = pairs.starts[part.start : part.stop + 1]
        some = slice(int(starts[0]), int(starts[-1]))
        mine = Pairs(
            position=pairs.position[some] - part.start,
            index=pairs.index[some],
            starts=starts - starts[0],
            n_features=pairs.n_features,
        )
        return mine, value[some]

    def written(self, out: Tensor) -> Tensor:
        """Gathered: every position is written by one rank."""
        return self.ranks.fill(out, self.ranks.bounds(len(out)))

    def counts(self, fired: Tensor) -> Tensor:
        """Added up."""
        return self.ranks.add_up(fired)


WHOLE = Whole()


def split_among(ranks: Ranks) -> Split:
    """How a run on these ranks is parted."""
    return WHOLE if ranks.size == 1 else ByTokens(ranks)
