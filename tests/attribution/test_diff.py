"""What parts two graphs: nothing parts a graph from itself, and what was planted is found with its effect."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings

import clew
from clew.attribution.diff import diff
from clew.attribution.influence import total_effect
from clew.errors import InputError, MismatchError
from tests.graphs import MAKES, random_graph


@given(MAKES)
@settings(deadline=None, max_examples=40)
def test_a_graph_differs_in_nothing_from_itself(make):
    graph = make()
    for each in (graph, replace(graph, effect_rows=graph.rows * 0.5)):
        found = diff(each, each)
        assert (found.changes, found.edges, bool(found)) == ((), (), False)
        assert "nothing differs" in found.sentence


@pytest.mark.parametrize("effects", [False, True])
def test_planted_changes_are_found_with_signed_effects(effects):
    a = random_graph(3)
    changed = a.rows.clone()
    row = a.row_of(a.target_range[1])
    column = int((a.rows[row] != 0).nonzero()[0])
    changed[row, column] *= -3
    b = replace(a, rows=changed, activations=a.activations.clone())
    b.activations[5] += 1
    if effects:
        a, b = (replace(graph, effect_rows=graph.rows * 0.5) for graph in (a, b))
    found = diff(a, b, target=" o1")
    assert found.kind == ("effects" if effects else "values")
    source = a.node(int(a.col_nodes[column])).id
    [edge] = found.edges
    assert (edge.source, edge.target) == (str(source), "O1@3")
    assert edge.b == pytest.approx(-3 * edge.a)
    of = {change.node_a: change for change in found.changes}
    one, other = ((graph.effects if effects else graph) for graph in (a, b))
    target = a.target_range[1]
    expected = [total_effect(graph, list(graph.feature_range))[target] for graph in (one, other)]
    for node in a.feature_range:
        name = str(a.node(node).id)
        before, after = (float(values[node]) for values in expected)
        if name in of:
            assert of[name].effect_a == pytest.approx(before)
            assert of[name].effect_b == pytest.approx(after)
        else:
            assert after == pytest.approx(before, abs=1e-5)
    assert of[str(a.node(5).id)].activation == pytest.approx(1)
    sizes = [abs(change.effect) for change in found.changes]
    assert sizes == sorted(sizes, reverse=True)


def test_what_one_graph_lacks_is_told():
    a = random_graph(4)
    keys = a.feature_keys.clone()
    keys[-1, 2] += 1000
    found = diff(a, replace(a, feature_keys=keys))
    [lost], [new] = found.only_a, found.only_b
    assert (lost.node_b, lost.activation_b, lost.effect_b) == (None, 0, 0)
    assert new.feature.index == lost.feature.index + 1000
    assert new.effect_b == pytest.approx(lost.effect_a)


def test_two_capitals_differ_most_in_what_says_the_capital():
    kit = clew.load("minnow")
    a, b = (kit.trace(f"The capital of {country} is", effects=True) for country in ("France", "Italy"))
    found = diff(a, b)
    assert (found.target_a, found.target_b) == (" Paris", " Rome")
    assert max(abs(change.effect) for change in found.changes) > 1
    value = found.to_json()
    assert value["changes"][0]["feature"] == str(found.changes[0].feature)
    assert value["positions"] == [[i, i] for i in range(a.n_tokens)]


def test_strangers_and_unknown_outputs_are_refused_in_one_line():
    graph = replace(random_graph(1), subject="minnow", dictionary="CLT")
    with pytest.raises(MismatchError, match="of different kits"):
        diff(graph, replace(graph, dictionary="PLT"))
    for target in (" nothing", 7):
        with pytest.raises(InputError, match=r"does not explain .* only ' o0', ' o1'"):
            diff(graph, graph, target=target)


def test_edges_between_some_nodes_are_those_of_the_adjacency():
    graph = random_graph(2)
    readers, sources = [0, 3, graph.target_range[0], graph.token_range[0]], [1, graph.token_range[1], graph.n_nodes - 1]
    torch.testing.assert_close(graph.between(readers, sources), graph.adjacency[readers][:, sources])
