"""From tokens down to values: the gradient of an output at every token's embedding, over all paths of a graph.

A token's embedding enters a graph linearly, so that its total on an output is the embedding times a gradient; and a
patch's embedding is linear in its values, so that the same gradient divides the token's total among them.

1. What every feature passes on to the output a unit of its pre-activation is known from the graph.
2. One walk back through the recorded steps, with everything held (values) or following (effects), starts at the output
   with its direction and takes up every feature's encoder, so weighted, where it reads.
3. What arrives at the embedding is the gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.influence import lost_of
from clew.attribution.local_model import LocalModel
from clew.attribution.targets import target_directions
from clew.errors import InputError
from clew.kit import Kit
from clew.subject.jacobian import FullStep, linearized
from clew.subject.recording import Add, Embed, Mlp, Site, Unembed


@torch.no_grad()
def token_gradients(kit: Kit, graph: Graph, target: int = 0, *, effects: bool = False) -> Float[Tensor, "pos d_model"]:
    """The gradient of a graph's output at every token's embedding: with everything held (values), or following it.

    Times the embedding it is the token's total on the output (`clew.attribution.influence.lost_of`). InputError where
    features were left out of the graph, for effects of a graph without them, and for an output that there is not.
    """
    if not 0 <= target < len(graph.targets):
        raise InputError(f"there is no output {target}: the graph has {len(graph.targets)}")
    if graph.settings.get("n_active", graph.n_features) != graph.n_features:
        raise InputError("the graph lacks some active features: trace it with max_features=None, and do not prune it")
    model = LocalModel.of_graph(kit.subject, kit.dictionary, graph)
    followed = graph.effects if effects else graph
    start = torch.zeros(graph.n_nodes, dtype=torch.float64)
    start[graph.target_range[target]] = 1
    passes = graph.mask("feature")
    lost = lost_of(followed, start, passes)[graph.part("feature")]
    pre = graph.preactivations.double()
    weights = torch.where(pre != 0, lost / pre.where(pre != 0, torch.ones_like(pre)), 0.0)
    recording = model.recording
    steps: Sequence[FullStep] = linearized(recording, fold=False) if effects else recording.steps
    direction = target_directions(kit.subject, graph)[target]
    return _walk(model, steps, direction, graph.targets[target].position, _weighted(model, graph, weights, effects))


def _weighted(model: LocalModel, graph: Graph, weights: Float[Tensor, " feature"], effects: bool) -> dict[int, Tensor]:
    """By layer: the encoders of all features, each with its weight, added up where they read."""
    reads: dict[int, Tensor] = {}
    block, order = model.block(torch.arange(model.sources.n_features), slopes=effects)
    place = torch.zeros(model.sources.n_features, dtype=torch.long)
    keys = {tuple(key): node for node, key in enumerate(graph.feature_keys.tolist())}
    for source, key in enumerate(model.sources.feature_keys.tolist()):
        place[source] = keys[tuple(key)]
    ordered, first = weights[place[order.cpu()]], 0
    for layer, readers in block.features:
        of_layer = ordered[first : first + len(readers)].to(readers.directions)
        first += len(readers)
        gradient = readers.directions.new_zeros(len(graph.token_ids), readers.directions.shape[1])
        reads[layer] = gradient.index_add_(0, readers.positions, readers.directions * of_layer[:, None])
    return reads


def _walk(
    model: LocalModel,
    steps: Sequence[FullStep],
    direction: Float[Tensor, " d_model"],
    position: int,
    reads: Mapping[int, Tensor],
) -> Float[Tensor, "pos d_model"]:
    """Steps 2 and 3."""
    dictionary, sources = model.dictionary, model.sources
    gradients: dict[str, Tensor] = {}
    waiting: dict[int, Tensor] = {}

    def gain(register: str, moved: Tensor) -> None:
        gradients[register] = gradients[register] + moved if register in gradients else moved

    for step in reversed(steps):
        match step:
            case Unembed():
                start = direction.new_zeros(len(model.recording), len(direction), 1)
                start[position, :, 0] = direction
                gain(step.source, start)
            case Site():
                if step.name == dictionary.write_site:
                    written, skip = gradients.pop(step.register, None), sources.skip(step.layer)
                    if written is not None and skip is not None:
                        waiting[step.layer] = torch.matmul(skip.T, written)
                        waiting[step.layer][: model.first_position] = 0
                if step.name == dictionary.read_site:
                    if step.layer in waiting:
                        gain(step.register, waiting.pop(step.layer))
                    if step.layer in reads:
                        gain(step.register, reads[step.layer][:, :, None])
            case Add():
                if step.target in gradients:
                    gradients[step.source] = gradients[step.target]
            case Mlp():
                gradients.pop(step.target, None)
            case Embed():
                return gradients[step.target][:, :, 0]
            case _:
                if step.target in gradients:
                    gain(step.source, step.transpose(gradients.pop(step.target)))
    raise AssertionError("a recording begins with an embedding")
