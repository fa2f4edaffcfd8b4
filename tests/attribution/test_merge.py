"""Merged graphs: a merge of copies is the graph, means and shares are those of plain tables, strangers are refused."""

import json
from collections import defaultdict
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import clew
from clew.attribution.graph_checks import check_whole
from clew.attribution.merge import ANYWHERE, ELSEWHERE, merge, position_slots
from clew.errors import InputError, MismatchError
from tests.graphs import MAKES, random_graph

CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def with_effects(graph):
    return replace(graph, effect_rows=graph.rows * 0.5)


@given(MAKES, st.integers(1, 4), st.sampled_from(["all", "present"]), st.sampled_from(["label", "rank"]))
@settings(deadline=None, max_examples=40)
def test_a_merge_of_copies_is_the_graph(make, copies, over, targets):
    graph = with_effects(make())
    graphs = [graph] * copies
    merged = merge(graphs, position_slots(graphs), over=over, targets=targets)
    mean = check_whole(merged.graph)
    for mine, its in zip(mean.targets, graph.targets, strict=True):
        assert (mine.label, mine.position, mine.token) == (its.label, its.position, its.token)
        for name in ("weight", "value", "probability"):
            assert getattr(mine, name) == pytest.approx(getattr(its, name))
    assert (mean.tokens, mean.token_ids, mean.prompt) == (graph.tokens, graph.token_ids, graph.prompt)
    for name in ("feature_keys", "error_keys"):
        assert torch.equal(getattr(mean, name), getattr(graph, name))
    for name in ("activations", "preactivations", "offsets", "adjacency"):
        torch.testing.assert_close(getattr(mean, name), getattr(graph, name), **CLOSE)
    torch.testing.assert_close(mean.effects.adjacency, graph.effects.adjacency, **CLOSE)
    torch.testing.assert_close(mean.over_nodes(mean.input_mass), graph.over_nodes(graph.input_mass), **CLOSE)
    assert bool((merged.node_share == 1).all())
    assert torch.equal(merged.edge_share, (mean.rows != 0).to(mean.rows))
    assert merged.edge_spread.numel() == 0 or float(merged.edge_spread.max()) < 1e-9
    assert mean.scores().replacement == pytest.approx(graph.scores().replacement)


def table(graph, slots):
    """Edges by what their ends are, added up in plain loops."""

    def key(i):
        node = graph.node(i)
        kind = type(node).__name__
        label = getattr(node, "label", None)
        slot = slots[node.position]
        return kind, getattr(node, "layer", None), getattr(node, "feature", None), slot, label

    edges = defaultdict(float)
    matrix = graph.adjacency
    for t in range(graph.n_nodes):
        for s in range(graph.n_nodes):
            edges[key(t), key(s)] += float(matrix[t, s])
    return edges, {key(i) for i in range(graph.n_nodes)}


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=4), st.sampled_from(["all", "present"]))
@settings(deadline=None, max_examples=15)
def test_means_spreads_and_shares_are_those_of_plain_tables(seeds, over):
    graphs = [random_graph(seed, n_features=10, n_tokens=3, n_layers=2, d_features=3) for seed in seeds]
    slots = [("a", "b", "b")] * len(graphs)
    merged = merge(graphs, slots, over=over)
    check_whole(merged.graph)
    tables = [table(graph, of_graph) for graph, of_graph in zip(graphs, slots, strict=True)]
    names = ["a", "b"]
    _, nodes = table(merged.graph, names)
    assert nodes == set().union(*(keys for _, keys in tables))
    found, _ = table(merged.graph, names)
    spread, _ = table(replace(merged.graph, rows=merged.edge_spread), names)
    share, _ = table(replace(merged.graph, rows=merged.edge_share), names)
    for key in found:
        values = [edges.get(key, 0.0) for edges, _ in tables]
        there = [value for value in values if value]
        counted = values if over == "all" else there
        mean = sum(counted) / max(1, len(counted))
        assert found[key] == pytest.approx(mean, abs=1e-9)
        squares = sum((value - mean) ** 2 for value in counted) / max(1, len(counted))
        assert spread[key] == pytest.approx(squares**0.5, abs=1e-7)
        assert share[key] == pytest.approx(len(there) / len(graphs))


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=4))
@settings(deadline=None, max_examples=15)
def test_incoming_edges_and_offsets_still_add_up_to_the_mean_preactivation(seeds):
    graphs = [random_graph(seed, n_features=12) for seed in seeds]
    for slots in (None, position_slots(graphs)):
        mean = merge(graphs, slots).graph
        torch.testing.assert_close(mean.rows.sum(1) + mean.row_offsets.sum(1), mean.values, rtol=1e-7, atol=1e-9)


def test_without_slots_a_feature_is_one_node_and_tokens_go_by_their_text():
    kit = clew.load("minnow")
    graphs = [kit.trace(f"The capital of {c} is", max_features=100, targets=[f" {t}"]).prune()
              for c, t in (("France", "Paris"), ("Italy", "Rome"), ("Spain", "Madrid"))]  # fmt: skip
    merged = merge(graphs, targets="rank")
    graph = check_whole(merged.graph)
    assert graph.tokens[0] == ANYWHERE
    assert {" France", " Italy", " capital"} <= set(graph.tokens)
    keys = [{(layer, index) for layer, _, index in g.feature_keys.tolist()} for g in graphs]
    assert graph.n_features == len(set.union(*keys))
    assert int((merged.node_share[graph.part("feature")] == 1).sum()) == len(set.intersection(*keys))
    assert graph.targets[0].label == " Paris and 2 more"
    assert graph.targets[0].token is None
    assert merged.share_of("T@0") == 1 / 3 or merged.share_of("T@0") == 0
    assert [t.label for t in merge(graphs).graph.targets] == [" Paris", " Rome", " Madrid"]
    assert "3 graphs" in repr(merged)


def test_a_merged_graph_is_pruned_and_written(tmp_path):
    graphs = [random_graph(seed, n_features=15, d_features=5) for seed in (1, 2, 3)]
    merged = merge(graphs, position_slots(graphs))
    often = merged.prune(share=0.6)
    features = often.graph.part("feature")
    assert 0 < often.graph.n_features < merged.graph.n_features
    assert bool((often.node_share[features] >= 0.6).all())
    there = often.graph.rows != 0
    assert bool((often.edge_share[there] >= 0.6).all())
    for node in often.graph.nodes:
        assert often.share_of(node.id) == merged.share_of(node.id)
    assert bool((often.edge_share[~there] == 0).all())
    by_number = merged.prune(by=torch.arange(float(merged.graph.n_nodes)), share=0.6)
    assert by_number.graph.n_nodes <= merged.graph.n_nodes
    written = often.to_json(tmp_path / "merged.json")
    read = json.loads((tmp_path / "merged.json").read_text())
    assert read["format"] == "clew.merged"
    assert len(read["edges"]) == int(there.sum())
    edge = read["edges"][0]
    source, target = (often.graph.index(edge[end]) for end in ("source", "target"))
    assert edge["mean"] == pytest.approx(float(often.graph.adjacency[target, source]))
    assert len(written["nodes"]) == often.graph.n_nodes


def test_slots_in_part_put_the_rest_elsewhere():
    graphs = [random_graph(seed) for seed in (1, 2)]
    merged = merge(graphs, [{3: "last"}, {3: "last", 0: "first"}])
    assert merged.graph.tokens == (" t0", ELSEWHERE, " t3")  # a slot with one token everywhere shows it


def test_graphs_of_different_kits_are_refused_by_name():
    one = replace(random_graph(1), subject="minnow", dictionary="CLT", dictionary_fingerprint="a" * 64)
    other = replace(one, dictionary="PLT", dictionary_fingerprint="b" * 64)
    with pytest.raises(MismatchError, match=r"different kits, minnow with CLT \[aaaaaaaa\] and minnow with PLT"):
        merge([one, other])
    with pytest.raises(MismatchError, match="different kits, minnow with CLT and gpt2 with CLT"):
        merge([replace(one, dictionary_fingerprint=""), replace(one, dictionary_fingerprint="", subject="gpt2")])
    assert merge([one, replace(one, subject="minnow in int8")], position_slots([one, one])).node_share.min() == 1


def test_what_cannot_be_merged_is_refused_in_one_line():
    graph = random_graph(1)
    for message, error, work in (
        ("there is no graph", InputError, lambda: merge([])),
        ("slots are given for 1 graphs", InputError, lambda: merge([graph, graph], [["a"] * 4])),
        ("has 4 tokens, but 3 slots", InputError, lambda: merge([graph], [["a"] * 3])),
        ("position 7 is outside its 4 tokens", InputError, lambda: merge([graph], [{7: "a"}])),
        ("choose label or rank", InputError, lambda: merge([graph], targets="name")),
        ("some of the graphs have effects", InputError, lambda: merge([graph, with_effects(graph)])),
        ("layers: trace one model", MismatchError, lambda: merge([graph, replace(graph, n_layers=9)])),
        ("share 2 is not in", InputError, lambda: merge([graph]).present_in(2)),
    ):
        with pytest.raises(error, match=message):
            work()
