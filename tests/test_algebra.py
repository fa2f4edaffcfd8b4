"""Paths, roles and the summary of a graph, against straightforward recomputation."""

import pytest
import torch

from clew.attribution.algebra import roles, strongest_paths
from clew.attribution.influence import influence
from clew.attribution.summary import summarise
from tests.graphs import random_graph


def dense_shares(graph):
    matrix = graph.adjacency
    mass = matrix.abs().sum(1, keepdim=True)
    return torch.where(mass > 0, matrix / mass.clamp_min(1e-30), 0.0)


def all_paths(graph):
    """Every path from a token to a target, by plain recursion."""
    share = dense_shares(graph)

    def back(nodes, weight):
        if nodes[0] in graph.token_range:
            yield nodes, weight
            return
        for source in share[nodes[0]].nonzero()[:, 0].tolist():
            yield from back((source, *nodes), weight * float(share[nodes[0], source]))

    for target in graph.target_range:
        yield from back((target,), 1.0)


@pytest.mark.parametrize("seed", range(6))
def test_strongest_paths_are_those_of_a_full_enumeration(seed):
    graph = random_graph(seed, n_features=9, n_layers=3, n_tokens=3)
    weights = graph.target_weights.tolist()
    ranked = sorted(all_paths(graph), key=lambda p: -abs(p[1]) * weights[p[0][-1] - graph.target_range.start])
    found = strongest_paths(graph, 25)
    assert len(found) == min(25, len(ranked))
    for mine, (nodes, weight) in zip(found, ranked, strict=False):
        assert mine.nodes == nodes
        assert mine.weight == pytest.approx(weight, rel=1e-9)


def test_a_path_is_signed_by_the_product_of_its_edges():
    graph = random_graph(3, n_features=9)
    share = dense_shares(graph)
    for path in strongest_paths(graph, 20):
        product = 1.0
        for source, target in zip(path.nodes, path.nodes[1:], strict=False):
            product *= float(share[target, source])
        assert path.weight == pytest.approx(product, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_roles_follow_their_definition(seed):
    graph = random_graph(seed, n_features=30)
    share, through = dense_shares(graph).abs(), influence(graph)
    tokens = slice(graph.token_range.start, graph.token_range.stop)
    first = graph.target_range.start
    found = roles(graph)
    inputs = {i for i in graph.feature_range if float(share[i, tokens].sum()) >= 0.5}
    direct = graph.target_weights @ share[first:]
    outputs = {i for i in graph.feature_range if through[i] > 0 and direct[i] >= 0.5 * through[i]}
    assert set(found.inputs) == inputs
    assert set(found.outputs) == outputs
    assert [float(through[i]) for i in found.outputs] == sorted(
        (float(through[i]) for i in found.outputs), reverse=True
    )


def test_summary_states_shares_of_error_and_offsets_of_the_nodes_input():
    graph = random_graph(5, n_features=25)
    summary = summarise(graph)
    matrix, offsets, through = graph.adjacency.abs(), graph.offsets.abs().sum(1), influence(graph)
    reach = through.clone()
    reach[graph.target_range.start :] += graph.target_weights
    whole = matrix.sum(1) + offsets
    reads = [*graph.feature_range, *graph.target_range]
    errors = matrix[:, graph.error_range.start : graph.error_range.stop].sum(1)
    weight = sum(float(reach[i]) for i in reads)
    assert summary.error_share == pytest.approx(
        sum(float(reach[i] * errors[i] / matrix[i].sum().clamp_min(1e-30)) for i in reads) / weight
    )
    assert summary.offset_share == pytest.approx(sum(float(reach[i] * offsets[i] / whole[i]) for i in reads) / weight)
    assert summary.replacement == graph.scores().replacement


def test_a_graph_without_features_has_a_summary():
    graph = random_graph(1, n_features=0)
    summary = summarise(graph)
    assert summary.input_features == summary.output_features == ()
    assert all(len(path.nodes) == 2 for path in summary.paths)
