"""Edges through what is left out: the Schur complement, and what it conserves."""

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import clew
from clew.attribution.elimination import flow, flow_of_influence, kept_nodes
from clew.attribution.influence import influence, total_effect
from clew.errors import InputError
from tests.graphs import MAKES, random_graph

CLOSE = {"rtol": 1e-6, "atol": 1e-8}


def some_of(graph, seed):
    """Some features, errors and tokens."""
    nodes = range(graph.n_nodes - len(graph.targets))
    return [i for i in nodes if random.Random(f"{seed}:{i}").random() < 0.5]


@given(MAKES, st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_it_is_the_schur_complement_and_every_preactivation_still_adds_up(make, seed):
    graph = make()
    through = flow(graph, some_of(graph, seed))
    kept = kept_nodes(graph, some_of(graph, seed))
    matrix, pre = graph.adjacency, torch.zeros(graph.n_nodes, dtype=torch.float64)
    pre[: graph.n_features] = graph.preactivations
    dropped = (~kept & graph.mask("feature")).nonzero()[:, 0]
    places = kept.nonzero()[:, 0]
    divided = torch.where(pre[:, None] != 0, matrix / torch.where(pre == 0, 1.0, pre)[:, None], 0.0)
    inner = torch.eye(len(dropped), dtype=torch.float64) - divided[dropped][:, dropped]
    onwards = torch.linalg.solve(inner, divided[dropped][:, places])
    expected = matrix[places][:, places] + matrix[places][:, dropped] @ onwards
    torch.testing.assert_close(through.adjacency, expected, **CLOSE)
    torch.testing.assert_close(through.rows.sum(1) + through.row_offsets.sum(1), through.values, **CLOSE)


@given(MAKES, st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_total_effects_between_kept_nodes_are_those_of_the_whole_graph(make, seed):
    graph = replace(graph_ := make(), effect_rows=graph_.rows * 0.5)
    kept = kept_nodes(graph, some_of(graph, seed)).nonzero()[:, 0]
    through = flow(graph, some_of(graph, seed))
    for whole, part in ((graph, through), (graph.effects, through.effects)):
        sources = list(range(part.n_nodes - len(part.targets)))
        expected = total_effect(whole, kept[sources])[kept]
        torch.testing.assert_close(total_effect(part, sources), expected, **CLOSE)


@given(MAKES, st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_influence_of_kept_nodes_is_conserved(make, seed):
    graph = make()
    shares, kept = flow_of_influence(graph, some_of(graph, seed))
    start = torch.zeros(len(kept), dtype=torch.float64)
    start[-len(graph.targets) :] = graph.target_weights
    total = start @ torch.linalg.inv(torch.eye(len(kept), dtype=torch.float64) - shares) - start
    torch.testing.assert_close(total, influence(graph)[kept], **CLOSE)


@given(MAKES)
@settings(deadline=None, max_examples=15)
def test_with_every_node_kept_it_is_the_graph(make):
    graph = make()
    through = flow(graph, graph)
    torch.testing.assert_close(through.adjacency, graph.adjacency, **CLOSE)
    torch.testing.assert_close(through.offsets, graph.offsets, **CLOSE)


def test_a_pruned_graph_gets_back_what_flows_through_the_rest():
    graph = clew.load("minnow").trace("The capital of France is", targets=[" Paris"], effects=True)
    pruned = graph.prune()
    through = graph.flow(pruned)
    assert [node.id for node in through.nodes] == [node.id for node in pruned.nodes]
    source = pruned.feature_range[3]
    expected = total_effect(graph.effects, [graph.index(pruned.node(source).id)])[-1]
    found = total_effect(through.effects, [source])[-1]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert abs(float(total_effect(pruned.effects, [source])[-1] - expected)) > abs(float(found - expected))


def test_a_node_that_is_not_there_is_refused():
    graph = random_graph(1)
    for node, message in (("L9/3@0", "not a node of this graph"), (999, "is not one of this graph's")):
        with pytest.raises(InputError, match=message):
            flow(graph, [node])
