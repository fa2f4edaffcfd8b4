"""What is measured on a trained model: losses without each expert, routes of tokens, whose neurons an answer uses.

A routed model loses an expert by its router logit, minus infinity in every layer: its tokens go to the next best. A
dense model has none; its neurons are put into as many groups, by the domain in which each writes most, and a group is
taken out of every MLP's output.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from clew.attribution.influence import influence
from clew.dictionary import Dictionary
from clew.kit import Kit
from clew.progress import Progress
from clew.studies.case import Steps
from clew.studies.experts.config import DOMAINS
from clew.studies.experts.sentences import Sentences
from clew.subject.recording import SiteAt
from clew.subject.sites import Change, Seen
from clew.subject.subject import Subject

TRACED = 4
"""Sentences of every domain that are traced."""
FEATURES = 600
"""Neurons of a graph."""
AT_ONCE = 64
"""Sentences of one run."""
Ablation = Mapping[SiteAt, Change] | AbstractContextManager[None]


@dataclass(frozen=True, kw_only=True)
class Tested:
    """Sentences on which models are measured, and others, of training, by which dense neurons are grouped."""

    test: Sentences
    calibration: Sentences


def measured(subject: Subject, sentences: Tested) -> Steps:
    """Everything about one model.

    `losses` [1 + expert, sentence]: nats a token, first with nothing ablated; `calibration` the same of the other
    sentences. Of a routed model, `chosen` [layer, token] is the expert of every token of the test sentences in their
    order, and `influence` [domain, expert] the share of an expert's neurons of what neurons do to traced answers.
    """
    ablations = _ablations(subject, sentences.calibration)
    tensors: dict[str, Tensor] = {}
    for name, those in (("losses", sentences.test), ("calibration", sentences.calibration)):
        rows = []
        for place, ablate in enumerate(ablations):
            yield Progress(what=f"{subject.name}: ablations", done=place, of=len(ablations), unit="experts")
            rows.append(_losses(subject, those, ablate))
        tensors[name] = torch.stack(rows)
    if subject.config.num_experts > 1:
        tensors["chosen"] = _chosen(subject, sentences.test)
        tensors["influence"] = yield from _influences(subject, sentences.test)
    return tensors


def _batches(sentences: Sentences) -> Iterator[tuple[Int[Tensor, "row pos"], Bool[Tensor, "row pos"]]]:
    ids, real = sentences.batch()
    yield from zip(ids.split(AT_ONCE), real.split(AT_ONCE), strict=True)


@torch.no_grad()
def _losses(subject: Subject, sentences: Sentences, ablate: Callable[[], Ablation]) -> Float[Tensor, " sentence"]:
    """Nats a token of every sentence; its first token, before which nothing stands, does not count."""
    losses = []
    for ids, real in _batches(sentences):
        ablation = ablate()
        change = ablation if isinstance(ablation, Mapping) else None
        with nullcontext() if isinstance(ablation, Mapping) else ablation:
            final = subject.run(ids[:, :-1], change=change).final
        counted = real[:, 1:].clone()
        counted[:, 0] = False
        each = cross_entropy(subject.unembed(final[counted]), ids[:, 1:][counted], reduction="none")
        sums = torch.zeros(len(ids)).index_add_(0, counted.nonzero()[:, 0], each)
        losses.append(sums / counted.sum(1))
    return torch.cat(losses)


def _ablations(subject: Subject, calibration: Sentences) -> list[Callable[[], Ablation]]:
    """Nothing, and then every expert in the order of DOMAINS, or the group of neurons in its place."""
    if subject.config.num_experts > 1:
        return [nullcontext, *(partial(without_expert, subject, expert) for expert in range(len(DOMAINS)))]
    neurons = Dictionary.from_neurons(subject)
    groups = _neuron_groups(subject, neurons, calibration)

    def without(group: int) -> Mapping[SiteAt, Change]:
        return {
            ("mlp_raw_out", layer): partial(_without_neurons, neurons, layer, groups[layer] == group)
            for layer in range(subject.n_layers)
        }

    return [nullcontext, *(partial(without, group) for group in range(len(DOMAINS)))]


def without_expert(subject: Subject, expert: int) -> AbstractContextManager[None]:
    """No token goes to an expert: its router logits are minus infinity in every layer."""

    def barred(layer: int, logits: Tensor) -> Tensor:
        return logits.index_fill(1, torch.tensor([expert], device=logits.device), -torch.inf)

    return subject.rerouting(barred)


def _without_neurons(
    neurons: Dictionary, layer: int, group: Bool[Tensor, " neuron"], real: Tensor, seen: Seen
) -> Tensor:
    activations = neurons.activations(layer, seen("mlp_in", layer))[..., group]
    return real - activations @ neurons.layers[layer].decoder[group, 0]


@torch.no_grad()
def _neuron_groups(subject: Subject, neurons: Dictionary, sentences: Sentences) -> dict[int, Int[Tensor, " neuron"]]:
    """Every layer's neurons in groups of one size, each in that of the domain in which it writes most of its all."""
    sums: dict[int, list[Tensor]] = {layer: [] for layer in range(subject.n_layers)}
    for ids, real in _batches(sentences):
        sites = subject.capture(ids, ["mlp_in"])
        for layer, rows in sums.items():
            size = neurons.activations(layer, sites["mlp_in", layer]).abs() * real[..., None]
            rows.append(size.sum(1) / real.sum(1, keepdim=True))
    domains = torch.from_numpy(sentences.domains)
    groups = {}
    for layer, rows in sums.items():
        means = torch.stack([torch.cat(rows)[domains == domain].mean(0) for domain in range(len(DOMAINS))])
        groups[layer] = even_groups(means / means.sum(0).clamp_min(1e-12))
    return groups


def even_groups(shares: Float[Tensor, "domain neuron"]) -> Int[Tensor, " neuron"]:
    """Every neuron in the group of its largest share that has room; the strongest shares first."""
    n_domains, n_neurons = shares.shape
    room, groups = [-(-n_neurons // n_domains)] * n_domains, torch.full((n_neurons,), -1)
    for place in shares.flatten().argsort(descending=True).tolist():
        domain, neuron = divmod(place, n_neurons)
        if groups[neuron] < 0 and room[domain]:
            groups[neuron], room[domain] = domain, room[domain] - 1
    return groups


@torch.no_grad()
def _chosen(subject: Subject, sentences: Sentences) -> Int[Tensor, "layer token"]:
    """The expert of every token of the sentences, in their order; the start token is no part of them."""
    parts = []
    for ids, real in _batches(sentences):
        experts = chosen_experts(subject, ids)
        parts.append(experts[:, real])
    return torch.cat(parts, 1)


@torch.no_grad()
def chosen_experts(subject: Subject, ids: Int[Tensor, "row pos"]) -> Int[Tensor, "layer row pos"]:
    """The first choice of every router."""
    seen: dict[int, Tensor] = {}

    def note(layer: int, logits: Tensor) -> Tensor:
        seen[layer] = logits.argmax(1).view(ids.shape)
        return logits

    with subject.rerouting(note):
        subject.run(ids)
    return torch.stack([seen[layer] for layer in range(subject.n_layers)])


def traced_places(sentences: Sentences) -> list[int]:
    """The first few sentences of every domain."""
    return [
        int(place) for domain in range(len(DOMAINS)) for place in (sentences.domains == domain).nonzero()[0][:TRACED]
    ]


def _influences(subject: Subject, sentences: Sentences) -> Generator[Progress, None, Float[Tensor, "domain expert"]]:
    """Of what neurons do to the last token of traced sentences, the share of each expert's, the mean of a domain."""
    kit, shares = Kit(subject, name=subject.name), torch.zeros(len(DOMAINS), len(DOMAINS))
    places = traced_places(sentences)
    for done, place in enumerate(places):
        yield Progress(what=f"{subject.name}: traces", done=done, of=len(places), unit="sentences")
        tokens = [sentences.start, *sentences.ids[place][:-1].tolist()]
        shares[int(sentences.domains[place])] += expert_shares(kit, tokens) / TRACED
    return shares


def expert_shares(kit: Kit, tokens: list[int]) -> Float[Tensor, " expert"]:
    """Whose neurons the influence on what comes next passes through; sums to one."""
    graph = kit.trace(tokens, max_features=FEATURES)
    values = influence(graph)[: graph.n_features]
    layers, neurons = graph.feature_keys[:, 0], graph.feature_keys[:, 2]
    sums = torch.zeros(len(DOMAINS))
    for layer in range(kit.subject.n_layers):
        weights = kit.dictionary.layers[layer]
        assert weights.router is not None
        of_layer = layers == layer
        experts = weights.router.experts_of(neurons[of_layer], len(weights.encoder))
        sums.index_add_(0, experts, values[of_layer].float())
    return sums / sums.sum().clamp_min(1e-12)
