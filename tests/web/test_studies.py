"""Studies in the workbench: listed, run as jobs, read with their figures, and gone on with."""

import json

import pytest

from clew.studies.catalogue import STUDIES
from clew.studies.result import Result
from tests.workbench import asked, done, ended, events, minnow, opened


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STUDIES, "toy", "tests.toy_study:TOY")
        with opened(tmp_path_factory.mktemp("bench")) as client:
            yield client


@pytest.fixture(scope="module")
def result(bench):
    return done(bench, {"kind": "study", "study": "toy", "settings": {"shift": 1.5}})["result"]


def test_studies_are_listed_with_settings_and_what_the_kit_lacks(bench):
    studies = {each["name"]: each for each in bench.get("/api/studies").json()["studies"]}
    assert studies["leakage"]["question"].startswith("Does a word of the prompt leak")
    assert studies["leakage"]["lacking"] == ""
    settings = {each["name"]: each for each in studies["toy"]["settings"]}
    assert [*settings] == ["shift", "count", "seed", "killed"]  # a file of the server's is no field of a form
    assert settings["count"] == {
        "name": "count", "kind": "integer", "help": "How many numbers are drawn.", "default": 40, "optional": False
    }  # fmt: skip
    assert {s["name"]: s["optional"] for s in studies["leakage"]["settings"]}["through"] is True


def test_a_study_is_run_with_progress_and_its_result_is_read(bench, result):
    kept = Result.load(bench.app.state.workbench.open_kit.workspace.folder / "studies" / result)
    view = bench.get(f"/api/studies/results/{result}").json()
    assert (view["study"], view["kit"], view["config"]["shift"]) == ("toy", "minnow", 1.5)
    assert (
        [claim["verdict"] for claim in view["found"]["claims"]] == [claim.verdict for claim in kept.claims] == ["holds"]
    )
    assert view["found"]["claims"][0]["value"]["value"] == kept.claims[0].value.value
    assert view["found"]["claims"][0]["null_what"] == str(kept.claims[0].null)
    assert [claim["value"]["value"] for claim in view["neurons"]] == [c.value.value for c in kept.beside.claims]
    assert view["false_effects"] == []
    table = view["found"]["tables"][0]
    assert (table["columns"], table["n_rows"], table["rows"][3][0]) == (["place", "number"], 40, 3)
    listed = bench.get("/api/studies").json()["results"]
    assert [(each["id"], each["verdicts"]) for each in listed] == [(result, ["holds"])]


def test_its_progress_is_told_while_it_runs(bench):
    job = asked(bench, {"kind": "study", "study": "toy", "settings": {"count": 50}})
    seen = events(bench, job)
    assert seen[-1][2]["result"]["kind"] == "study"
    assert any(name == "progress" for _, name, _ in seen)


def test_the_same_settings_read_the_same_result(bench, result):
    assert done(bench, {"kind": "study", "study": "toy", "settings": {"shift": 1.5}})["result"] == result
    assert done(bench, {"kind": "study", "study": "toy", "settings": {"shift": 1.0}})["result"] != result


def test_figures_and_the_report_are_sent_as_they_were_written(bench, result):
    folder = bench.app.state.workbench.open_kit.workspace.folder / "studies" / result
    for case, place in (("found", folder), ("absent", folder / "absent")):
        answer = bench.get(f"/api/studies/results/{result}/figures/{case}/numbers")
        assert answer.headers["content-type"] == "image/png"
        assert answer.content == (place / "figures" / "numbers.png").read_bytes()
    report = bench.get(f"/api/studies/results/{result}/report")
    assert report.content == (folder / "report.html").read_bytes()
    assert report.headers["content-disposition"] == f'attachment; filename="{result}.html"'


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"study": "game"}, "no study 'game'"),
        (
            {"study": "toy", "settings": {"size": 3}},
            "toy has no setting 'size' here: there are shift, count, seed, killed",
        ),
        ({"study": "toy", "settings": {"count": 1}}, "count is 1: give at least 2"),
        ({"study": "toy", "settings": {"count": "many"}}, "the setting 'count' is 'many'"),
        ({"study": "toy", "settings": {"count": None}}, "the setting 'count' is None"),
        ({"study": "toy", "settings": {"record": "/tmp/x"}}, "toy has no setting 'record' here"),
    ],
)
def test_mistakes_are_refused_before_anything_waits(bench, body, words):
    answer = bench.post("/api/jobs", json={"kind": "study", **body})
    assert answer.status_code in (400, 422), answer.text
    assert words in answer.json()["error"]


@pytest.mark.parametrize(
    "path", ["toy-000000000000", "toy-000000000000/report", "toy-000000000000/figures/found/numbers"]
)
def test_a_result_that_is_not_there_is_told(bench, path):
    answer = bench.get(f"/api/studies/results/{path}")
    assert (answer.status_code, "there is no result" in answer.json()["error"]) == (404, True)


def test_a_figure_that_is_not_there_is_told(bench, result):
    answer = bench.get(f"/api/studies/results/{result}/figures/found/nothing")
    assert (answer.status_code, "has no figure" in answer.json()["error"]) == (404, True)


def test_a_damaged_result_is_left_out_of_the_list_and_told_when_read(bench):
    id = done(bench, {"kind": "study", "study": "toy", "settings": {"shift": 3.0}})["result"]
    folder = bench.app.state.workbench.open_kit.workspace.folder / "studies" / id
    head = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(head | {"format": "clew.graph"}))
    assert id not in [each["id"] for each in bench.get("/api/studies").json()["results"]]
    assert "holds no result of a study" in bench.get(f"/api/studies/results/{id}").json()["error"]


def test_a_study_that_is_cancelled_goes_on_behind_what_is_finished(tmp_path, monkeypatch):
    monkeypatch.setitem(STUDIES, "toy", "tests.toy_study:TOY")
    assert minnow().name == "minnow"
    with opened(tmp_path) as client:
        body = {"kind": "study", "study": "toy", "settings": {"count": 10_000}}
        job = asked(client, body)
        client.delete(f"/api/jobs/{job}")
        assert ended(client, job)["state"] in ("cancelled", "done")
        assert done(client, body)["kind"] == "study"
