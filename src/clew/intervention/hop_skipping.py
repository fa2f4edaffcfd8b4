"""How much of an effect that passes A -> B -> C in the model a Dictionary draws as A -> C.

A feature of a cross-layer transcoder writes to later layers too. What it writes there itself need not pass the neurons
of those layers, though in the model it may well have. The model's own neurons say: where they are an exact Dictionary,
the live model's derivative is their graph's total effect. For a feature s (A) and a target t (C), to first order, with
patterns and norms following:

- `d`, direct: what s writes into the layer that it reads, on t, with every later MLP held;
- `n`, through neurons (B): what the same writing does to t in the live model, less d;
- `k`, drawn straight: what the graph's edge from s to t has beyond d: by later decoders, or by skip connections.

k *skips* n as far as it has its sign and no more than its size: min(|k|, |n|) where k n > 0, else 0. The share skipped
is that, summed over all features and targets, over the sum of |n|, targets by their weight. It lies between 0 (every
edge stops where the next neurons begin: any PLT, and the neurons themselves) and 1 (whatever passes later neurons is
drawn as one edge). C is an output always; what is skipped between two features is not counted.

By chance half of all signs agree, and large k stand beside large n because both grow with the activation. So the null
keeps every size and deals the signs of k out anew among the features of a layer, target by target. (Dealing out k
whole would lose the sizes: a dictionary that was never trained has twice as much as that.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.local_model import LocalModel
from clew.attribution.sweep import Block, Readers
from clew.attribution.targets import target_directions
from clew.dictionary.dictionary import Dictionary
from clew.intervention.live_effects import live_effects
from clew.stats import Interval, bootstrap, ratio
from clew.subject.subject import Subject

DEALS = 5  # of the null on each prompt


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """One prompt: effects through later neurons, how much of them is skipped, and how much by the null, a mean."""

    through: float
    skipped: float
    null: float


@dataclass(frozen=True, kw_only=True)
class HopSkipping:
    """The share skipped over several prompts, sums over sums, with intervals from resampling prompts."""

    prompts: int
    share: Interval
    null: Interval

    def to_json(self) -> dict[str, Any]:
        """Plain values: each share with both ends of its interval."""
        return {"prompts": self.prompts, "share": self.share.to_json(), "null": self.null.to_json()}


def hop_skipping(prompts: Sequence[Skipped]) -> HopSkipping:
    """Put prompts together; NaN where no effect passes later neurons."""
    table = np.array([(each.skipped, each.null, each.through) for each in prompts]).T
    share, null = (bootstrap(table[[row, 2]], lambda sums: ratio(sums[0], sums[1])) for row in (0, 1))
    return HopSkipping(prompts=len(prompts), share=share, null=null)


@torch.no_grad()
def skipped(subject: Subject, dictionary: Dictionary, graph: Graph, *, seed: int = 0) -> Skipped:
    """What a Dictionary skips on the prompt of a graph, its features those of the graph.

    MismatchError for a graph of another Dictionary or model, InputError for a target that the graph does not keep,
    UnsupportedModelError where the model's effects are refused.
    """
    straight = _direct(LocalModel.of_graph(subject, dictionary, graph), graph)
    ids = torch.tensor(graph.token_ids, device=subject.device)
    own = LocalModel.record(subject, _own_layers_alone(dictionary), ids, first_position=graph.first_position)
    direct = _direct(own, graph)
    through, drawn = live_effects(subject, dictionary, graph) - direct, straight - direct
    known = ~torch.isnan(through).any(1)  # not of a feature that does not write into the layer that it reads
    layers, weights = graph.feature_keys[known, 0], graph.target_weights.double()
    through, drawn = through[known] * weights, drawn[known] * weights
    generator = torch.Generator().manual_seed(seed)
    deals = [overlap(_dealt(drawn, layers, generator), through) for _ in range(DEALS)]
    return Skipped(through=float(through.abs().sum()), skipped=overlap(drawn, through), null=sum(deals) / DEALS)


def overlap(drawn: Float[Tensor, "feature target"], through: Float[Tensor, "feature target"]) -> float:
    """How much of some effects others have, in their sign and no more than their size."""
    return float(torch.minimum(drawn * through.sign(), through.abs()).clamp_min(0).sum())


def _dealt(
    drawn: Float[Tensor, "feature target"], layers: Int[Tensor, " feature"], generator: torch.Generator
) -> Float[Tensor, "feature target"]:
    """The same sizes, with the signs of every layer's features dealt out anew among them, each target by itself."""
    dealt = drawn.clone()
    for layer in torch.unique(layers).tolist():
        members = (layers == layer).nonzero()[:, 0]
        for target in range(drawn.shape[1]):
            others = members[torch.randperm(len(members), generator=generator)]
            dealt[members, target] = drawn[members, target].abs() * drawn[others, target].sign()
    return dealt


def _own_layers_alone(dictionary: Dictionary) -> Dictionary:
    """The same features, each writing into the layer that it reads and no further; no skip connections."""
    layers = {}
    for index, layer in dictionary.layers.items():
        slots = [slot for slot, out in enumerate(dictionary.written_layers(index)) if out == index]
        decoder = layer.decoder[:, slots] if slots else torch.zeros_like(layer.decoder[:, :1])
        layers[index] = replace(layer, decoder=decoder.contiguous(), skip=None)
    return replace(dictionary, layers=layers, writes={index: (index,) for index in layers})


def _direct(model: LocalModel, graph: Graph) -> Float[Tensor, "feature target"]:
    """Effects of every feature on every target by its edge alone."""
    sources = model.sources
    directions = target_directions(model.subject, graph).to(sources.dtype)
    positions = torch.tensor([target.position for target in graph.targets], device=directions.device)
    block = Block(Readers(directions, positions, directions.new_zeros(len(positions))), [])
    rows = torch.zeros(len(positions), sources.n_nodes, dtype=sources.dtype, device=sources.device)
    model.fill_effects(block, rows)
    return rows[:, model.columns(graph)[: graph.n_features]].T.double().cpu()
