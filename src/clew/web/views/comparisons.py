"""Two graphs beside one another, and as one, as the page shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from clew.attribution.compare import Pair, compare
from clew.attribution.difference_graph import By, DifferenceEdge, DifferenceNode, DifferenceSide, difference_graph
from clew.attribution.graph import Graph
from clew.labels.display_names import Name
from clew.labels.in_prompt import NameHere
from clew.web.schema.comparisons import (
    ComparedFeature,
    ComparedGraph,
    ComparedOutput,
    CompareView,
    DifferenceEdgeView,
    DifferenceNodeView,
    DifferenceSideView,
    DifferenceView,
    InfluenceShares,
)
from clew.web.schema.graphs import Output
from clew.web.views.graphs import NAMELESS, Naming, NodeNames, score_pair, short
from clew.web.views.names_here import Here, here_field
from clew.web.views.open_graph import OpenGraph
from clew.web.views.token_rows import shown_row

MOST_COMPARED = 2000


def compare_view(
    ids: tuple[str, str], a: OpenGraph, b: OpenGraph, naming: Naming, of_kit: tuple[bool, bool]
) -> CompareView:
    """Two graphs side by side, with names from the first graph where both have one."""
    comparison = compare(a.graph, b.graph)
    pairs, shares = comparison.pairs[:MOST_COMPARED], comparison.shares
    names = dict(naming(b.graph, [pair.feature for pair in pairs if pair.b is not None]))
    names |= naming(a.graph, [pair.feature for pair in pairs if pair.a is not None])
    outputs: dict[str, dict[str, float]] = {}
    for side, graph in (("probability_a", a.graph), ("probability_b", b.graph)):
        for token, p in graph.next_tokens:
            outputs.setdefault(token, {})[side] = short(p)
    return CompareView(
        a=_compared(ids[0], a, of_kit[0]),
        b=_compared(ids[1], b, of_kit[1]),
        aligned=list(comparison.positions),
        outputs=[ComparedOutput(label=token, **sides) for token, sides in outputs.items()],
        features=[_pair(pair, a.graph, b.graph, names.get(pair.feature, NAMELESS)) for pair in pairs],
        n_shared=len(comparison.shared),
        n_only_a=len(comparison.only_a),
        n_only_b=len(comparison.only_b),
        influence_a=InfluenceShares(shared=short(shares[0][0]), only=short(shares[0][1])),
        influence_b=InfluenceShares(shared=short(shares[1][0]), only=short(shares[1][1])),
    )


def difference_view(a: OpenGraph, b: OpenGraph, names: NodeNames, by: By, features: int) -> DifferenceView:
    """Two graphs as one; MismatchError for graphs of different kits. Names tell what features do in b, else in a."""
    difference = difference_graph(a.graph, b.graph, by=by, features=features)
    listed = [node.feature for node in difference.nodes if node.feature is not None]
    general = {**names.naming(a.graph, listed), **names.naming(b.graph, listed)}
    here = _names_here(difference.nodes, a, names.here, "a") | _names_here(difference.nodes, b, names.here, "b")
    nodes = []
    for place, node in enumerate(difference.nodes):
        name = NAMELESS if node.feature is None else general.get(node.feature, NAMELESS)
        nodes.append(_difference_node(node, name, here.get(place)))
    return DifferenceView(
        by=difference.by,
        kind=difference.kind,
        columns=list(difference.columns),
        nodes=nodes,
        edges=[_difference_edge(edge) for edge in difference.edges],
        n_features=difference.n_features,
    )


def _names_here(
    nodes: Sequence[DifferenceNode], open_graph: OpenGraph, here: Here, side: Literal["a", "b"]
) -> dict[int, NameHere]:
    """What features do at their most influential place in one graph, by their places in the list."""
    parts = {place: node.a if side == "a" else node.b for place, node in enumerate(nodes) if node.feature is not None}
    places = {open_graph.graph.index(part.nodes[0]): place for place, part in parts.items() if part is not None}
    return {places[index]: name for index, name in here(open_graph, list(places)).items()}


def _difference_node(node: DifferenceNode, name: Name, here: NameHere | None) -> DifferenceNodeView:
    kind: Any = name.kind
    return DifferenceNodeView(
        kind=node.kind,
        feature=None if node.feature is None else str(node.feature),
        label=name.text,
        label_kind=kind,
        here=here_field(name, here).get("here"),
        layer=None if node.feature is None else node.feature.layer,
        column=node.column,
        status=node.status,
        change=short(node.change),
        a=_difference_side(node.a),
        b=_difference_side(node.b),
    )


def _difference_side(side: DifferenceSide | None) -> DifferenceSideView | None:
    if side is None:
        return None
    return DifferenceSideView(
        nodes=list(side.nodes),
        text=side.text,
        position=side.position,
        influence=short(side.influence),
        activation=short(side.activation),
        effect=short(side.effect),
    )


def _difference_edge(edge: DifferenceEdge) -> DifferenceEdgeView:
    return DifferenceEdgeView(
        source=edge.source,
        target=edge.target,
        a=None if edge.a is None else short(edge.a),
        b=None if edge.b is None else short(edge.b),
        influence_a=short(edge.influence_a),
        influence_b=short(edge.influence_b),
    )


def _compared(id: str, open_graph: OpenGraph, of_kit: bool) -> ComparedGraph:
    graph = open_graph.graph
    return ComparedGraph(
        id=id,
        prompt=graph.prompt,
        tokens=list(graph.tokens),
        shown=shown_row(graph.tokens),
        first_position=graph.first_position,
        outputs=[Output(label=token, probability=short(p)) for token, p in graph.next_tokens],
        scores=score_pair(open_graph.scores),
        of_kit=of_kit,
    )


def _pair(pair: Pair, a: Graph, b: Graph, name: Name) -> ComparedFeature:
    fields: dict[str, Any] = {}
    for side, graph, node, influence in (("a", a, pair.a, pair.influence_a), ("b", b, pair.b, pair.influence_b)):
        if node is not None:
            fields[f"position_{side}"] = int(graph.feature_keys[node, 1])
            fields[f"activation_{side}"] = short(float(graph.activations[node]))
            fields[f"influence_{side}"] = short(influence)
    where: Any = "only_b" if pair.a is None else "only_a" if pair.b is None else "shared"
    kind: Any = name.kind
    return ComparedFeature(feature=str(pair.feature), label=name.text, label_kind=kind, where=where, **fields)
