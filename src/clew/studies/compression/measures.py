"""What is left of a model's circuits in another model of the same shape, read by the same dictionary.

Of every prompt: how much of the original graph's influence lies in features that the other graph has too, which of the
two most likely tokens agree, how far the next tokens diverge; and on a few prompts, what ablating some features does to
the likeliest token in the other model, beside what the original graph predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from clew.attribution.compare import compare
from clew.attribution.graph import Graph
from clew.attribution.influence import total_effect
from clew.attribution.rankings import ranking
from clew.intervention.edit import Edit
from clew.kit import Kit
from clew.subject.subject import Subject

MEASURES = ("shared", "overlap", "kept", "divergence")
"""Columns of what is measured of every prompt."""


@dataclass(frozen=True, kw_only=True)
class Ablated:
    """Features of one prompt, and what its graph predicts that the likeliest token loses without each."""

    token_ids: tuple[int, ...]
    token: int
    edits: tuple[Edit, ...]
    predicted: Float[Tensor, " feature"]


def other(kit: Kit, subject: Subject) -> Kit:
    """The kit's dictionary on another model."""
    return Kit(subject, kit.dictionary, other_model=True)


def next_logits(subject: Subject, graphs: Sequence[Graph]) -> list[Float[Tensor, " vocab"]]:
    """Log-probabilities behind every prompt."""
    rows = [torch.tensor([graph.token_ids], device=subject.device) for graph in graphs]
    with torch.no_grad():
        return [subject.logits(row)[0, -1].float().log_softmax(-1).cpu() for row in rows]


def beside(
    graph: Graph, said: Float[Tensor, " vocab"], traced: Graph, says: Float[Tensor, " vocab"]
) -> Float[Tensor, " measure"]:
    """MEASURES of one prompt: the original first, the other model behind."""
    found = compare(graph, traced)
    whole = sum(pair.influence_a for pair in found.pairs), sum(pair.influence_b for pair in found.pairs)
    overlap = 0.0
    if min(whole) > 0:
        overlap = sum(min(pair.influence_a / whole[0], pair.influence_b / whole[1]) for pair in found.shared)
    kept = float(said.argmax() == says.argmax())
    divergence = float((said.exp() * (said - says)).sum())
    return torch.tensor([found.shares[0][0], overlap, kept, divergence])


def to_ablate(graph: Graph, count: int, token: int, seed: int) -> Ablated:
    """Half the most influential features, half at random among the rest, and what the graph's effects predict."""
    order = ranking(graph, "influence")
    top = min((count + 1) // 2, len(order))
    rest = order[top:]
    drawn = rest[torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))[: count - top]]
    sources = torch.cat([order[:top], drawn])
    lost = total_effect(graph.effects, sources)[graph.target_range[0]]
    edits = []
    for layer, position, index in graph.feature_keys[sources].tolist():
        edits.append(Edit.ablate(f"L{layer}/{index}", positions=position))
    return Ablated(token_ids=tuple(graph.token_ids), token=token, edits=tuple(edits), predicted=lost.float())


def losses(kit: Kit, ablated: Ablated) -> Float[Tensor, " feature"]:
    """What the token's centred logit loses with each feature in the live model, only its own layer clamped."""
    cases = [(list(ablated.token_ids), [edit]) for edit in ablated.edits]
    plain, *edited = [said.logits for said in kit.edits([(list(ablated.token_ids), []), *cases])]
    values = [float(logits[ablated.token] - logits.mean()) for logits in (plain, *edited)]
    return values[0] - torch.tensor(values[1:])
