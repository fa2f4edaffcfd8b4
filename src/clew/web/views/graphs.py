"""Graphs as the page shows them: values of the library in views, rounded; nothing is computed here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from clew.attribution.algebra import paths_through, roles, strongest_paths
from clew.attribution.graph import Graph
from clew.attribution.influence import Scores, inflow, over_left_out, strongest_edges
from clew.attribution.nodes import OFFSETS, ErrorNode, FeatureNode, TargetNode, TokenNode, signed_label
from clew.ids import FeatureId
from clew.labels.display_names import Name
from clew.labels.in_prompt import NameHere
from clew.web.schema.graphs import (
    Count,
    CountsView,
    EdgeColumns,
    GraphNode,
    GraphView,
    LeftOutLink,
    Link,
    NodeDetail,
    Output,
    PathView,
    RolesView,
    ScorePair,
    ScoresView,
    Shares,
    Thresholds,
    WholeAndShown,
)
from clew.web.views.names_here import MOST_NAMED, Here, here_field, nothing_here
from clew.web.views.open_graph import OpenGraph, ShownGraph
from clew.web.views.token_rows import shown_row

Naming = Callable[[Graph, Sequence[FeatureId]], Mapping[FeatureId, Name]]
MOST_EDGES, MOST_PATHS, MOST_ROLES, MOST_LEFT_OUT = 100_000, 24, 30, 100
NAMELESS = Name("", "")


@dataclass(frozen=True, kw_only=True)
class NodeNames:
    """Whom a graph's nodes are named by: their features in general, and at their places of the prompt."""

    naming: Naming
    here: Here = nothing_here


def short(value: float) -> float:
    """Round to five digits: a person reads fewer, and the JSON stays small."""
    return float(f"{value:.5g}")


def shorts(values: torch.Tensor) -> list[Any]:
    """`short` of many values at once, in lists as deep as the tensor."""
    exact = values.detach().double().numpy()
    digits = 4 - np.floor(np.log10(np.where(exact == 0, 1.0, np.abs(exact))))
    scale = 10.0 ** np.clip(digits, -22, 22)  # powers of ten up to 22 are exact in float64
    rounded = np.where(np.abs(digits) > 22, exact, np.round(exact * scale) / scale)
    return np.where(scale < 1, np.round(exact * scale) * 10.0 ** np.clip(-digits, 0, 22), rounded).tolist()


def graph_view(
    id: str,
    open_graph: OpenGraph,
    thresholds: Thresholds,
    naming: Naming,
    *,
    of_kit: bool,
    here: Here = nothing_here,
) -> GraphView:
    """A graph pruned at thresholds; influence and shares are those of the whole graph."""
    shown = open_graph.shown(thresholds.node, thresholds.edge)
    graph, part = open_graph.graph, shown.graph
    part_inflow = inflow(part)
    names = naming(graph, features_of(part))
    columns = _columns(open_graph, shown.places, lost=part_inflow.lost, error=part_inflow.error)
    ranked = sorted(shown.places, key=open_graph.influence.neg().tolist().__getitem__)
    at_places = here(open_graph, [node for node in ranked if node < graph.n_features][:MOST_NAMED])
    nodes = [_node(open_graph, index, names, at_places, columns, i) for i, index in enumerate(shown.places)]
    ids = [node.id for node in nodes]
    node_roles = roles(part)
    return GraphView(
        id=id,
        prompt=graph.prompt,
        tokens=list(graph.tokens),
        shown=shown_row(graph.tokens),
        token_ids=list(graph.token_ids),
        n_layers=graph.n_layers,
        first_position=graph.first_position,
        first_reason=graph.first_reason,
        subject=graph.subject,
        dictionary=graph.dictionary,
        dictionary_kind=graph.dictionary_kind,
        of_kit=of_kit,
        targets=_asked_targets(graph),
        position=max((target.position for target in graph.targets), default=graph.n_tokens - 1),
        thresholds=thresholds,
        scores=_both_scores(open_graph, shown),
        shares=Shares(error=short(open_graph.inflow.mean_error), offset=short(open_graph.inflow.mean_offset)),
        counts=_counts(open_graph, shown),
        offset_names=list(OFFSETS),
        next_tokens=[Output(label=token, probability=short(p)) for token, p in graph.next_tokens],
        nodes=nodes,
        edges=_edges(part),
        paths=_paths(strongest_paths(part, MOST_PATHS), ids),
        roles=RolesView(
            inputs=[ids[i] for i in node_roles.inputs[:MOST_ROLES]],
            outputs=[ids[i] for i in node_roles.outputs[:MOST_ROLES]],
        ),
    )


def scores_view(open_graph: OpenGraph, thresholds: Thresholds) -> ScoresView:
    """Scores and counts of the whole graph and of what is shown at thresholds."""
    shown = open_graph.shown(thresholds.node, thresholds.edge)
    return ScoresView(thresholds=thresholds, scores=_both_scores(open_graph, shown), counts=_counts(open_graph, shown))


def node_view(
    open_graph: OpenGraph, index: int, thresholds: Thresholds, naming: Naming, limit: int, here: Here = nothing_here
) -> NodeDetail:
    """A node with its inputs and outputs in the whole graph, and which of them are shown at thresholds."""
    graph, shown = open_graph.graph, open_graph.shown(thresholds.node, thresholds.edge)
    inputs, outputs = graph.inputs(index), graph.outputs(index)
    effects = open_graph.effects
    in_effects, out_effects = (None, None) if effects is None else (effects.inputs(index), effects.outputs(index))
    sources, targets = strongest(inputs, limit), strongest(outputs, limit)
    indirect = over_left_out(graph, index, shown.mask)
    indirect[~shown.mask] = 0
    indirect[index] = 0
    indirect_sources = strongest(indirect, MOST_LEFT_OUT)
    listed = list(dict.fromkeys([index, *sources, *targets, *indirect_sources]))
    names, at_places = naming(graph, features_of(graph, set(listed))), here(open_graph, listed[:MOST_NAMED])
    mass = open_graph.mass.tolist()

    def link(other: int, weights: torch.Tensor, effects: torch.Tensor | None, target: int) -> Link:
        name, weight = name_of(graph, other, names), float(weights[other])
        effect: dict[str, Any] = {} if effects is None else {"effect": short(float(effects[other]))}
        return Link(
            **effect,
            **here_field(name, at_places.get(other)),
            id=str(graph.node(other).id),
            label=name.text,
            label_kind=name.kind,  # type: ignore[arg-type]
            weight=short(weight),
            share=short(weight / mass[target]) if mass[target] > 0 else 0.0,
            influence=short(float(open_graph.influence[other])),
            shown=bool(shown.mask[other]),
        )

    def left_out(other: int) -> LeftOutLink:
        name = name_of(graph, other, names)
        return LeftOutLink(
            id=str(graph.node(other).id),
            label=name.text,
            label_kind=name.kind,  # type: ignore[arg-type]
            **here_field(name, at_places.get(other)),
            direct=short(float(inputs[other])),
            through=short(float(indirect[other])),
        )

    columns = _columns(open_graph, [index], lost=torch.zeros(1), error=open_graph.inflow.error[[index]])
    paths, ids = [], [str(graph.node(place).id) for place in shown.places]
    if bool(shown.mask[index]):
        paths = _paths(paths_through(shown.graph, shown.places.index(index), 10), ids)
    return NodeDetail(
        node=_node(open_graph, index, names, at_places, columns, 0),
        shown=bool(shown.mask[index]),
        inputs=[link(other, inputs, in_effects, index) for other in sources],
        n_inputs=int((inputs != 0).sum()),
        outputs=[link(other, outputs, out_effects, other) for other in targets],
        n_outputs=int((outputs != 0).sum()),
        paths=paths,
        left_out=[left_out(other) for other in indirect_sources],
    )


# --- parts ----------------------------------------------------------------------------------------------------------


def _columns(
    open_graph: OpenGraph, indices: list[int], *, lost: torch.Tensor, error: torch.Tensor
) -> dict[str, list[Any]]:
    """Numbers of some nodes as columns: rounding a column is far faster than rounding each number."""
    features = [index for index in indices if index < open_graph.graph.n_features]
    return {
        "influence": shorts(open_graph.influence[indices]),
        "held": shorts(open_graph.node_thresholds[indices]),
        "mass": shorts(open_graph.mass[indices]),
        "offsets": shorts(open_graph.offsets[indices]),
        "lost": shorts(lost),
        "error": shorts(error),
        "activation": shorts(open_graph.graph.activations[features]),
        "value": shorts(open_graph.graph.preactivations[features]),
        "has_row": open_graph.has_row[indices].tolist(),
    }


def _node(
    open_graph: OpenGraph,
    index: int,
    names: Mapping[FeatureId, Name],
    at_places: Mapping[int, NameHere],
    columns: Mapping[str, list[Any]],
    row: int,
) -> GraphNode:
    """A node of the whole graph; `row` is its place in the columns, where features come first."""
    graph, node = open_graph.graph, open_graph.graph.node(index)
    fields: dict[str, Any] = {}
    match node:
        case FeatureNode(layer, _, feature, _):
            name = names.get(FeatureId(layer, feature), NAMELESS)
            label = _as_said(name, node.activation).text
            fields = {"layer": layer, "feature": str(FeatureId(layer, feature)), "label": label}
            fields |= {"label_kind": name.kind, **here_field(name, at_places.get(index))}
            fields |= {"activation": columns["activation"][row], "value": columns["value"][row]}
        case TokenNode(position):
            fields = {"label": graph.tokens[position], "token_id": graph.token_ids[position]}
        case TargetNode(label, _, weight, rank):
            target = graph.targets[rank]
            fields = {"label": label, "weight": short(weight), "value": short(target.value)}
            if target.probability is not None:
                fields["probability"] = short(target.probability)
            if target.token is not None:
                fields["token_id"] = target.token
        case _:
            fields = {"layer": node.layer}
            if graph.error_name == "rest":
                fields["label"] = name_of(graph, index, {}).text
    if columns["has_row"][row]:
        fields["mass"] = columns["mass"][row]
    shares = {name: columns[name][row] for name in ("influence", "held", "error", "lost", "offsets")}
    return GraphNode(id=str(node.id), kind=node.id.kind, position=node.position, **shares, **fields)


def _asked_targets(graph: Graph) -> list[str]:
    """The targets that a trace of the page notes in its settings; of other graphs only what is no token tells."""
    noted = graph.settings.get("targets")
    if isinstance(noted, list) and all(isinstance(target, str) for target in noted):
        return noted
    return [target.label for target in graph.targets] if any(t.token is None for t in graph.targets) else []


def _edges(graph: Graph) -> EdgeColumns:
    """The most influential first; `held` is the share of the edges' influence up to and with each edge."""
    rows, cols, shares = strongest_edges(graph, MOST_EDGES)
    return EdgeColumns(
        source=graph.col_nodes[cols].tolist(),
        target=graph.row_nodes[rows].tolist(),
        weight=shorts(graph.rows[rows, cols]),
        held=shares.round(decimals=5).tolist(),
    )


def _paths(paths: Sequence[Any], ids: Sequence[str]) -> list[PathView]:
    return [PathView(nodes=[ids[node] for node in path.nodes], weight=short(path.weight)) for path in paths]


def _both_scores(open_graph: OpenGraph, shown: ShownGraph) -> WholeAndShown:
    return WholeAndShown(whole=score_pair(open_graph.scores), shown=score_pair(shown.scores))


def score_pair(scores: Scores) -> ScorePair:
    return ScorePair(replacement=short(scores.replacement), completeness=short(scores.completeness))


def _counts(open_graph: OpenGraph, shown: ShownGraph) -> CountsView:
    return CountsView(
        shown=Count(nodes=shown.graph.n_nodes, edges=shown.n_edges),
        whole=Count(nodes=open_graph.graph.n_nodes, edges=open_graph.n_edges),
    )


def features_of(graph: Graph, nodes: set[int] | None = None) -> list[FeatureId]:
    """The features among some nodes, or among all."""
    keys = graph.feature_keys.tolist()
    chosen = keys if nodes is None else [keys[node] for node in sorted(nodes) if node < graph.n_features]
    return [FeatureId(layer, index) for layer, _, index in chosen]


def name_of(graph: Graph, index: int, names: Mapping[FeatureId, Name]) -> Name:
    """What a node goes by; empty for what a dictionary misses, and for a feature that has no name."""
    node = graph.node(index)
    match node:
        case FeatureNode(layer, _, feature, activation):
            return _as_said(names.get(FeatureId(layer, feature), NAMELESS), activation)
        case TokenNode(position):
            return Name(graph.tokens[position], "")
        case TargetNode(label, _, _, _):
            return Name(label, "")
        case ErrorNode(layer, _) if graph.error_name == "rest":
            return Name(f"rest of layer {layer}", "")
        case _:
            return NAMELESS


def _as_said(name: Name, activation: float) -> Name:
    """A name of the tokens that a neuron promotes, turned round where it is negative; what people wrote stays."""
    return replace(name, text=signed_label(name.text, activation)) if name.kind == "promoted" else name


def strongest(values: torch.Tensor, limit: int) -> list[int]:
    """Indices of the largest absolute values that are not zero."""
    order = torch.sort(values.abs(), descending=True, stable=True).indices[:limit]
    return order[values[order] != 0].tolist()
