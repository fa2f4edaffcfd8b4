"""Graphs as the page shows them: values of the library put into views, rounded; nothing is worked out here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from clew.attribution.algebra import paths_through, roles, strongest_paths
from clew.attribution.compare import Pair, compare
from clew.attribution.graph import Graph
from clew.attribution.influence import Scores, cumulative_share, edge_influence, inflow, over_left_out
from clew.attribution.nodes import OFFSETS, FeatureNode, TargetNode, TokenNode
from clew.ids import FeatureId
from clew.labels.display_names import Name
from clew.web.schema.graphs import (
    ComparedFeature,
    ComparedGraph,
    ComparedOutput,
    CompareView,
    Count,
    Counts,
    EdgeColumns,
    GraphNode,
    GraphView,
    InfluenceShares,
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
from clew.web.views.open_graph import Held, Shown

Naming = Callable[[Graph, Sequence[FeatureId]], Mapping[FeatureId, Name]]
MOST_EDGES, MOST_PATHS, MOST_ROLES, MOST_LEFT_OUT, MOST_COMPARED = 100_000, 24, 30, 100, 2000
NAMELESS = Name("", "")


def short(value: float) -> float:
    """Five digits: more than a person reads, fewer than are kept."""
    return float(f"{value:.5g}")


def shorts(values: torch.Tensor) -> list[Any]:
    """`short` of many at once, in lists as deep as the tensor."""
    plain = values.detach().double().numpy()
    digits = 4 - np.floor(np.log10(np.where(plain == 0, 1.0, np.abs(plain))))
    scale = 10.0 ** np.clip(digits, -22, 22)  # powers of ten that are exact
    small = np.where(np.abs(digits) > 22, plain, np.round(plain * scale) / scale)
    return np.where(scale < 1, np.round(plain * scale) * 10.0 ** np.clip(-digits, 0, 22), small).tolist()


def graph_view(id: str, held: Held, thresholds: Thresholds, naming: Naming, *, of_kit: bool) -> GraphView:
    """A graph at thresholds, influence as it is in the whole graph."""
    shown = held.shown(thresholds.node, thresholds.edge)
    graph, part = held.graph, shown.graph
    entering = inflow(part)
    names = naming(graph, _features(part))
    columns = _columns(held, shown.place, lost=entering.lost, error=entering.error)
    nodes = [_node(held, place, names, columns, i) for i, place in enumerate(shown.place)]
    ids = [node.id for node in nodes]
    speaking = roles(part)
    return GraphView(
        id=id,
        prompt=graph.prompt,
        tokens=list(graph.tokens),
        token_ids=list(graph.token_ids),
        n_layers=graph.n_layers,
        first_position=graph.first_position,
        subject=graph.subject,
        dictionary=graph.dictionary,
        dictionary_kind=graph.dictionary_kind,
        of_kit=of_kit,
        thresholds=thresholds,
        scores=_both_scores(held, shown),
        shares=Shares(error=short(held.entering.mean_error), offset=short(held.entering.mean_offset)),
        counts=_counts(held, shown),
        offset_names=list(OFFSETS),
        next_tokens=[Output(label=token, probability=short(p)) for token, p in graph.next_tokens],
        nodes=nodes,
        edges=_edges(part),
        paths=_paths(strongest_paths(part, MOST_PATHS), ids),
        roles=RolesView(
            inputs=[ids[i] for i in speaking.inputs[:MOST_ROLES]],
            outputs=[ids[i] for i in speaking.outputs[:MOST_ROLES]],
        ),
    )


def scores_view(held: Held, thresholds: Thresholds) -> ScoresView:
    shown = held.shown(thresholds.node, thresholds.edge)
    return ScoresView(thresholds=thresholds, scores=_both_scores(held, shown), counts=_counts(held, shown))


def node_view(held: Held, index: int, thresholds: Thresholds, naming: Naming, limit: int) -> NodeDetail:
    """A node in the whole graph, and what of it is shown at thresholds."""
    graph, shown = held.graph, held.shown(thresholds.node, thresholds.edge)
    inputs, outputs = graph.inputs(index), graph.outputs(index)
    into, out = _strongest(inputs, limit), _strongest(outputs, limit)
    around = over_left_out(graph, index, shown.mask)
    around[~shown.mask] = 0
    around[index] = 0
    over = _strongest(around, MOST_LEFT_OUT)
    names = naming(graph, _features(graph, {index, *into, *out, *over}))
    mass = held.mass.tolist()

    def link(other: int, weight: float, target: int) -> Link:
        name = _name(graph, other, names)
        return Link(
            id=str(graph.node(other).id),
            label=name.text,
            label_kind=name.kind,  # type: ignore[arg-type]
            weight=short(weight),
            share=short(weight / mass[target]) if mass[target] > 0 else 0.0,
            influence=short(float(held.influence[other])),
            shown=bool(shown.mask[other]),
        )

    columns = _columns(held, [index], lost=torch.zeros(1), error=held.entering.error[[index]])
    paths, ids = [], [str(graph.node(place).id) for place in shown.place]
    if bool(shown.mask[index]):
        paths = _paths(paths_through(shown.graph, shown.place.index(index), 10), ids)
    return NodeDetail(
        node=_node(held, index, names, columns, 0),
        shown=bool(shown.mask[index]),
        inputs=[link(other, float(inputs[other]), index) for other in into],
        n_inputs=int((inputs != 0).sum()),
        outputs=[link(other, float(outputs[other]), other) for other in out],
        n_outputs=int((outputs != 0).sum()),
        paths=paths,
        left_out=[
            LeftOutLink(
                id=str(graph.node(other).id),
                label=(name := _name(graph, other, names)).text,
                label_kind=name.kind,  # type: ignore[arg-type]
                direct=short(float(inputs[other])),
                through=short(float(around[other])),
            )
            for other in over
        ],
    )


def compare_view(ids: tuple[str, str], a: Held, b: Held, naming: Naming, of_kit: tuple[bool, bool]) -> CompareView:
    """Two graphs side by side."""
    found = compare(a.graph, b.graph)
    pairs, shares = found.pairs[:MOST_COMPARED], found.shares
    names = dict(naming(b.graph, [pair.feature for pair in pairs if pair.b is not None]))
    names |= naming(a.graph, [pair.feature for pair in pairs if pair.a is not None])
    outputs: dict[str, dict[str, float]] = {}
    for side, graph in (("probability_a", a.graph), ("probability_b", b.graph)):
        for token, p in graph.next_tokens:
            outputs.setdefault(token, {})[side] = short(p)
    return CompareView(
        a=_compared(ids[0], a, of_kit[0]),
        b=_compared(ids[1], b, of_kit[1]),
        aligned=list(found.positions),
        outputs=[ComparedOutput(label=token, **sides) for token, sides in outputs.items()],
        features=[_pair(pair, a.graph, b.graph, names.get(pair.feature, NAMELESS)) for pair in pairs],
        n_shared=len(found.shared),
        n_only_a=len(found.only_a),
        n_only_b=len(found.only_b),
        influence_a=InfluenceShares(shared=short(shares[0][0]), only=short(shares[0][1])),
        influence_b=InfluenceShares(shared=short(shares[1][0]), only=short(shares[1][1])),
    )


# --- parts ----------------------------------------------------------------------------------------------------------


def _columns(held: Held, places: list[int], *, lost: torch.Tensor, error: torch.Tensor) -> dict[str, list[Any]]:
    """Numbers of some nodes, rounded at once."""
    features = [place for place in places if place < held.graph.n_features]
    return {
        "influence": shorts(held.influence[places]),
        "held": shorts(held.held[places]),
        "mass": shorts(held.mass[places]),
        "offsets": shorts(held.offsets[places]),
        "lost": shorts(lost),
        "error": shorts(error),
        "activation": shorts(held.graph.activations[features]),
        "value": shorts(held.graph.preactivations[features]),
        "has_row": held.has_row[places].tolist(),
    }


def _node(
    held: Held, index: int, names: Mapping[FeatureId, Name], columns: Mapping[str, list[Any]], at: int
) -> GraphNode:
    """A node; `at` is its place in the columns, where features come first."""
    graph, node = held.graph, held.graph.node(index)
    own: dict[str, Any] = {}
    match node:
        case FeatureNode(layer, _, feature, _):
            name = names.get(FeatureId(layer, feature), NAMELESS)
            own = {"layer": layer, "feature": str(FeatureId(layer, feature)), "label": name.text}
            own |= {"label_kind": name.kind, "activation": columns["activation"][at], "value": columns["value"][at]}
        case TokenNode(position):
            own = {"label": graph.tokens[position], "token_id": graph.token_ids[position]}
        case TargetNode(label, _, weight, rank):
            target = graph.targets[rank]
            own = {"label": label, "weight": short(weight), "value": short(target.value)}
            if target.probability is not None:
                own["probability"] = short(target.probability)
            if target.token is not None:
                own["token_id"] = target.token
        case _:
            own = {"layer": node.layer}
    if columns["has_row"][at]:
        own["mass"] = columns["mass"][at]
    shares = {name: columns[name][at] for name in ("influence", "held", "error", "lost", "offsets")}
    return GraphNode(id=str(node.id), kind=node.id.kind, position=node.position, **shares, **own)


def _edges(graph: Graph) -> EdgeColumns:
    """The most influential first; `held` is the share of the edges' influence up to each."""
    carried = edge_influence(graph)
    where = graph.rows.nonzero()
    values = carried[where[:, 0], where[:, 1]]
    held = cumulative_share(values)
    order = torch.sort(values, descending=True, stable=True).indices[:MOST_EDGES]
    rows, cols = where[order, 0], where[order, 1]
    return EdgeColumns(
        source=graph.col_nodes[cols].tolist(),
        target=graph.row_nodes[rows].tolist(),
        weight=shorts(graph.rows[rows, cols]),
        held=held[order].double().round(decimals=5).tolist(),
    )


def _paths(paths: Sequence[Any], ids: Sequence[str]) -> list[PathView]:
    return [PathView(nodes=[ids[node] for node in path.nodes], weight=short(path.weight)) for path in paths]


def _both_scores(held: Held, shown: Shown) -> WholeAndShown:
    return WholeAndShown(whole=score_pair(held.scores), shown=score_pair(shown.scores))


def score_pair(scores: Scores) -> ScorePair:
    return ScorePair(replacement=short(scores.replacement), completeness=short(scores.completeness))


def _counts(held: Held, shown: Shown) -> Counts:
    return Counts(
        shown=Count(nodes=shown.graph.n_nodes, edges=shown.n_edges),
        whole=Count(nodes=held.graph.n_nodes, edges=held.n_edges),
    )


def _features(graph: Graph, nodes: set[int] | None = None) -> list[FeatureId]:
    """Features of some nodes, or of all, the most prominent nodes as they come."""
    keys = graph.feature_keys.tolist()
    chosen = keys if nodes is None else [keys[node] for node in sorted(nodes) if node < graph.n_features]
    return [FeatureId(layer, index) for layer, _, index in chosen]


def _name(graph: Graph, index: int, names: Mapping[FeatureId, Name]) -> Name:
    node = graph.node(index)
    match node:
        case FeatureNode(layer, _, feature, _):
            return names.get(FeatureId(layer, feature), NAMELESS)
        case TokenNode(position):
            return Name(graph.tokens[position], "")
        case TargetNode(label, _, _, _):
            return Name(label, "")
        case _:
            return NAMELESS


def _strongest(values: torch.Tensor, limit: int) -> list[int]:
    """Places of the largest absolute values that are not zero."""
    order = torch.sort(values.abs(), descending=True, stable=True).indices[:limit]
    return order[values[order] != 0].tolist()


def _compared(id: str, held: Held, of_kit: bool) -> ComparedGraph:
    graph = held.graph
    return ComparedGraph(
        id=id,
        prompt=graph.prompt,
        tokens=list(graph.tokens),
        first_position=graph.first_position,
        outputs=[Output(label=token, probability=short(p)) for token, p in graph.next_tokens],
        scores=score_pair(held.scores),
        of_kit=of_kit,
    )


def _pair(pair: Pair, a: Graph, b: Graph, name: Name) -> ComparedFeature:
    own: dict[str, Any] = {}
    for side, graph, node, through in (("a", a, pair.a, pair.influence_a), ("b", b, pair.b, pair.influence_b)):
        if node is not None:
            own[f"position_{side}"] = int(graph.feature_keys[node, 1])
            own[f"activation_{side}"] = short(float(graph.activations[node]))
            own[f"influence_{side}"] = short(through)
    where: Any = "only_b" if pair.a is None else "only_a" if pair.b is None else "shared"
    kind: Any = name.kind
    return ComparedFeature(feature=str(pair.feature), label=name.text, label_kind=kind, where=where, **own)
