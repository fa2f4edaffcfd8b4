"""Features of all layers as one row of columns: what is read of many prompts, and how much each feature writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.ids import FeatureId
from clew.intervention.matched_sets import decoder_norms
from clew.kit import Kit


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns:
    """The features that are ever active in some prompts, layer by layer."""

    layer: Int[Tensor, " feature"]
    index: Int[Tensor, " feature"]
    """Which feature of its layer."""
    norm: Float[Tensor, " feature"]
    """The length of each feature's decoder, over all the layers that it writes to."""

    @cached_property
    def ids(self) -> list[FeatureId]:
        """The feature of every column."""
        return [FeatureId(*each) for each in zip(self.layer.tolist(), self.index.tolist(), strict=True)]


def read_columns(
    kit: Kit, token_ids: Sequence[Sequence[int]], positions: Sequence[int] | Int[np.ndarray, " prompt"]
) -> tuple[Columns, Float[Tensor, "prompt feature"]]:
    """Activations at one position of every prompt, of the features that are active in any; in float32."""
    layers = sorted(kit.dictionary.layers)
    read: list[tuple[Tensor, Tensor]] = []
    for found in kit.activations([list(ids) for ids in token_ids], positions=[int(place) for place in positions]):
        whole = torch.cat([found.layers[layer][0] for layer in layers]).detach().float().cpu()
        active = whole.nonzero()[:, 0]
        read.append((active, whole[active]))
    union = torch.unique(torch.cat([active for active, _ in read]))
    rows = torch.zeros(len(read), len(union))
    for row, (active, values) in zip(rows, read, strict=True):
        row[torch.searchsorted(union, active)] = values
    return _columns(kit, layers, union), rows


def _columns(kit: Kit, layers: Sequence[int], places: Int[Tensor, " feature"]) -> Columns:
    """The features at some places of a row of all features."""
    sizes = torch.tensor([kit.dictionary.d_features(layer) for layer in layers])
    ends = sizes.cumsum(0)
    which = torch.searchsorted(ends, places, right=True)
    index = places - (ends - sizes)[which]
    norm = torch.cat(
        [decoder_norms(kit.dictionary, layer, index[which == place]) for place, layer in enumerate(layers)]
    )
    return Columns(layer=torch.tensor(layers)[which], index=index, norm=norm)
