"""Another country's activations put in the place of a country's own, in the live model, and what is answered then.

Each swap sets the features of a set to what they are in the other prompt, where they differ. Beside it as many other
features that are active in either prompt, of the same layers and nearest in size, are changed by as much: what they
write in addition is as long as what the swap writes. The last clamped layer is the last edited one (`through`), unless
it is said: which layers answer for themselves decides what a swap does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clew.intervention.edit import Edit
from clew.intervention.matched_sets import matched_pairs
from clew.kit import Kit
from clew.studies.columns import Columns, read_columns
from clew.studies.slots import SlottedPrompt, last_positions


def read_features(
    kit: Kit, sentences: Sequence[Sequence[SlottedPrompt | None]], slot: str | None
) -> tuple[Columns, list[Float[Tensor, "country feature"]]]:
    """Activations at the last token of a slot, or of the prompt, of the features that are active anywhere there.

    By sentence; NaN where it has no prompt.
    """
    asked = [prompt for prompts in sentences for prompt in prompts if prompt is not None]
    columns, rows = read_columns(kit, [prompt.token_ids for prompt in asked], last_positions(asked, slot))
    found, start = [], 0
    for prompts in sentences:
        there = torch.tensor([prompt is not None for prompt in prompts])
        of_sentence = torch.full((len(prompts), rows.shape[1]), torch.nan)
        of_sentence[there] = rows[start : start + int(there.sum())]
        found.append(of_sentence)
        start += int(there.sum())
    return columns, found


@dataclass(frozen=True, kw_only=True, eq=False)
class Swap:
    """One case: a prompt, a place in it, and by how much some features change there."""

    prompt: SlottedPrompt
    position: int
    own: Float[Tensor, " feature"]
    """Activations of the prompt at that place."""
    other: Float[Tensor, " feature"]
    """Activations that are put there."""
    chosen: Bool[Tensor, " feature"]
    """The features that are swapped where they differ."""

    @property
    def changed(self) -> Int[Tensor, " changed"]:
        """The columns that change."""
        return (self.chosen & (self.own != self.other)).nonzero()[:, 0]

    def edits(self, columns: Columns) -> list[Edit]:
        """Every changed feature set to the other prompt's activation."""
        changed = self.changed
        return [
            Edit.set(columns.ids[column], value, positions=self.position)
            for column, value in zip(changed.tolist(), self.other[changed].tolist(), strict=True)
        ]

    def matched(
        self, columns: Columns, generator: torch.Generator, *, ablate: bool = False
    ) -> tuple[list[Edit], float]:
        """As many other active features changed by as much, or ablated, and how much they write beside those chosen.

        None of the chosen ones is drawn, and none twice. Where a layer has too few others there are fewer, and each is
        changed by more, so that a layer is changed by as much as by the swap.
        """
        size = torch.maximum(self.own, self.other) * columns.norm
        written = (self.other - self.own) * columns.norm
        under_test = torch.zeros_like(self.chosen)
        under_test[self.changed] = True
        others = ((self.own > 0) | (self.other > 0)) & ~self.chosen
        pairs = matched_pairs(under_test, columns.layer, size, generator, free=others)
        tested, drawn = torch.tensor([[*pairs], [*pairs.values()]], dtype=torch.long)
        whole = float(written[under_test].abs().sum().clamp_min(1e-12))
        features = [columns.ids[other] for other in drawn.tolist()]
        if ablate:
            edits = [Edit.ablate(feature, positions=self.position) for feature in features]
            return edits, float((self.own * columns.norm)[drawn].sum()) / whole
        changed, paired = (
            torch.zeros(int(columns.layer.max()) + 1).index_add(0, columns.layer[places], written[places].abs())
            for places in (self.changed, tested)
        )
        amounts = written[tested] * (changed / paired.clamp_min(1e-12))[columns.layer[tested]]
        added = (amounts / columns.norm[drawn]).tolist()
        edits = [
            Edit.add(feature, amount, positions=self.position) for feature, amount in zip(features, added, strict=True)
        ]
        return edits, float(amounts.abs().sum()) / whole


@dataclass(frozen=True, kw_only=True, eq=False)
class SwapAnswers:
    """What was answered in every case of one kind of swap."""

    top: Int[Tensor, " case"]
    """The most likely next token."""
    features: float
    """How many features were changed, on average."""
    written: float = 1.0
    """How much they write in sum, as a share of what the set under test writes."""

    def follow(self, answers: Int[Tensor, " case"]) -> int:
        """In how many cases these are answered."""
        return int((self.top == answers).sum())
