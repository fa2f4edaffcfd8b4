"""How the work of a training step is parted among ranks.

Every rank has every batch, and takes the same step with the same bits, so that what they share never drifts apart.

*By tokens*: all ranks hold all features. Each picks the active pairs of its part of the positions (the encoder's dense
product, almost all arithmetic of a step) and reconstructs those positions. Pairs and errors are gathered. A gradient is
a sum over pairs of activation times error, or of error times input: its factors are gathered in place of the gradients
of every row, which would be many times as many bytes, and every rank sums the same.

*By features*: every rank holds some features of each layer, with their moments, picks their pairs at all positions and
updates them alone. Reconstructions are added up; what is kept of TopK and BatchTopK is settled over all features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from clew.distributed import ALONE, Ranks
from clew.kernels.decode import largest
from clew.kernels.types import Pairs
from clew.training.objective import kept

Way = Literal["tokens", "features"]
Chosen = tuple[Pairs, Float[Tensor, " _"]]
"""Pairs of one layer and a value of each; the layers of a list have different numbers of pairs."""
BITS = 32  # of a tie's number that a feature takes


class Split(ABC):
    """Which part of a step is this rank's, and how the parts become one. Here nothing is parted."""

    ranks: Ranks = ALONE
    begins = True
    """Whether what this rank writes begins with biases and skips."""

    def positions(self, n_pos: int) -> slice:
        """The positions of a batch that this rank encodes and reconstructs."""
        return slice(None)

    def features(self, n: int) -> slice:
        """The features that this rank holds, of a layer with n."""
        return slice(None)

    def whole(self, layers: Sequence[Chosen]) -> list[Chosen]:
        """Every layer's pairs at all positions, from those at this rank's."""
        return list(layers)

    def own(self, pairs: Pairs, value: Float[Tensor, " pair"]) -> Chosen:
        """Of one layer's pairs at all positions those at this rank's, counted from its first one."""
        return pairs, value

    @abstractmethod
    def written(self, out: Float[Tensor, "pos width"]) -> Float[Tensor, "pos width"]:
        """What all ranks have written, from what this one has; in place."""

    def counts(self, fired: Int[Tensor, " feature"]) -> Int[Tensor, " feature"]:
        """How often this rank's features fired at all positions, from its own."""
        return fired

    def strongest(self, layers: list[Chosen], k: int) -> list[Chosen]:
        """Of the k largest values of this rank's features those among the k largest of all, at every position."""
        return layers

    def kept(self, layers: list[Chosen], n_kept: int) -> tuple[list[Tensor], float]:
        """Which of all layers' values are among the n_kept largest and positive, and the smallest of those."""
        return kept([value for _, value in layers], n_kept)

    def total(self, sum_of_features: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """A sum over all features, from that over this rank's; in place."""
        return sum_of_features

    def numbers(self, of_features: list[int]) -> list[int]:
        """Numbers of all features, from those of this rank's."""
        return of_features

    def rows(self, of_features: Shaped[Tensor, "own *rest"]) -> Shaped[Tensor, "feature *rest"]:
        """Rows of all features, from those of this rank's."""
        return of_features

    def lowest(self, ids: Int[Tensor, " n"], most: int) -> tuple[Int[Tensor, " m"], int, int]:
        """Of the so many lowest-numbered ids of all ranks: this one's, how many come before them, how many there are.

        Ids are numbers among this rank's features.
        """
        return ids[:most], 0, min(most, len(ids))


class Whole(Split):
    """One process takes the step."""

    def written(self, out: Tensor) -> Tensor:
        """The reconstruction itself."""
        return out


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
        index, bounds = ranks.gather(torch.cat([pairs.index for pairs, _ in layers]).int())  # half as many bytes
        value = layers[0][1].new_empty(bounds[-1])
        value[bounds[ranks.rank] : bounds[ranks.rank + 1]] = torch.cat([value for _, value in layers])
        value = ranks.fill(value, bounds)
        by_rank = torch.stack([counts[a:b].sum(0) for a, b in pairwise(ranks.bounds(len(counts)))])
        sizes = by_rank.flatten().tolist()  # a rank behind the other, layer by layer
        indices, values = index.long().split(sizes), value.split(sizes)
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
        """Added up over positions."""
        return self.ranks.add_up(fired)


class ByFeatures(Split):
    """Every rank has a range of the features of each layer, and all positions."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks, self.begins = ranks, ranks.first

    def features(self, n: int) -> slice:
        """A range of about the same length on every rank."""
        return self.ranks.part(n)

    def written(self, out: Tensor) -> Tensor:
        """Added up: every rank writes at all positions."""
        return self.ranks.add_up(out)

    def strongest(self, layers: list[Chosen], k: int) -> list[Chosen]:
        """All ranks' values stand side by side at a position, in the order of features, and the k largest are marked.

        The lowest feature comes first where values are equal.
        """
        ranks, n_pos = self.ranks, layers[0][0].n_pos
        table = layers[0][1].new_zeros(ranks.size, len(layers), n_pos, k)
        places = [(p.position, torch.arange(len(p), device=p.index.device) - p.starts[p.position]) for p, _ in layers]
        for i, (place, (_, value)) in enumerate(zip(places, layers, strict=True)):
            table[ranks.rank, i][place] = value
        ranks.fill(table, range(ranks.size + 1))
        marks = largest(table.permute(1, 2, 0, 3).flatten(2), k).view(len(layers), n_pos, ranks.size, k)
        kept_pairs = []
        for i, (place, (pairs, value)) in enumerate(zip(places, layers, strict=True)):
            keep = marks[i, :, ranks.rank][place]
            kept_pairs.append((pairs.taken(keep), value[keep]))
        return kept_pairs

    def kept(self, layers: list[Chosen], n_kept: int) -> tuple[list[Tensor], float]:
        """Of values that equal the smallest one kept, the first are taken: by layer, position, feature."""
        joined = torch.cat([value for _, value in layers])
        positive, _ = self.ranks.gather(joined[joined > 0])
        n_kept = min(n_kept, len(positive))
        if n_kept == 0:
            return [torch.zeros_like(value, dtype=torch.bool) for _, value in layers], 0.0
        cut = positive.topk(n_kept, sorted=False).values.min()
        room = n_kept - int((positive > cut).sum())
        tied = joined == cut
        size, n_pos = self.ranks.size, layers[0][0].n_pos
        numbers = torch.cat([((i * n_pos + p.position) * size + self.ranks.rank << BITS) + p.index
                             for i, (p, _) in enumerate(layers)])  # fmt: skip
        last = self.ranks.gather(numbers[tied])[0].sort().values[room - 1]
        keep = (joined > cut) | (tied & (numbers <= last))
        return list(keep.split([len(value) for _, value in layers])), float(cut)

    def total(self, sum_of_features: Tensor) -> Tensor:
        """Added up over features."""
        return self.ranks.add_up(sum_of_features)

    def numbers(self, of_features: list[int]) -> list[int]:
        """Added up over features."""
        sums: list[int] = self.ranks.add_up(torch.tensor(of_features)).tolist()
        return sums

    def rows(self, of_features: Tensor) -> Tensor:
        """Gathered."""
        return self.ranks.gather(of_features)[0]

    def lowest(self, ids: Tensor, most: int) -> tuple[Tensor, int, int]:
        """Ranks hold features in rising order."""
        lengths = [0] * self.ranks.size
        lengths[self.ranks.rank] = len(ids)
        lengths = self.numbers(lengths)
        before = min(most, sum(lengths[: self.ranks.rank]))
        return ids[: most - before], before, min(most, sum(lengths))


WHOLE = Whole()


def split_among(ranks: Ranks, way: Way = "tokens") -> Split:
    """How a run on these ranks is parted."""
    if ranks.size == 1:
        return WHOLE
    return ByTokens(ranks) if way == "tokens" else ByFeatures(ranks)
