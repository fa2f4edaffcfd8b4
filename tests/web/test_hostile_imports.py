"""Graphs from elsewhere with anything wrong in them: refused in one line with 422, or kept and opened everywhere."""

import copy
import json
import time
from contextlib import suppress
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from clew import files
from clew.attribution.graph import ENVELOPE, Graph
from clew.errors import FileError
from clew.web.export import render_html
from clew.web.security import IMPORT
from tests.attribution.test_graph_json import foreign
from tests.graphs import capital_graph, random_graph
from tests.workbench import minnow

JSON, BYTES = {"content-type": "application/json"}, {"content-type": "application/octet-stream"}
KIT = "kit"


@pytest.fixture(scope="module")
def of_kit():
    """A small graph that says it is of the open kit."""
    kit = minnow()
    graph = random_graph(3, n_layers=kit.subject.n_layers, n_features=8, dtype=torch.float32)
    return replace(graph, dictionary_fingerprint=kit.dictionary.fingerprint)


def sent(bench, content, head=BYTES):
    """The status; a refusal is one line that names no place on this machine, and keeps nothing."""
    before = bench.get("/api/graphs").json()["total"]
    answer = bench.post(IMPORT, content=content, headers=head)
    assert answer.status_code in (201, 413, 422), answer.text
    if answer.status_code == 201:
        opens_everywhere(bench, answer.json()["graph"])
    else:
        error = answer.json()["error"]
        assert "\n" not in error
        assert len(error) < 400 or "Type-check" in error  # which is of the tests alone
        assert str(bench.app.state.workbench.open_kit.workspace.folder) not in error
    assert bench.get("/api/graphs").json()["total"] == before
    return answer.status_code


def opens_everywhere(bench, graph):
    for thresholds in ("", "?node=1&edge=1", "?node=.3&edge=.5"):
        view = bench.get(f"/api/graphs/{graph}{thresholds}")
        assert view.status_code == 200, view.text
        assert "NaN" not in view.text
    ids = {node["kind"]: node["id"] for node in bench.get(f"/api/graphs/{graph}?node=1&edge=1").json()["nodes"]}
    for id in ids.values():
        assert bench.get(f"/api/graphs/{graph}/node", params={"id": id}).status_code == 200
    for kind in ("html", "json", "graph"):
        assert bench.get(f"/api/graphs/{graph}/export?as={kind}").status_code == 200
    assert bench.get(f"/api/graphs/{graph}/arrangement").status_code == 200
    assert bench.post(f"/api/graphs/{graph}/groups/suggest?by=token").status_code == 200
    assert bench.post("/api/compare", json={"a": graph, "b": graph}).status_code == 200
    assert bench.delete(f"/api/graphs/{graph}").status_code == 204


def as_json(value):
    """JSON of a value that may hold NaN and halves of characters."""
    return json.dumps(value).encode()


def as_file(graph, path, *, tensors=None, **head):
    """A graph file whose tensors and head are given as they are."""
    graph.save(path)
    note = json.loads(files.load_note(path)["head"]) | head
    whole = {f.name: getattr(graph, f.name) for f in fields(graph)}
    kept = {name: value for name, value in whole.items() if isinstance(value, torch.Tensor)} | (tensors or {})
    files.save_tensors(path, kept, ENVELOPE.note(head=json.dumps(note)))
    return path.read_bytes()


# --- graph JSON -----------------------------------------------------------------------------------------------------


def put(*path):
    def change(value, new):
        for key in path[:-1]:
            value = value[key]
        value[path[-1]] = new

    return change


CHANGES = {
    "activation": (put("nodes", 0, "activation"), [True, "1", [1.0], 1e39, 10**400, float("nan")]),
    "preactivation": (put("nodes", 0, "preactivation"), [True, [1.0], 1e31]),
    "mass": (put("nodes", 0, "input_mass"), [True, -1.0, "1", 1e31, 0.0]),
    "offsets": (put("nodes", 0, "offsets"), [[1.0], [1.0] * 5, [[1.0]] * 4, 1.0, [True] * 4, "1234"]),
    "position": (put("nodes", 0, "ctx_idx"), [True, 1.5, "1", -1, 10**30, 99]),
    "layer": (put("nodes", 0, "layer"), [True, 1.5, "-1", -1, "1" * 5000, "²", None]),
    "name": (put("nodes", 0, "node_id"), [1, None, ["x"], "\ud800"]),
    "kind": (put("nodes", 0, "feature_type"), [True, None, ["embedding"], "lorsa"]),
    "label": (put("nodes", 0, "clerp"), [7, True, ["x"], "\ud800", "a\udfffb"]),
    "node": (put("nodes", 0), [None, True, [], "x"]),
    "weight": (put("links", 0, "weight"), [True, "1", None, 1e39, float("inf")]),
    "source": (put("links", 0, "source"), [None, 3, ["x"], "\ud800"]),
    "link": (put("links", 0), [None, True, "x", []]),
    "tokens": (put("metadata", "prompt_tokens"), ["abcd", ["a", "b", "c", "\ud800"], [1, 2, 3, 4], ["a"], None]),
    "prompt": (put("metadata", "prompt"), [3, True, None, "half \udc80"]),
    "subject": (put("metadata", "info", "clew", "subject"), [3, "\ud83d", None]),
    "layers": (put("metadata", "info", "clew", "n_layers"), [True, 2.5, "3", 1, -3, 10**9]),
    "first": (put("metadata", "info", "clew", "first_position"), [True, 0.5, -1, 99]),
    "ids": (
        put("metadata", "info", "clew", "token_ids"),
        [[True] * 4, [1.5] * 4, ["1"] * 4, [-2] * 4, [2**40] * 4, [1]],
    ),
    "dtype": (put("metadata", "info", "clew", "dtype"), ["int64", "float8_e5m2", "load", 3, None]),
    "settings": (
        put("metadata", "info", "clew", "settings"),
        [[], "x", {"a": float("inf")}, {"\ud800": 1}, {"a": ["\ud800"]}, {"a": 10**50}],
    ),
    "schema": (put("metadata", "info", "clew", "schema"), [True, "1", 99, -1]),
    "target": (put("nodes", -1, "weight"), [True, "1", -1.0, 1e31]),
    "probability": (put("nodes", -1, "probability"), [True, 2.0, -0.5, "1"]),
    "logit": (put("nodes", -1, "value"), [True, "1", 1e31]),
    "output": (put("nodes", -1, "position"), [True, -1, 99, 1.5]),
    "token": (put("nodes", -1, "token"), [True, 1.5, "x"]),
}


@pytest.mark.parametrize(("name", "place"), [(name, i) for name in CHANGES for i in range(len(CHANGES[name][1]))])
def test_a_value_of_another_kind_is_refused_wherever_it_stands(bench, name, place):
    change, values = CHANGES[name]
    value = random_graph(3).to_json()
    change(value, values[place])
    assert sent(bench, as_json(value), JSON) == 422


def test_whole_graphs_of_every_kind_come_in(bench, of_kit, tmp_path):
    graph = random_graph(3)
    assert sent(bench, as_json(graph.to_json()), JSON) == 201
    assert sent(bench, b"\xef\xbb\xbf\n " + as_json(graph.to_json()), JSON) == 201
    assert sent(bench, as_json(foreign(capital_graph())), JSON) == 201
    assert sent(bench, as_json(of_kit.to_json()), JSON) == 201
    assert sent(bench, as_file(graph, tmp_path / "x.graph")) == 201
    assert sent(bench, render_html(capital_graph()).encode()) == 201


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" ",
        b"{",
        b"{}",
        b'{"nodes": [], "nodes": []}',
        b"[" * 5000,
        b'{"a":' * 5000,
        b"<html></html>",
        b"<",
        b"\xff",
        b'{"metadata": {"prompt_tokens": []}, "nodes": {}, "links": []}',
        b"\x00" * 64,
        b"\xef\xbb\xbf",
        b'<script type="application/json" id="clew-data">{"graph": 1}</script>',
        b'<script type="application/json" id="clew-data">[NaN]</script>',
    ],
)
def test_what_is_no_graph_is_refused(bench, content):
    assert sent(bench, content) == 422


def test_what_stands_there_twice_is_refused(bench):
    value = random_graph(3).to_json()
    for node in (0, -1, next(i for i, node in enumerate(value["nodes"]) if node["feature_type"] == "embedding")):
        twice = copy.deepcopy(value)
        twice["nodes"].append(copy.deepcopy(twice["nodes"][node]))
        assert sent(bench, as_json(twice), JSON) == 422
    text = as_json(value)
    key = b'"node_id": "' + value["nodes"][0]["node_id"].encode() + b'"'
    assert text.count(key) == 1
    assert sent(bench, text.replace(key, key + b", " + key), JSON) == 422


@pytest.mark.parametrize("write", [lambda value: value, foreign], ids=["ours", "another program's"])
def test_an_edge_within_a_layer_or_backwards_is_refused(bench, write):
    graph = random_graph(3)
    value = write(graph) if write is foreign else graph.to_json()
    features = [node for node in value["nodes"] if node["feature_type"] == "cross layer transcoder"]
    same = [node["node_id"] for node in features if node["layer"] == features[-1]["layer"]]
    for source, target in ((same[0], same[1]), (features[-1]["node_id"], features[0]["node_id"])):
        backwards = value | {"links": [{"source": source, "target": target, "weight": 0.5}]}
        assert sent(bench, as_json(backwards), JSON) == 422


# --- graphs of the open kit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        lambda g, kit: replace(
            g,
            feature_keys=g.feature_keys.index_put(
                (torch.tensor(7), torch.tensor(2)), torch.tensor(kit.dictionary.d_features(int(g.feature_keys[7, 0])))
            ),
        ),
        lambda g, kit: replace(
            g, feature_keys=g.feature_keys.index_put((torch.tensor(7), torch.tensor(2)), torch.tensor(999_999_999))
        ),
        lambda g, kit: replace(g, n_layers=g.n_layers + 1),
        lambda g, kit: replace(g, token_ids=(len(kit.subject.unembedding), *g.token_ids[1:])),
    ],
    ids=["the first that is missing", "far beyond", "layers", "tokens"],
)
def test_what_the_open_kit_does_not_have_is_refused(bench, of_kit, tmp_path, broken):
    graph = broken(of_kit, minnow())
    assert sent(bench, as_json(graph.to_json()), JSON) == 422
    assert sent(bench, as_file(graph, tmp_path / "x.graph")) == 422
    other = replace(graph, dictionary_fingerprint="another")
    assert sent(bench, as_json(other.to_json()), JSON) == 201


# --- Clew's own file ------------------------------------------------------------------------------------------------


def spoilt(graph):
    """Tensors of which one has another shape, kind or number."""
    halves = {
        name: getattr(graph, name) for name in ("rows", "activations", "preactivations", "row_offsets", "input_mass")
    }
    yield from ({name: value[..., :-1].contiguous()} for name, value in halves.items())
    yield from ({name: value[:0].clone()} for name, value in halves.items())
    yield from ({name: value[..., None].contiguous()} for name, value in halves.items())
    yield from ({name: value.half()} for name, value in halves.items())
    yield from ({name: torch.full_like(value, float("nan"))} for name, value in halves.items())
    yield from ({name: value.to(torch.int64)} for name, value in halves.items())
    keys = {name: getattr(graph, name) for name in ("feature_keys", "error_keys", "row_nodes", "col_nodes")}
    yield from ({name: value.flip(0)} for name, value in keys.items() if name.endswith("keys"))
    yield from ({name: value - 10**6} for name, value in keys.items())
    yield from ({name: value * 0} for name, value in keys.items())
    yield from ({name: value.float()} for name, value in keys.items())
    yield {"rows": graph.rows.clone().fill_(1.0)}
    yield {"input_mass": -graph.input_mass}
    yield {"input_mass": graph.input_mass / 2}


def test_a_tensor_of_another_shape_kind_or_number_is_refused(bench, tmp_path):
    graph = random_graph(3, scramble=False)
    for tensors in spoilt(graph):
        assert sent(bench, as_file(graph, tmp_path / "x.graph", tensors=tensors)) == 422, tensors


@pytest.mark.parametrize(
    "head",
    [
        {"n_layers": True},
        {"n_layers": 3.0},
        {"n_layers": "3"},
        {"n_layers": 0},
        {"first_position": -1},
        {"prompt": 3},
        {"prompt": "\ud800"},
        {"tokens": [1, 2, 3, 4]},
        {"tokens": ["a", "b", "c", "\udfff"]},
        {"token_ids": [True] * 4},
        {"token_ids": [10**30] * 4},
        {"token_ids": [1]},
        {"settings": []},
        {"settings": {"a": "\ud800"}},
        {"provenance": {"a": float("inf")}},
        {"labels": {"L0/1": 3}},
        {"labels": {"L0/1": "\ud800"}},
        {"labels": {"x": "y"}},
        {"labels": {f"L0/{10**12}": "y"}},
        {"next_tokens": [["\ud800", 0.5]]},
        {"next_tokens": [["a", True]]},
        {"next_tokens": [["a", 2.0]]},
        {"next_tokens": [[3, 0.5]]},
        {"targets": []},
        {"targets": [{}]},
        {"dictionary": None},
        {"subject": True},
        {"unknown": 1},
        {"dictionary_fingerprint": ["x"]},
    ],
    ids=str,
)
def test_a_head_that_is_none_is_refused(bench, tmp_path, head):
    assert sent(bench, as_file(random_graph(3), tmp_path / "x.graph", **head)) == 422


# --- anything -------------------------------------------------------------------------------------------------------

HOSTILE = st.sampled_from(
    [
        None,
        True,
        False,
        -1,
        0,
        3,
        2.5,
        1e300,
        10**30,
        float("nan"),
        float("-inf"),
        "",
        "x",
        "0_1_1",
        "\ud800",
        [],
        {},
        [[]],
        [1, 2],
        {"a": 1},
        "9" * 40,
        -0.0,
        1e-45,
        5e-324,
    ]
)


@st.composite
def mutated(draw, value):
    """A value in which a few places hold something else, or are gone, or stand there twice."""
    whole = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        place = whole
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and place[key] and draw(st.integers(0, 5)):
                place = place[key]
                continue
            match draw(st.integers(0, 4)):
                case 0:
                    del place[key]
                case 1 if isinstance(place, list):
                    place.append(copy.deepcopy(place[key]))
                case 2:
                    other = draw(st.sampled_from(keys))
                    place[key], place[other] = place[other], place[key]
                case _:
                    place[key] = copy.deepcopy(draw(HOSTILE))  # or the next change would change what is drawn
            break
    return whole


FUZZ = {"deadline": None, "database": None, "derandomize": True, "phases": [Phase.explicit, Phase.generate]}
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
VALUES = {
    "ours": random_graph(5, n_features=5, n_tokens=3, n_layers=2, errors=False).to_json(),
    "another program's": foreign(random_graph(5, n_features=5, n_tokens=3, n_layers=2, dtype=torch.float32)),
    "page": json.loads(
        render_html(random_graph(5, n_features=5, n_tokens=3)).split('id="clew-data">')[1].split("</")[0]
    ),
}


def fuzz(bench, kind, cases):
    seen = set()

    @settings(max_examples=cases, suppress_health_check=QUIET, **FUZZ)
    @given(mutated(VALUES[kind]))
    @example(VALUES[kind])  # as it is, it is kept
    def each(value):
        page = b'<script type="application/json" id="clew-data">%b</script>'
        seen.add(sent(bench, page % as_json(value) if kind == "page" else as_json(value)))

    each()
    assert seen >= {201, 422}


@pytest.mark.parametrize("kind", VALUES)
def test_whatever_is_changed_in_a_graph_it_is_refused_or_opens_everywhere(bench, kind):
    fuzz(bench, kind, 14)


@pytest.mark.stress
@pytest.mark.parametrize("kind", VALUES)
def test_of_hundreds_of_changed_graphs_none_is_kept_that_does_not_open(bench, kind):
    fuzz(bench, kind, 200)


def test_a_file_whose_head_was_changed_is_refused_or_opens_everywhere(bench, tmp_path):
    graph = random_graph(5, n_features=5, n_tokens=3)
    graph.save(tmp_path / "x.graph")
    head, seen = json.loads(files.load_note(tmp_path / "x.graph")["head"]), set()

    @settings(max_examples=14, suppress_health_check=QUIET, **FUZZ)
    @given(mutated(head))
    @example(head)
    def each(changed):
        graph.save(tmp_path / "x.graph")
        tensors = files.load_tensors(tmp_path / "x.graph")
        files.save_tensors(tmp_path / "y.graph", tensors, ENVELOPE.note(head=json.dumps(changed)))
        seen.add(sent(bench, (tmp_path / "y.graph").read_bytes()))

    each()
    assert seen >= {201, 422}


def test_a_graph_that_came_in_is_the_one_that_was_sent(bench):
    graph = random_graph(3)
    id = bench.post(IMPORT, content=as_json(graph.to_json()), headers=JSON).json()["graph"]
    content = bench.get(f"/api/graphs/{id}/export?as=graph").content
    path = bench.app.state.workbench.open_kit.workspace.folder / "copy.graph"
    path.write_bytes(content)
    assert Graph.load(path).adjacency.equal(graph.adjacency)


@pytest.mark.parametrize("many", [b'<script type="application/json" id="clew-data">', b"<", b"{", b'{"nodes": ['])
def test_a_large_file_that_is_nothing_is_refused_at_once(bench, many):
    began = time.monotonic()
    assert sent(bench, many * ((2 << 20) // len(many))) == 422
    assert time.monotonic() - began < 10


def test_a_large_name_of_an_output_is_read_at_once():
    value = foreign(random_graph(3))
    began = time.monotonic()
    for name in ('"' * 500_000, '"a"' * 200_000, '" (p=' * 100_000, "1_" * 300_000):
        for key in ("clerp", "node_id"):
            changed = copy.deepcopy(value)
            changed["nodes"][-1][key] = name
            with suppress(FileError):
                Graph.from_json(changed)
    assert time.monotonic() - began < 30
