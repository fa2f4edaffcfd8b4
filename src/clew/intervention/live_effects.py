"""Live effects: what the model itself, to first order, loses of a target when each feature goes.

One reverse pass a target gives the gradient at every MLP output, and so the live gradient times activation of every
feature at once. A feature acts there as an edit does that clamps its own layer: through its decoder into that layer,
everything after it live. What parts a live effect from the graph's total effect passes through what the dictionary
misses of later MLPs.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.local_model import check_traced_with
from clew.attribution.targets import target_directions
from clew.dictionary.dictionary import Dictionary
from clew.subject.recording import SiteAt
from clew.subject.sites import Change, plus
from clew.subject.subject import Subject


def live_effects(subject: Subject, dictionary: Dictionary, graph: Graph) -> Float[Tensor, "feature target"]:
    """What every target's centred logit loses with each feature of the graph; NaN for one whose own layer it skips.

    MismatchError for a graph of another Dictionary or model; InputError for a target that the graph does not keep.
    """
    check_traced_with(subject, dictionary, graph)
    directions = target_directions(subject, graph)
    ids = torch.tensor([graph.token_ids], device=subject.device)
    lost = torch.full((graph.n_features, len(graph.targets)), torch.nan, dtype=torch.float64)
    for rank, gradients in enumerate(_gradients(subject, dictionary, graph, ids, directions)):
        for layer in torch.unique(graph.feature_keys[:, 0]).tolist():
            written = list(dictionary.written_layers(layer))
            if layer not in written:
                continue
            nodes = (graph.feature_keys[:, 0] == layer).nonzero()[:, 0]
            _, positions, features = graph.feature_keys[nodes].to(ids.device).T
            decoders = dictionary.decoder_rows(layer, features)[:, written.index(layer)].to(gradients[layer])
            along = (decoders * gradients[layer][positions]).sum(1).double().cpu()
            lost[nodes, rank] = along * graph.activations[nodes].double()
    return lost


def _gradients(
    subject: Subject, dictionary: Dictionary, graph: Graph, ids: Tensor, directions: Tensor
) -> list[list[Float[Tensor, "pos d_model"]]]:
    """For every target, its gradient at the MLP output of every layer."""
    shape = 1, ids.shape[1], subject.d_model
    leaves = [
        torch.zeros(shape, dtype=subject.dtype, device=ids.device, requires_grad=True) for _ in range(graph.n_layers)
    ]
    change: dict[SiteAt, Change] = {(dictionary.write_site, layer): plus(leaf) for layer, leaf in enumerate(leaves)}
    with torch.enable_grad():
        final = subject.run(ids, change=change, reads=[]).final[0]
        values = [final[t.position].to(d) @ d for t, d in zip(graph.targets, directions, strict=True)]
    last = len(values) - 1
    found = [torch.autograd.grad(value, leaves, retain_graph=rank < last) for rank, value in enumerate(values)]
    return [[gradient[0] for gradient in gradients] for gradients in found]
