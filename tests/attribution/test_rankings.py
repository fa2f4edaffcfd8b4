"""Every ranking against dense matrices, and graphs that are pruned by one."""

from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.influence import total_effect
from clew.attribution.rankings import RANKINGS, node_scores, ranking
from clew.errors import InputError
from tests.graphs import MAKES, Make, random_graph

EXACT = {"rtol": 1e-9, "atol": 1e-9}


def with_effects(graph: Graph, seed: int = 0) -> Graph:
    """The graph with other edges for effects, where it has edges at all."""
    noise = torch.randn(graph.rows.shape, generator=torch.Generator().manual_seed(seed), dtype=graph.rows.dtype)
    return replace(graph, effect_rows=graph.rows * noise)


def dense_scores(graph: Graph, name: str) -> Tensor:
    """By matrix powers over all nodes."""
    matrix, weights = graph.adjacency.double(), torch.zeros(graph.n_nodes, dtype=torch.float64)
    weights[graph.target_range.start :] = graph.target_weights.double()
    mass = matrix.abs().sum(1, keepdim=True)
    shares = torch.where(mass > 0, matrix / mass, 0.0)
    if name == "direct":
        return weights @ matrix
    if name == "total":
        effects = total_effect(graph, list(range(graph.target_range.start)))
        own = torch.eye(graph.n_nodes, dtype=torch.bool)[:, : effects.shape[1]]
        lost = weights @ torch.where(own, 0.0, effects)
        return torch.cat([lost, torch.zeros(len(graph.targets), dtype=torch.float64)])
    steps, now, scores = (shares.abs() if name == "influence" else shares), weights, torch.zeros_like(weights)
    while now.any():
        now = now @ steps
        scores = scores + now
    return scores


@settings(max_examples=40, deadline=None)
@given(MAKES)
def test_every_ranking_is_that_of_the_dense_reference(make: Make) -> None:
    graph = with_effects(make())
    for by in RANKINGS:
        which = graph.effects if by.endswith("-effects") else graph
        expected = dense_scores(which, by.removesuffix("-effects"))
        torch.testing.assert_close(node_scores(graph, by).double(), expected, **EXACT)


def test_signs_cancel_in_signed_influence_and_never_exceed_influence() -> None:
    graph = random_graph(3, n_features=30)
    signed, unsigned = node_scores(graph, "signed-influence"), node_scores(graph, "influence")
    assert bool((signed.abs() <= unsigned + 1e-12).all())
    assert bool((signed < 0).any())
    positive = replace(graph, rows=graph.rows.abs())
    torch.testing.assert_close(node_scores(positive, "signed-influence"), unsigned, **EXACT)


def test_a_ranking_puts_the_highest_first() -> None:
    graph = random_graph(4, n_features=25)
    for by in ("influence", "signed-influence", "direct", "total"):
        scores = node_scores(graph, by)[: graph.n_features]
        assert ranking(graph, by).tolist() == sorted(range(25), key=lambda i: (-float(scores[i]), i))


@settings(max_examples=40, deadline=None)
@given(MAKES, st.floats(0.3, 0.95), st.sampled_from(RANKINGS))
def test_pruning_by_a_ranking_keeps_the_fewest_nodes_that_speak_for_the_targets(
    make: Make, share: float, by: str
) -> None:
    graph = with_effects(make())
    scores = node_scores(graph, by).clamp_min(0)
    assume(float(scores.sum()) > 0)
    order = scores.sort(descending=True).values
    least = order[int((order.double().cumsum(0) < share * order.double().sum()).sum())]
    kept = {str(graph.node(i).id) for i in (scores >= least * (1 - 1e-6)).nonzero()[:, 0].tolist()}
    pruned = graph.prune(share, 1.0, by=by)
    free = {str(n.id) for n in (*list(graph.nodes)[graph.token_range.start :],)}
    assert {str(n.id) for n in pruned.nodes} <= kept | free
    assert {str(n.id) for n in graph.prune(share, 1.0, by=scores).nodes} == {str(n.id) for n in pruned.nodes}
    dangling = kept - {str(n.id) for n in pruned.nodes}
    assert not {name for name in dangling if name in free}


def test_pruning_is_by_influence_unless_said() -> None:
    graph = random_graph(5, n_features=40)
    assert list(graph.prune(0.6, 0.9).nodes) == list(graph.prune(0.6, 0.9, by="influence").nodes)
    assert list(graph.prune(0.6, 0.9).nodes) != list(graph.prune(0.6, 0.9, by="direct").nodes)


def test_wrong_rankings_are_refused_in_a_line() -> None:
    graph = random_graph(1)
    for by, says in (
        ("degree", "choose from influence, influence-effects"),
        ("total-effects", "trace it with effects"),
        ("-effects", "choose from"),
        (torch.ones(3), "numbers, one a node"),
        (torch.full((graph.n_nodes,), torch.nan), "finite"),
    ):
        with pytest.raises(InputError, match=says) as caught:
            graph.prune(by=by)
        assert "\n" not in str(caught.value)
