"""What was measured of the study `leakage`, and the Leak-Rates that follow from it, by the model and by the law."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from clew.kit import Kit
from clew.stats import Interval, bootstrap, cluster_sums, ratio
from clew.studies.carriers import SlotMeans
from clew.studies.leakage.leak_rate import leak_rates, means_of_others, normal, permutations, sharpened
from clew.studies.leakage.prompts import Item, WordPairs

TEMPERATURES = (0.0, 0.5, 1.0, 1.5)
PERMUTATIONS = 200


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """All that was measured of one case: what claims, tables and pictures are made from."""

    kit: Kit
    kinds: tuple[WordPairs, ...]
    items: tuple[Item, ...]
    probabilities: Float[np.ndarray, "item column"]
    """Of the answers, and in the last column of the concept itself."""
    ablated_items: tuple[Item, ...]
    ablated: Mapping[str, Float[np.ndarray, "ablated_item column"]]
    sizes: tuple[int, ...]
    means: Mapping[tuple[str, str], SlotMeans]
    similarity: str
    through: int | None
    seed: int

    @cached_property
    def pairs(self) -> dict[str, WordPairs]:
        """The kinds of pairs by name."""
        return {pair.kind: pair for pair in self.kinds}

    @cached_property
    def answers(self) -> Float[np.ndarray, "item answer"]:
        """The answers' probabilities among themselves: an echo of the concept is none of them."""
        return normal(self.probabilities[:, :-1])

    def where(self, part: str, sentence: str | None = None, kind: str | None = None) -> Bool[np.ndarray, " item"]:
        """Which items are of a part, and of a sort of sentence and a kind of pair where given."""
        return np.array(
            [i.part == part and sentence in (None, i.sentence) and kind in (None, i.kind) for i in self.items]
        )

    def clusters(self, chosen: Bool[np.ndarray, " item"]) -> Int[np.ndarray, " chosen"]:
        """One number for each concept of each kind: prompts of one concept are not independent."""
        order = [pair.kind for pair in self.kinds]
        return np.array(
            [100 * order.index(i.kind) + i.concept for i, yes in zip(self.items, chosen, strict=True) if yes]
        )

    @cached_property
    def permutations(self) -> list[dict[str, Int[np.ndarray, " concept"]]]:
        """By kind, which concept's similarities each concept gets in every draw of the null."""
        drawn = {
            pair.kind: permutations(len(pair.concepts), PERMUTATIONS, seed=self.seed + place)
            for place, pair in enumerate(self.kinds)
        }
        return [{kind: rows[draw] for kind, rows in drawn.items()} for draw in range(PERMUTATIONS)]

    def rates(self, part: str, sentence: str, temperature: float) -> Rates:
        """Leak-Rates of the prompts of a part and sort of sentence at a temperature."""
        own, law, clusters = [], [], []
        permuted: list[list[np.ndarray]] = [[] for _ in self.permutations]
        for pair in self.kinds:
            chosen = self.where(part, sentence, pair.kind)
            concept = self.concepts(chosen)
            test = sharpened(self.answers[chosen], temperature)
            judged = judged_by_all(pair, test, means_of_others(test, concept))
            of_law = sharpened(pair.law[part], temperature)
            by_law = leak_rates(pair.similarity, of_law, means_of_others(of_law, np.arange(len(of_law))))
            own.append(judged[np.arange(len(concept)), concept])
            law.append(by_law[concept])
            clusters.append(self.clusters(chosen))
            for rows, draw in zip(permuted, self.permutations, strict=True):
                rows.append(judged[np.arange(len(concept)), draw[pair.kind][concept]])
        return Rates(
            own=np.concatenate(own),
            law=np.concatenate(law),
            clusters=np.concatenate(clusters),
            permuted=tuple(float(np.concatenate(rows).mean()) for rows in permuted),
        )

    def concepts(self, chosen: Bool[np.ndarray, " item"]) -> Int[np.ndarray, " chosen"]:
        """The numbers of some items' concepts."""
        return np.array([item.concept for item, yes in zip(self.items, chosen, strict=True) if yes])


@dataclass(frozen=True, kw_only=True, eq=False)
class Rates:
    """Leak-Rates of some prompts: measured, by the law, and the means under permuted concepts."""

    own: Float[np.ndarray, " item"]
    law: Float[np.ndarray, " item"]
    clusters: Int[np.ndarray, " item"]
    permuted: tuple[float, ...]


def judged_by_all(
    pair: WordPairs, test: Float[np.ndarray, "item answer"], control: Float[np.ndarray, "item answer"]
) -> Float[np.ndarray, "item concept"]:
    """The Leak-Rate of every item when the similarities to each concept in turn are those that count."""
    n, k = len(test), len(pair.concepts)
    similarity = np.tile(pair.similarity, (n, 1))
    rates = leak_rates(similarity, np.repeat(test, k, 0), np.repeat(control, k, 0))
    return rates.reshape(n, k)


def clustered_mean(values: Float[np.ndarray, " item"], clusters: Int[np.ndarray, " item"]) -> Interval:
    """The mean, with the interval of a bootstrap over concepts."""
    sums = cluster_sums(np.stack([np.ones(len(values)), values]), clusters)
    return bootstrap(sums, lambda s: ratio(s[1], s[0]))
