"""What the page is sent of graphs is what the library says of them, at every threshold."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clew.attribution.algebra import paths_through, roles, strongest_paths
from clew.attribution.compare import compare
from clew.attribution.graph import Graph
from clew.attribution.graph_checks import check_whole
from clew.attribution.influence import cumulative_share, edge_influence, inflow, influence, over_left_out
from clew.errors import FileError
from clew.labels.display_names import Name
from clew.web.schema.graphs import Thresholds
from clew.web.views.comparisons import compare_view
from clew.web.views.graphs import graph_view, node_view, scores_view, short, shorts
from clew.web.views.open_graph import OpenGraph
from clew.web.workbench.graph_cache import GraphCache
from tests.graphs import capital_graph, random_graph

LEVELS = [(0.8, 0.98), (0.5, 0.9), (1.0, 1.0), (0.05, 0.05), (0.95, 1.0)]


def naming(graph, features):
    return {feature: Name(graph.labels.get(feature, "none"), "person") for feature in features}


def near(value):
    return pytest.approx(value, rel=1e-4, abs=1e-6)


@given(st.lists(st.floats(-1e15, 1e15).filter(lambda x: x == 0 or abs(x) > 1e-15), max_size=20))
def test_many_numbers_are_rounded_to_five_digits_as_one_by_one(values):
    many = shorts(torch.tensor(values, dtype=torch.float64))
    assert all(number == float(f"{number:.5g}") for number in many)
    assert many == pytest.approx([short(value) for value in values], rel=2e-5, abs=0)


def test_numbers_too_large_or_small_to_round_stay_as_they_are():
    values = [1e-300, -1.23456789e200, 5e-324, 0.0]
    assert shorts(torch.tensor(values, dtype=torch.float64)) == values


def seen(graph, node, edge):
    return graph_view("g", OpenGraph(graph), Thresholds(node=node, edge=edge), naming, of_kit=True)


def test_neurons_without_a_row_are_called_the_rest_of_their_layer():
    graph = capital_graph(0)
    for settings, names in ({}, {""}), ({"rest": "neurons"}, {f"rest of layer {i}" for i in range(graph.n_layers)}):
        view = seen(replace(graph, settings=settings), 1.0, 1.0)
        assert {node.label or "" for node in view.nodes if node.kind == "error"} <= names
        assert any(node.kind == "error" for node in view.nodes)


@pytest.mark.parametrize(("node", "edge"), LEVELS)
@pytest.mark.parametrize("seed", range(2))
def test_a_view_holds_the_pruned_graphs_nodes_with_the_whole_graphs_influence(seed, node, edge):
    whole = capital_graph(seed)
    part, view = whole.prune(node, edge), seen(whole, node, edge)
    assert [node.id for node in view.nodes] == [str(node.id) for node in part.nodes]
    through, thresholds = influence(whole), cumulative_share(influence(whole))
    entering = inflow(part)
    for i, node in enumerate(view.nodes):
        place = whole.index(node.id)
        assert node.influence == near(float(through[place]))
        assert node.held == near(float(thresholds[place]))
        assert (node.error, node.lost) == (near(float(entering.error[i])), near(float(entering.lost[i])))
        assert node.offsets == near(whole.offsets[place].tolist())
        if node.kind == "feature":
            assert node.activation == near(float(whole.activations[place]))
            assert node.value == near(float(whole.preactivations[place]))
            assert node.label == naming(whole, [whole.node(place).id.feature])[whole.node(place).id.feature].text
    assert view.scores.whole.replacement == near(whole.scores().replacement)
    assert view.scores.shown.completeness == near(part.scores().completeness)
    assert (view.counts.shown.nodes, view.counts.shown.edges) == (part.n_nodes, int((part.rows != 0).sum()))
    assert view.counts.whole.nodes == whole.n_nodes
    assert (view.shares.error, view.shares.offset) == (near(inflow(whole).mean_error), near(inflow(whole).mean_offset))


@pytest.mark.parametrize(("node", "edge"), LEVELS)
def test_edges_are_the_pruned_graphs_the_most_influential_first(node, edge):
    whole = capital_graph()
    part, view = whole.prune(node, edge), seen(whole, node, edge)
    columns = view.edges
    assert len(columns.source) == len(columns.target) == len(columns.weight) == len(columns.held)
    matrix = part.adjacency
    for source, target, weight in zip(columns.source, columns.target, columns.weight, strict=True):
        assert weight == near(float(matrix[target, source]))
    assert len(columns.source) == int((matrix != 0).sum())
    assert columns.held == sorted(columns.held)
    assert max(columns.held, default=1) == near(1)
    carried = torch.zeros_like(matrix)
    carried[part.row_nodes[:, None], part.col_nodes[None, :]] = edge_influence(part)
    order = carried[columns.target, columns.source].tolist()
    assert order == sorted(order, reverse=True)


def test_paths_and_roles_are_the_pruned_graphs():
    whole = capital_graph()
    part, view = whole.prune(), seen(whole, 0.8, 0.98)
    ids = [node.id for node in view.nodes]
    paths = strongest_paths(part, 24)
    assert [path.nodes for path in view.paths] == [[ids[node] for node in path.nodes] for path in paths]
    assert [path.weight for path in view.paths] == [near(path.weight) for path in paths]
    assert view.roles.inputs == [ids[node] for node in roles(part).inputs[:30]]


@pytest.mark.parametrize(("node", "edge"), LEVELS)
def test_scores_alone_are_those_of_the_view(node, edge):
    whole, thresholds = capital_graph(), Thresholds(node=node, edge=edge)
    alone, view = scores_view(OpenGraph(whole), thresholds), seen(whole, node, edge)
    assert (alone.scores, alone.counts) == (view.scores, view.counts)


@pytest.mark.parametrize("seed", range(3))
def test_a_nodes_links_are_its_row_and_column_in_the_whole_graph_by_absolute_weight(seed):
    whole = random_graph(seed, n_features=25)
    open_graph, thresholds = OpenGraph(whole), Thresholds(node=0.6, edge=0.9)
    shown = {str(node.id) for node in whole.prune(0.6, 0.9).nodes}
    matrix, mass = whole.adjacency, whole.adjacency.abs().sum(1)
    for index in range(whole.n_nodes):
        view = node_view(open_graph, index, thresholds, naming, 1000)
        assert view.shown == (view.node.id in shown)
        for links, weights, target in (
            (view.inputs, matrix[index], lambda other, own=index: own),
            (view.outputs, matrix[:, index], lambda other: other),
        ):
            assert {link.id for link in links} == {str(whole.node(i).id) for i in weights.nonzero()[:, 0].tolist()}
            assert [abs(link.weight) for link in links] == sorted((abs(link.weight) for link in links), reverse=True)
            for link in links:
                other = whole.index(link.id)
                assert link.weight == near(float(weights[other]))
                assert link.share == near(float(weights[other] / mass[target(other)]))
                assert link.shown == (link.id in shown)
        assert view.n_inputs == len(view.inputs)
        assert node_view(open_graph, index, thresholds, naming, 2).n_inputs == view.n_inputs


@pytest.mark.parametrize("seed", range(3))
def test_what_flows_over_left_out_nodes_comes_from_shown_ones_alone(seed):
    whole = random_graph(seed, n_features=25)
    open_graph, thresholds = OpenGraph(whole), Thresholds(node=0.5, edge=0.9)
    mask = open_graph.shown(0.5, 0.9).mask
    index = whole.target_range.start
    view, expected = node_view(open_graph, index, thresholds, naming, 10), over_left_out(whole, index, mask)
    assert view.left_out
    for link in view.left_out:
        other = whole.index(link.id)
        assert bool(mask[other])
        assert link.through == near(float(expected[other]))
        assert link.direct == near(float(whole.adjacency[index, other]))
    assert [abs(link.through) for link in view.left_out] == sorted(
        (abs(o.through) for o in view.left_out), reverse=True
    )


def test_paths_through_a_node_are_found_among_the_nodes_shown():
    whole = capital_graph()
    part = whole.prune()
    open_graph, thresholds = OpenGraph(whole), Thresholds(node=0.8, edge=0.98)
    for place in range(0, part.n_nodes, 7):
        node = part.node(place)
        view = node_view(open_graph, whole.index(node), thresholds, naming, 10)
        expected = paths_through(part, place, 10)
        assert [path.nodes for path in view.paths] == [[str(part.node(i).id) for i in path.nodes] for path in expected]


def test_a_comparison_says_where_each_feature_is_and_what_it_weighs_there():
    a, b = random_graph(1, n_features=40, d_features=6), random_graph(2, n_features=40, d_features=6)
    view, comparison = compare_view(("a", "b"), OpenGraph(a), OpenGraph(b), naming, (True, False)), compare(a, b)
    assert (view.n_shared, view.n_only_a, view.n_only_b) == tuple(
        map(len, (comparison.shared, comparison.only_a, comparison.only_b))
    )
    for feature, pair in zip(view.features, comparison.pairs, strict=True):
        assert feature.feature == str(pair.feature)
        assert feature.where == ("only_b" if pair.a is None else "only_a" if pair.b is None else "shared")
        if pair.a is not None:
            assert feature.position_a == int(a.feature_keys[pair.a, 1])
            assert (feature.influence_a, feature.activation_a) == (
                near(pair.influence_a),
                near(float(a.activations[pair.a])),
            )
        else:
            assert feature.position_a is feature.influence_a is feature.activation_a is None
    assert view.aligned == list(comparison.positions)


def test_a_graph_without_features_has_every_view():
    whole = random_graph(1, n_features=0)
    assert seen(whole, 0.8, 0.98).nodes
    assert node_view(OpenGraph(whole), whole.target_range.start, Thresholds(node=0.8, edge=0.98), naming, 5).inputs
    assert compare_view(("a", "b"), OpenGraph(whole), OpenGraph(whole), naming, (True, True)).features == []


def test_the_cache_keeps_the_graphs_looked_at_last_within_its_bound(monkeypatch):
    loaded = []

    def load(name):
        loaded.append(name)
        return random_graph(int(name))

    monkeypatch.setattr("clew.web.workbench.graph_cache.MOST_BYTES", 3 * random_graph(0).rows.nbytes)
    cache = GraphCache(load)
    for name in "0101020123":
        assert cache[name].graph.prompt
    assert loaded == ["0", "1", "2", "3"]
    cache["0"]
    assert loaded[-1] == "0"
    cache.drop("0")
    cache["0"]
    assert loaded.count("0") == 3


def test_effects_count_in_the_bound_of_the_cache(monkeypatch):
    def load(name):
        graph = random_graph(int(name))
        return replace(graph, effect_rows=graph.rows.clone())

    monkeypatch.setattr("clew.web.workbench.graph_cache.MOST_BYTES", 3 * random_graph(0).rows.nbytes)
    cache = GraphCache(load)
    first = cache["0"]
    assert cache["0"] is first
    cache["1"]  # values alone would have room beside those of the first
    assert cache["0"] is not first


# --- graphs from elsewhere ------------------------------------------------------------------------------------------


def swap(t):
    return t[torch.tensor([1, 0, *range(2, len(t))])]


BROKEN = {
    "outside its layers": lambda g: replace(g, feature_keys=g.feature_keys + torch.tensor([99, 0, 0])),
    "outside the tokens": lambda g: replace(g, feature_keys=g.feature_keys + torch.tensor([0, 99, 0])),
    "below zero": lambda g: replace(g, error_keys=g.error_keys - 1),
    "out of order": lambda g: replace(g, feature_keys=swap(g.feature_keys)),
    "twice": lambda g: replace(g, feature_keys=g.feature_keys[torch.tensor([0, *range(len(g.feature_keys) - 1)])]),
    "two rows": lambda g: replace(g, row_nodes=g.row_nodes[torch.tensor([0, *range(len(g.row_nodes) - 1)])]),
    "a token reads": lambda g: replace(g, row_nodes=torch.where(g.row_nodes == 0, g.token_range.start, g.row_nodes)),
    "an output is read": lambda g: replace(g, col_nodes=torch.where(g.col_nodes == 0, g.n_nodes - 1, g.col_nodes)),
    "backwards": lambda g: replace(g, rows=torch.ones_like(g.rows)),
    "nan": lambda g: replace(g, rows=g.rows * float("nan")),
    "infinite": lambda g: replace(g, activations=g.activations + float("inf")),
    "negative mass": lambda g: replace(g, input_mass=-g.input_mass),
    "half a character": lambda g: replace(g, tokens=("\ud800", *g.tokens[1:])),
    "no outputs": lambda g: replace(g, targets=()),
    "weight": lambda g: replace(g, targets=(replace(g.targets[0], weight=float("nan")), *g.targets[1:])),
    "fewer ids": lambda g: replace(g, token_ids=g.token_ids[1:]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_graph_that_breaks_a_promise_is_refused_in_one_line(name):
    with pytest.raises(FileError, match="not a whole graph"):
        check_whole(BROKEN[name](random_graph(3, n_features=20)))


@pytest.mark.parametrize("seed", range(4))
def test_our_own_graphs_keep_their_promises(seed, tmp_path):
    graph = random_graph(seed, n_features=20, dtype=torch.float32)
    assert check_whole(graph) is graph
    check_whole(graph.prune())
    check_whole(capital_graph(seed))
    check_whole(Graph.from_json(graph.to_json()))
