"""Which output tokens a feature promotes by the direct path: decoder, final norm, unembedding."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.dictionary.dictionary import Dictionary
from clew.ids import FeatureId
from clew.subject.hooks import module_at
from clew.subject.subject import Subject


@torch.no_grad()
def direct_logits(
    subject: Subject, dictionary: Dictionary, layer: int, ids: Int[Tensor, " feature"]
) -> Float[Tensor, "feature vocab"]:
    """What one unit of activation adds to each centred logit, all layers that the feature writes to taken together.

    The final norm's scale differs from text to text and is left out: a row is comparable within itself only.
    """
    written = dictionary.decoder_rows(layer, ids).sum(1)
    norm = module_at(subject.model, subject.family.final_norm)
    weight = norm.weight.to(written) + (1 if subject.family.one_plus_weight else 0)
    if subject.family.centred:
        written = written - written.mean(-1, keepdim=True)
    logits = (written * weight) @ subject.unembedding.to(written).T
    return logits - logits.mean(-1, keepdim=True)


def promoted_tokens(
    subject: Subject, dictionary: Dictionary, features: Iterable[FeatureId], count: int = 3
) -> dict[FeatureId, tuple[str, ...]]:
    """The `count` output tokens that each feature promotes most."""
    by_layer: dict[int, list[int]] = {}
    for feature in features:
        by_layer.setdefault(feature.layer, []).append(feature.index)
    found = {}
    for layer, indices in sorted(by_layer.items()):
        ids = torch.tensor(sorted(set(indices)))
        for part in ids.split(256):
            top = torch.topk(direct_logits(subject, dictionary, layer, part), count).indices
            for index, tokens in zip(part.tolist(), top.tolist(), strict=True):
                found[FeatureId(layer, index)] = subject.token_strings(tokens)
    return found


def label_of(tokens: Iterable[str]) -> str:
    """A short name for a feature of which only the promoted tokens are known."""
    return "promotes " + " · ".join(token.strip() or repr(token) for token in tokens)
