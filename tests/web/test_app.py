"""The workbench on the bundled kit, asked as the page asks it: what is open, graphs, what a person does to them."""

import re
import shutil
import subprocess
from ast import literal_eval
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from clew.attribution.compare import compare
from clew.attribution.difference_graph import difference_graph
from clew.kit_folders import BUNDLED
from clew.web.app import make_app
from clew.web.workbench import kit_choices
from tests.workbench import FRANCE, GERMANY, HERE, done, minnow, opened, strongest, traced


def test_the_workbench_says_what_is_open(bench):
    kit, view = minnow(), bench.get("/api/workbench").json()
    assert view["kit"]["name"] == "minnow"
    assert view["kit"]["fingerprint"] == kit.dictionary.fingerprint
    assert view["kit"]["features"] == {str(layer): kit.dictionary.d_features(layer) for layer in range(6)}
    assert view["kit"]["has_atlas"]
    assert view["limits"]["prompt_tokens"] == kit.subject.context_length
    for example in view["examples"]:
        assert bench.post("/api/tokens", json={"prompt": example["prompt"]}).status_code == 200


def test_the_gallery_is_that_of_the_docs(bench):
    text = (Path(__file__).parents[2] / "docs" / "explanations.md").read_text()
    prompts = [
        literal_eval(call)
        for call in re.findall(r"^(?:\w+ = |print\()?explain\((.+?)\)(?:\.tell.*)?$", text, re.MULTILINE)
    ]
    titles = re.findall(r"^## \d+\. (.+)$", text, re.MULTILINE)
    gallery = bench.get("/api/workbench").json()["gallery"]
    assert [each["prompt"] for each in gallery] == prompts
    assert [each["title"] for each in gallery] == titles
    assert len(gallery) == 12


def test_kits_are_offered_with_the_command_that_serves_them(tmp_path):
    shutil.copytree(BUNDLED / "minnow", tmp_path / "kits" / "my fish", ignore=shutil.ignore_patterns("*.safetensors"))
    (tmp_path / "kits" / "broken").mkdir()
    (tmp_path / "kits" / "broken" / "kit.json").write_text("{")
    with opened(tmp_path) as client:
        view = client.get("/api/kits").json()
    assert view["open"] == "minnow"
    assert [(kit["name"], kit["origin"]) for kit in view["kits"]] == [
        ("minnow", "bundled"), ("minnow", "workspace"), ("smollm2", "extra"),
    ]  # fmt: skip
    assert view["kits"][0]["command"] == "clew serve --kit minnow"
    assert view["kits"][1]["command"] == f"clew serve --kit '{tmp_path / 'kits' / 'my fish'}'"
    assert view["kits"][2]["command"].endswith("clew serve --kit smollm2")


def test_tokens_are_the_models(bench):
    view = bench.post("/api/tokens", json={"prompt": FRANCE}).json()
    assert [token["id"] for token in view["tokens"]] == minnow().subject.encode(FRANCE).tolist()
    assert "".join(token["text"] for token in view["tokens"][view["first_position"] :]) == FRANCE


def test_a_traced_graph_is_the_librarys_and_comes_first_in_the_history(bench, graph):
    whole, view = minnow().trace(FRANCE), bench.get(f"/api/graphs/{graph}?node=1&edge=1").json()
    assert [node["id"] for node in view["nodes"]] == [str(node.id) for node in whole.nodes]
    assert view["next_tokens"][0]["label"] == " Paris"
    assert view["scores"]["whole"]["replacement"] == pytest.approx(whole.scores().replacement, rel=1e-4)
    again = traced(bench)
    first = bench.get("/api/graphs").json()["graphs"][0]
    assert (first["id"], first["prompt"], first["of_kit"]) == (again, FRANCE, True)
    assert first["top"]["label"] == " Paris"


def test_as_many_features_as_asked_for_are_traced(bench):
    graph = done(bench, {"kind": "trace", "prompt": FRANCE, "max_features": 40})["graph"]
    view = bench.get(f"/api/graphs/{graph}?node=1&edge=1").json()
    assert sum(node["kind"] == "feature" for node in view["nodes"]) == 40


def test_thresholds_out_of_range_are_refused(bench, graph):
    for query in ("node=0", "edge=1.1", "node=nan", "node=x", "node=-1"):
        assert bench.get(f"/api/graphs/{graph}?{query}").status_code == 422
        assert bench.get(f"/api/graphs/{graph}/scores?{query}").status_code == 422


def test_a_node_that_the_graph_has_not_is_not_found(bench, graph):
    assert bench.get(f"/api/graphs/{graph}/node", params={"id": "L0/1@0"}).status_code == 404
    assert bench.get(f"/api/graphs/{graph}/node", params={"id": "x"}).status_code == 422
    assert bench.get(f"/api/graphs/{graph}/node", params={"id": "O0@5"}).json()["node"]["label"] == " Paris"


def test_two_pages_that_arrange_at_once_are_told_apart(bench):
    graph = traced(bench)
    address, node = f"/api/graphs/{graph}/arrangement", strongest(bench, graph)["id"]
    arrangement = {"revision": 0, "pins": [node], "groups": [{"id": "g", "name": "x", "nodes": [node], "note": ""}]}
    arrangement |= {"positions": {node: [1.5, 2]}, "thresholds": {"node": 0.7, "edge": 0.9}}
    kept = bench.put(address, json=arrangement)
    assert kept.status_code == 200
    assert kept.json() == {**arrangement, "revision": 1, "positions": {node: [1.5, 2.0]}}
    late = bench.put(address, json=arrangement | {"pins": []})
    assert late.status_code == 409
    assert late.json()["newest"] == kept.json() == bench.get(address).json()
    assert bench.put(address, json=arrangement | {"positions": {"nonsense": [1, 2]}}).status_code == 422


def test_suggested_groups_share_a_position_and_a_promoted_token(bench, graph):
    groups = bench.post(f"/api/graphs/{graph}/groups/suggest?by=token&node=1&edge=1").json()["groups"]
    assert groups
    for group in groups:
        assert len({node.partition("@")[2] for node in group["nodes"]}) == 1
        for node in group["nodes"]:
            card = minnow().atlas[node.partition("@")[0]]
            assert card.promoted[0].token.strip().casefold() == group["name"].casefold()


def test_two_countries_are_compared_where_they_differ(bench, graph):
    other = traced(bench, GERMANY)
    view = bench.post("/api/compare", json={"a": graph, "b": other}).json()
    comparison = compare(minnow().trace(FRANCE), minnow().trace(GERMANY))
    assert view["aligned"] == [[i, i] for i in range(6)]
    assert (view["n_shared"], view["n_only_a"], view["n_only_b"]) == tuple(
        map(len, (comparison.shared, comparison.only_a, comparison.only_b))
    )
    outputs = {output["label"]: output for output in view["outputs"]}
    assert outputs[" Paris"]["probability_a"] > 0.9
    assert outputs[" Berlin"]["probability_b"] > 0.9
    assert bench.post("/api/compare", json={"a": graph, "b": "nothing"}).status_code == 404


def test_two_countries_are_one_graph_of_what_stayed_went_and_came(bench, graph):
    other = traced(bench, GERMANY)
    library = difference_graph(minnow().trace(FRANCE), minnow().trace(GERMANY))
    view = bench.post("/api/compare/graph", json={"a": graph, "b": other}).json()
    assert [node["status"] for node in view["nodes"]] == [node.status for node in library.nodes]
    assert {"kept", "gone", "new", "changed"} == {node["status"] for node in view["nodes"]}
    assert view["edges"][0]["influence_b"] == pytest.approx(library.edges[0].influence_b, rel=1e-3)
    assert (view["nodes"][-1]["a"]["text"], view["nodes"][-1]["b"]["text"]) == (" Paris", " Berlin")
    assert all(node["label"] or node["here"] for node in view["nodes"] if node["kind"] == "feature")
    by_feature = bench.post("/api/compare/graph", json={"a": graph, "b": other, "by": "feature"}).json()
    assert {node["column"] for node in by_feature["nodes"]} == {-1}
    assert bench.post("/api/compare/graph", json={"a": graph, "b": other, "by": "slot"}).status_code == 422
    assert bench.post("/api/compare/graph", json={"a": graph, "b": "nothing"}).status_code == 404


def test_a_removed_graph_is_not_found(bench):
    graph = traced(bench)
    assert bench.delete(f"/api/graphs/{graph}").status_code == 204
    assert bench.get(f"/api/graphs/{graph}").status_code == 404
    assert bench.delete(f"/api/graphs/{graph}").status_code == 404
    back = bench.post(f"/api/graphs/{graph}/restore", json={})
    assert (back.status_code, back.json()["id"]) == (200, graph)
    assert bench.get(f"/api/graphs/{graph}").status_code == 200
    assert bench.post(f"/api/graphs/{graph}/restore").status_code == 404


def test_a_workspace_alone_is_served_with_the_bundled_kit(tmp_path):
    with TestClient(make_app(tmp_path / "w"), base_url=HERE) as client:
        assert client.get("/api/workbench").json()["kit"]["name"] == "minnow"


def test_a_kit_below_the_home_folder_is_named_so_that_a_shell_finds_it(tmp_path, monkeypatch):
    folder = tmp_path / "my fish"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    command = kit_choices._serve(kit_choices._short(folder)).replace("clew serve --kit", "printf %s")
    assert subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True).stdout == str(folder)
