"""Notes and lists: kept in the workspace, found again, and never overwritten unseen."""

from clew.ids import FeatureId
from tests.workbench import opened, traced


def test_a_note_is_kept_goes_with_its_graph_and_is_never_overwritten_unseen(tmp_path):
    with opened(tmp_path) as bench:
        graph = traced(bench)
        address = f"/api/graphs/{graph}/note"
        assert bench.get(address).json() == {"revision": 0, "text": "", "date": None}
        first = bench.put(address, json={"revision": 0, "text": "the country goes through L0"})
        assert (first.status_code, first.json()["revision"]) == (200, 1)
        late = bench.put(address, json={"revision": 0, "text": "another tab"})
        assert (late.status_code, late.json()["newest"]["text"]) == (409, "the country goes through L0")
        again = traced(bench)  # the same prompt
        assert bench.get(f"/api/graphs/{again}/note").json()["text"] == "the country goes through L0"
        bench.delete(f"/api/graphs/{graph}")
        assert bench.get(address).status_code == 404
        bench.post(f"/api/graphs/{graph}/restore")
        assert bench.get(address).json()["revision"] == 1
        on_feature = "/api/features/L0/2028/note"
        assert bench.put(on_feature, json={"revision": 0, "text": "fires for Australia, too"}).status_code == 200
    with opened(tmp_path) as bench:  # another server of the workspace
        assert bench.get(on_feature).json()["text"] == "fires for Australia, too"
        assert bench.get("/api/features/L0/99999/note").status_code == 404
        assert bench.put(on_feature, json={"revision": 1, "text": "x" * 20_001}).status_code == 422


def test_lists_are_those_of_the_command_line_and_can_be_searched_in(tmp_path):
    features = ["L0/2027", "L3/293"]
    with opened(tmp_path) as bench:
        made = bench.post("/api/lists", json={"name": " capitals ", "add": features}).json()["lists"]
        assert [(each["name"], [f["feature"] for f in each["features"]]) for each in made] == [("capitals", features)]
        assert all(each["text"] for each in made[0]["features"])
        found = bench.get("/api/features", params={"how": "list", "query": "capitals"}).json()
        assert [row["feature"] for row in found["features"]] == features
        layer = bench.get("/api/features", params={"how": "list", "query": "capitals", "layer": 3}).json()
        assert [row["feature"] for row in layer["features"]] == features[1:]
        store = bench.app.state.workbench.open_kit.workspace.labels
        assert store.lists() == {"capitals": tuple(map(FeatureId.parse, features))}
        for body, status in (
            ({"name": "\u200b", "add": features}, 400),
            ({"name": "", "add": features}, 422),
            ({"name": "x", "add": ["L0/99999"]}, 404),
            ({"name": "x", "add": ["paris"]}, 422),
        ):
            assert bench.post("/api/lists", json=body).status_code == status
        assert bench.post("/api/lists", json={"name": "capitals", "remove": features}).json()["lists"] == []
