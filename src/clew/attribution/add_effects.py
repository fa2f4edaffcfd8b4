"""Effects for a graph that was traced without them: found for its own rows and columns, whatever was kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.local_model import LocalModel
from clew.attribution.sweep import Block, Readers
from clew.attribution.targets import target_directions
from clew.dictionary.dictionary import Dictionary
from clew.errors import InputError
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
    model = LocalModel.of_graph(subject, dictionary, graph)
    sources, columns = model.sources, model.columns(graph)
    places = sources.col_nodes[columns[: graph.n_features]]
    columns = columns[graph.col_nodes.to(columns.device)]
    found = graph.rows.new_empty(graph.rows.shape)
    for block, rows in _blocks(model, graph, places):
        effects = torch.zeros(block.n_readers, sources.n_nodes, dtype=sources.dtype, device=sources.device)
        model.fill_effects(block, effects)
        found[rows] = effects[:, columns].cpu().to(found.dtype)
    return replace(graph, effect_rows=found * (graph.rows != 0))


def _blocks(
    model: LocalModel, graph: Graph, places: Int[Tensor, " feature"]
) -> Iterator[tuple[Block, Int[Tensor, " reader"]]]:
    """Readers of the graph's rows, and which rows these are: the targets, then features by position.

    `places` says where the graph's features stand among the sources.
    """
    is_feature = graph.row_nodes < graph.n_features
    dtype, device = model.sources.dtype, model.sources.device
    targets = (~is_feature).nonzero()[:, 0]
    if len(targets):
        ranks = graph.row_nodes[targets] - graph.target_range.start
        directions = target_directions(model.subject, graph)[ranks.to(device)].to(dtype)
        positions = torch.tensor([target.position for target in graph.targets], device=device)[ranks.to(device)]
        yield Block(Readers(directions, positions, directions.new_zeros(len(ranks))), []), targets
    rows = is_feature.nonzero()[:, 0]
    keys = graph.feature_keys[graph.row_nodes[rows]]
    order = torch.argsort(keys[:, 1] * graph.n_layers - keys[:, 0], stable=True)
    row_of = torch.full((model.sources.n_features,), -1)
    row_of[places[graph.row_nodes[rows]].cpu()] = rows
    for part in rows[order].split(_TOGETHER):
        block, features = model.block(places[graph.row_nodes[part].to(device)], slopes=True)
        yield block, row_of[features.cpu()]
