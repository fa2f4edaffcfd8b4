"""What survives deleting edges, on graphs where it can be counted by hand; the facts about expanders; the verdicts."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import clew
from clew.attribution.expanders import (
    after_deleting,
    circulant,
    largest_component,
    random_regular,
    second_eigenvalue,
    spectral_gap,
    steps_to_mix,
)
from clew.attribution.nodes import TargetInfo
from clew.attribution.robustness import rewired, robustness
from clew.errors import InputError
from tests.graphs import MAKES, build, random_graph


def planted(edges, n_layers=2, width=6):
    """`width` tokens, a layer of `width` features each, one target; edges as ((layer, i), (layer, j)): weight."""
    keys = torch.tensor([(layer, 0, i) for layer in range(n_layers) for i in range(width)])
    n, tokens = len(keys), tuple(f" t{i}" for i in range(width))
    matrix = torch.zeros(n + width + 1, n + width + 1, dtype=torch.float64)

    def place(node):
        layer, i = node
        return n + i if layer == -1 else n + width if layer == n_layers else layer * width + i

    for (source, target), weight in edges.items():
        matrix[place(target), place(source)] = weight
    info = TargetInfo(label=" o", position=width - 1, weight=1.0, value=0.0, token=3, probability=1.0)
    return build(matrix, keys, torch.zeros(0, 2, dtype=torch.long), tokens, (info,), n_layers)


def parallel(width=6):
    """As many separate paths as there are tokens, all alike."""
    edges = {}
    for i in range(width):
        edges |= {((-1, i), (0, i)): 1.0, ((0, i), (1, i)): 1.0, ((1, i), (2, 0)): 1.0}
    return planted(edges, width=width)


def bottleneck(width=6):
    """Everything passes one edge between two features."""
    edges = {((0, 0), (1, 0)): 1.0, ((1, 0), (2, 0)): 1.0} | {((-1, i), (0, 0)): 1.0 for i in range(width)}
    return planted(edges, width=width)


def test_what_hangs_on_an_edge_and_what_spreads_are_told_apart():
    hanging, spread = robustness(bottleneck()), robustness(parallel(20))
    assert hanging.strongest_share == pytest.approx(1)
    assert hanging.verdict == "hangs on an edge"
    assert spread.strongest_share == pytest.approx(1 / 20)
    assert spread.verdict == "spreads"
    assert spread.beside_rewired == "more"  # rewired, its paths end at features without inputs, or share edges
    assert spread.survivals[0].strongest == pytest.approx(1 - 6 / 20)  # 6 of 60 edges, each a path of its own
    assert "its strongest edge" in spread.sentence
    assert json.loads(json.dumps(hanging.to_json()))["verdict"] == hanging.verdict


@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.3]))
@settings(deadline=None, max_examples=10)
def test_survival_is_that_of_a_plain_sum_over_paths(seed, share):
    graph = random_graph(seed, n_features=8, n_layers=3, n_tokens=3)
    found = robustness(graph, deleted=[share], draws=1, rewirings=1)
    matrix = graph.adjacency.abs()
    shares = torch.where(matrix.sum(1, keepdim=True) > 0, matrix / matrix.sum(1, keepdim=True).clamp_min(1e-30), 0.0)
    start = torch.zeros(graph.n_nodes, dtype=torch.float64)
    start[list(graph.target_range)] = graph.target_weights
    inner = torch.linalg.inv(torch.eye(graph.n_nodes, dtype=torch.float64) - shares)
    carried = (start @ inner)[:, None] * shares
    n_gone = round(share * int((carried > 0).sum()))
    gone = carried.flatten().argsort(descending=True, stable=True)[:n_gone]
    rest = shares.clone()
    rest.view(-1)[gone] = 0
    ends = (matrix.sum(1) == 0).nonzero()[:, 0].tolist()
    before, after = (
        float((start @ torch.linalg.inv(torch.eye(graph.n_nodes, dtype=torch.float64) - each))[ends].sum())
        for each in (shares, rest)
    )
    assert found.n_edges == int((carried > 0).sum())
    assert found.survivals[0].strongest == pytest.approx(after / before, abs=1e-9)


@given(MAKES)
@settings(deadline=None, max_examples=25)
def test_a_rewired_graph_has_the_same_weights_by_layer_and_no_edge_from_behind(make):
    graph = make()
    other = rewired(graph, torch.Generator().manual_seed(1))
    group = (graph.node_layers * 2 + graph.mask("error").long())[graph.col_nodes]
    for each in torch.unique(group).tolist():
        mine, its = graph.rows[:, group == each], other.rows[:, group == each]
        assert torch.equal(mine.sort(1).values, its.sort(1).values)
    behind = graph.node_positions[graph.col_nodes][None] > graph.node_positions[graph.row_nodes][:, None]
    assert not bool(other.rows[behind].any())
    torch.testing.assert_close(other.rows.abs().sum(1), graph.rows.abs().sum(1))


def test_random_regular_graphs_are_the_expanders_that_are_known():
    values = [second_eigenvalue(random_regular(100, 10, seed=seed)) for seed in range(20)]
    assert np.mean(values) == pytest.approx(5.505, abs=3 * 0.137 / 20**0.5 + 0.03)
    assert np.std(values) == pytest.approx(0.137, abs=0.08)
    assert second_eigenvalue(circulant(100, 10)) == pytest.approx(9.78, abs=0.005)
    rng = np.random.default_rng(0)
    for seed in range(5):
        assert largest_component(after_deleting(random_regular(100, 10, seed=seed), 0.3, rng)) >= 0.99


@pytest.mark.parametrize(("n", "degree"), [(60, 20), (61, 24), (80, 33), (100, 71)])
def test_dense_regular_graphs_are_expanders_too(n, degree):
    adjacency = random_regular(n, degree, seed=3)
    assert (adjacency.sum(1) == degree).all()
    assert (adjacency == adjacency.T).all()
    assert not adjacency.diagonal().any()
    least = 2 * (degree - 1) ** 0.5 * (1 - degree / n) ** 0.5
    assert second_eigenvalue(adjacency) < 1.15 * least
    assert not (adjacency == random_regular(n, degree, seed=4)).all()


def test_gaps_and_mixing_are_those_of_graphs_that_are_known():
    complete = np.ones((8, 8)) - np.eye(8)
    assert spectral_gap(complete) == pytest.approx(8 / 7)
    apart = np.kron(np.eye(2), np.ones((4, 4)) - np.eye(4))
    assert spectral_gap(apart) == pytest.approx(0)
    assert steps_to_mix(apart, 0) is None
    assert largest_component(apart > 0) == 0.5
    ring = circulant(40, 2).astype(float)
    assert steps_to_mix(complete, 0) < steps_to_mix(ring, 0)
    walk = np.eye(40)[0]
    for _ in range(steps_to_mix(ring, 0)):
        walk = 0.5 * walk + 0.25 * (np.roll(walk, 1) + np.roll(walk, -1))
    assert np.abs(walk - 1 / 40).sum() / 2 <= 0.25


def test_motifs_are_counted_by_hand():
    edges = {((-1, 0), (0, 0)): 1.0, ((0, 0), (1, 0)): 1.0, ((-1, 0), (1, 0)): 1.0, ((1, 0), (2, 0)): 1.0}
    assert robustness(planted(edges)).motifs == 1
    assert robustness(parallel()).motifs == 0


def test_minnows_circuit_has_a_verdict_beside_its_nulls():
    graph = clew.load("minnow").trace("The capital of France is").prune()
    found = robustness(graph, draws=5, rewirings=3)
    assert found.n_edges == int((graph.rows != 0).sum())
    lost = [each.strongest for each in found.survivals]
    assert lost == sorted(lost, reverse=True)
    assert all(each.strongest <= each.random.low for each in found.survivals)
    assert 0 < found.gap < 1
    assert 0 < found.eigenvalue < 1
    assert 0 < found.expander_eigenvalue.value < 1


def test_what_cannot_be_deleted_is_refused_in_one_line(monkeypatch):
    graph = random_graph(1)
    for message, work in (
        ("no edges that carry", lambda: robustness(replace(graph, rows=graph.rows * 0))),
        ("give shares in", lambda: robustness(graph, deleted=[1.5])),
        ("give shares in", lambda: robustness(graph, draws=0)),
        ("no graph of 5 nodes has degree 3", lambda: random_regular(5, 3)),
        ("even degree", lambda: circulant(9, 3)),
    ):
        with pytest.raises(InputError, match=message):
            work()
    monkeypatch.setattr("clew.attribution.robustness.MOST_NODES", 5)
    with pytest.raises(InputError, match="prune the graph"):
        robustness(graph)
