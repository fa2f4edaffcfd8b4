"""What a graph from elsewhere must keep: edges lead from earlier layers to later ones, names mean what they say."""

import copy
from dataclasses import replace

import pytest
import torch

from clew.attribution.graph import Graph
from clew.attribution.graph_checks import check_whole
from clew.attribution.graph_json import cantor, from_json, to_json
from clew.attribution.nodes import TargetInfo
from clew.errors import FileError
from tests.graphs import build, random_graph

GRAPH = random_graph(3, n_features=30, density=1.0, scramble=False)


def within_a_layer(graph: Graph) -> tuple[int, int]:
    """Two features of the same layer, and the later of the same position or after."""
    layers = graph.feature_keys[:, 0].tolist()
    source = next(i for i in range(graph.n_features - 1) if layers[i] == layers[i + 1])
    return source, source + 1


def with_edge(graph: Graph, target: int, source: int) -> Graph:
    rows = graph.rows.clone()
    rows[graph.row_nodes == target, graph.col_nodes == source] = 0.5
    return replace(graph, rows=rows, input_mass=rows.abs().sum(1))


def test_an_edge_within_a_layer_is_refused() -> None:
    source, target = within_a_layer(GRAPH)
    for a, b in ((source, target), (target, source), (source, source)):
        with pytest.raises(FileError, match="an edge runs backwards"):
            check_whole(with_edge(GRAPH, a, b))


def test_an_errors_edge_into_its_own_layer_is_refused_and_into_the_next_is_not() -> None:
    layers = GRAPH.node_layers.tolist()
    target = next(i for i in GRAPH.feature_range if layers[i] == 1)
    first, second = (next(i for i in GRAPH.error_range if layers[i] == layer) for layer in (0, 1))
    check_whole(with_edge(GRAPH, target, first))
    with pytest.raises(FileError, match="an edge runs backwards"):
        check_whole(with_edge(GRAPH, target, second))


@pytest.mark.parametrize("turned", [False, True])
def test_a_link_within_a_layer_is_refused_when_graph_json_is_read(turned: bool) -> None:
    value = copy.deepcopy(to_json(GRAPH))
    names = [value["nodes"][i]["node_id"] for i in within_a_layer(GRAPH)]
    source, target = reversed(names) if turned else names
    value["links"].append({"source": source, "target": target, "weight": 0.5})
    with pytest.raises(FileError, match=f"the link from {source} to {target} runs backwards"):
        from_json(value)


def test_a_graph_without_a_target_explains_nothing() -> None:
    with pytest.raises(FileError, match="it explains 0 outputs"):
        check_whole(random_graph(3, n_targets=0))


def test_a_graph_without_a_token_has_no_prompt() -> None:
    target = TargetInfo(label="x", position=0, weight=1.0, value=0.0, token=3, probability=0.5)
    keys, errors = torch.zeros(0, 3, dtype=torch.long), torch.zeros(0, 2, dtype=torch.long)
    with pytest.raises(FileError, match="it has 0 tokens"):
        check_whole(build(torch.zeros(1, 1), keys, errors, (), (target,), 2))


def test_edges_are_more_than_their_absolute_sum_by_rounding_alone() -> None:
    check_whole(replace(GRAPH, input_mass=GRAPH.input_mass * (1 - 5e-4)))
    with pytest.raises(FileError, match="edges are more than its absolute input"):
        check_whole(replace(GRAPH, input_mass=GRAPH.input_mass * (1 - 2e-3)))


def test_a_link_to_a_node_that_is_not_there_is_counted_and_hides_none_of_the_others() -> None:
    value = to_json(GRAPH)
    strays = [{"source": "gone", "target": "gone too", "weight": 1.0}, {"source": "gone", "target": "x", "weight": 2.0}]
    back = from_json({**value, "links": [strays[0], *value["links"], strays[1]]})
    assert torch.equal(back.adjacency, GRAPH.adjacency)
    assert back.settings["links_without_nodes"] == 2


def test_a_features_index_is_the_one_in_its_name_even_where_its_number_could_be_a_pair() -> None:
    """Other programs give the plain index as the number, which for some is the pair of the layer and another index."""
    index = cantor(1, 5)
    keys, errors = torch.tensor([[1, 0, index]]), torch.zeros(0, 2, dtype=torch.long)
    target = TargetInfo(label="x", position=0, weight=1.0, value=0.0, token=3, probability=0.5)
    value = to_json(build(torch.zeros(3, 3), keys, errors, ("a",), (target,), 2))
    value["nodes"][0]["feature"] = index
    assert from_json(value).feature_keys.tolist() == [[1, 0, index]]
