"""Graph JSON has the keys that its readers need, names no two nodes alike, and reads back."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.attribution.graph import Graph
from clew.attribution.graph_json import from_json, to_json
from clew.attribution.graph_json_nodes import cantor, uncantor
from clew.attribution.nodes import TargetInfo
from clew.errors import FileError
from clew.files import load_tensors, read_json, write_json
from clew.ids import FeatureId
from tests.attribution.test_graph import assert_same
from tests.graphs import MAKES, Make, build, capital_graph, random_graph
from tests.peer import KINDS, needs_peer, peer_inputs, run_peer

NODE_KEYS = {"node_id", "feature", "layer", "ctx_idx", "feature_type", "jsNodeId", "clerp"}
TYPES = {"cross layer transcoder", "mlp reconstruction error", "embedding", "logit"}


def is_graph_json(value: Any) -> bool:
    """Whether the tables of required keys are met, and what the pages compute with them works."""
    metadata, pinned = value["metadata"], value["qParams"]
    assert all(isinstance(metadata[key], str) for key in ("slug", "scan", "prompt"))
    assert all(isinstance(token, str) for token in metadata["prompt_tokens"])
    assert isinstance(pinned["pinnedIds"], list)
    assert isinstance(pinned["supernodes"], list)
    assert all(isinstance(pinned[key], str) for key in ("linkType", "clickedId", "sg_pos"))
    names = [node["node_id"] for node in value["nodes"]]
    assert len(set(names)) == len(names)
    last = max(int(n["layer"]) for n in value["nodes"] if n["feature_type"] not in ("embedding", "logit"))
    assert last > 0
    for node in value["nodes"]:
        assert node.keys() >= NODE_KEYS
        assert node["feature_type"] in TYPES
        assert isinstance(node["layer"], str)
        assert isinstance(node["feature"], int)
        assert 0 <= node["ctx_idx"] < len(metadata["prompt_tokens"])
        assert 0 <= node["influence"] <= 1 + 1e-6
        if node["feature_type"] == "logit":
            assert 0 <= float(node["clerp"].split("(p=")[1].split(")")[0]) <= 1
            assert int(node["layer"]) > last
    for link in value["links"]:
        assert link.keys() >= {"source", "target", "weight"}
        assert {link["source"], link["target"]} <= set(names)
    return True


@settings(max_examples=40, deadline=None)
@given(MAKES, st.floats(0.4, 1.0))
def test_our_json_meets_the_format_and_reads_back_whole(make: Make, share: float) -> None:
    graph = make().prune(share, 1.0)
    value = json.loads(json.dumps(to_json(graph), allow_nan=False))
    assert is_graph_json(value)
    back = from_json(value)
    assert list(back.nodes) == list(graph.nodes)
    assert torch.equal(back.adjacency, graph.adjacency)
    assert torch.equal(back.offsets, graph.offsets)
    assert torch.equal(back.preactivations, graph.preactivations)
    order, other = graph.row_nodes.argsort(), back.row_nodes.argsort()
    assert torch.equal(back.input_mass[other], graph.input_mass[order])
    assert torch.equal(back.row_nodes[other], graph.row_nodes[order])
    assert back.targets == graph.targets
    assert back.scores().replacement == pytest.approx(graph.scores().replacement)


def test_a_graph_is_of_the_model_that_was_traced_or_of_an_unknown_one() -> None:
    graph = random_graph(3)
    for subject, scan in (("gpt2", "gpt2"), ("", "unknown")):
        assert to_json(replace(graph, subject=subject))["metadata"]["scan"] == scan


def test_float32_labels_and_settings_read_back(tmp_path: Path) -> None:
    graph = replace(capital_graph(), settings={"max_features": 9}, provenance={"seed": 1}, dictionary_fingerprint="ab")
    graph.to_json(tmp_path / "x.json", slug="paris")
    assert read_json(tmp_path / "x.json")["metadata"]["slug"] == "paris"
    back = Graph.from_json(tmp_path / "x.json")
    stored = ("provenance", "rows", "row_nodes", "col_nodes", "row_offsets", "input_mass")
    assert_same(graph, back, but=stored)
    assert torch.equal(back.adjacency, graph.adjacency)
    assert back.scores().replacement == pytest.approx(graph.scores().replacement, abs=1e-6)
    assert back.scores().completeness == pytest.approx(graph.scores().completeness, abs=1e-6)
    again = Graph.from_json(back.to_json())
    assert_same(back, again)


def test_a_layer_0_feature_and_an_error_do_not_share_a_name() -> None:
    """Feature 3 of layer 0 and the error of layer 3, same position: `0_3_1` in the other programs."""
    graph = collision()
    names = [node["node_id"] for node in to_json(graph)["nodes"]]
    assert names[0] == "0_3_1"
    assert "error_3_1" in names
    assert len(set(names)) == len(names)


def collision() -> Graph:
    """Both sources of `0_3_1` reach the target; only the feature reaches the feature of layer 2."""
    matrix = torch.zeros(6, 6)
    matrix[0, 3] = 0.5
    matrix[1, 0] = 2.0
    matrix[5, 0], matrix[5, 1], matrix[5, 2] = 0.25, 1.0, -0.75
    keys, errors = torch.tensor([[0, 1, 3], [2, 1, 8]]), torch.tensor([[3, 1]])
    target = TargetInfo(label=" x", position=1, weight=0.9, value=0.0, token=7, probability=0.9)
    return build(matrix, keys, errors, (" a", " b"), (target,), 4)


def test_one_layer_gets_a_second_one_that_reads_back_as_nothing() -> None:
    graph = random_graph(3, n_layers=1)
    value = to_json(graph)
    assert is_graph_json(value)
    assert [n for n in value["nodes"] if n.get("placeholder")]
    assert list(from_json(value).nodes) == list(graph.nodes)


def test_targets_that_are_directions_or_repeat_stay_apart() -> None:
    graph = random_graph(3, n_targets=3)
    first, second, _ = graph.targets
    odd = TargetInfo(label='Paris" (p=1) - Berlin', position=3, weight=1.0, value=second.value)
    graph = replace(graph, targets=(first, odd, first))
    value = to_json(graph)
    assert is_graph_json(value)
    assert from_json(value).targets == graph.targets


def test_influence_is_the_cumulative_share() -> None:
    value = to_json(random_graph(3))
    shares = sorted(node["influence"] for node in value["nodes"])
    assert shares[-1] == pytest.approx(1)
    assert shares[0] < 0.5


@given(st.integers(0, 200), st.integers(0, 10**9))
def test_pairing_is_a_bijection(layer: int, feature: int) -> None:
    assert uncantor(cantor(layer, feature)) == (layer, feature)


# --- foreign graphs -----------------------------------------------------------------------------------------------


def foreign(graph: Graph) -> dict[str, Any]:
    """What circuit-tracer would write for this graph: its names for errors, none of our keys."""
    value = to_json(graph)
    names: dict[str, str] = {}
    nodes = []
    for node in value["nodes"]:
        if node.get("placeholder"):
            continue
        if node["feature_type"] == "mlp reconstruction error":
            names[node["node_id"]] = node["node_id"].replace("error", "0")
        known = NODE_KEYS | {"token_prob", "is_target_logit", "run_idx", "reverse_ctx_idx", "influence", "activation"}
        nodes.append(
            {k: v for k, v in node.items() if k in known} | {"node_id": names.get(node["node_id"], node["node_id"])}
        )
    links = [link | {"source": names.get(link["source"], link["source"])} for link in value["links"]]
    metadata = {k: v for k, v in value["metadata"].items() if k != "info"}
    return {"metadata": metadata, "qParams": value["qParams"], "nodes": nodes, "links": links}


def test_another_programs_graph_reads_with_its_edges_labels_and_zero_offsets() -> None:
    graph = capital_graph()
    back = from_json(foreign(graph))
    assert [n.id for n in back.nodes] == [n.id for n in graph.nodes]
    torch.testing.assert_close(back.adjacency, graph.adjacency)
    assert not back.offsets.any()
    assert back.labels == graph.labels
    assert back.tokens == graph.tokens
    assert back.token_ids == graph.token_ids
    assert back.n_layers == graph.n_layers
    assert [t.label for t in back.targets] == [t.label for t in graph.targets]
    assert [t.weight for t in back.targets] == pytest.approx([t.weight for t in graph.targets])
    assert back.scores().replacement == pytest.approx(graph.scores().replacement, abs=1e-5)
    assert "ambiguous_links" not in back.settings


def test_where_another_program_gives_no_probability_it_is_read_from_the_outputs_name() -> None:
    value, graph = foreign(capital_graph()), capital_graph()
    outputs = [node for node in value["nodes"] if node["feature_type"] == "logit"]
    for node in outputs:
        del node["token_prob"]
    outputs[-1]["clerp"] = "an output"
    *named, last = from_json(value).targets
    assert [t.weight for t in named] == pytest.approx([t.weight for t in graph.targets[:-1]], abs=5e-4)
    assert (last.label, last.weight, last.probability) == ("an output", 0.0, 0.0)


def test_a_shared_name_is_told_apart_by_layer_and_order() -> None:
    back = from_json(foreign(collision()))
    torch.testing.assert_close(back.adjacency, collision().adjacency)
    assert back.settings.get("ambiguous_links", 0) == 0
    value = foreign(collision())
    value["links"] = [link for link in value["links"] if link["weight"] != 0.25]
    assert from_json(value).settings["ambiguous_links"] == 1


def test_paired_feature_numbers_are_taken_apart() -> None:
    value = foreign(random_graph(3))
    node = next(n for n in value["nodes"] if n["feature_type"] == "cross layer transcoder")
    index = int(node["node_id"].split("_")[1])
    for link in value["links"]:
        for end in ("source", "target"):
            link[end] = "strange" if link[end] == node["node_id"] else link[end]
    node["node_id"] = "strange"
    assert FeatureId(int(node["layer"]), index) in {
        n.id.feature for n in from_json(value).nodes if n.id.kind == "feature"
    }


def _change(path: tuple[Any, ...], new: Any) -> Callable[[Any], None]:
    def change(value: Any) -> None:
        for key in path[:-1]:
            value = value[key]
        if new is KeyError:
            del value[path[-1]]
        else:
            value[path[-1]] = new

    return change


DAMAGES = {
    "no metadata": _change(("metadata",), KeyError),
    "no tokens": _change(("metadata", "prompt_tokens"), KeyError),
    "tokens are a number": _change(("metadata", "prompt_tokens"), 3),
    "fewer tokens": _change(("metadata", "prompt_tokens"), ["x"]),
    "nodes are text": _change(("nodes",), "nodes"),
    "a node is null": _change(("nodes", 0), None),
    "no nodes": _change(("nodes",), []),
    "strange type": _change(("nodes", 0, "feature_type"), "lorsa"),
    "layer is a word": _change(("nodes", 0, "layer"), "first"),
    "position is null": _change(("nodes", 0, "ctx_idx"), None),
    "links are null": _change(("links",), None),
    "a link without weight": _change(("links", 0, "weight"), KeyError),
    "a weight that is no number": _change(("links", 0, "weight"), "heavy"),
    "a weight that is infinite": _change(("links", 0, "weight"), float("inf")),
    "a link from a list": _change(("links", 0, "source"), ["x"]),
    "newer schema": _change(("metadata", "info", "clew", "schema"), 99),
    "strange dtype": _change(("metadata", "info", "clew", "dtype"), "float3"),
    "offsets too short": _change(("nodes", 0, "offsets"), [1.0]),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_graph_json_is_refused_in_one_line(how: str) -> None:
    value = copy.deepcopy(to_json(random_graph(3)))
    DAMAGES[how](value)
    with pytest.raises(FileError) as caught:
        from_json(value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, 3, "x", [], {}, {"nodes": [], "links": []}])
def test_other_json_is_no_graph(value: Any) -> None:
    with pytest.raises(FileError, match="not a graph"):
        from_json(value)


def test_a_link_that_runs_backwards_or_twice_is_refused() -> None:
    value = to_json(random_graph(3))
    twice = copy.deepcopy(value)
    twice["links"].append(twice["links"][0])
    with pytest.raises(FileError, match="stands there twice"):
        from_json(twice)
    features = [n["node_id"] for n in value["nodes"] if n["feature_type"] == "cross layer transcoder"]
    value["links"] = [{"source": features[-1], "target": features[0], "weight": 1.0}]
    with pytest.raises(FileError, match="runs backwards"):
        from_json(value)


# --- the peer -----------------------------------------------------------------------------------------------------


@pytest.mark.peer
@needs_peer
def test_the_peers_own_schema_takes_our_json(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", to_json(capital_graph().prune()))
    code = "import sys; from circuit_tracer.frontend.graph_models import Model, Node; "
    code += "m = Model.model_validate_json(open(sys.argv[1]).read()); "
    code += "print(len(m.nodes), Node.feature_node(3, 4, 5).model_dump_json())"
    count, _, theirs = run_peer("-c", code, tmp_path / "x.json").strip().partition(" ")
    assert int(count) == len(read_json(tmp_path / "x.json")["nodes"])
    node = json.loads(theirs)
    assert (node["node_id"], node["feature"], node["jsNodeId"]) == ("3_5_4", cantor(3, 5), "3_5-0")


_PEER_WRITES = """
import sys, types, torch
from safetensors.torch import load_file
from circuit_tracer.attribution.targets import LogitTarget
from circuit_tracer.graph import prune_graph
from circuit_tracer.utils.create_graph_files import build_model, create_nodes, create_used_nodes_and_edges
t = load_file(sys.argv[1])
k, f, tokens = len(t["logit_tokens"]), len(t["active_features"]), 16
layers = (len(t["adjacency"]) - f - k - tokens) // tokens
graph = types.SimpleNamespace(adjacency_matrix=t["adjacency"], active_features=t["active_features"],
    logit_targets=[LogitTarget(f" w{i}", int(i)) for i in t["logit_tokens"]], input_tokens=torch.arange(tokens),
    selected_features=torch.arange(f), logit_probabilities=torch.full((k,), 0.9 / k), n_pos=tokens,
    activation_values=torch.ones(f), cfg=types.SimpleNamespace(n_layers=layers), input_string="a prompt")
nodes_kept, edges_kept, shares = prune_graph(graph, 0.6, 0.9)
tokenizer = types.SimpleNamespace(decode=lambda i: f" w{int(i)}")
nodes = create_nodes(graph, nodes_kept, tokenizer, shares)
used, links = create_used_nodes_and_edges(graph, nodes, edges_kept)
model = build_model(graph, used, links, "slug", "scan", 0.6, tokenizer)
open(sys.argv[2], "w").write(model.model_dump_json())
"""


@pytest.mark.peer
@needs_peer
@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_that_the_peer_wrote_reads_with_all_its_edges(tmp_path: Path, kind: str) -> None:
    matrix = peer_inputs("llama") / f"{kind}.safetensors"
    run_peer("-c", _PEER_WRITES, matrix, tmp_path / "x.json")
    written = read_json(tmp_path / "x.json")
    graph = Graph.from_json(tmp_path / "x.json")
    assert len(written["nodes"]) == graph.n_nodes
    assert int((graph.rows != 0).sum()) == len({(k["source"], k["target"], k["weight"]) for k in written["links"]})
    assert graph.settings.get("ambiguous_links", 0) + graph.settings.get("links_without_nodes", 0) <= 2
    whole, keys = load_tensors(matrix)["adjacency"], load_tensors(matrix)["active_features"].tolist()
    place = {tuple(key): i for i, key in enumerate(keys)}
    features = [place[tuple(key)] for key in graph.feature_keys.tolist()]
    ours = graph.adjacency[: graph.n_features, : graph.n_features]
    theirs = whole[features][:, features]
    assert torch.equal(ours[ours != 0], theirs[ours != 0])
    assert 0 < graph.scores().replacement < 1
