"""How far features speak for a token: along the unembedding, straight from the decoder to the output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from clew.kit import Kit
from clew.studies.columns import Columns


def pushes(kit: Kit, columns: Columns, towards: int, away: Sequence[int]) -> Float[Tensor, " feature"]:
    """The decoder of every feature, summed over the layers it writes to, along one token less the mean of others.

    To be multiplied by an activation; the final norm's scale, which all features share, is left out.
    """
    unembedding = kit.subject.unembedding.detach().float().cpu()
    direction = unembedding[towards] - unembedding[list(away)].mean(0)
    found = torch.zeros(len(columns.layer))
    for layer in torch.unique(columns.layer).tolist():
        of_layer = columns.layer == layer
        rows = kit.dictionary.decoder_rows(layer, columns.index[of_layer]).detach().float().cpu()
        found[of_layer] = rows.sum(1) @ direction
    return found
