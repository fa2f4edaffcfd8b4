"""What a graph with effects predicts of edits to its own features, before the model is run with them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.local_model import LocalModel
from clew.attribution.prediction import Prediction, predict_removal
from clew.attribution.targets import target_directions
from clew.dictionary.dictionary import Dictionary
from clew.errors import InputError
from clew.intervention.edit import Edit, check
from clew.subject.subject import Subject


def predict_edits(subject: Subject, dictionary: Dictionary, graph: Graph, edits: Sequence[Edit]) -> Prediction:
    """What a graph's effects predict of some edits made together: one case.

    The features of the edited layers, and of those between them, are held, as `edit` clamps their outputs. InputError
    for a graph without effects, for an edit that is impossible, for steering, and for a feature that is set or added to
    where it does not fire in the graph: what it would do there, the graph does not say.
    """
    if not edits:
        raise InputError("no edit is given: name at least one, for example Edit.ablate('L3/1207@4')")
    model = LocalModel.of_graph(subject, dictionary, graph)
    check(edits, dictionary, n_positions=graph.n_tokens, first=graph.first_position, through=None, growing=0)
    removed = _removed(graph, edits)
    layers = [edit.feature.layer for edit in edits if edit.feature is not None]
    own = graph.feature_keys[:, 0]
    clamped: Bool[Tensor, " feature"] = (own >= min(layers)) & (own <= max(layers))
    return predict_removal(model, graph, removed, target_directions(subject, graph), clamped=clamped)


def _removed(graph: Graph, edits: Sequence[Edit]) -> Float[Tensor, "node 1"]:
    """The share of every node that the edits remove."""
    after = graph.activations.double().clone()
    for edit in edits:
        feature = edit.feature
        if edit.verb == "steer" or feature is None:
            raise InputError(f"{edit}: steering changes no feature of the graph; clew edit measures it")
        mask = edit.mask(0, graph.n_tokens, n_prompt=graph.n_tokens, first=graph.first_position)
        same = (graph.feature_keys[:, 0] == feature.layer) & (graph.feature_keys[:, 2] == feature.index)
        nodes = same.nonzero()[:, 0]
        positions = graph.feature_keys[nodes, 1]
        silent = mask.clone()
        silent[positions] = False
        if bool(silent.any()) and float(edit.result(torch.zeros(1))) != 0:
            at = int(silent.nonzero()[0])
            raise InputError(
                f"{edit}: {feature} is not in the graph at position {at}, so that what it would do there is not known; "
                "say the positions at which it fires, or measure with clew edit"
            )
        chosen = nodes[mask[positions]]
        after[chosen] = edit.result(after[chosen])
    removed = torch.zeros(graph.n_nodes, 1, dtype=torch.float64)
    before = graph.activations.double()
    removed[: graph.n_features, 0] = torch.where(before == 0, 0.0, 1 - after / before)
    return removed
