"""Effects for a graph that was traced without them: found for its own rows and columns, whatever was kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.local_model import LocalModel, check_traceable
from clew.attribution.sources import Sources
from clew.attribution.sweep import Block, Readers
from clew.attribution.targets import target_directions
from clew.dictionary.dictionary import Dictionary
from clew.errors import InputError, MismatchError
from clew.subject.subject import Subject

_TOGETHER = 192  # features of neighbouring positions that are swept together


@torch.no_grad()
def add_effects(subject: Subject, dictionary: Dictionary, graph: Graph) -> Graph:
    """The same graph with effects beside its values; an edge that was pruned away has neither.

    MismatchError when the graph's features do not fire in this model's run of its tokens, InputError for a look, and
    UnsupportedModelError where a pattern is not found again from queries and keys.
    """
    if graph.effect_rows is not None:
        return graph
    if "look" in graph.settings:
        raise InputError("a look is traced with its effects: trace it again with effects=True")
    check_traceable(subject, dictionary)
    ids = torch.tensor(graph.token_ids, device=subject.device)
    model = LocalModel.record(subject, dictionary, ids, first_position=graph.first_position)
    sources, places = model.sources, _places(model.sources, graph)
    columns = sources.column_of[places[graph.col_nodes.to(places.device)]]
    found = graph.rows.new_empty(graph.rows.shape)
    for block, rows in _blocks(model, graph, places):
        effects = torch.zeros(block.n_readers, sources.n_nodes, dtype=sources.dtype, device=sources.device)
        model.fill_effects(block, effects)
        found[rows] = effects[:, columns].cpu().to(found.dtype)
    return replace(graph, effect_rows=found * (graph.rows != 0))


def _places(sources: Sources, graph: Graph) -> Int[Tensor, " node"]:
    """Where each of the graph's nodes stands among the sources (features, errors, tokens); -1 for targets."""
    where = {tuple(key): place for place, key in enumerate(sources.feature_keys.tolist())}
    errors = {tuple(key): place for place, key in enumerate(sources.error_keys.tolist(), len(where))}
    first_token = len(where) + len(errors)
    try:
        features = [where[tuple(key)] for key in graph.feature_keys.tolist()]
        missed = [errors[tuple(key)] for key in graph.error_keys.tolist()]
    except KeyError as error:
        raise MismatchError(
            f"the graph has a node at {error} that this model's run of its tokens does not have"
        ) from error
    tokens = range(first_token, first_token + graph.n_tokens)
    return torch.tensor([*features, *missed, *tokens, *[-1] * len(graph.targets)], device=sources.device)


def _blocks(
    model: LocalModel, graph: Graph, places: Int[Tensor, " node"]
) -> Iterator[tuple[Block, Int[Tensor, " reader"]]]:
    """Readers of the graph's rows, and which rows these are: the targets, then features by position."""
    is_feature = graph.row_nodes < graph.n_features
    dtype, device = model.sources.dtype, model.sources.device
    targets = (~is_feature).nonzero()[:, 0]
    if len(targets):
        ranks = (graph.row_nodes[targets] - graph.target_range.start).tolist()
        directions = target_directions(model.subject, graph)[ranks].to(dtype)
        positions = torch.tensor([graph.targets[rank].position for rank in ranks], device=device)
        yield Block(Readers(directions, positions, directions.new_zeros(len(ranks))), []), targets
    rows = is_feature.nonzero()[:, 0]
    keys = graph.feature_keys[graph.row_nodes[rows]]
    order = torch.argsort(keys[:, 1] * graph.n_layers - keys[:, 0], stable=True)
    row_of = torch.full((model.sources.n_features,), -1)
    row_of[places[graph.row_nodes[rows]].cpu()] = rows
    for part in rows[order].split(_TOGETHER):
        block, features = model.block(places[graph.row_nodes[part].to(device)])
        yield block, row_of[features.cpu()]
