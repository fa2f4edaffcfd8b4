"""Relations between features that follow from the weights of a Dictionary alone.

1. *Tokens*: what a feature adds to every logit over the direct path through all layers it writes to.
2. *Nearest*: features with the largest cosine of encoders, and of decoders, all written layers summed.
3. *Virtual weights*: what one unit of a feature adds to the pre-activation of a later one along the residual stream,
   by its decoders in all layers before the later one reads. A norm before the read, and one between the write and the
   stream, is taken with its weight and its centring, without its scale, which differs from text to text; attention and
   skip connections are no part of it. An SAE has none: it writes what it reads.

Of equal values the lowest number comes first. Everything is computed in blocks of rows: a matrix of all features by
all features, or by the vocabulary, would not fit in memory. Comparing all with all takes time that grows with the
square of their number: in a large dictionary as many features are compared as WORK allows, those that fire most often
first; the others have no relatives and are nobody's (`compared`). Tokens are computed for all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.dictionary.dictionary import Dictionary
from clew.features.promoted_tokens import direct_logits, ranked, unembedding_for, written_rows
from clew.features.tables import LOGIT_BINS, Relations, Strongest
from clew.harvest.gather import HarvestProgress, features_before
from clew.subject.subject import Subject

BLOCK = 4096  # features that are compared with as many others at once
LOGITS = 1 << 23  # logits in memory at once
WORK = 10**14  # multiplications in all comparisons together: an hour or two on two cores, minutes on a GPU
OVERHEAD = 64  # multiplications that the ranking of one pair is worth


class _Leaders:
    """The largest values that every feature was offered so far, and the numbers of the features they belong to.

    Features are offered by rising numbers; of equal values the lowest number is kept.
    """

    def __init__(self, n: int, count: int, *, signed: bool) -> None:
        self.value = torch.zeros(n, count)
        self.feature = torch.full((n, count), -1)
        self.signed = signed

    def offer(self, rows: Int[Tensor, " n"], values: Float[Tensor, "n other"], others: Int[Tensor, " other"]) -> None:
        """Offer some features others, both by their numbers; -inf offers nothing."""
        count = self.feature.shape[1]
        size = self._size(values)
        top = ranked(size, count)
        value = torch.cat([self.value[rows], values.gather(1, top).cpu()], 1)
        feature = torch.cat([self.feature[rows], others[top.cpu()]], 1)
        size = self._size(value).masked_fill((feature < 0) | value.isneginf(), -torch.inf)
        order = size.sort(dim=1, descending=True, stable=True).indices[:, :count]
        exists = size.gather(1, order) > -torch.inf
        self.value[rows] = value.gather(1, order).where(exists, torch.zeros(())).float()
        self.feature[rows] = feature.gather(1, order).where(exists, torch.tensor(-1))

    def _size(self, values: Tensor) -> Tensor:
        return values if self.signed else values.abs().masked_fill(values.isneginf(), -torch.inf)

    def strongest(self) -> Strongest:
        return Strongest(feature=self.feature.int().numpy(), value=self.value.numpy())


def compared(dictionary: Dictionary, fired: Sequence[int] | np.ndarray) -> np.ndarray:
    """The numbers of the features that are compared with one another, rising; `fired` says how often each one fires."""
    most = math.isqrt(WORK // (3 * (dictionary.d_model + OVERHEAD)))  # by encoder, by decoder, by virtual weight
    return np.sort(np.argsort(-np.asarray(fired, np.int64), kind="stable")[:most])


@torch.no_grad()
def relate(
    subject: Subject, dictionary: Dictionary, *, promoted: int, related: int, fired: np.ndarray | None = None
) -> Iterator[HarvestProgress | Relations]:
    """Compute the relations: yields progress, and the relations last. `fired` says how often each feature fires."""
    offsets = features_before(dictionary)
    n = sum(dictionary.d_features(layer) for layer in offsets)
    chosen = torch.from_numpy(compared(dictionary, np.zeros(n) if fired is None else fired))
    weights = _WeightBlocks(subject=subject, dictionary=dictionary, offsets=offsets, chosen=chosen)
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
            yield HarvestProgress(what=f"nearest by {name}", done=done, of=len(chosen))
    inputs, outputs = (_Leaders(n, related, signed=False) for _ in range(2))
    for done in weights.connect(inputs, outputs) if related else ():
        yield HarvestProgress(what="virtual weights", done=done, of=len(chosen))
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
    chosen: Int[Tensor, " feature"]
    """The numbers of the features that are compared."""

    def blocks(self, layer: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The numbers of a block of features that are compared, and their indices in the layer."""
        first = self.offsets[layer]
        inside = (self.chosen >= first) & (self.chosen < first + self.dictionary.d_features(layer))
        for numbers in self.chosen[inside].split(BLOCK):
            if len(numbers):
                yield numbers, numbers - first

    def logits(self) -> Iterator[tuple[int, Tensor]]:
        unembedding = unembedding_for(self.subject, self.dictionary)
        for layer, first in self.offsets.items():
            for ids in torch.arange(self.dictionary.d_features(layer)).split(max(1, LOGITS // len(unembedding))):
                yield first + int(ids[0]), direct_logits(self.subject, self.dictionary, layer, ids, unembedding)

    def directions(self, name: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Encoders, or decoders summed over the layers written, as unit vectors; a zero row stays zero."""
        for layer in self.offsets:
            for numbers, ids in self.blocks(layer):
                if name == "encoder":
                    rows = self.dictionary.encoder_rows(layer, ids)
                else:
                    rows = self.dictionary.decoder_rows(layer, ids).sum(1)
                yield numbers, rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-30)

    def compare(self, name: str, best: _Leaders) -> Iterator[int]:
        """Offer every feature the cosines with all others; yields how many features are done."""
        done = 0
        for numbers, rows in self.directions(name):
            for other_numbers, others in self.directions(name):
                cosines = rows @ others.T
                cosines.masked_fill_((~others.any(1))[None] | (~rows.any(1))[:, None], -torch.inf)
                if torch.equal(numbers, other_numbers):
                    cosines.fill_diagonal_(-torch.inf)
                best.offer(numbers, cosines, other_numbers)
            done += len(rows)
            yield done

    def connect(self, inputs: _Leaders, outputs: _Leaders) -> Iterator[int]:
        """Offer every feature its virtual weights; yields how many features are done."""
        if self.dictionary.kind == "sae":
            return
        done = 0
        for layer in self.offsets:
            for later in self.offsets:
                slots = [i for i, out in enumerate(self.dictionary.written_layers(layer)) if self._reaches(out, later)]
                if not slots:
                    continue
                for numbers, ids in self.blocks(layer):
                    written = written_rows(self.subject, self.dictionary, layer, ids)[:, slots].sum(1)
                    for later_numbers, others in self.blocks(later):
                        weights = written @ self._read(later, others).T
                        outputs.offer(numbers, weights, later_numbers)
                        inputs.offer(later_numbers, weights.T, numbers)
            done += sum(len(numbers) for numbers, _ in self.blocks(layer))
            yield done

    def _reaches(self, out: int, layer: int) -> bool:
        """Whether a write into the stream by layer `out` comes before the read site of `layer`."""
        return out <= layer if self.dictionary.read_site == "resid_post" else out < layer

    def _read(self, layer: int, ids: Tensor) -> Tensor:
        """Encoders as rows that read the residual stream, before the norm."""
        rows, site = self.dictionary.encoder_rows(layer, ids), self.dictionary.read_site
        norm = self.subject.modules.get(("mlp_norm", layer))
        if norm is None or site not in ("mlp_in", "mlp_normalized"):
            return rows
        if site == "mlp_in":
            rows = rows * self.subject.family.norm_affine(norm, rows)[0]
        return rows - rows.mean(-1, keepdim=True) if self.subject.family.centred else rows
