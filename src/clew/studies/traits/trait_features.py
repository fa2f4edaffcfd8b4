"""Which features of a causal model tell the five traits and their two poles, on behaviours that were left out.

1. The small world's sixty behaviours are put into a sentence that ends before the word for such people; features are
   read at its last token.
2. A behaviour's trait is that whose mean vector (over the other behaviours, each centred and brought to length 1) it is
   most like; its pole is told in the same way.
3. The null deals traits and poles out among the behaviours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from clew.kit import Kit
from clew.organism.traits import poles
from clew.stats import Interval, wilson
from clew.studies.columns import Columns, read_columns

SENTENCE = "People who {} are"


@dataclass(frozen=True, kw_only=True, eq=False)
class TraitReadings:
    """Features of every behaviour, its trait and its pole."""

    columns: Columns
    rows: Float[np.ndarray, "behaviour feature"]
    """Activation times decoder length."""
    traits: Int[np.ndarray, " behaviour"]
    high: Int[np.ndarray, " behaviour"]
    names: Sequence[str]
    """What traits are called."""

    @cached_property
    def _unit(self) -> Float[np.ndarray, "behaviour feature"]:
        centred = self.rows - self.rows.mean(0)
        unit: np.ndarray = centred / np.linalg.norm(centred, axis=1, keepdims=True).clip(min=1e-12)
        return unit

    @cached_property
    def _products(self) -> Float[np.ndarray, "behaviour behaviour"]:
        products: np.ndarray = self._unit @ self._unit.T
        return products

    def told(self, labels: Int[np.ndarray, " behaviour"]) -> Bool[np.ndarray, " behaviour"]:
        """Which behaviours have the label whose others they are most like."""
        one_hot = np.eye(int(labels.max()) + 1)[labels]
        others = self._products - np.diag(np.diag(self._products))
        counts = one_hot.sum(0)[None] - one_hot
        right: np.ndarray = (others @ one_hot / counts.clip(min=1)).argmax(1) == labels
        return right

    def share(self, labels: Int[np.ndarray, " behaviour"]) -> Interval:
        """How many are told rightly."""
        right = self.told(labels)
        return wilson(int(right.sum()), len(right))

    def dealt(self, labels: Int[np.ndarray, " behaviour"], draws: int, seed: int) -> tuple[float, ...]:
        """The same with labels dealt out among the behaviours."""
        generator = np.random.default_rng(seed)
        return tuple(float(self.told(generator.permutation(labels)).mean()) for _ in range(draws))

    def strongest(self, count: int) -> list[tuple[int, str, float, float]]:
        """Features that part the traits most: column, the trait in which it is largest, share of its variance that lies
        between traits, and the mean of what it writes there.
        """
        one_hot = np.eye(len(self.names))[self.traits]
        means = (one_hot.T @ self.rows) / one_hot.sum(0)[:, None]
        spread = np.square(self.rows - self.rows.mean(0))
        between = (one_hot.sum(0)[:, None] * np.square(means - self.rows.mean(0))).sum(0)
        share = between / spread.sum(0).clip(min=1e-12)
        order = np.argsort(-between, kind="stable")[:count]
        return [
            (int(i), self.names[int(means[:, i].argmax())], float(share[i]), float(means[:, i].max()))
            for i in order.tolist()
        ]


def trait_readings(kit: Kit, *, dealt: bool, seed: int) -> TraitReadings:
    """Read the behaviours; where labels are `dealt`, traits and poles are those of other behaviours."""
    every = [(pole.trait, pole.high, behaviour) for pole in poles() for behaviour in pole.behaviours]
    names = sorted({trait for trait, _, _ in every})
    ids = [kit.subject.encode(SENTENCE.format(behaviour)).tolist() for _, _, behaviour in every]
    columns, rows = read_columns(kit, ids, [len(each) - 1 for each in ids])
    order = np.random.default_rng([seed, 4]).permutation(len(every)) if dealt else np.arange(len(every))
    return TraitReadings(
        columns=columns,
        rows=(rows * columns.norm).double().numpy(),
        traits=np.array([names.index(trait) for trait, _, _ in every])[order],
        high=np.array([int(high) for _, high, _ in every])[order],
        names=names,
    )
