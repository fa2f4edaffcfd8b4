"""Pins and groups go to other programs' graph JSON and come back."""

import json
from pathlib import Path

import pytest

from clew.attribution.graph_json import ids_by_name
from clew.web.schema.graphs import Arrangement, NodeGroup, Thresholds
from clew.web.security import IMPORT
from clew.web.workbench.pins_json import marks_of, with_marks
from tests.graphs import capital_graph, random_graph
from tests.workbench import opened, traced

AT = Thresholds(node=0.8, edge=0.98)
JSON = {"content-type": "application/json"}


def arranged(pins, groups, positions=None, revision=0):
    return Arrangement(revision=revision, pins=pins, groups=groups, positions=positions or {}, thresholds=AT)


def plain(arrangement):
    """What a person did, without what the page alone made up."""
    groups = [(group.name, group.nodes, group.note) for group in arrangement.groups]
    return arrangement.pins, groups, arrangement.positions


@pytest.mark.parametrize("seed", range(3))
def test_every_node_is_known_by_its_name(seed):
    graph = random_graph(seed, n_targets=3)
    value = graph.to_json()
    ids = ids_by_name(value)
    pairs = zip(graph.nodes, value["nodes"], strict=False)
    assert {name: str(node.id) for node, there in pairs for name in [there["node_id"]]} == ids


def test_pins_and_groups_are_written_where_other_programs_read_them_and_come_back():
    graph = random_graph(3, n_targets=2)
    ids = [str(node.id) for node in graph.nodes]
    country = NodeGroup(id="a", name="Страна", nodes=ids[:3], note="why")
    other = NodeGroup(id="b", name="other", nodes=ids[5:6])
    arrangement = arranged([ids[1], ids[-1], ids[8]], [country, other], {ids[1]: (3.5, -2.0)})
    value = json.loads(json.dumps(with_marks(graph.to_json(), graph, arrangement)))
    names = [node["node_id"] for node in value["nodes"]]
    assert value["qParams"]["supernodes"] == [["Страна", *names[:3]], ["other", names[5]]]
    last = names[ids.index(ids[-1])]
    # what a supernode holds is shown in those programs only where it is pinned
    assert value["qParams"]["pinnedIds"] == [names[1], last, names[8], names[0], names[2], names[5]]
    assert plain(marks_of(value)) == plain(arrangement)


def test_what_another_program_changed_since_counts():
    graph = random_graph(3)
    ids = [str(node.id) for node in graph.nodes]
    value = with_marks(graph.to_json(), graph, arranged(ids[:2], [NodeGroup(id="a", name="x", nodes=ids[2:4])]))
    names = [node["node_id"] for node in value["nodes"]]
    value["qParams"]["pinnedIds"] = [names[1], names[7], names[2]]
    value["qParams"]["supernodes"] = [["y", names[2]]]
    marks = marks_of(value)
    assert marks.pins == [ids[1], ids[7]]
    assert [(group.name, group.nodes) for group in marks.groups] == [("y", [ids[2]])]


def test_marks_of_nodes_that_were_pruned_are_left_out():
    graph = capital_graph()
    part = graph.prune(0.4, 0.9)
    gone = next(str(node.id) for node in graph.nodes if str(node.id) not in {str(n.id) for n in part.nodes})
    kept = str(part.nodes[0].id)
    arrangement = arranged([gone, kept], [NodeGroup(id="a", name="x", nodes=[gone])], {gone: (1, 2)})
    value = with_marks(part.to_json(), part, arrangement)
    assert len(value["qParams"]["pinnedIds"]) == 1
    assert plain(marks_of(value)) == ([kept], [], {})


HOSTILE = [
    None, [], "x", {"pinnedIds": 3, "supernodes": {"a": 1}},
    {"pinnedIds": [None, ["x"], {}], "supernodes": [[], [1], 3]},
    {"pinnedIds": ["none"], "supernodes": [["\ud800", "none"], [["x"], "none"]]},
]  # fmt: skip


@pytest.mark.parametrize("asked", HOSTILE)
def test_marks_that_mean_nothing_are_none(asked):
    value = random_graph(3).to_json() | {"qParams": asked}
    assert marks_of(value) is None


def test_a_name_of_half_a_character_is_kept_as_a_question_mark_and_a_long_one_cut():
    value = random_graph(3).to_json()
    name = value["nodes"][0]["node_id"]
    value["qParams"] = {"supernodes": [["\ud800" + "x" * 900, name]]}
    (group,) = marks_of(value).groups
    assert group.name == "?" + "x" * 299


def test_a_graph_that_was_exported_is_imported_with_its_pins_and_groups(tmp_path: Path):
    with opened(tmp_path) as client:
        graph = traced(client)
        nodes = [node["id"] for node in client.get(f"/api/graphs/{graph}").json()["nodes"]]
        body = {"revision": 0, "pins": nodes[:2], "groups": [{"id": "g", "name": "a\nb", "nodes": nodes[3:6]}]}
        client.put(f"/api/graphs/{graph}/arrangement", json=body | {"positions": {nodes[0]: [1, 2]}})
        content = client.get(f"/api/graphs/{graph}/export?as=json").content
        imported = client.post(IMPORT, content=content, headers=JSON).json()["graph"]
        arrangement = client.get(f"/api/graphs/{imported}/arrangement").json()
        assert arrangement["pins"] == nodes[:2]
        assert [(group["name"], group["nodes"]) for group in arrangement["groups"]] == [("a\nb", nodes[3:6])]
        assert arrangement["positions"] == {nodes[0]: [1, 2]}
        assert client.put(f"/api/graphs/{imported}/arrangement", json=arrangement).status_code == 200
        page = client.get(f"/api/graphs/{imported}/export?as=html")
        assert page.status_code == 200
