"""Which neurons get a row: those whose removal, to first order, changes the outputs the most.

Neurons are active nearly everywhere, so that a matrix of all of them is out of reach, and a ranking by rows as well.
One sweep of the targets with every neuron in the rest gives the gradient at each MLP output, hence activation times
gradient of all neurons at once: the effect over all paths, patterns and norm scales following. Where these cannot
follow, direct values take its place.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.attribution.local_model import LocalModel
from clew.attribution.nodes import OFFSETS
from clew.attribution.rest import Heard
from clew.attribution.target_rows import TargetRows
from clew.errors import UnsupportedModelError


def with_strongest(model: LocalModel, outputs: TargetRows, count: int | None) -> tuple[LocalModel, int]:
    """The model with that many neurons as sources of their own, and how many are active; the others are its rest."""
    sizes = _sizes(model, outputs)
    n_active = sum(int((size > 0).sum()) for size in sizes.values())
    if count is None or count >= n_active:
        return model, n_active
    chosen = torch.cat([size.flatten() for size in sizes.values()]).topk(count).indices.sort().values
    keys, start = [], 0
    for layer, size in sizes.items():
        inside = chosen[(chosen >= start) & (chosen < start + size.numel())] - start
        position, index = inside // size.shape[1], inside % size.shape[1]
        keys.append(torch.stack([torch.full_like(inside, layer), position, index], 1))
        start += size.numel()
    return model.with_kept(torch.cat(keys)), n_active


def _sizes(model: LocalModel, outputs: TargetRows) -> dict[int, Float[Tensor, "pos feature"]]:
    """The effect of every neuron on the outputs, absolute, weighted as they are; zero where it is not active."""
    dictionary, sizes = model.dictionary, {}
    by_values = None
    try:
        gradients = _gradients(model, outputs)
    except UnsupportedModelError:
        gradients, by_values = {}, _direct(model, outputs)
    for layer in sorted(dictionary.layers):
        values = dictionary.activations(layer, model.recording.sites[dictionary.read_site, layer]).abs()
        size = torch.zeros_like(values)
        if by_values is not None:
            keys, direct = by_values
            of_layer = keys[:, 0] == layer
            size[keys[of_layer, 1], keys[of_layer, 2]] = direct[of_layer].to(size)
        decoder = dictionary.layers[layer].decoder[:, 0].to(values)
        for gradient in gradients.get(layer, ()):
            for position, at_position in enumerate(gradient):
                size[position] += (decoder @ at_position).abs().sum(1) * values[position]
        # what the outputs do not see is active all the same, and comes last
        sizes[layer] = torch.where(values > 0, size.clamp_min(torch.finfo(size.dtype).tiny), 0)
        sizes[layer][: model.first_position] = 0
    return sizes


def _gradients(model: LocalModel, outputs: TargetRows) -> dict[int, list[Float[Tensor, "pos d_model reader"]]]:
    """Of the outputs, times their weights, at every MLP output."""
    weights = torch.tensor([info.weight for info in outputs.infos])
    gradients: dict[int, list[Tensor]] = {}

    def hear(layer: int, gradient: Tensor) -> None:
        scale = weights.to(gradient) if gradient.shape[2] == len(weights) else 1.0
        gradients.setdefault(layer, []).append(gradient * scale)

    bare = model.with_kept(model.recording.ids.new_empty(0, 3))
    assert bare.rest is not None
    _fill(replace(bare, rest=Heard(bare.rest, hear)), outputs, effects=True)
    return gradients


def _direct(model: LocalModel, outputs: TargetRows) -> tuple[Int[Tensor, "feature 3"], Float[Tensor, " feature"]]:
    """The direct values of all neurons into the outputs, absolute, weighted."""
    rows, sources = _fill(model, outputs, effects=False), model.sources
    weights = rows.new_tensor([info.weight for info in outputs.infos])
    return sources.feature_keys, (weights @ rows.abs())[sources.column_of[: sources.n_features]]


def _fill(model: LocalModel, outputs: TargetRows, *, effects: bool) -> Float[Tensor, "target col"]:
    sources, n_targets = model.sources, len(outputs.infos)
    rows = torch.zeros(n_targets, sources.n_nodes, dtype=sources.dtype, device=sources.device)
    offsets = rows.new_zeros(n_targets, len(OFFSETS))
    outputs.fill(model, rows, offsets, torch.zeros_like(rows) if effects else None)
    return rows
