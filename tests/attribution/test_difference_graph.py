"""One graph from two: alike where they are, and every edge of it is the sum of the edges that it stands for."""

from dataclasses import replace

import pytest
from hypothesis import given, settings

from clew.attribution.difference_graph import difference_graph
from clew.attribution.influence import influence
from clew.errors import InputError, MismatchError
from tests.graphs import MAKES, capital_graph, random_graph


@given(MAKES)
@settings(deadline=None, max_examples=30)
def test_a_graph_beside_itself_is_kept_whole(make):
    graph = make()
    for by in ("position", "feature"):
        found = difference_graph(graph, graph, by=by)
        assert {node.status for node in found.nodes} == {"kept"}
        assert [node.change for node in found.nodes] == [0.0] * len(found.nodes)
        assert all(edge.a == edge.b and edge.influence_a == edge.influence_b for edge in found.edges)


def test_an_edge_is_the_sum_of_the_edges_between_the_places_of_its_ends():
    a = random_graph(3, n_features=30, d_features=5)
    found = difference_graph(a, random_graph(4, n_features=30, d_features=5), by="feature", features=100, edges=1000)
    through = influence(a) / a.target_weights.sum()
    assert any(node.a and len(node.a.nodes) > 1 for node in found.nodes)
    for node in found.nodes:
        if node.kind == "feature" and node.a is not None:
            assert node.a.influence == pytest.approx(float(sum(through[a.index(each)] for each in node.a.nodes)))
    assert found.edges
    for edge in found.edges:
        source, target = found.nodes[edge.source].a, found.nodes[edge.target].a
        if source is None or target is None:
            assert edge.a is None
            continue
        pair = [[a.index(each) for each in side.nodes] for side in (target, source)]
        assert edge.a == pytest.approx(float(a.between(*pair).sum()), abs=1e-5)


def test_what_went_and_what_came_is_told_from_zero():
    graph = capital_graph()
    keys = graph.feature_keys.clone()
    keys[-1, 2] += 100_000  # one feature of b is another one
    other = replace(graph, feature_keys=keys)
    for by in ("position", "feature"):
        found = difference_graph(graph, other, by=by, features=1000, edges=10_000)
        gone = [node for node in found.nodes if node.status == "gone"]
        new = [node for node in found.nodes if node.status == "new"]
        assert [node.b for node in gone] == [None] == [node.a for node in new]
        assert gone[0].change == -new[0].change != 0
        for edge in found.edges:
            ends = {found.nodes[edge.source].status, found.nodes[edge.target].status}
            assert (edge.b is None) == ("gone" in ends)
            assert (edge.a is None) == ("new" in ends)


def test_graphs_of_two_kits_and_no_features_are_refused():
    graph = capital_graph()
    one, other = (replace(graph, dictionary_fingerprint=print_) for print_ in ("one", "other"))
    with pytest.raises(MismatchError):
        difference_graph(one, other)
    with pytest.raises(InputError, match="at least one feature"):
        difference_graph(graph, graph, features=0)
