"""What is refused is refused in words for a person: which field, what it must be; nothing of how the server reads."""

import json

import pytest

from clew.errors import FileError, InputError
from clew.web.errors import line_of
from clew.web.security import IMPORT
from tests.workbench import FRANCE, asked, ended, opened, traced

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("bench")) as client:
        yield client


def edit(**changed):
    return {"kind": "edit", "prompt": FRANCE, "edits": [{"verb": "ablate", "feature": "L0/1"} | changed]}


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (edit(feature="L9/99999"), "ablate L9/99999: the dictionary has no layer 9, only 0..5"),
        (edit(feature="L0/99999"), "ablate L0/99999: layer 0 has features 0..6933"),
        (edit(feature="x"), "feature of edit 1 must be written like L3/1207"),
        (edit(strength=1e9), "strength of edit 1 must be at most 100000"),
        (edit(strength="1"), "strength of edit 1 must be a number"),
        (edit(layer=1.5), "layer of edit 1 must be a whole number"),
        (edit(positions=[]), "positions of edit 1 is empty"),
        (edit(positions=[1, -4]), "position 2 of edit 1 must be at least 0"),
        (edit(positions="x"), "positions of edit 1 must be 'all', 'prompt' or 'generated', or a list of numbers"),
        (edit(mood=3), "mood of edit 1 is not known here"),
        ({"kind": "trace", "prompt": ""}, "prompt is empty"),
        ({"kind": "trace"}, "prompt is missing"),
        ({"kind": "audit", "graph": "Z!"}, "graph must be the id of a graph, as the history has it"),
        (
            {"kind": "x"},
            "kind must be one of 'trace', 'circuit', 'swap', 'edit', 'generate', 'audit', 'harvest', 'study'",
        ),
        ({}, "kind is missing"),
        ([], "the body must be an object"),
    ],
)
def test_work_that_cannot_be_is_refused_before_it_starts_in_one_plain_line(bench, body, line):
    before = bench.get("/api/jobs").json()
    answer = bench.post("/api/jobs", json=body)
    assert 400 <= answer.status_code < 500
    assert answer.json() == {"error": line}
    assert bench.get("/api/jobs").json() == before


@pytest.mark.parametrize(
    ("path", "status", "line"),
    [
        ("features/L0/99999", 404, "there is no feature L0/99999 in 'CLT of minnow'"),
        ("features/x/1", 422, "layer must be written like L3"),
        ("features?how=alike&query=L9/1", 404, "there is no feature L9/1 in 'CLT of minnow'"),
        ("features?limit=0", 422, "limit must be at least 1"),
        ("graphs/zzz", 404, "there is no graph 'zzz' in this workspace"),
        ("jobs/zzz", 404, "there is no job 'zzz'"),
    ],
)
def test_what_is_not_there_is_page_options_its_name(bench, path, status, line):
    answer = bench.get(f"/api/{path}")
    assert (answer.status_code, answer.json()) == (status, {"error": line})


def test_graphs_to_compare_that_are_not_there_are_page_options_their_names(bench):
    answer = bench.post("/api/compare", json={"a": "zzz", "b": "yyy"})
    assert (answer.status_code, answer.json()) == (404, {"error": "there is no graph 'zzz' in this workspace"})


def test_a_field_of_half_a_character_is_refused_and_no_fault(bench):
    body = b'{"kind": "trace", "prompt": "a", "\\ud800": 1}'
    answer = bench.post("/api/jobs", content=body, headers=JSON)
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize(
    "content", [b"hello", b"", b"\0" * 100, b"PK\3\4" + b"x" * 200, b"[]", b"\x10" + b"\0" * 7 + b"{}"]
)
def test_a_file_that_is_no_graph_is_refused_without_a_path_or_a_readers_words(bench, content):
    answer = bench.post(IMPORT, content=content, headers={"content-type": "application/octet-stream"})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("this file is no graph, or a part of one: give one that Clew saved")


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"a": 1}, "this JSON is no graph of Neuronpedia or circuit-tracer: it has no nodes"),
        ({"nodes": 3}, "this JSON is no graph of Neuronpedia or circuit-tracer: its nodes or tokens are no lists"),
        (
            {"nodes": [], "metadata": {}},
            "this JSON is no graph of Neuronpedia or circuit-tracer: it has no prompt_tokens",
        ),
    ],
)
def test_json_that_is_no_graph_is_refused_by_what_it_lacks(bench, value, line):
    answer = bench.post(IMPORT, content=json.dumps(value).encode(), headers=JSON)
    assert (answer.status_code, answer.json()) == (422, {"error": line})


# --- places on this machine -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("cannot read /home/ann/kits/minnow/atlas.sqlite: gone", "cannot read atlas.sqlite: gone"),
        ("cannot read '/a/b c.graph'", "cannot read 'b c.graph'"),
        ("cannot write {tmp}/my work/graphs/x.graph: full", "cannot write graphs/x.graph: full"),
        ("C:\\Users\\ann\\x.graph is none", "x.graph is none"),
        ("see http://127.0.0.1:4747/a/b and L3/1207", "see http://127.0.0.1:4747/a/b and L3/1207"),
        ("w/graphs/x.graph is none", "w/graphs/x.graph is none"),
    ],
)
def test_a_message_names_a_file_and_not_where_it_lies(tmp_path, text, line):
    folder = tmp_path / "my work"
    assert line_of(FileError(text.replace("{tmp}", str(tmp_path))), [folder]) == line
    assert line_of(OSError(text.replace("{tmp}", str(tmp_path))), [folder]) == line


def test_what_was_asked_for_is_named_as_it_was_asked_for():
    assert line_of(InputError("there is no token '/etc/passwd'")) == "there is no token '/etc/passwd'"


def test_a_damaged_graph_and_a_failed_job_name_no_folder(bench, tmp_path, monkeypatch):
    graph = traced(bench)
    workspace = bench.app.state.workbench.open_kit.workspace
    (workspace.folder / "graphs" / f"{graph}.graph").write_bytes(b"x" * 100)
    answer = bench.get(f"/api/graphs/{graph}")
    assert answer.status_code == 400
    assert str(workspace.folder) not in answer.text

    def broken(*arguments, **options):
        raise RuntimeError(f"{workspace.folder}/graphs/x: no")

    monkeypatch.setattr(type(workspace), "keep", broken)
    job = ended(bench, asked(bench, {"kind": "trace", "prompt": FRANCE}))
    assert job["error"] == "RuntimeError: graphs/x: no"
