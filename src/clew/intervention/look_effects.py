"""Why a head looks somewhere, tested: the contrast of its score when a source is ablated, predicted and measured."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.influence import total_effect
from clew.attribution.local_model import check_traced_with
from clew.attribution.looks import Look, attention_of, contrasts, read_by
from clew.dictionary.dictionary import Dictionary
from clew.errors import InputError
from clew.intervention.edit import Edit
from clew.intervention.run import cases
from clew.subject.recording import SiteAt
from clew.subject.subject import Subject


def look_of(graph: Graph) -> Look:
    """The look that a graph explains; InputError when it explains outputs."""
    found = graph.settings.get("look")
    if not found:
        raise InputError("the graph explains outputs, not why a head looks somewhere: trace a look")
    try:
        return Look(**{**found, "others": tuple(found["others"])})
    except (KeyError, TypeError) as error:
        raise InputError(f"the graph does not say which look it explains ({error}): trace it anew") from error


def predicted_contrast(graph: Graph, sources: Sequence[int]) -> Float[Tensor, " source"]:
    """What the contrast loses when each source goes: both sides together, over all paths. Float64."""
    layers = graph.feature_keys[list(sources), 0]
    features, lost = graph.feature_keys[:, 0], torch.zeros(len(sources), dtype=torch.float64)
    for layer in torch.unique(layers).tolist():
        same = (layers == layer).nonzero()[:, 0]
        own = total_effect(graph, [sources[i] for i in same.tolist()], clamped=features == layer)
        lost[same] = own[list(graph.target_range)].sum(0)
    return lost


def strongest_ablations(graph: Graph, count: int) -> tuple[list[int], Float[Tensor, " source"]]:
    """The features in front of the head without which the contrast is predicted to change most, and what it loses."""
    before = (graph.feature_keys[:, 0] < look_of(graph).layer).nonzero()[:, 0]
    predicted = predicted_contrast(graph.effects, before.tolist())
    top = predicted.abs().argsort(descending=True, stable=True)[:count]
    return before[top].tolist(), predicted[top]


@torch.no_grad()
def measured_contrast(
    subject: Subject, dictionary: Dictionary, graph: Graph, sources: Sequence[int]
) -> Float[Tensor, " source"]:
    """What the contrast loses in the model when each source is ablated, its own layer clamped. Float64."""
    check_traced_with(subject, dictionary, graph)
    look, ids = look_of(graph), torch.tensor(graph.token_ids, device=subject.device)
    recording = subject.record(ids)
    site: SiteAt = ("resid_pre", look.layer)
    maps = attention_of(recording, look.layer)[0].query_key
    assert maps is not None
    before = read_by(subject, recording.sites[site], look.layer)
    whole = contrasts(maps, before, look)
    edits = [[Edit.ablate(str(graph.node(source).id))] for source in sources]
    through, lost = graph.feature_keys[list(sources), 0].tolist(), torch.zeros(len(sources), dtype=torch.float64)
    parts = cases(subject, dictionary, ids, edits, through=through, first=graph.first_position, keep=[site])
    for part in parts:
        stream = part.run.kept[site][1:].to(before)
        x = before.expand(len(stream), -1, -1).clone()
        x[:, part.start :] = read_by(subject, stream, look.layer)
        lost[list(part.cases)] = (whole - contrasts(maps, x, look)).double().cpu()
    return lost
