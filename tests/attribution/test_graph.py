"""The graph owns the layout of nodes, and its file."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from clew import files
from clew.attribution.graph import Graph
from clew.attribution.nodes import OFFSETS, ErrorNode, FeatureNode, TargetNode, TokenNode
from clew.errors import FileError, InputError
from clew.ids import FeatureId, NodeId
from tests.graphs import MAKES, Make, capital_graph, random_graph


@settings(max_examples=50, deadline=None)
@given(MAKES)
def test_node_index_id_and_text_are_bijections(make: Make) -> None:
    graph = make()
    for index, node in enumerate(graph.nodes):
        assert graph.index(node) == index
        assert graph.index(node.id) == index
        assert graph.index(str(node.id)) == index
        assert NodeId.parse(str(node.id)) == node.id
        assert graph.node(index) == node
    assert len({str(node.id) for node in graph.nodes}) == graph.n_nodes == len(graph) == len(graph.nodes)


@settings(max_examples=30, deadline=None)
@given(MAKES)
def test_nodes_stand_in_the_canonical_order(make: Make) -> None:
    graph = make()
    rank = {FeatureNode: 0, ErrorNode: 1, TokenNode: 2, TargetNode: 3}
    keys = []
    for node in graph.nodes:
        layer = node.layer if isinstance(node, FeatureNode | ErrorNode) else 0
        last = node.feature if isinstance(node, FeatureNode) else node.rank if isinstance(node, TargetNode) else 0
        keys.append((rank[type(node)], layer, node.position, last))
    assert keys == sorted(keys)
    for kind, where in zip(
        rank, (graph.feature_range, graph.error_range, graph.token_range, graph.target_range), strict=True
    ):
        assert all(isinstance(graph.node(i), kind) for i in where)


@settings(max_examples=30, deadline=None)
@given(MAKES)
def test_inputs_and_outputs_are_the_rows_and_columns_of_the_adjacency(make: Make) -> None:
    graph = make()
    whole = graph.adjacency
    for index, node in enumerate(graph.nodes):
        assert torch.equal(graph.inputs(index), whole[index])
        assert torch.equal(graph.outputs(node), whole[:, index])


@settings(max_examples=30, deadline=None)
@given(MAKES)
def test_stored_order_does_not_change_the_graph(make: Make) -> None:
    graph = make()
    straight = random_graph(0, scramble=False)
    scrambled = random_graph(0, scramble=True)
    assert torch.equal(straight.adjacency, scrambled.adjacency)
    assert torch.equal(straight.offsets, scrambled.offsets)
    total = graph.adjacency.sum(1) + graph.offsets.sum(1)
    torch.testing.assert_close(total[graph.row_nodes], graph.values)


@settings(max_examples=20, deadline=None)
@given(make=MAKES)
def test_a_graph_file_reads_back(make: Make, tmp_path_factory: pytest.TempPathFactory) -> None:
    graph = make()
    path = tmp_path_factory.mktemp("graph") / "x.graph"
    graph.save(path)
    assert_same(graph, Graph.load(path))


def assert_same(one: Graph, other: Graph, *, but: tuple[str, ...] = ("provenance",)) -> None:
    for name in (f.name for f in fields(Graph) if f.name not in but):
        mine, yours = getattr(one, name), getattr(other, name)
        if isinstance(mine, Tensor):
            assert mine.dtype == yours.dtype, name
            assert torch.equal(mine, yours), name
        else:
            assert mine == yours, name


def test_a_graph_file_keeps_labels_settings_and_who_computed_it(tmp_path: Path) -> None:
    graph = replace(capital_graph(), settings={"max_features": 7}, provenance={"seed": 3})
    graph.save(tmp_path / "a.graph")
    once = Graph.load(tmp_path / "a.graph")
    assert_same(graph, once)
    assert once.provenance["seed"] == 3
    assert once.provenance["packages"]["torch"] == torch.__version__
    other = replace(once, provenance={**once.provenance, "packages": {"torch": "0.0"}})
    other.save(tmp_path / "b.graph")
    assert Graph.load(tmp_path / "b.graph").provenance == other.provenance


def test_tensors_that_share_memory_can_be_saved(tmp_path: Path) -> None:
    graph = random_graph(1)
    shared = replace(graph, activations=graph.preactivations)
    shared.save(tmp_path / "x.graph")
    assert_same(shared, Graph.load(tmp_path / "x.graph"))


def refused(path: Path) -> str:
    with pytest.raises(FileError) as caught:
        Graph.load(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_graph_file_is_refused(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "x.graph"
    random_graph(1).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    refused(path)


def test_foreign_and_newer_files_are_refused_by_reason(tmp_path: Path) -> None:
    path = tmp_path / "x.graph"
    assert "no such file" in refused(path)
    path.write_text("hello")
    assert "safetensors" in refused(path)
    files.save_tensors(path, {"x": torch.zeros(2)})
    assert "holds no graph of Clew" in refused(path)
    files.save_tensors(path, {"x": torch.zeros(2)}, {"format": "clew.graph", "schema": "99", "head": "{}"})
    assert "upgrade clew" in refused(path)


def damage(note: dict[str, str], tensors: dict[str, Tensor], how: str) -> None:
    head = json.loads(note["head"])
    match how:
        case "no schema":
            del note["schema"]
        case "no head":
            del note["head"]
        case "head is no JSON":
            note["head"] = "{"
        case "head is a list":
            note["head"] = "[]"
        case "strange label":
            note["head"] = json.dumps({**head, "labels": {"nowhere": "x"}})
        case "strange field":
            note["head"] = json.dumps({**head, "colour": "red"})
        case "strange target":
            note["head"] = json.dumps({**head, "targets": [{"label": "x"}]})
        case "a tensor less":
            del tensors["input_mass"]
        case "a row less":
            tensors["rows"] = tensors["rows"][1:]
        case "a node too far":
            tensors["col_nodes"] = tensors["col_nodes"] + 1000


DAMAGES = (
    "no schema", "no head", "head is no JSON", "head is a list", "strange label", "strange field", "strange target",
    "a tensor less", "a row less", "a node too far",
)  # fmt: skip


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_graph_file_is_refused(tmp_path: Path, how: str) -> None:
    path = tmp_path / "x.graph"
    random_graph(1).save(path)
    note, tensors = files.load_note(path), files.load_tensors(path)
    damage(note, tensors, how)
    files.save_tensors(path, tensors, note)
    refused(path)


def test_what_the_graph_does_not_hold_is_refused() -> None:
    graph = random_graph(1)
    for wrong in ("L99/1@0", "T@99", "nonsense"):
        with pytest.raises(InputError):
            graph.index(wrong)
    for outside in (-1, graph.n_nodes):
        with pytest.raises(InputError, match="outside 0"):
            graph.node(outside)
        with pytest.raises(InputError, match="outside 0"):
            graph.inputs(outside)
    with pytest.raises(IndexError):
        graph.nodes[graph.n_nodes]
    assert graph.nodes[-1] == graph.node(graph.n_nodes - 1)
    assert graph.nodes[:2] == [graph.node(0), graph.node(1)]


def test_labels_are_shown_and_old_ones_stay() -> None:
    graph = random_graph(1)
    first = graph.node(0)
    assert isinstance(first, FeatureNode)
    name = FeatureId(first.layer, first.feature)
    labelled = graph.with_labels({name: "says hello"}).with_labels({FeatureId(9, 9): "other"})
    assert labelled.node_label(0) == f"{first.id} says hello"
    assert graph.node_label(0) == str(first.id)
    assert graph.node_label(graph.token_range.start) == repr(graph.tokens[0])
    assert graph.node_label(graph.target_range.start) == repr(graph.targets[0].label)
    assert graph.node_label(graph.error_range.start).endswith("error")


def test_offsets_have_four_named_parts() -> None:
    graph = random_graph(1)
    assert graph.offsets.shape == (graph.n_nodes, len(OFFSETS))
    assert OFFSETS == ("bias", "position", "sink", "left_out")
