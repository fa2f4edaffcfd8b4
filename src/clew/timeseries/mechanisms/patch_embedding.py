"""Patches of series as tokens: an embedding that looks a patch up and maps its values linearly.

Token ids stand for three things, in this order: the classes, which the model says and never reads; two marks, in front
of every series and behind it; the patches of the series at hand. A patch's embedding is W values, without a bias, so
that what a graph says of a token divides exactly among the patch's values (`clew.timeseries.mechanisms.points`).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

MARKS = 2
"""Tokens that stand for no patch: the one in front of every series, the one behind it."""


class PatchEmbedding(nn.Module):
    """In the place of a language model's token embedding; `patches` is the vocabulary of the series at hand."""

    patches: Tensor

    def __init__(self, *, n_classes: int, n_values: int, width: int) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.weight = nn.Parameter(torch.randn(width, n_values) / n_values**0.5)
        self.marks = nn.Parameter(torch.randn(MARKS, width) / width**0.5)
        self.register_buffer("patches", torch.zeros(0, n_values), persistent=False)

    @property
    def first(self) -> int:
        """The token of the first patch."""
        return self.n_classes + MARKS

    def forward(self, ids: Int[Tensor, "*batch pos"]) -> Float[Tensor, "*batch pos d_model"]:
        """Embeddings of marks and patches."""
        place = ids - self.n_classes
        marks = self.marks[place.clamp(0, MARKS - 1)]
        values = self.patches[(place - MARKS).clamp_min(0)]
        return torch.where((place >= MARKS)[..., None], nn.functional.linear(values, self.weight), marks)
