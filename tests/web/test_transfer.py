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


def imported(bench, content):
    answer = bench.post("/api/graphs/import", content=content, headers={"content-type": "application/octet-stream"})
    assert answer.status_code == 201, answer.text
    return answer.json()["graph"]


def test_an_exported_page_can_be_imported_and_shows_the_same_graph_with_what_was_done_to_it(bench):
    graph = traced(bench, "The capital of Spain is")
    node = strongest(bench, graph)
    arranged = {"pins": ["T@2", node["id"]], "groups": [{"id": "1", "name": "g", "nodes": [node["id"]], "note": "n"}]}
    positions = {node["id"]: [1.5, -2.0]}
    bench.put(f"/api/graphs/{graph}/arrangement", json={"revision": 0, "positions": positions} | arranged)
    page = bench.get(f"/api/graphs/{graph}/export?as=html&node=.7&edge=.9").content
    other = imported(bench, page)
    before = bench.get(f"/api/graphs/{graph}?node=.7&edge=.9").json()
    after = bench.get(f"/api/graphs/{other}?node=1&edge=1").json()
    assert after["of_kit"]
    same = ("prompt", "tokens", "token_ids", "n_layers", "first_position", "subject", "dictionary", "next_tokens")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert edges(after) == edges(before)
    for score in ("replacement", "completeness"):
        assert after["scores"]["whole"][score] == pytest.approx(before["scores"]["shown"][score], abs=2e-4)
    for there, here in zip(after["nodes"], before["nodes"], strict=True):
        for name in ("id", "label", "value", "activation", "offsets", "token_id", "probability", "mass"):
            assert there.get(name) == here.get(name), name
        assert there["lost"] == pytest.approx(here["lost"], abs=1e-4)
    kept = bench.get(f"/api/graphs/{other}/arrangement").json()
    assert (kept["pins"], kept["groups"], kept["positions"]) == (arranged["pins"], arranged["groups"], positions)


def test_a_page_written_without_a_server_or_by_an_earlier_version_can_be_imported(bench, tmp_path):
    graph = minnow().trace("The capital of Spain is", max_features=200)
    clew.export_html(graph, tmp_path / "x.html", kit=minnow())
    page = (tmp_path / "x.html").read_text()
    assert bench.get(f"/api/graphs/{imported(bench, page.encode())}").json()["of_kit"]
    earlier = page.replace(f',"fingerprint":"{graph.dictionary_fingerprint}"', "")
    assert earlier != page
    view = bench.get(f"/api/graphs/{imported(bench, earlier.encode())}").json()
    assert (view["of_kit"], view["prompt"]) == (False, "The capital of Spain is")


def test_a_page_of_more_edges_than_it_has_room_for_comes_in_with_those_that_it_has(bench, monkeypatch):
    monkeypatch.setattr("clew.web.export.MOST_BYTES", 700_000)
    graph = traced(bench, "The capital of Spain is")
    page = bench.get(f"/api/graphs/{graph}/export?as=html&node=.95&edge=.999")
    shown = json.loads(page.text.split('id="clew-data">')[1].split("</script>")[0])
    assert shown["left_out"]["edges"] > 0
    view = bench.get(f"/api/graphs/{imported(bench, page.content)}?node=1&edge=1").json()
    assert len(view["edges"]["weight"]) == len(shown["graph"]["edges"]["weight"])


def test_tracing_a_prompt_again_keeps_its_pins_and_groups(bench):
    prompt = "People in Turkey speak"
    first = traced(bench, prompt)
    node = strongest(bench, first)["id"]
    group = {"id": "1", "name": "language", "nodes": [node, "L0/1@999"], "note": "why"}
    body = {"revision": 0, "pins": ["O0@4", "L0/1@999"], "groups": [group], "positions": {node: [3.0, 4.0]}}
    assert bench.put(f"/api/graphs/{first}/arrangement", json=body).status_code == 200
    again = bench.get(f"/api/graphs/{traced(bench, prompt)}/arrangement").json()
    assert again["groups"] == [group | {"nodes": [node]}]
    assert again["pins"] == [pin for pin in ["O0@4"] if pin in ids_of(bench, first)]
    assert again["positions"] == {node: [3.0, 4.0]}
    assert bench.get(f"/api/graphs/{traced(bench, 'People in Iran speak')}/arrangement").json()["revision"] == 0


def ids_of(bench, graph):
    return {node["id"] for node in bench.get(f"/api/graphs/{graph}?node=1&edge=1").json()["nodes"]}


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
