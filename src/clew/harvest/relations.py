"""Relations between features that follow from the weights of a Dictionary alone.

1. *Tokens*: what a feature adds to every logit over the direct path through all layers it writes to.
2. *Nearest*: features with the largest cosine of encoders, and of decoders, all written layers summed.
3. *Virtual weights*: what one unit of a feature adds to the pre-activation of a later one along the residual stream,
   by its decoders in all layers before the later one reads. A norm before the read, and one between the write and the
   stream, is taken with its weight and its centring, without its scale, which differs from text to text; attention and
   skip connections are no part of it. An SAE has none: it writes what it reads.

Of equal values the lowest number comes first. Everything is computed in blocks of rows: a matrix of all features by
all features, or by the vocabulary, would not fit in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clew.dictionary.dictionary import Dictionary
from clew.features.promoted_tokens import direct_logits, norm_weight, ranked, written_rows
from clew.features.tables import LOGIT_BINS, Relations, Strongest
from clew.harvest.gather import HarvestProgress, features_before
from clew.subject.subject import Subject

BLOCK = 4096  # features that are compared with as many others at once
LOGITS = 1 << 23  # logits in memory at once


class _Leaders:
    """The largest values that every feature was offered so far, and the numbers of the features they belong to.

    Features are offered by rising numbers; of equal values the lowest number is kept.
    """

    def __init__(self, n: int, count: int, *, signed: bool) -> None:
        self.value = torch.zeros(n, count)
        self.feature = torch.full((n, count), -1)
        self.signed = signed

    def offer(self, start: int, values: Float[Tensor, "n other"], first: int) -> None:
        """Offer rows from `start` on the features from `first` on; -inf offers nothing."""
        count = self.feature.shape[1]
        rows = slice(start, start + len(values))
        size = self._size(values)
        top = ranked(size, count)
        value = torch.cat([self.value[rows], values.gather(1, top).cpu()], 1)
        feature = torch.cat([self.feature[rows], (top + first).cpu()], 1)
        size = self._size(value).masked_fill((feature < 0) | value.isneginf(), -torch.inf)
        order = size.sort(dim=1, descending=True, stable=True).indices[:, :count]
        exists = size.gather(1, order) > -torch.inf
        self.value[rows] = value.gather(1, order).where(exists, torch.zeros(()))
        self.feature[rows] = feature.gather(1, order).where(exists, torch.tensor(-1))

    def _size(self, values: Tensor) -> Tensor:
        return values if self.signed else values.abs().masked_fill(values.isneginf(), -torch.inf)

    def strongest(self) -> Strongest:
        return Strongest(feature=self.feature.int().numpy(), value=self.value.numpy())


@torch.no_grad()
def relate(
    subject: Subject, dictionary: Dictionary, *, promoted: int, related: int
) -> Iterator[HarvestProgress | Relations]:
    """Compute the relations: yields progress, and the relations last."""
    offsets = features_before(dictionary)
    n = sum(dictionary.d_features(layer) for layer in offsets)
    weights = _WeightBlocks(subject=subject, dictionary=dictionary, offsets=offsets, n=n)
    count = min(promoted, len(subject.unembedding))
    promotes, suppresses = (
        Strongest(feature=np.full((n, count), -1, np.int32), value=np.zeros((n, count), np.float32)) for _ in "ab"
    )
    ends, bins = np.zeros((n, 2), np.float32), np.zeros((n, LOGIT_BINS), np.int32)
    for start, logits in weights.logits():
        rows = slice(start, start + len(logits))
        for side, sign in ((promotes, 1), (suppresses, -1)):
            top = ranked(sign * logits, count)
            side.feature[rows], side.value[rows] = top.cpu().numpy(), logits.gather(1, top).cpu().numpy()
        ends[rows], bins[rows] = histograms(logits)
        yield HarvestProgress(what="tokens promoted", done=rows.stop, of=n)
    nearest = {name: _Leaders(n, related, signed=True) for name in ("decoder", "encoder")}
    for name, best in nearest.items() if related else ():
        for done in weights.compare(name, best):
            yield HarvestProgress(what=f"nearest by {name}", done=done, of=n)
    inputs, outputs = (_Leaders(n, related, signed=False) for _ in range(2))
    for done in weights.connect(inputs, outputs) if related else ():
        yield HarvestProgress(what="virtual weights", done=done, of=n)
    yield Relations(
        promoted=promotes,
        suppressed=suppresses,
        logit_range=ends,
        logits=bins,
        nearest_decoder=nearest["decoder"].strongest(),
        nearest_encoder=nearest["encoder"].strongest(),
        inputs=inputs.strongest(),
        outputs=outputs.strongest(),
    )


def histograms(values: Float[Tensor, "n vocab"]) -> tuple[np.ndarray, np.ndarray]:
    """The range of every row, and how many of its values lie in each of equal bins of it."""
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    step = (high - low).clamp_min(torch.finfo(values.dtype).tiny) / LOGIT_BINS
    bins = ((values - low) / step).long().clamp(0, LOGIT_BINS - 1)
    counts = torch.zeros(len(values), LOGIT_BINS, dtype=torch.long, device=values.device)
    counts.scatter_add_(1, bins, torch.ones_like(bins))
    return torch.cat([low, high], 1).float().cpu().numpy(), counts.int().cpu().numpy()


@dataclass(frozen=True, kw_only=True)
class _WeightBlocks:
    """Rows of weights, a block of features at a time."""

    subject: Subject
    dictionary: Dictionary
    offsets: dict[int, int]
    n: int

    def blocks(self, layer: int, size: int = BLOCK) -> Iterator[tuple[int, Tensor]]:
        """The number of a block's first feature, and its features' indices in the layer."""
        for ids in torch.arange(self.dictionary.d_features(layer)).split(size):
            yield self.offsets[layer] + int(ids[0]), ids

    def logits(self) -> Iterator[tuple[int, Tensor]]:
        for layer in self.offsets:
            for start, ids in self.blocks(layer, max(1, LOGITS // len(self.subject.unembedding))):
                yield start, direct_logits(self.subject, self.dictionary, layer, ids)

    def directions(self, name: str) -> Iterator[tuple[int, Tensor]]:
        """Encoders, or decoders summed over the layers written, as unit vectors; a zero row stays zero."""
        for layer in self.offsets:
            for start, ids in self.blocks(layer):
                if name == "encoder":
                    rows = self.dictionary.encoder_rows(layer, ids)
                else:
                    rows = self.dictionary.decoder_rows(layer, ids).sum(1)
                yield start, rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-30)

    def compare(self, name: str, best: _Leaders) -> Iterator[int]:
        """Offer every feature the cosines with all others; yields how many features are done."""
        for start, rows in self.directions(name):
            for first, others in self.directions(name):
                cosines = rows @ others.T
                cosines.masked_fill_((~others.any(1))[None] | (~rows.any(1))[:, None], -torch.inf)
                if start == first:
                    cosines.fill_diagonal_(-torch.inf)
                best.offer(start, cosines, first)
            yield start + len(rows)

    def connect(self, inputs: _Leaders, outputs: _Leaders) -> Iterator[int]:
        """Offer every feature its virtual weights; yields how many features are done."""
        if self.dictionary.kind == "sae":
            return
        for layer, offset in self.offsets.items():
            for later in self.offsets:
                slots = [i for i, out in enumerate(self.dictionary.written_layers(layer)) if self._reaches(out, later)]
                if not slots:
                    continue
                for start, ids in self.blocks(layer):
                    written = written_rows(self.subject, self.dictionary, layer, ids)[:, slots].sum(1)
                    for first, others in self.blocks(later):
                        weights = written @ self._read(later, others).T
                        outputs.offer(start, weights, first)
                        inputs.offer(first, weights.T, start)
            yield offset + self.dictionary.d_features(layer)

    def _reaches(self, out: int, layer: int) -> bool:
        """Whether a write into the stream by layer `out` comes before the read site of `layer`."""
        return out <= layer if self.dictionary.read_site == "resid_post" else out < layer

    def _read(self, layer: int, ids: Tensor) -> Tensor:
        """Encoders as rows that read the residual stream, before the norm."""
        rows, site = self.dictionary.encoder_rows(layer, ids), self.dictionary.read_site
        if site not in ("mlp_in", "mlp_normalized"):
            return rows
        if site == "mlp_in":
            rows = rows * norm_weight(self.subject, self.subject.modules["mlp_norm", layer], rows)
        return rows - rows.mean(-1, keepdim=True) if self.subject.family.centred else rows
