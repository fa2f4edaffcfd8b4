"""Two graphs side by side: which positions stand for one another, which features both have, what each has alone.

1. Positions are aligned by the longest common subsequence of token ids (texts, where a graph has no ids). Where two
   stretches between aligned positions have the same length, they are aligned too: the words that differ.
2. A feature at a position of one graph is shared when the other graph has it at the position that stands for it.
3. Influence is each graph's own, as a share of its targets' whole weight.
"""

from __future__ import annotations

from dataclasses import dataclass

from clew.attribution.graph import Graph
from clew.attribution.influence import influence
from clew.errors import InputError
from clew.ids import FeatureId

_MOST_CELLS = 4_000_000  # a second's work


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One feature at positions that stand for one another: its node in each graph; None where it is not."""

    feature: FeatureId
    a: int | None
    b: int | None
    influence_a: float
    influence_b: float

    @property
    def change(self) -> float:
        """How much more influence it has in b than in a."""
        return self.influence_b - self.influence_a


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Aligned positions in rising order, and every feature of either graph, the largest change first."""

    positions: tuple[tuple[int, int], ...]
    pairs: tuple[Pair, ...]

    @property
    def shared(self) -> tuple[Pair, ...]:
        return tuple(pair for pair in self.pairs if pair.a is not None and pair.b is not None)

    @property
    def only_a(self) -> tuple[Pair, ...]:
        """What vanished."""
        return tuple(pair for pair in self.pairs if pair.b is None)

    @property
    def only_b(self) -> tuple[Pair, ...]:
        """What appeared."""
        return tuple(pair for pair in self.pairs if pair.a is None)

    @property
    def shares(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """In a and in b: the share of all features' influence that shared features have, and those it has alone."""
        shares = []
        for side, alone in (("influence_a", self.only_a), ("influence_b", self.only_b)):
            shared, only = (sum(getattr(pair, side) for pair in pairs) for pairs in (self.shared, alone))
            shares.append((shared / (shared + only), only / (shared + only)) if shared + only > 0 else (0.0, 0.0))
        return shares[0], shares[1]


def compare(a: Graph, b: Graph) -> Comparison:
    """Set two graphs side by side; they may be of different prompts, but should be of one Dictionary."""
    positions = align(_words(a), _words(b))
    to_b = dict(positions)
    through_a, through_b = _influence(a), _influence(b)
    places_b = {tuple(key): node for node, key in enumerate(b.feature_keys.tolist())}
    pairs, met = [], set()
    for node, (layer, position, index) in enumerate(a.feature_keys.tolist()):
        other = places_b.get((layer, to_b.get(position, -1), index))
        if other is not None:
            met.add(other)
        there = 0.0 if other is None else through_b[other]
        pairs.append(
            Pair(feature=FeatureId(layer, index), a=node, b=other, influence_a=through_a[node], influence_b=there)
        )
    for (layer, _, index), node in places_b.items():
        if node not in met:
            pairs.append(
                Pair(feature=FeatureId(layer, index), a=None, b=node, influence_a=0.0, influence_b=through_b[node])
            )
    pairs.sort(key=lambda pair: -abs(pair.change))
    return Comparison(positions=positions, pairs=tuple(pairs))


def align(a: tuple[object, ...], b: tuple[object, ...]) -> tuple[tuple[int, int], ...]:
    """Places of two sequences that correspond, in rising order (step 1); InputError when they are too long."""
    n, m = len(a), len(b)
    if n * m > _MOST_CELLS:
        raise InputError(f"prompts of {n} and {m} tokens are too long to be aligned: compare shorter ones")
    longest = [[0] * (m + 1) for _ in range(n + 1)]  # of the rests from i and j on
    for i in range(n - 1, -1, -1):
        for j in range(m - 1, -1, -1):
            same = a[i] == b[j]
            longest[i][j] = longest[i + 1][j + 1] + 1 if same else max(longest[i + 1][j], longest[i][j + 1])
    common, i, j = list[tuple[int, int]](), 0, 0
    while i < n and j < m:
        if a[i] == b[j] and longest[i][j] == longest[i + 1][j + 1] + 1:
            common.append((i, j))
            i, j = i + 1, j + 1
        elif longest[i + 1][j] >= longest[i][j + 1]:
            i += 1
        else:
            j += 1
    aligned, last = list[tuple[int, int]](), (-1, -1)
    for i, j in [*common, (n, m)]:
        if i - last[0] == j - last[1]:
            aligned += [(last[0] + k, last[1] + k) for k in range(1, i - last[0])]
        if (i, j) != (n, m):
            aligned.append((i, j))
        last = i, j
    return tuple(aligned)


def _words(graph: Graph) -> tuple[object, ...]:
    return graph.token_ids if min(graph.token_ids, default=0) >= 0 else graph.tokens


def _influence(graph: Graph) -> list[float]:
    whole = float(graph.target_weights.sum())
    return (influence(graph)[graph.part("feature")] / (whole if whole > 0 else 1.0)).tolist()
