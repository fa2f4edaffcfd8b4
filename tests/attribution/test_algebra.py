"""Paths, roles and the summary of a graph, against straightforward recomputation."""

from dataclasses import replace

import pytest
import torch

from clew.attribution.algebra import paths_through, roles, same_name_groups, strongest_paths
from clew.attribution.influence import influence, over_left_out, total_effect
from clew.attribution.nodes import TargetInfo
from clew.attribution.summary import summarise
from clew.ids import FeatureId
from tests.graphs import build, capital_graph, random_graph


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


@pytest.mark.parametrize("seed", range(6))
def test_paths_through_a_node_are_those_of_a_full_enumeration_that_pass_it(seed):
    graph = random_graph(seed, n_features=9, n_layers=3, n_tokens=3)
    weights = graph.target_weights.tolist()
    ranked = sorted(all_paths(graph), key=lambda p: -abs(p[1]) * weights[p[0][-1] - graph.target_range.start])
    for node in range(graph.n_nodes):
        passing = [path for path in ranked if node in path[0]]
        found = paths_through(graph, node, 12)
        assert len(found) == min(12, len(passing))
        for mine, (nodes, weight) in zip(found, passing, strict=False):
            assert mine.nodes == nodes
            assert mine.weight == pytest.approx(weight, rel=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_what_goes_over_left_out_nodes_is_the_total_effect_with_shown_features_held_less_the_edge(seed):
    graph = random_graph(seed, n_features=24, n_layers=4)
    shown = torch.rand(graph.n_nodes, generator=torch.Generator().manual_seed(seed)) < 0.5
    sources = list(range(graph.target_range.start))
    whole = total_effect(graph, sources, clamped=shown[: graph.n_features])
    for node in [*graph.feature_range, *graph.target_range]:
        expected = whole[node] - graph.adjacency[node, sources]
        expected[node : node + 1] = 0.0  # a removed node loses itself
        assert torch.allclose(over_left_out(graph, node, shown)[sources], expected, rtol=1e-9, atol=1e-9)
    every, none = torch.ones_like(shown), torch.zeros_like(shown)
    target = graph.target_range.start
    assert float(over_left_out(graph, target, every).abs().max()) == 0
    assert float(over_left_out(graph, target, none).abs().max()) > 0


def test_a_planted_detour_over_one_left_out_feature_carries_the_product_of_its_edges():
    """token -> hidden -> target beside token -> target: 3 and then 4 of hidden's pre-activation 6 make 2."""
    matrix = torch.zeros(3, 3, dtype=torch.float64)  # hidden, token, target
    matrix[0, 1], matrix[2, 0], matrix[2, 1] = 3.0, 4.0, 5.0
    offsets = torch.zeros(3, 4, dtype=torch.float64)
    offsets[0, 0] = 3.0
    target = TargetInfo(label="x", position=0, weight=1.0, value=0.0)
    graph = build(
        matrix, torch.tensor([[0, 0, 7]]), torch.zeros(0, 2, dtype=torch.long), ("a",), (target,), 1, offsets=offsets
    )
    shown = torch.tensor([False, True, True])
    assert over_left_out(graph, 2, shown).tolist() == [0.0, 2.0, 0.0]
    assert over_left_out(graph, 2, ~shown).tolist() == [0.0, 0.0, 0.0]


def test_groups_hold_features_of_one_name_at_one_position():
    graph = random_graph(2, n_features=30)
    names = {FeatureId(layer, index): ("Paris", " paris", "Rome")[index % 3] for layer, _, index in keys_of(graph)}
    found = same_name_groups(graph, names)
    expected: dict = {}
    for node, (layer, position, index) in enumerate(keys_of(graph)):
        name = names[FeatureId(layer, index)].strip().casefold()
        expected.setdefault((position, name), set()).add(node)
    assert {(p, name.casefold()): set(nodes) for (p, name), nodes in found.items()} == {
        key: nodes for key, nodes in expected.items() if len(nodes) > 1
    }
    through = influence(graph)
    totals = [float(through[list(nodes)].sum()) for nodes in found.values()]
    assert totals == sorted(totals, reverse=True)
    assert same_name_groups(graph, {}) == {}


def keys_of(graph):
    return [tuple(key) for key in graph.feature_keys.tolist()]


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


def test_a_summary_says_whether_the_first_position_is_left_out_and_why():
    graph = capital_graph()
    for first, reason, words in (
        (0, "", "kept"),
        (1, "its token is special", "left out (its token is special)"),
        (0, "an attention sink", "kept (an attention sink)"),
    ):
        summary = summarise(replace(graph, first_position=first, first_reason=reason))
        assert summary.first == f"the first position is {words}"
