"""The output tokens that a feature promotes over the direct path: decoder, final norm, unembedding."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.dictionary.dictionary import Dictionary
from clew.ids import FeatureId
from clew.kernels.decode import largest
from clew.subject.subject import Subject

_TOGETHER = 256  # features whose logits are computed at once
_CONVERTED = 1 << 14  # tokens of an unembedding in another dtype that are converted at once


def written_rows(
    subject: Subject, dictionary: Dictionary, layer: int, ids: Int[Tensor, " feature"]
) -> Float[Tensor, "feature out_layer d_model"]:
    """What one unit of activation adds to the residual stream in every layer that the features write to.

    A norm after the MLP is applied with its weight and its centring, without its scale, which differs from text to text
    and from layer to layer.
    """
    rows = dictionary.decoder_rows(layer, ids)
    if dictionary.write_site != "mlp_raw_out" or ("post_mlp_norm", layer) not in subject.modules:
        return rows
    if subject.family.centred:
        rows = rows - rows.mean(-1, keepdim=True)
    outs = dictionary.written_layers(layer)
    norms = [subject.family.norm_affine(subject.modules["post_mlp_norm", out], rows)[0] for out in outs]
    return rows * torch.stack(norms)


def unembedding_for(subject: Subject, dictionary: Dictionary) -> Float[Tensor, "vocab d_model"]:
    """The unembedding in the dtype of a Dictionary's rows: where they differ a copy, to be made once for all."""
    return subject.unembedding.to(dictionary.decoder_rows(min(dictionary.layers), torch.zeros(1, dtype=torch.long)))


@torch.no_grad()
def direct_logits(
    subject: Subject,
    dictionary: Dictionary,
    layer: int,
    ids: Int[Tensor, " feature"],
    unembedding: Float[Tensor, "vocab d_model"],
) -> Float[Tensor, "feature vocab"]:
    """What one unit of activation adds to each centred logit, summed over the layers that the features write to.

    The unembedding is that of `unembedding_for`. The scales of the final norm and of a norm after the MLP differ from
    text to text and are left out, so that numbers can be compared within a row only.
    """
    return _centred_logits(_final_directions(subject, dictionary, layer, ids), unembedding)


def _final_directions(
    subject: Subject, dictionary: Dictionary, layer: int, ids: Int[Tensor, " feature"]
) -> Float[Tensor, "feature d_model"]:
    """What features write to all layers as the unembedding sees it: with the final norm's weight, without its scale."""
    written = written_rows(subject, dictionary, layer, ids).sum(1)
    weight, _ = subject.family.norm_affine(subject.final_norm, written)
    if subject.family.centred:
        written = written - written.mean(-1, keepdim=True)
    return written * weight


def _centred_logits(
    directions: Float[Tensor, "feature d_model"], unembedding: Float[Tensor, "vocab d_model"]
) -> Float[Tensor, "feature vocab"]:
    """Logits less their mean; an unembedding of another dtype is converted a block of tokens at a time."""
    size = len(unembedding) if unembedding.dtype == directions.dtype else _CONVERTED
    logits = torch.cat([directions @ tokens.to(directions).T for tokens in unembedding.split(size)], 1)
    return logits.sub_(logits.mean(-1, keepdim=True))


def ranked(values: Float[Tensor, "n other"], count: int) -> Int[Tensor, "n count"]:
    """The columns of every row's largest values, the largest first; of equal ones the lowest column comes first."""
    width = values.shape[1]
    if count >= width:
        return values.sort(dim=1, descending=True, stable=True).indices
    top = values.topk(count + 1, dim=1)
    columns = top.indices[:, :count].sort(dim=1).values
    cut_in_two = top.values[:, count - 1] == top.values[:, count]  # equal values inside and outside the top
    if count and bool(cut_in_two.any()):
        columns[cut_in_two] = largest(values[cut_in_two], count).nonzero()[:, 1].view(-1, count)
    order = values.gather(1, columns).sort(dim=1, descending=True, stable=True).indices
    return columns.gather(1, order)


def promoted_tokens(
    subject: Subject, dictionary: Dictionary, features: Iterable[FeatureId], count: int = 3
) -> dict[FeatureId, tuple[str, ...]]:
    """The `count` output tokens that each feature promotes most; of equal ones that with the lowest id comes first."""
    by_layer: dict[int, list[int]] = {}
    for feature in features:
        by_layer.setdefault(feature.layer, []).append(feature.index)
    if not by_layer:
        return {}
    named, directions = [], []
    for layer, indices in sorted(by_layer.items()):
        ids = torch.tensor(sorted(set(indices)))
        named += [FeatureId(layer, index) for index in ids.tolist()]
        directions.append(_final_directions(subject, dictionary, layer, ids))
    parts, unembedding = torch.cat(directions).split(_TOGETHER), subject.unembedding
    count = min(count, max(1, len(unembedding) // 2))  # of two classes a feature promotes one
    top = [tokens for part in parts for tokens in ranked(_centred_logits(part, unembedding), count).tolist()]
    return {feature: subject.token_strings(tokens) for feature, tokens in zip(named, top, strict=True)}


def label_of(tokens: Iterable[str]) -> str:
    """A short name for a feature of which only the promoted tokens are known, without spaces where that says which."""
    names = [(token, token.strip()) for token in tokens]
    bare = [short for _, short in names]
    return "promotes " + " · ".join(short if short and bare.count(short) == 1 else repr(t) for t, short in names)
