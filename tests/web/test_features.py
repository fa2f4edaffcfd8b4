"""Features of the bundled kit, asked for as the page asks for them: labels, lists, searches, cards."""

import json
import threading
import time

import pytest

from clew.labels.in_prompt import names_here
from clew.search.queries import firing
from tests.workbench import FRANCE, done, minnow, strongest


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
        yield next(entry for entry in fired if entry["feature"] == feature)["label"]

    assert set(everywhere()) == {text}
    assert (
        bench.get("/api/features", params={"how": "words", "query": text}).json()["features"][0]["feature"] == feature
    )
    history = bench.get(address).json()["labels"]
    own_labels = [entry for entry in history if entry["author"] == "me"]
    assert [(entry["text"], entry["current"]) for entry in own_labels] == [(text, True), ("a first thought", False)]
    assert bench.delete(f"/api/labels/{label['id']}").status_code == 204
    assert text not in set(everywhere())
    assert [entry["current"] for entry in bench.get(address).json()["labels"] if entry["author"] == "me"] == [
        False,
        False,
    ]
    assert bench.delete(f"/api/labels/{first['id'] + 1000}").status_code == 404


def test_a_node_goes_by_what_it_does_here_until_a_person_labels_its_feature(bench, graph):
    kit = minnow()
    traced = kit.trace(FRANCE)
    address, whole = f"/api/graphs/{graph}", {"node": 0.9, "edge": 1}

    def nodes():
        return {n["id"]: n for n in bench.get(address, params=whole).json()["nodes"] if n["kind"] == "feature"}

    view = nodes()
    places = names_here(kit.atlas, traced, [traced.index(id) for id in view])
    others = {str(traced.node(node).id): name.here for node, name in places.items() if name.here != name.general}
    assert {id: node["here"] for id, node in view.items() if "here" in node} == others
    assert {"", "before a capital"} <= set(others.values())
    (labelled, told), *_ = ((id, here) for id, here in others.items() if here)
    links = bench.get(f"{address}/node", params={"id": "O0@5"}).json()["inputs"]
    assert {link["here"] for link in links if link["id"] == labelled} == {told}
    body = {"text": "a word of mine", "author": "me"}
    label = bench.post(f"/api/features/{view[labelled]['feature']}/labels", json=body).json()
    mine = nodes()[labelled]
    bench.delete(f"/api/labels/{label['id']}")
    assert (mine["label"], "here" in mine) == ("a word of mine", False)


def test_two_tabs_of_one_author_are_told_apart_and_what_both_said_stays_in_sight(bench):
    address = "/api/features/L1/11"
    labels = lambda: bench.get(address).json()["labels"]  # noqa: E731
    read = [entry for entry in labels() if entry["author"] == "ann"]
    assert read == []  # as both tabs see it
    first = bench.post(f"{address}/labels", json={"text": "first", "author": "ann", "after": 0})
    late = bench.post(f"{address}/labels", json={"text": "second", "author": "ann", "after": 0})
    assert (first.status_code, late.status_code) == (201, 409)
    assert late.json()["newest"] == first.json()
    assert "says 'first'" in late.json()["error"]
    body = {"text": "second", "author": "ann"}
    second = bench.post(f"{address}/labels", json=body | {"after": first.json()["id"]})
    assert second.status_code == 201
    other = bench.post(f"{address}/labels", json={"text": "mine", "author": "bob", "after": 0})
    assert other.status_code == 201
    labels_of_ann = [
        (entry["text"], entry["current"], entry["replaced"]) for entry in labels() if entry["author"] == "ann"
    ]
    assert labels_of_ann == [("second", True, False), ("first", False, True)]
    bench.delete(f"/api/labels/{second.json()['id']}")
    labels_of_ann = {
        entry["text"]: (entry["current"], entry["replaced"]) for entry in labels() if entry["author"] == "ann"
    }
    assert labels_of_ann == {"second": (False, False), "first": (False, True)}
    gone = bench.post(f"{address}/labels", json=body | {"after": second.json()["id"]})
    assert (gone.status_code, gone.json()["newest"]) == (409, None)


def test_of_one_author_in_many_tabs_at_once_nothing_is_lost(bench):
    address, kept = "/api/features/L1/12", []

    def tab(name):
        for number in range(6):
            text, after = f"{name} {number}", 0
            while True:
                answer = bench.post(f"{address}/labels", json={"text": text, "author": "ann", "after": after})
                if answer.status_code == 201:
                    kept.append(text)
                    break
                after = answer.json()["newest"]["id"]

    tabs = [threading.Thread(target=tab, args=(name,)) for name in "abc"]
    for thread in tabs:
        thread.start()
    for thread in tabs:
        thread.join()
    labels = [
        (label["text"], label["replaced"]) for label in bench.get(address).json()["labels"] if label["author"] == "ann"
    ]
    assert len(labels) == 18
    assert {text for text, _ in labels} == {*kept}
    assert [replaced for _, replaced in labels].count(False) == 1


def test_browsing_filters_sorts_and_turns_pages(bench):
    summary = minnow().atlas.summary
    whole = bench.get("/api/features", params={"dead": "show"}).json()
    assert whole["total"] == len(summary.density)
    alive = bench.get("/api/features", params={"sort": "density", "descending": True, "limit": 5, "layer": 2}).json()
    assert alive["total"] == int(((summary.density > 0) & (summary.layer == 2)).sum())
    assert [row["density"] for row in alive["features"]] == sorted(summary.density[summary.layer == 2])[::-1][:5]
    narrow = {"min_density": 0.001, "max_density": 0.002, "limit": 500}
    rows = bench.get("/api/features", params=narrow).json()
    assert rows["total"] == int(((summary.density >= 0.001) & (summary.density <= 0.002)).sum())
    pages = [bench.get("/api/features", params=narrow | {"limit": 7, "offset": offset}).json() for offset in (0, 7)]
    assert [row["feature"] for page in pages for row in page["features"]] == [
        row["feature"] for row in rows["features"][:14]
    ]


def test_features_that_fire_on_a_text_are_the_librarys(bench):
    view = bench.post("/api/features/fires", json={"text": FRANCE, "top": 3}).json()
    kit = minnow()
    plain = firing(kit.subject, kit.dictionary, FRANCE)
    assert {fire["feature"] for fire in view["by_feature"]} <= {str(firing.feature) for firing in plain}
    for here in view["by_token"]:
        assert len(here["features"]) <= 3
        shares = [fire["share"] for fire in here["features"]]
        assert shares == sorted(shares, reverse=True)
        for fire in here["features"]:
            same = next(p for p in plain if str(p.feature) == fire["feature"] and p.position == here["position"])
            assert fire["activation"] == pytest.approx(same.activation)


@pytest.mark.parametrize("how", ["promotes", "fires", "alike", "words"])
def test_every_way_of_searching_finds_something(bench, how):
    query = {"promotes": "Paris", "fires": FRANCE, "alike": "L0/2027", "words": "says"}[how]
    matches = bench.get("/api/features", params={"how": how, "query": query, "dead": "show"}).json()
    assert matches["total"] > 0
    assert all(row["why"] for row in matches["features"])
    assert bench.get("/api/features", params={"how": how, "query": " "}).status_code == 400


@pytest.mark.minilm
@pytest.mark.usefixtures("few_rules")
def test_a_first_search_by_meaning_asks_for_patience_and_then_finds(bench):
    ask = {"how": "meaning", "query": "a country in Europe", "limit": 10}
    until = time.monotonic() + 120
    while (answer := bench.get("/api/features", params=ask)).status_code == 429:
        assert "ask again" in answer.json()["error"]
        assert time.monotonic() < until
    rows = answer.json()["features"]
    assert len(rows) == 10
    assert [row["strength"] for row in rows] == sorted((row["strength"] for row in rows), reverse=True)


def test_a_card_is_the_atlas_with_names_for_what_it_speaks_of(bench):
    view = bench.get("/api/features/L0/2027").json()
    card = minnow().atlas["L0/2027"].to_json()
    for kind in ("nearest_decoder", "nearest_encoder", "together", "inputs", "outputs"):
        assert all(related.pop("label") for related in view["card"][kind])
    contexts = [*view["card"]["top"], *view["card"]["silent"]]
    for context in contexts + [context for band in view["card"]["bands"] for context in band["contexts"]]:
        shown = context.pop("shown")  # where a token is a part of a character
        assert shown is None or (len(shown) == len(context["tokens"]) and "\ufffd" not in "".join(shown))
    assert view["card"] == json.loads(json.dumps(card))
    assert view["writes"] == list(minnow().dictionary.written_layers(0))


def test_a_probe_is_the_features_activation_at_every_token(bench):
    kit, text = minnow(), "People in France speak"
    first_firing = firing(kit.subject, kit.dictionary, text)[0]
    view = bench.post(f"/api/features/{first_firing.feature}/test", json={"text": text}).json()
    assert view["activations"][first_firing.position] == pytest.approx(first_firing.activation)
    assert len(view["tokens"]) == len(view["activations"])
    assert view["activations"][0] == 0
