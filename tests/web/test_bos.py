"""`add_bos` in the bodies of the page: without it a text is read as it stands, from its tokens to every result."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from clew.intervention.edit import Edit
from clew.search.queries import firing
from tests.workbench import FRANCE, done, minnow, strongest

PLAIN = {"prompt": FRANCE, "add_bos": False}


def ids(client: TestClient, **body: Any) -> list[int]:
    return [token["id"] for token in client.post("/api/tokens", json=body).json()["tokens"]]


def listed(client: TestClient, graph: str) -> dict[str, Any]:
    return next(entry for entry in client.get("/api/graphs").json()["graphs"] if entry["id"] == graph)


@pytest.fixture(scope="module")
def plain(bench: TestClient) -> str:
    """A graph that was traced without BOS."""
    return done(bench, {"kind": "trace", **PLAIN})["graph"]


def test_tokens_differ_by_what_the_kit_says_it_puts_in_front(bench):
    start = bench.get("/api/workbench").json()["kit"]["start"]
    assert start == ["<bos>"]
    with_bos, without = ids(bench, prompt=FRANCE), ids(bench, **PLAIN)
    assert with_bos == ids(bench, prompt=FRANCE, add_bos=True) == [*minnow().subject.start_ids, *without]
    assert bench.post("/api/tokens", json=PLAIN).json()["first_position"] == 0


def test_a_text_that_fills_the_context_has_no_room_for_bos(bench):
    words = "is" + " is" * (minnow().subject.context_length - 1)
    assert len(ids(bench, prompt=words, add_bos=False)) == minnow().subject.context_length
    assert "shorten it" in bench.post("/api/tokens", json={"prompt": words}).json()["error"]


def test_a_graph_says_how_its_prompt_was_read(bench, graph, plain):
    views = {name: bench.get(f"/api/graphs/{name}").json() for name in (graph, plain)}
    assert views[plain]["token_ids"] == views[graph]["token_ids"][1:] == ids(bench, **PLAIN)
    for name, with_bos in ((graph, True), (plain, False)):
        assert views[name]["add_bos"] == listed(bench, name)["add_bos"] == with_bos
    exported = bench.get(f"/api/graphs/{plain}/export", params={"as": "graph"}).content
    kind = {"content-type": "application/octet-stream"}
    imported = bench.post("/api/graphs/import", content=exported, headers=kind).json()["graph"]
    assert listed(bench, imported)["add_bos"] is False


def test_graphs_with_and_without_bos_are_compared_token_by_token(bench, graph, plain):
    view = bench.post("/api/compare", json={"a": graph, "b": plain}).json()
    assert view["aligned"] == [[position + 1, position] for position in range(len(view["b"]["tokens"]))]


def test_an_edit_and_both_texts_are_of_the_prompt_without_bos(bench, plain):
    feature = strongest(bench, plain)["feature"]
    edits = [{"verb": "set", "feature": feature, "strength": 8.0, "positions": "all"}]
    edit = Edit.set(feature, 8.0)
    view = done(bench, {"kind": "edit", "edits": edits, **PLAIN})
    effect = minnow().edit(FRANCE, [edit], add_bos=False)
    assert view["tokens"] == list(effect.tokens)
    assert view["tokens"][0] == "The"
    expected = [pytest.approx(row[1:], rel=1e-3) for row in effect.top_tokens(-1, 20)]
    assert [(row["before"], row["predicted"], row["measured"]) for row in view["outputs"]] == expected
    texts = done(bench, {"kind": "generate", "edits": edits, "tokens": 4, **PLAIN})
    for side, chosen in (("default", []), ("edited", [edit])):
        steps = minnow().generate(FRANCE, chosen, tokens=4, add_bos=False)
        assert texts[side] == "".join(step.text for step in steps)


def test_positions_of_an_edit_are_those_of_the_prompt_as_it_is_read(bench, graph):
    last = len(ids(bench, prompt=FRANCE)) - 1
    edit = {"verb": "ablate", "feature": strongest(bench, graph)["feature"], "positions": [last]}
    for kind in ("edit", "generate"):
        body = {"kind": kind, "prompt": FRANCE, "edits": [edit]}
        assert bench.post("/api/jobs", json=body | {"tokens": 1} if kind == "generate" else body).status_code == 202
    refused = bench.post("/api/jobs", json={"kind": "edit", "edits": [edit], **PLAIN})
    assert refused.status_code == 400
    later = edit | {"positions": "generated"}
    assert done(bench, {"kind": "edit", "edits": [later], **PLAIN})["tokens"][0] == "The"


def test_what_fires_on_a_text_is_found_without_bos(bench):
    kit = minnow()
    firings = firing(kit.subject, kit.dictionary, FRANCE, add_bos=False, **kit.atlas.levels())
    expected = {(str(f.feature), f.position): pytest.approx(f.activation) for f in firings}
    view = bench.post("/api/features/fires", json={"text": FRANCE, "add_bos": False}).json()
    assert view["tokens"][0] == "The"
    fires = [fire for at in view["by_token"] for fire in at["features"]]
    assert {(fire["feature"], fire["position"]): fire["activation"] for fire in fires}.items() <= expected.items()
    query = {"how": "fires", "query": FRANCE, "add_bos": False}
    strengths = {row["strength"] for row in bench.get("/api/features", params=query).json()["features"]}
    assert strengths <= {f.activation for f in firings}
    best = firings[0]
    body = {"text": FRANCE, "add_bos": False}
    probe = bench.post(f"/api/features/{best.feature}/test", json=body).json()
    assert probe["activations"][best.position] == pytest.approx(best.activation)
    assert probe["tokens"] == view["tokens"]
