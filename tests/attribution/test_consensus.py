"""What prunings and wordings agree on: one setting is the graph, and shares are counted."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.attribution.consensus import consensus, prunings
from clew.errors import InputError
from tests.graphs import MAKES, capital_graph


@given(MAKES, st.floats(0.3, 1), st.floats(0.5, 1))
@settings(deadline=None, max_examples=30)
def test_consensus_of_one_setting_is_the_graph(make, node, edge):
    [graph] = prunings(make(), [node], [edge])
    for share in (0.0, 1.0):
        agreed = consensus([graph], share=share)
        assert [n.id for n in agreed.graph.nodes] == [n.id for n in graph.nodes] or share == 1.0
        torch.testing.assert_close(agreed.graph.adjacency, graph.adjacency)
        assert bool((agreed.node_share == 1).all())
        assert set(agreed.edge_share.flatten().tolist()) <= {0.0, 1.0}


def test_shares_are_counts_over_settings_and_edges_keep_their_size():
    graph = capital_graph()
    settings = prunings(graph)
    agreed = consensus(settings)
    assert len(settings) == 12
    for node in agreed.graph.nodes:
        there = sum(node.id in {each.id for each in pruned.nodes} for pruned in settings)
        assert agreed.share_of(node.id) == pytest.approx(there / 12)
    whole = graph.adjacency
    places = [graph.index(node.id) for node in agreed.graph.nodes]
    rows = agreed.graph.adjacency
    there = rows != 0
    torch.testing.assert_close(rows[there], whole[places][:, places][there])
    most = consensus(settings, share=0.9)
    assert 0 < most.graph.n_features < agreed.graph.n_features
    assert bool((most.edge_share[most.graph.rows != 0] >= 0.9 - 1e-6).all())


def test_no_setting_is_refused():
    with pytest.raises(InputError, match="no setting to prune with"):
        prunings(capital_graph(), [])
    with pytest.raises(InputError, match="there is no graph"):
        consensus([])
