"""Jingle and jangle: scales whose labels are alike and their contents not, and the reverse (Wulff and Mata 2025).

1. A scale's content is the mean of its items' vectors, brought to length 1; items keyed against the scale count too,
   since they are about the same. Its label is a vector of its own.
2. Pairs of scales have a similarity of labels and one of contents.
3. *Jingle*: labels above a high quantile of all pairs, contents below a low one. *Jangle*: the reverse.
4. The null deals the labels out among the scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from clew.stats import Interval, spearman

JINGLE, JANGLE = "jingle", "jangle"


@dataclass(frozen=True, kw_only=True, eq=False)
class ScalePairs:
    """Scales beside each other, by label and by content."""

    scales: Sequence[str]
    labels: Float[np.ndarray, "scale scale"]
    contents: Float[np.ndarray, "scale scale"]
    high: float
    low: float
    """Quantiles of all pairs: alike is at or above the one, unlike at or below the other."""

    @cached_property
    def _upper(self) -> tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]:
        rows, columns = np.triu_indices(len(self.scales), 1)
        return rows, columns

    def flagged(self, order: Int[np.ndarray, " scale"] | None = None) -> dict[str, list[tuple[int, int]]]:
        """Jingle and jangle pairs, those that stand out most first; `order` deals labels out among the scales."""
        labels, contents = self._pairs(order)
        label_ends, content_ends = (np.quantile(each, [self.low, self.high]) for each in (labels, contents))
        alike = {
            JINGLE: (labels >= label_ends[1]) & (contents <= content_ends[0]),
            JANGLE: (contents >= content_ends[1]) & (labels <= label_ends[0]),
        }
        gaps = {JINGLE: labels - contents, JANGLE: contents - labels}
        return {kind: self._listed(chosen, gaps[kind]) for kind, chosen in alike.items()}

    def _pairs(self, order: Int[np.ndarray, " scale"] | None = None) -> tuple[np.ndarray, np.ndarray]:
        labels = self.labels if order is None else self.labels[np.ix_(order, order)]
        return labels[self._upper], self.contents[self._upper]

    def _listed(self, chosen: Bool[np.ndarray, " pair"], gap: Float[np.ndarray, " pair"]) -> list[tuple[int, int]]:
        rows, columns = self._upper
        places = sorted(np.flatnonzero(chosen), key=lambda place: -gap[place])
        return [(int(rows[place]), int(columns[place])) for place in places]

    def agreement(self, order: Int[np.ndarray, " scale"] | None = None) -> float:
        """The rank correlation of labels and contents over all pairs (Mantel 1967, of ranks)."""
        return spearman(*self._pairs(order))

    @property
    def agreement_interval(self) -> Interval:
        """With the normal interval of the jackknife over scales, since pairs of one scale are not independent."""
        value, n = self.agreement(), len(self.scales)
        left = np.array([self._without(scale).agreement() for scale in range(n)])
        half = 1.959964 * float(np.sqrt((n - 1) / n * np.square(left - left.mean()).sum()))
        return Interval(value, max(-1.0, value - half), min(1.0, value + half))

    def _without(self, scale: int) -> ScalePairs:
        kept = [place for place in range(len(self.scales)) if place != scale]
        return ScalePairs(
            scales=[self.scales[place] for place in kept],
            labels=self.labels[np.ix_(kept, kept)],
            contents=self.contents[np.ix_(kept, kept)],
            high=self.high,
            low=self.low,
        )

    def merges(self) -> list[tuple[str, ...]]:
        """Scales to be merged: those that jangle pairs join, as long as all contents of a group are alike; the largest
        group first.
        """
        least = float(np.quantile(self.contents[self._upper], self.high))
        group = {number: [number] for number in range(len(self.scales))}
        for one, other in self.flagged()[JANGLE]:
            if group[one] is group[other]:
                continue
            if self.contents[np.ix_(group[one], group[other])].min() >= least:
                joined = group[one] + group[other]
                group |= dict.fromkeys(joined, joined)
        groups = {tuple(sorted(members)) for members in group.values() if len(members) > 1}
        return [
            tuple(self.scales[i] for i in members) for members in sorted(groups, key=lambda each: (-len(each), each))
        ]


def scale_pairs(
    scales: Sequence[str],
    labels: Float[np.ndarray, "scale d"],
    items: Float[np.ndarray, "item d"],
    scale_of: Int[np.ndarray, " item"],
    *,
    high: float,
    low: float,
) -> ScalePairs:
    """Pairs of scales by the vectors of their labels and their items."""
    means = np.stack([items[scale_of == number].mean(0) for number in range(len(scales))])
    unit, names = (each / np.linalg.norm(each, axis=1, keepdims=True).clip(min=1e-12) for each in (means, labels))
    return ScalePairs(scales=scales, labels=names @ names.T, contents=unit @ unit.T, high=high, low=low)
