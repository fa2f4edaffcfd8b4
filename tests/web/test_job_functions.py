"""Long work on the bundled kit, asked for as the page asks for it: edits, texts, audits, a harvest."""

import threading
import time
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from clew.features.atlas import Atlas
from clew.intervention.edit import Edit
from clew.web.app import make_app
from tests.workbench import FRANCE, GERMANY, HERE, asked, done, ended, events, minnow, opened, strongest, traced


def test_events_of_a_trace_end_with_its_graph(bench):
    job = asked(bench, {"kind": "trace", "prompt": FRANCE})
    seen = events(bench, job)
    assert seen[-1][1] == "end"
    graph = seen[-1][2]["result"]["graph"]
    assert bench.get(f"/api/graphs/{graph}").status_code == 200
    assert events(bench, job, **{"last-event-id": str(seen[-2][0])}) == seen[-1:]
    assert events(bench, job, **{"last-event-id": "nonsense"}) == seen[-2:]


def test_a_trace_explains_the_targets_or_the_position_that_it_is_asked_for(bench):
    body = {"kind": "trace", "prompt": FRANCE}
    for asked_for, targets in (
        ({"targets": ["Paris - Rome"]}, [("Paris - Rome", 5)]),
        ({"targets": ["Paris", "Rome"], "position": -1}, [(" Paris", 5), (" Rome", 5)]),
        ({"targets": ["the"], "position": 3}, [(" the", 3)]),
    ):
        view = bench.get(f"/api/graphs/{done(bench, body | asked_for)['graph']}").json()
        shown = [(node["label"], node["position"]) for node in view["nodes"] if node["kind"] == "target"]
        assert (shown, view["targets"], view["position"]) == (targets, asked_for["targets"], targets[0][1])
    view = bench.get(f"/api/graphs/{done(bench, body | {'position': 4})['graph']}").json()
    assert (view["targets"], view["position"]) == ([], 4)
    for wrong, line in (
        ({"targets": ["Paris", "no such word"]}, "target 'no such word' is not one token but "),
        ({"targets": ["Paris - Paris"]}, "target 'Paris - Paris' is zero"),
        ({"targets": ["#99999999"]}, "target id 99999999 is outside the vocabulary"),
        ({"position": 6}, "position 6 is outside the prompt's 6 tokens (0..5)"),
    ):
        answer = bench.post("/api/jobs", json=body | wrong).json()
        error = answer["error"] if "error" in answer and "id" not in answer else ended(bench, answer["id"])["error"]
        assert error.startswith(line)


def test_an_edit_is_the_librarys_predicted_beside_measured(bench, graph):
    feature = strongest(bench, graph)["feature"]
    view = done(
        bench, {"kind": "edit", "prompt": FRANCE, "edits": [{"verb": "scale", "feature": feature, "strength": 0.5}]}
    )
    effect = minnow().edit(FRANCE, [Edit.scale(feature, 0.5)])
    expected = effect.top_tokens(-1, 20)
    for row, (id, before, predicted, measured) in zip(view["outputs"], expected, strict=True):
        assert row["token_id"] == id
        assert [row["before"], row["predicted"], row["measured"]] == pytest.approx(
            [before, predicted, measured], rel=1e-3
        )
    edited = [str(change.node) for change in effect.changes if str(change.node.feature) == feature]
    others = [str(change.node) for change in effect.changes if str(change.node.feature) != feature]
    assert edited
    assert [row["node"] for row in view["edited"]] == edited
    assert [row["node"] for row in view["changes"]] == others[:500]
    assert (view["through"], view["prediction"], view["n_changes"]) == (effect.through, "effects", len(others))
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
    before = {output["token"]: output["before"] for output in alone["outputs"]}
    for output in view["outputs"][:3]:
        assert (
            output["before"]
            == output["predicted"]
            == output["measured"]
            == pytest.approx(before[output["token"]], rel=1e-4)
        )
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


@pytest.mark.alone
def test_cancelling_an_audit_frees_the_model_long_before_it_would_have_ended(bench, graph):
    body = {"kind": "audit", "graph": graph, "nodes": 40}
    began = time.monotonic()
    done(bench, body)
    whole = time.monotonic() - began
    began = time.monotonic()
    traced(bench)
    alone = time.monotonic() - began
    job = asked(bench, body)
    while bench.get(f"/api/jobs/{job}").json()["progress"]["done"] < 1:
        time.sleep(0.01)
    began = time.monotonic()
    bench.delete(f"/api/jobs/{job}")
    traced(bench)
    assert time.monotonic() - began < alone + whole / 2
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
    with bench.app.state.workbench.open_kit.model_lock.long():
        for thread in many:
            thread.start()
        while bench.app.state.workbench.open_kit.model_lock._waiting < 4:
            time.sleep(0.01)
        reader = threading.Thread(target=reading)
        reader.start()
        reader.join(timeout=30)
        before = [*answers], [*read]
    for thread in (reader, *many):
        thread.join()
    assert before == ([], [200])
    assert answers == [200] * 12


def test_results_and_graphs_outlive_the_server(tmp_path):
    with opened(tmp_path) as client:
        job = asked(client, {"kind": "trace", "prompt": FRANCE})
        before = ended(client, job)
        view = client.get(f"/api/graphs/{before['result']['graph']}").json()
    with opened(tmp_path) as client:
        assert client.get(f"/api/jobs/{job}").json() == before
        assert client.get(f"/api/graphs/{before['result']['graph']}").json() == view


def cards_of(client):
    card = client.get("/api/features/L0/2027").json()["card"]
    return None if card is None else card["positions"]


@pytest.mark.stress
def test_a_harvest_makes_an_atlas_from_which_the_cards_of_a_kit_without_one_are(tmp_path):
    bare = replace(minnow(), atlas_path=None)
    harvest = {"kind": "harvest", "tokens": 300, "texts": [FRANCE, GERMANY] * 20}
    with TestClient(make_app(tmp_path, bare), base_url=HERE) as client:
        assert (client.get("/api/workbench").json()["kit"]["has_atlas"], cards_of(client)) == (False, None)
        assert client.get("/api/features", params={"how": "promotes", "query": "Paris"}).status_code == 400
        result = done(client, harvest, seconds=300)
        assert result["used"]
        assert cards_of(client) == result["positions"] > 0
        assert client.get("/api/workbench").json()["kit"]["positions"] == result["positions"]
        assert client.get("/api/features", params={"how": "promotes", "query": "Paris"}).json()["total"] > 0
    path = tmp_path / "atlases" / f"{result['atlas']}.sqlite"
    with Atlas.load(path) as atlas:
        assert atlas.dictionary == minnow().dictionary.fingerprint
        assert len(atlas) == result["features"]
        assert int((atlas.summary.density == 0).sum()) == result["dead"]
    with TestClient(make_app(tmp_path, bare), base_url=HERE) as client:
        assert cards_of(client) == result["positions"]
    with opened(tmp_path) as client:  # the kit's own was made from more text
        assert cards_of(client) == minnow().atlas.positions
    small = replace(minnow(), atlas_path=path)
    with TestClient(make_app(tmp_path / "other", small), base_url=HERE) as client:
        assert cards_of(client) == result["positions"]
        more = done(client, harvest | {"texts": [FRANCE, GERMANY] * 25}, seconds=300)
        assert more["used"]
        assert cards_of(client) == more["positions"] > result["positions"]
