"""Features that carry what stands in a slot: found by means over the slot's values, beside features that do not.

A feature carries a value when its mean activation over the prompts with that value exceeds its mean over all values;
its weight is that excess times the length of its decoders, which is how much it writes because of the value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.ids import FeatureId
from clew.intervention.edit import Edit
from clew.intervention.matched_sets import matched_pairs
from clew.kit import Kit
from clew.studies.columns import read_columns
from clew.studies.factors import factorial_means
from clew.studies.slots import SlottedPrompt, last_positions


@dataclass(frozen=True, kw_only=True, eq=False)
class SlotMeans:
    """What features write on average by the value of a slot: activation times decoder length, layers in a row."""

    values: tuple[str, ...]
    mean: Float[Tensor, "value feature"]
    layer: Int[Tensor, " feature"]
    index: Int[Tensor, " feature"]
    """Which feature of its layer."""

    @property
    def excess(self) -> Float[Tensor, "value feature"]:
        """By how much a value's mean exceeds the mean over all values."""
        return self.mean - self.mean.mean(0)

    def feature(self, place: int) -> FeatureId:
        """The feature in one column."""
        return FeatureId(int(self.layer[place]), int(self.index[place]))

    def strongest(self, count: int) -> Int[Tensor, "value count"]:
        """The columns that carry each value most, the strongest first; fewer where there are fewer features."""
        return self.excess.topk(min(count, self.excess.shape[1]), dim=1).indices

    def matched(self, chosen: Int[Tensor, "value count"], generator: torch.Generator) -> list[Int[Tensor, " drawn"]]:
        """For each value as many other active features of the same layers, matched on what they write.

        None of the chosen ones is drawn, and none twice; where a layer has too few others, the set is smaller.
        """
        sets = []
        for mass, columns in zip(self.mean, chosen, strict=True):
            under_test = torch.zeros(len(mass), dtype=torch.bool)
            under_test[columns] = True
            pairs = matched_pairs(under_test, self.layer, mass, generator, free=mass > 0)
            sets.append(torch.tensor(list(pairs.values()), dtype=torch.long))
        return sets


def slot_means(kit: Kit, prompts: Sequence[SlottedPrompt], slot: str, at: str | None) -> SlotMeans:
    """Means by the value of `slot`, of the features that are ever active at the last token of the slot `at`.

    Read at the last token of the prompt when `at` is None.
    """
    columns, rows = read_columns(kit, [prompt.token_ids for prompt in prompts], last_positions(prompts, at))
    means = factorial_means(rows * columns.norm, {slot: [prompt.values[slot] for prompt in prompts]})
    return SlotMeans(
        values=means.levels[slot], mean=means.cells.float(), layer=columns.layer, index=columns.index
    )  # fmt: skip


def ablations(features: Sequence[FeatureId], position: int) -> list[Edit]:
    """Edits that ablate some features at one position."""
    return [Edit.ablate(feature, positions=position) for feature in features]
