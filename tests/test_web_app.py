"""The workbench on the bundled kit, asked as the page asks it."""

import json
import threading
import time

import pytest
from fastapi.testclient import TestClient

import clew
from clew.attribution.compare import compare
from clew.features.atlas import Atlas
from clew.features.search import firing
from clew.intervention.edit import Edit
from clew.web.app import make_app
from tests.workbench import FRANCE, GERMANY, HERE, asked, done, ended, minnow, opened, traced


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("bench")) as client:
        yield client


@pytest.fixture(scope="module")
def graph(bench):
    return traced(bench)


def strongest(bench, graph):
    nodes = [node for node in bench.get(f"/api/graphs/{graph}").json()["nodes"] if node["kind"] == "feature"]
    return max(nodes, key=lambda node: node["influence"])


def events(bench, job, **headers):
    text = bench.get(f"/api/jobs/{job}/events", headers=headers).text
    parts = [dict(line.split(": ", 1) for line in event.splitlines()) for event in text.strip().split("\n\n")]
    return [(int(part["id"]), part["event"], json.loads(part["data"])) for part in parts]


# --- what is open ---------------------------------------------------------------------------------------------------


def test_the_workbench_says_what_is_open(bench):
    kit, said = minnow(), bench.get("/api/workbench").json()
    assert said["kit"]["name"] == "minnow"
    assert said["kit"]["fingerprint"] == kit.dictionary.fingerprint
    assert said["kit"]["features"] == {str(layer): kit.dictionary.d_features(layer) for layer in range(6)}
    assert said["kit"]["has_atlas"]
    assert said["limits"]["prompt_tokens"] == kit.subject.context_length
    for example in said["examples"]:
        assert bench.post("/api/tokens", json={"prompt": example["prompt"]}).status_code == 200


def test_tokens_are_the_models(bench):
    said = bench.post("/api/tokens", json={"prompt": FRANCE}).json()
    assert [token["id"] for token in said["tokens"]] == minnow().subject.encode(FRANCE).tolist()
    assert "".join(token["text"] for token in said["tokens"][said["first_position"] :]) == FRANCE


# --- trace ----------------------------------------------------------------------------------------------------------


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
    made = done(bench, {"kind": "trace", "prompt": FRANCE, "max_features": 40})["graph"]
    view = bench.get(f"/api/graphs/{made}?node=1&edge=1").json()
    assert sum(node["kind"] == "feature" for node in view["nodes"]) == 40


def test_events_of_a_trace_end_with_its_graph(bench):
    job = asked(bench, {"kind": "trace", "prompt": FRANCE})
    seen = events(bench, job)
    assert seen[-1][1] == "end"
    made = seen[-1][2]["result"]["graph"]
    assert bench.get(f"/api/graphs/{made}").status_code == 200
    assert events(bench, job, **{"last-event-id": str(seen[-2][0])}) == seen[-1:]
    assert events(bench, job, **{"last-event-id": "nonsense"}) == seen[-2:]


def test_thresholds_out_of_range_are_refused(bench, graph):
    for query in ("node=0", "edge=1.1", "node=nan", "node=x", "node=-1"):
        assert bench.get(f"/api/graphs/{graph}?{query}").status_code == 422
        assert bench.get(f"/api/graphs/{graph}/scores?{query}").status_code == 422


def test_a_node_that_the_graph_has_not_is_not_found(bench, graph):
    assert bench.get(f"/api/graphs/{graph}/node", params={"id": "L0/1@0"}).status_code == 404
    assert bench.get(f"/api/graphs/{graph}/node", params={"id": "x"}).status_code == 422
    assert bench.get(f"/api/graphs/{graph}/node", params={"id": "O0@5"}).json()["node"]["label"] == " Paris"


# --- labels ---------------------------------------------------------------------------------------------------------


def test_a_label_is_seen_everywhere_at_once_and_a_withdrawn_one_nowhere(bench, graph):
    node = strongest(bench, graph)
    feature, address = node["feature"], f"/api/features/{node['feature']}"
    text = "words before a capital"
    first = bench.post(f"{address}/labels", json={"text": "a first thought", "author": "me"}).json()
    label = bench.post(f"{address}/labels", json={"text": text, "author": "me", "note": "seen"}).json()
    edit = {"kind": "edit", "prompt": FRANCE, "edits": [{"verb": "ablate", "feature": feature}]}

    def everywhere():
        yield next(n for n in bench.get(f"/api/graphs/{graph}").json()["nodes"] if n["id"] == node["id"])["label"]
        yield bench.get(address).json()["name"]
        yield bench.get("/api/features/names", params={"ids": feature}).json()["names"][0]["text"]
        yield next(c for c in done(bench, edit)["edited"] if c["feature"] == feature)["label"]
        fired = bench.post("/api/features/fires", json={"text": FRANCE}).json()["by_feature"]
        yield next(one for one in fired if one["feature"] == feature)["label"]

    assert set(everywhere()) == {text}
    assert (
        bench.get("/api/features", params={"how": "words", "query": text}).json()["features"][0]["feature"] == feature
    )
    history = bench.get(address).json()["labels"]
    mine = [one for one in history if one["author"] == "me"]
    assert [(one["text"], one["current"]) for one in mine] == [(text, True), ("a first thought", False)]
    assert bench.delete(f"/api/labels/{label['id']}").status_code == 204
    assert text not in set(everywhere())
    assert [one["current"] for one in bench.get(address).json()["labels"] if one["author"] == "me"] == [False, False]
    assert bench.delete(f"/api/labels/{first['id'] + 1000}").status_code == 404


# --- edits ----------------------------------------------------------------------------------------------------------


def test_an_edit_is_the_librarys_predicted_beside_measured(bench, graph):
    feature = strongest(bench, graph)["feature"]
    view = done(
        bench, {"kind": "edit", "prompt": FRANCE, "edits": [{"verb": "scale", "feature": feature, "strength": 0.5}]}
    )
    effect = minnow().edit(FRANCE, [Edit.scale(feature, 0.5)])
    expected = effect.top_tokens(-1, 20)
    for one, (id, before, predicted, measured) in zip(view["outputs"], expected, strict=True):
        assert one["token_id"] == id
        assert [one["before"], one["predicted"], one["measured"]] == pytest.approx(
            [before, predicted, measured], rel=1e-3
        )
    own = [str(change.node) for change in effect.changes if str(change.node.feature) == feature]
    others = [str(change.node) for change in effect.changes if str(change.node.feature) != feature]
    assert own
    assert [one["node"] for one in view["edited"]] == own
    assert [one["node"] for one in view["changes"]] == others[:500]
    assert (view["through"], view["prediction"], view["n_changes"]) == (effect.through, "frozen", len(others))
    assert view["n_outputs"] == effect.before.probabilities.shape[-1] > len(view["outputs"])


def test_an_edit_of_generated_tokens_changes_nothing_in_the_prompt_and_says_so(bench, graph):
    feature = strongest(bench, graph)["feature"]
    later = {"verb": "set", "feature": feature, "strength": 8.0, "positions": "generated"}
    view = done(bench, {"kind": "edit", "prompt": FRANCE, "edits": [later]})
    assert view["edits"] == view["idle"] == [f"set {feature}@generated=8"]
    assert (view["changes"], view["edited"], view["n_changes"]) == ([], [], 0)
    now = {"verb": "scale", "feature": feature, "strength": 0.5, "positions": "prompt"}
    both = done(bench, {"kind": "edit", "prompt": FRANCE, "edits": [later, now]})
    alone = done(bench, {"kind": "edit", "prompt": FRANCE, "edits": [now]})
    assert both["idle"] == [f"set {feature}@generated=8"]
    assert (both["outputs"], both["changes"]) == (alone["outputs"], alone["changes"])
    before = {one["token"]: one["before"] for one in alone["outputs"]}
    for one in view["outputs"][:3]:
        assert one["before"] == one["predicted"] == one["measured"] == pytest.approx(before[one["token"]], rel=1e-4)
    for broken in ({"feature": "L0/999999"}, {"feature": "L9/1"}):
        assert bench.post("/api/jobs", json={"kind": "edit", "prompt": FRANCE, "edits": [later | broken]}).is_error


def test_default_and_edited_text_stream_side_by_side(bench, graph):
    feature = strongest(bench, graph)["feature"]
    edits = [{"verb": "set", "feature": feature, "strength": 8.0, "positions": "all"}]
    body = {"kind": "generate", "prompt": FRANCE, "edits": edits, "tokens": 6, "temperature": 1.0, "seed": 3}
    job = asked(bench, body)
    seen = events(bench, job)
    steps = [data for _, name, data in seen if name == "step"]
    result = seen[-1][2]["result"]
    for side in ("default", "edited"):
        assert "".join(step[side]["text"] for step in steps if step[side]) == result[side]
    alone = minnow().generate(FRANCE, tokens=6, temperature=1.0, seed=3)
    assert result["default"] == "".join(step.text for step in alone)
    edited = minnow().generate(FRANCE, [Edit.set(feature, 8.0)], tokens=6, temperature=1.0, seed=3)
    assert result["edited"] == "".join(step.text for step in edited)


def test_an_audit_shows_pairs_beside_those_of_a_shuffled_graph(bench, graph):
    view = done(bench, {"kind": "audit", "graph": graph, "nodes": 6})
    names = [line["name"] for line in view["lines"]]
    assert {"total", "gradient", "activation", "shuffled"} <= {*names}
    assert len(view["points"]["predicted"]) == min(4000, view["n_points"]) == len(view["null_points"]["predicted"])
    assert view["points"]["measured"] == view["null_points"]["measured"]
    assert view["points"]["predicted"] != view["null_points"]["predicted"]
    assert {*view["points"]["is_output"]} == {True, False}


def test_cancelling_an_audit_frees_the_model_within_a_moment(bench, graph):
    job = asked(bench, {"kind": "audit", "graph": graph, "nodes": 200})
    while bench.get(f"/api/jobs/{job}").json()["progress"]["done"] < 1:
        time.sleep(0.01)
    bench.delete(f"/api/jobs/{job}")
    began = time.monotonic()
    traced(bench)
    assert time.monotonic() - began < 20
    assert ended(bench, job)["state"] == "cancelled"


def test_a_card_can_be_tested_while_long_work_goes_on(bench, graph):
    job = asked(bench, {"kind": "audit", "graph": graph, "nodes": 200})
    probe = bench.post("/api/features/L0/1/test", json={"text": FRANCE})
    assert probe.status_code == 200
    assert bench.get(f"/api/jobs/{job}").json()["state"] in ("queued", "running")
    bench.delete(f"/api/jobs/{job}")
    ended(bench, job)


def test_those_who_only_read_do_not_queue_behind_those_who_wait_for_the_model(bench):
    def waiting():
        answers.append(bench.post("/api/features/L0/1/test", json={"text": FRANCE}).status_code)

    def reading():
        read.append(bench.get("/api/workbench").status_code)

    answers, read = [], []
    many = [threading.Thread(target=waiting) for _ in range(12)]
    with bench.app.state.bench.gate.long():
        for one in many:
            one.start()
        while bench.app.state.bench.gate._waiting < 4:
            time.sleep(0.01)
        reader = threading.Thread(target=reading)
        reader.start()
        reader.join(timeout=30)
        held = [*answers], [*read]
    for one in (reader, *many):
        one.join()
    assert held == ([], [200])
    assert answers == [200] * 12


# --- arrangements and groups ----------------------------------------------------------------------------------------


def test_two_pages_that_arrange_at_once_are_told_apart(bench):
    made = traced(bench)
    address, node = f"/api/graphs/{made}/arrangement", strongest(bench, made)["id"]
    mine = {"revision": 0, "pins": [node], "groups": [{"id": "g", "name": "x", "nodes": [node], "note": ""}]}
    mine |= {"positions": {node: [1.5, 2]}, "thresholds": {"node": 0.7, "edge": 0.9}}
    kept = bench.put(address, json=mine)
    assert kept.status_code == 200
    assert kept.json() == {**mine, "revision": 1, "positions": {node: [1.5, 2.0]}}
    late = bench.put(address, json=mine | {"pins": []})
    assert late.status_code == 409
    assert late.json()["newest"] == kept.json() == bench.get(address).json()
    assert bench.put(address, json=mine | {"positions": {"nonsense": [1, 2]}}).status_code == 422


def test_suggested_groups_share_a_position_and_a_promoted_token(bench, graph):
    groups = bench.post(f"/api/graphs/{graph}/groups/suggest?by=token&node=1&edge=1").json()["groups"]
    assert groups
    for group in groups:
        assert len({node.partition("@")[2] for node in group["nodes"]}) == 1
        for node in group["nodes"]:
            card = minnow().atlas[node.partition("@")[0]]
            assert card.promoted[0].token.strip().casefold() == group["name"].casefold()


# --- compare --------------------------------------------------------------------------------------------------------


def test_two_countries_are_compared_where_they_differ(bench, graph):
    other = traced(bench, GERMANY)
    view = bench.post("/api/compare", json={"a": graph, "b": other}).json()
    found = compare(minnow().trace(FRANCE), minnow().trace(GERMANY))
    assert view["aligned"] == [[i, i] for i in range(6)]
    assert (view["n_shared"], view["n_only_a"], view["n_only_b"]) == tuple(
        map(len, (found.shared, found.only_a, found.only_b))
    )
    outputs = {one["label"]: one for one in view["outputs"]}
    assert outputs[" Paris"]["probability_a"] > 0.9
    assert outputs[" Berlin"]["probability_b"] > 0.9
    assert bench.post("/api/compare", json={"a": graph, "b": "nothing"}).status_code == 404


# --- features -------------------------------------------------------------------------------------------------------


def test_browsing_filters_sorts_and_turns_pages(bench):
    summary = minnow().atlas.summary
    whole = bench.get("/api/features", params={"dead": "show"}).json()
    assert whole["total"] == len(summary.density)
    alive = bench.get("/api/features", params={"sort": "density", "descending": True, "limit": 5, "layer": 2}).json()
    assert alive["total"] == int(((summary.density > 0) & (summary.layer == 2)).sum())
    assert [row["density"] for row in alive["features"]] == sorted(summary.density[summary.layer == 2])[::-1][:5]
    narrow = {"min_density": 0.001, "max_density": 0.002, "limit": 500}
    found = bench.get("/api/features", params=narrow).json()
    assert found["total"] == int(((summary.density >= 0.001) & (summary.density <= 0.002)).sum())
    pages = [bench.get("/api/features", params=narrow | {"limit": 7, "offset": offset}).json() for offset in (0, 7)]
    assert [row["feature"] for page in pages for row in page["features"]] == [
        row["feature"] for row in found["features"][:14]
    ]


def test_features_that_fire_on_a_text_are_the_librarys(bench):
    view = bench.post("/api/features/fires", json={"text": FRANCE, "top": 3}).json()
    kit = minnow()
    plain = firing(kit.subject, kit.dictionary, FRANCE)
    assert {one["feature"] for one in view["by_feature"]} <= {str(one.feature) for one in plain}
    for here in view["by_token"]:
        assert len(here["features"]) <= 3
        shares = [one["share"] for one in here["features"]]
        assert shares == sorted(shares, reverse=True)
        for one in here["features"]:
            same = next(p for p in plain if str(p.feature) == one["feature"] and p.position == here["position"])
            assert one["activation"] == pytest.approx(same.activation)


@pytest.mark.parametrize("how", ["promotes", "fires", "alike", "words"])
def test_every_way_of_searching_finds_something(bench, how):
    query = {"promotes": "Paris", "fires": FRANCE, "alike": "L0/2028", "words": "says"}[how]
    found = bench.get("/api/features", params={"how": how, "query": query, "dead": "show"}).json()
    assert found["total"] > 0
    assert all(row["why"] for row in found["features"])
    assert bench.get("/api/features", params={"how": how, "query": " "}).status_code == 400


@pytest.mark.minilm
def test_a_first_search_by_meaning_asks_for_patience_and_then_finds(bench):
    ask = {"how": "meaning", "query": "a country in Europe", "limit": 10}
    until = time.monotonic() + 120
    while (answer := bench.get("/api/features", params=ask)).status_code == 429:
        assert "ask again" in answer.json()["error"]
        assert time.monotonic() < until
    found = answer.json()["features"]
    assert len(found) == 10
    assert [row["strength"] for row in found] == sorted((row["strength"] for row in found), reverse=True)


def test_a_card_is_the_atlas_with_names_for_what_it_speaks_of(bench):
    view = bench.get("/api/features/L0/2028").json()
    card = minnow().atlas["L0/2028"].to_json()
    for kind in ("nearest_decoder", "nearest_encoder", "together", "inputs", "outputs"):
        assert all(one.pop("label") for one in view["card"][kind])
    assert view["card"] == json.loads(json.dumps(card))
    assert view["writes"] == list(minnow().dictionary.written_layers(0))


def test_a_probe_is_the_features_activation_at_every_token(bench):
    kit, text = minnow(), "People in France speak"
    one = firing(kit.subject, kit.dictionary, text)[0]
    view = bench.post(f"/api/features/{one.feature}/test", json={"text": text}).json()
    assert view["activations"][one.position] == pytest.approx(one.activation)
    assert len(view["tokens"]) == len(view["activations"])
    assert view["activations"][0] == 0


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["graph", "json"])
def test_an_exported_graph_can_be_imported_and_looks_the_same(bench, graph, kind):
    content = bench.get(f"/api/graphs/{graph}/export?as={kind}&node=1&edge=1").content
    made = bench.post("/api/graphs/import", content=content, headers={"content-type": "application/json"})
    assert made.status_code == 201, made.text
    before, after = (bench.get(f"/api/graphs/{id}?node=.9&edge=.9").json() for id in (graph, made.json()["graph"]))
    assert after["scores"] == before["scores"]
    assert edges(after) == edges(before)
    for one, other in zip(after["nodes"], before["nodes"], strict=True):
        assert (one["id"], one.get("label"), one.get("value")) == (other["id"], other.get("label"), other.get("value"))
        assert one["influence"] == pytest.approx(other["influence"], rel=1e-3, abs=1e-6)


def edges(view):
    ids, columns = [node["id"] for node in view["nodes"]], view["edges"]
    rows = zip(columns["source"], columns["target"], columns["weight"], strict=True)
    return {(ids[source], ids[target], weight) for source, target, weight in rows}


def test_an_exported_page_holds_the_graph_at_these_thresholds_its_cards_and_what_was_done_to_it(bench):
    made = traced(bench)
    node = strongest(bench, made)
    label = bench.post(f"/api/features/{node['feature']}/labels", json={"text": "mine <b>", "author": "me"}).json()
    arranged = {"revision": 0, "pins": [node["id"]], "groups": [], "positions": {}}
    bench.put(f"/api/graphs/{made}/arrangement", json=arranged | {"thresholds": {"node": 0.7, "edge": 0.9}})
    page = bench.get(f"/api/graphs/{made}/export?as=html&node=.7&edge=.9").text
    value = json.loads(page.split('id="clew-data">')[1].split("</script>")[0])
    view = bench.get(f"/api/graphs/{made}?node=.7&edge=.9").json()
    assert [one["id"] for one in value["graph"]["nodes"]] == [one["id"] for one in view["nodes"]]
    assert value["arrangement"]["pins"] == [node["id"]]
    assert value["cards"][node["feature"]]["name"] == "mine <b>"
    assert "mine <b>" not in page
    bench.delete(f"/api/labels/{label['id']}")


def test_a_graph_of_another_dictionary_can_be_read_but_not_audited(bench, tmp_path):
    kit = minnow()
    neurons = clew.Dictionary.from_neurons(kit.subject)
    clew.trace(kit.subject, neurons, FRANCE, max_features=50).save(tmp_path / "x.graph")
    content = (tmp_path / "x.graph").read_bytes()
    made = bench.post("/api/graphs/import", content=content, headers={"content-type": "application/octet-stream"})
    other = made.json()["graph"]
    assert not bench.get(f"/api/graphs/{other}").json()["of_kit"]
    refused = bench.post("/api/jobs", json={"kind": "audit", "graph": other, "nodes": 5})
    assert refused.status_code == 400
    assert "its own kit" in refused.json()["error"]


def test_a_removed_graph_is_not_found(bench):
    made = traced(bench)
    assert bench.delete(f"/api/graphs/{made}").status_code == 204
    assert bench.get(f"/api/graphs/{made}").status_code == 404
    assert bench.delete(f"/api/graphs/{made}").status_code == 404


# --- harvest, and what outlives the server --------------------------------------------------------------------------


def test_results_and_graphs_outlive_the_server(tmp_path):
    with opened(tmp_path) as client:
        job = asked(client, {"kind": "trace", "prompt": FRANCE})
        before = ended(client, job)
        view = client.get(f"/api/graphs/{before['result']['graph']}").json()
    with opened(tmp_path) as client:
        assert client.get(f"/api/jobs/{job}").json() == before
        assert client.get(f"/api/graphs/{before['result']['graph']}").json() == view


@pytest.mark.long
def test_a_harvest_makes_an_atlas_in_the_workspace(tmp_path):
    with opened(tmp_path) as client:
        result = done(client, {"kind": "harvest", "tokens": 500, "texts": [FRANCE, GERMANY] * 20}, seconds=300)
        with Atlas.load(tmp_path / "atlases" / f"{result['atlas']}.sqlite") as atlas:
            assert atlas.dictionary == minnow().dictionary.fingerprint
            assert len(atlas) == result["features"]
            assert int((atlas.summary.density == 0).sum()) == result["dead"]


def test_a_full_disk_answers_507_in_one_line_and_the_server_goes_on(tmp_path, monkeypatch):
    import errno
    import os

    def full(*given):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with opened(tmp_path) as client:
        content = client.get(f"/api/graphs/{traced(client)}/export?as=graph").content
        monkeypatch.setattr(os, "fsync", full)
        refused = client.post("/api/graphs/import", content=content, headers={"content-type": "application/json"})
        failed = ended(client, asked(client, {"kind": "trace", "prompt": FRANCE}))
        monkeypatch.undo()
        assert refused.status_code == 507
        assert refused.json()["error"].startswith("the disk is full")
        assert failed["state"] == "failed"
        assert failed["error"].startswith("the disk is full")
        assert traced(client)


def test_a_workspace_alone_is_served_with_the_bundled_kit(tmp_path):
    with TestClient(make_app(tmp_path / "w"), base_url=HERE) as client:
        assert client.get("/api/workbench").json()["kit"]["name"] == "minnow"
