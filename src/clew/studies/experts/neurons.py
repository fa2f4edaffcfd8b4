"""What the neurons of each expert do: in which domain they write, what they promote, on which tokens they fire."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from clew.features.promoted_tokens import direct_logits, unembedding_for
from clew.kit import Kit
from clew.studies.experts.config import DOMAINS
from clew.studies.experts.sentences import Sentences

LISTED = 3
"""Neurons of every expert and layer that are listed."""
WORDS = 5
"""Tokens that are named of each."""


@dataclass(frozen=True, kw_only=True)
class ExpertNeuron:
    """One neuron of an expert, among those that write most."""

    layer: int
    expert: int
    neuron: int
    domains: tuple[float, ...]
    """The share of each domain of all that it writes."""
    promoted: str
    """The tokens whose logits it raises most, with the sign that its activation has where it is largest."""
    fires_on: str
    """The tokens at which it is largest."""


@torch.no_grad()
def strongest_neurons(kit: Kit, sentences: Sentences) -> list[ExpertNeuron]:
    """Of every expert of every layer the neurons that write most, on average over the sentences' tokens."""
    subject, dictionary = kit.subject, kit.dictionary
    ids, real = sentences.batch()
    tokens, domains = ids[real], torch.from_numpy(sentences.domains)[:, None].expand(real.shape)[real]
    sites, unembedding = subject.capture(ids, ["mlp_in"]), unembedding_for(subject, dictionary)
    listed = []
    for layer in range(subject.n_layers):
        weights = dictionary.layers[layer]
        activations = dictionary.activations(layer, sites["mlp_in", layer][real])
        sizes = activations.abs() * weights.decoder[:, 0].norm(dim=1)
        by_domain = torch.stack([sizes[domains == domain].mean(0) for domain in range(len(DOMAINS))])
        per_expert = len(weights.encoder) // len(DOMAINS)
        for expert in range(len(DOMAINS)):
            of_expert = by_domain.sum(0)[expert * per_expert : (expert + 1) * per_expert]
            for place in of_expert.topk(LISTED).indices.tolist():
                neuron = expert * per_expert + place
                shares = by_domain[:, neuron] / by_domain[:, neuron].sum().clamp_min(1e-12)
                logits = direct_logits(subject, dictionary, layer, torch.tensor([neuron]), unembedding)[0]
                listed.append(
                    ExpertNeuron(
                        layer=layer,
                        expert=expert,
                        neuron=neuron,
                        domains=tuple(shares.tolist()),
                        promoted=_named(kit, logits * _sign(activations[:, neuron])),
                        fires_on=_named(kit, _largest_at(activations[:, neuron], tokens, len(logits))),
                    )
                )
    return listed


def _sign(activations: Float[Tensor, " token"]) -> float:
    return float(activations[activations.abs().argmax()].sign())


def _largest_at(activations: Float[Tensor, " token"], tokens: Tensor, vocabulary: int) -> Float[Tensor, " vocab"]:
    """Of every token, how large a neuron becomes at it."""
    return torch.zeros(vocabulary).scatter_reduce(0, tokens, activations.abs().float(), "amax")


def _named(kit: Kit, values: Float[Tensor, " vocab"]) -> str:
    ids = values.topk(WORDS).indices[values.topk(WORDS).values > 0]
    return " ".join(repr(name.strip() or name)[1:-1] for name in kit.subject.token_strings(ids.tolist()))
