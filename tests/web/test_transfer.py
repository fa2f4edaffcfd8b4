"""Graphs that leave the workbench as files, and come in as such."""

import json

import pytest

import clew
from tests.workbench import FRANCE, minnow, strongest, traced


@pytest.mark.parametrize("kind", ["graph", "json"])
def test_an_exported_graph_can_be_imported_and_looks_the_same(bench, graph, kind):
    content = bench.get(f"/api/graphs/{graph}/export?as={kind}&node=1&edge=1").content
    answer = bench.post("/api/graphs/import", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 201, answer.text
    before, after = (bench.get(f"/api/graphs/{id}?node=.9&edge=.9").json() for id in (graph, answer.json()["graph"]))
    assert after["scores"] == before["scores"]
    assert edges(after) == edges(before)
    for node, other in zip(after["nodes"], before["nodes"], strict=True):
        assert (node["id"], node.get("label"), node.get("value")) == (
            other["id"],
            other.get("label"),
            other.get("value"),
        )
        assert node["influence"] == pytest.approx(other["influence"], rel=1e-3, abs=1e-6)


def edges(view):
    ids, columns = [node["id"] for node in view["nodes"]], view["edges"]
    rows = zip(columns["source"], columns["target"], columns["weight"], strict=True)
    return {(ids[source], ids[target], weight) for source, target, weight in rows}


def test_an_exported_page_holds_the_graph_at_these_thresholds_its_cards_and_what_was_done_to_it(bench):
    graph = traced(bench)
    node = strongest(bench, graph)
    label = bench.post(f"/api/features/{node['feature']}/labels", json={"text": "mine <b>", "author": "me"}).json()
    arranged = {"revision": 0, "pins": [node["id"]], "groups": [], "positions": {}}
    bench.put(f"/api/graphs/{graph}/arrangement", json=arranged | {"thresholds": {"node": 0.7, "edge": 0.9}})
    page = bench.get(f"/api/graphs/{graph}/export?as=html&node=.7&edge=.9").text
    value = json.loads(page.split('id="clew-data">')[1].split("</script>")[0])
    view = bench.get(f"/api/graphs/{graph}?node=.7&edge=.9").json()
    assert [node["id"] for node in value["graph"]["nodes"]] == [node["id"] for node in view["nodes"]]
    assert value["arrangement"]["pins"] == [node["id"]]
    assert value["cards"][node["feature"]]["name"] == "mine <b>"
    assert "mine <b>" not in page
    bench.delete(f"/api/labels/{label['id']}")


def test_a_graph_of_another_dictionary_can_be_read_but_not_audited(bench, tmp_path):
    kit = minnow()
    neurons = clew.Dictionary.from_neurons(kit.subject)
    clew.trace(kit.subject, neurons, FRANCE, max_features=50).save(tmp_path / "x.graph")
    content = (tmp_path / "x.graph").read_bytes()
    answer = bench.post("/api/graphs/import", content=content, headers={"content-type": "application/octet-stream"})
    other = answer.json()["graph"]
    assert not bench.get(f"/api/graphs/{other}").json()["of_kit"]
    refused = bench.post("/api/jobs", json={"kind": "audit", "graph": other, "nodes": 5})
    assert refused.status_code == 400
    assert "its own kit" in refused.json()["error"]
