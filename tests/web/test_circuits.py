"""Circuits by the server: those of the library, changed, saved under names that nobody overwrites, swapped."""

import json

import pytest

from clew.circuit.ablation_claim import AblationClaim, check_claim
from clew.circuit.circuit import Circuit
from clew.circuit.regroup import GroupChange, regroup
from clew.circuit.words import lexicon_of_model
from tests.workbench import FRANCE, asked, done, ended, minnow, traced

ITALY = "The capital of Italy is"
CLAIM = {"moves": "falls", "points": 10}


@pytest.fixture(scope="module")
def circuit():
    kit = minnow()
    return kit.circuit(kit.trace(FRANCE))


def near(value):
    return pytest.approx(value, rel=1e-3, abs=1e-4)


def test_a_graphs_circuit_is_the_librarys_and_told_in_both_languages(bench, graph, circuit):
    view = done(bench, {"kind": "circuit", "graph": graph})
    assert view["sentence"] == {"en": circuit.sentence, "ru": circuit.tell("ru")}
    assert [group["name"]["en"] for group in view["groups"]] == [group.name for group in circuit.groups]
    for group, own in zip(view["groups"], circuit.groups, strict=True):
        assert [member["id"] for member in group["members"]] == list(own.members)
        assert (group["share"], group["necessity"]) == (near(own.share), near(own.necessity))
        assert (group["sufficiency"], group["random"]["mean"]) == (near(own.sufficiency), near(own.null.probability))
        assert group["told"] is (own.id in circuit.chain)
    assert {(edge["source"], edge["target"]) for edge in view["edges"]} == {(e.source, e.target) for e in circuit.edges}
    assert ("T@4", "France") in {(word["id"], word["text"]) for word in view["words"]}
    assert (view["changes"], view["saved"]) == ([], None)


def test_changes_are_measured_anew_saved_and_never_overwritten_unless_that_is_asked_for(bench, graph, circuit):
    first, second = circuit.groups[0], circuit.groups[1]
    changes = [
        {"verb": "merge", "group": first.id, "other": second.id},
        {"verb": "rename", "group": first.id, "name": "all of it"},
    ]
    view = done(bench, {"kind": "circuit", "graph": graph, "changes": changes})
    kit = minnow()
    values = [GroupChange.from_json(change) for change in changes]
    lexicon = lexicon_of_model(kit.provenance["model"])
    same = regroup(kit.subject, kit.dictionary, kit.trace(FRANCE), circuit, values, lexicon, kit.atlas)
    assert view["sentence"]["en"] == same.sentence
    assert [change["verb"] for change in view["changes"]] == ["merge", "rename"]
    assert view["groups"][0]["called"] == "all of it"

    address = f"/api/graphs/{graph}/circuits"
    body = {"changes": changes, "name": "mine"}
    kept = bench.post(address, json=body)
    assert kept.status_code == 201
    id = kept.json()["saved"]
    again = bench.post(address, json={**body, "changes": []})
    assert (again.status_code, again.json()["error"]) == (
        409, "a circuit 'mine' of this graph is kept: take another name, or replace it",
    )  # fmt: skip
    assert bench.post(address, json={**body, "changes": [], "name": "as found"}).status_code == 201
    assert [each["name"] for each in bench.get(address).json()["circuits"]] == ["as found", "mine"]
    assert bench.get(f"{address}/{id}").json()["sentence"]["en"] == same.sentence

    more = [{"verb": "rename", "group": first.id, "name": "other"}]
    later = done(bench, {"kind": "circuit", "graph": graph, "saved": id, "changes": more})
    assert (later["saved"], later["name"], len(later["changes"])) == (None, "mine", 3)
    replaced = bench.post(address, json={**body, "saved": id, "changes": more, "replace": True})
    assert replaced.status_code == 201
    assert bench.get(f"{address}/{id}").status_code == 404
    file = bench.get(f"{address}/{replaced.json()['saved']}/file")
    assert file.headers["content-disposition"] == 'attachment; filename="mine.circuit.json"'
    assert Circuit.from_json(json.loads(file.content)["circuit"]).groups[0].name == "other"
    assert bench.delete(f"{address}/{replaced.json()['saved']}").status_code == 204
    assert [each["name"] for each in bench.get(address).json()["circuits"]] == ["as found"]


def test_saved_circuits_leave_with_their_graph_and_come_back_with_it(bench):
    graph = traced(bench)
    address = f"/api/graphs/{graph}/circuits"
    bench.post(address, json={"name": "kept"})
    bench.delete(f"/api/graphs/{graph}")
    assert bench.get(address).status_code == 404
    bench.post(f"/api/graphs/{graph}/restore")
    assert [each["name"] for each in bench.get(address).json()["circuits"]] == ["kept"]


def test_an_exported_page_carries_the_explanation_that_is_asked_for(bench, graph):
    rename = {"verb": "rename", "group": "G1", "name": "the land"}
    address = f"/api/graphs/{graph}/export"
    page = bench.post(address, json={"changes": [rename] * 200})  # more than an address has room for
    assert page.status_code == 200, page.text
    assert page.headers["content-disposition"].endswith('"capital-of-France-is.html"')
    assert "*the land*" in page.text
    assert "*country: France*" not in page.text
    assert "*country: France*" not in bench.get(address, params={"as": "html"}).text
    refused = bench.post(address, json={"groups": 1})
    assert (refused.status_code, refused.json()["error"]) == (422, "groups must be at least 2")


def test_a_swapped_group_is_followed_and_mistakes_are_told_in_one_line(bench, graph, circuit):
    body = {"kind": "swap", "graph": graph, "group": circuit.groups[0].id, "prompt": ITALY}
    view = done(bench, body)
    assert (view["answer"], view["other_answer"], view["follows"]) == ("Paris", "Rome", True)
    assert view["others"][1] > 0.5 > max(view["random"])
    assert view["other_group"]["en"] == "country: Italy"
    failed = ended(bench, asked(bench, {**body, "group": "G77"}))
    assert (failed["state"], failed["error"][:25]) == ("failed", "there is no group 'G77': ")
    for other, status in (
        ({"kind": "circuit", "graph": "0" * 16}, 404),
        ({"kind": "circuit", "graph": graph, "saved": "0" * 16}, 404),
        ({"kind": "circuit", "graph": graph, "changes": [{"verb": "paint"}]}, 422),
        ({"kind": "circuit", "graph": graph, "groups": 1}, 422),
        ({**body, "prompt": ""}, 422),
    ):
        assert bench.post("/api/jobs", json=other).status_code == status
    for name, status in (("\u200b", 400), ("", 422)):
        answer = bench.post(f"/api/graphs/{graph}/circuits", json={"name": name})
        assert answer.status_code == status, answer.text


def test_a_claim_is_checked_as_the_library_does(bench, graph, circuit):
    kit, members = minnow(), circuit.groups[0].members
    body = {**CLAIM, "features": list(members), "draws": 4}
    view = bench.post(f"/api/graphs/{graph}/claim", json=body).json()
    claim = AblationClaim(features=members, points=10, draws=4)
    same = check_claim(kit.subject, kit.dictionary, kit.trace(FRANCE), claim)
    assert (view["verdict"], view["sentence"], view["answer"]) == (same.outcome, same.sentence, same.text)
    assert (view["before"], view["without"], view["moved"]) == tuple(map(near, (same.before, same.without, same.moved)))
    assert view["random"] == [near(value) for value in same.null.probabilities]
    rises = bench.post(f"/api/graphs/{graph}/claim", json={**body, "token": "Rome", "moves": "rises"}).json()
    assert (rises["answer"], rises["verdict"]) == ("Rome", "fails")


def test_what_holds_a_rival_down_is_told_as_the_library_tells_it(bench, graph, circuit):
    view = bench.post(f"/api/graphs/{graph}/rival", json={"token": "Rome"}).json()
    same = circuit.why_not("Rome")
    assert view["sentence"] == {"en": same.sentence, "ru": same.tell("ru")}
    assert (view["answer"], view["rival"], view["margin"]) == (same.said, same.rival, near(same.margin))
    assert [(group["id"], group["margin"], group["random"]) for group in view["groups"]] == [
        (group.id, near(group.margin), near(group.random)) for group in same.groups
    ]
    assert [group["id"] for group in view["groups"] if group["holds"]] == [group.id for group in same.holds]


def test_a_saved_circuit_is_measured_anew_for_its_rival(bench, graph):
    saved = bench.post(f"/api/graphs/{graph}/circuits", json={"name": "for its rival"}).json()["saved"]
    view = bench.post(f"/api/graphs/{graph}/rival", json={"saved": saved, "token": "Rome"}).json()
    same = bench.post(f"/api/graphs/{graph}/rival", json={"token": "Rome"}).json()
    assert view["sentence"] == same["sentence"]
    assert [group["margin"] for group in view["groups"]] == [near(group["margin"]) for group in same["groups"]]


@pytest.mark.parametrize(
    ("address", "body", "status", "words"),
    [
        ("claim", {"features": []}, 422, "features"),
        ("claim", {"features": ["L4/1590"]}, 422, "feature 1 must be written like L3/1207@4"),
        ("claim", {"features": ["L4/1590@5"], "points": 0}, 422, "points"),
        ("claim", {"features": ["L4/1590@0"]}, 400, "L4/1590@0"),
        ("claim", {"features": ["L4/1590@5"], "token": "Parises"}, 400, "is not one token"),
        ("rival", {"token": "Paris"}, 400, "Paris"),
        ("rival", {"token": "Rome", "saved": "none"}, 404, "none"),
        ("rival", {}, 422, "token"),
    ],
)
def test_claims_and_rivals_that_cannot_be_measured_are_refused(bench, graph, address, body, status, words):
    answer = bench.post(f"/api/graphs/{graph}/{address}", json=body)
    assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
    assert bench.post(f"/api/graphs/absent/{address}", json={"features": ["L4/1590@5"], "token": "x"}).status_code in (
        404,
        422,
    )
