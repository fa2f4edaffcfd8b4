"""Files that an earlier commit wrote still load, with the values that its own code found in them.

`tests/fixtures` holds one small file of every format, and `expected.json` what the code that wrote them read back.
"""

import hashlib
import json
import math
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

import clew
from clew import files
from clew.errors import FileError
from clew.ids import FeatureId
from clew.intervention.edit import load_edits
from clew.labels.exchange import import_labels
from clew.labels.store import Answer, LabelStore
from clew.organism.training import TrainingConfig, train
from clew.search.queries import meanings
from clew.training.checkpoint import open_run
from clew.training.corpus import load_tokens
from clew.web.app import make_app
from tests.fixtures import values

FIXTURES = next(parent for parent in Path(__file__).parents if parent.name == "tests") / "fixtures"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())
PROMPT = EXPECTED["kit"]["graph"]["prompt"]
READ, COMPUTED = 1e-6, 1e-3  # relative error of what is only read, and of what is computed anew on any machine
LEAN = 1e-2  # of a run whose moments have 16 bits, since another machine may round some of them the other way


@pytest.fixture
def old(run, tmp_path, monkeypatch):
    """A copy of the old files as the working folder; `run` so that the command line finds them by their names."""
    folder = shutil.copytree(FIXTURES, tmp_path / "old", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    monkeypatch.chdir(folder)
    return folder


def assert_same(actual, expected, precision=READ, where=""):
    """Equal but for rounding; an object may say more than was expected of it, a list may not."""
    if isinstance(expected, dict):
        assert set(expected) <= set(actual), where
        for name, value in expected.items():
            assert_same(actual[name], value, precision, f"{where}/{name}")
    elif isinstance(expected, list):
        assert len(actual) == len(expected), where
        for number, (a, b) in enumerate(zip(actual, expected, strict=True)):
            assert_same(a, b, precision, f"{where}/{number}")
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, rel=precision, abs=precision / 10), where
    else:
        assert actual == expected, where


def test_a_kit_loads_and_traces_as_before(old):
    kit = clew.load("kit")
    assert kit.name == EXPECTED["kit"]["name"]
    assert kit.provenance == EXPECTED["kit"]["provenance"]
    assert_same(values.of_dictionary(kit.dictionary), EXPECTED["kit"]["dictionary"], 1e-5)
    assert_same(values.of_graph(kit.trace(PROMPT, max_features=10)), EXPECTED["kit"]["graph"], COMPUTED)


@pytest.mark.parametrize("name", EXPECTED["dictionaries"])
def test_a_dictionary_loads_in_every_layout(name):
    dictionary = clew.Dictionary.load(FIXTURES / "dictionaries" / name)
    assert_same(values.of_dictionary(dictionary), EXPECTED["dictionaries"][name], 1e-5)


def test_every_dictionary_that_was_written_is_looked_at():
    assert sorted(path.name for path in (FIXTURES / "dictionaries").iterdir()) == sorted(EXPECTED["dictionaries"])


def test_an_atlas_gives_the_same_cards():
    with clew.Atlas.load(FIXTURES / "kit" / "atlas.sqlite") as atlas:
        atlas.check_whole()
        assert_same(values.of_atlas(atlas), EXPECTED["atlas"])


def test_a_part_of_a_harvest_becomes_the_same_atlas(run, old):
    code, _, err = run("harvest", "new.sqlite", "tiny.part", "--merge", "--kit", "kit", "--text", "text.txt")
    assert code == 0, err
    with clew.Atlas.load("new.sqlite") as atlas:
        today = ("content", "rules")  # labels by rule are those of today's rules
        expected = {name: value for name, value in EXPECTED["part"].items() if name not in today}
        assert_same(values.of_atlas(atlas), expected, COMPUTED)


def test_a_graph_loads_with_its_edges_labels_and_scores():
    graph = clew.Graph.load(FIXTURES / "tiny.graph")
    assert graph.provenance["git_commit"].startswith(EXPECTED["commit"])
    assert_same(values.of_graph(graph), EXPECTED["graph"], 1e-5)


def test_graph_json_loads_with_its_edges_labels_and_scores():
    assert_same(values.of_graph(clew.Graph.from_json(FIXTURES / "tiny.json")), EXPECTED["json"], 1e-5)


def test_an_audit_loads_with_every_figure_and_pair():
    audit = clew.Audit.load(FIXTURES / "tiny.audit")
    assert audit.provenance["git_commit"].startswith(EXPECTED["commit"])
    figures = {name: value for name, value in EXPECTED["audit"]["figures"].items() if name != "verdict"}
    assert_same(values.of_audit(audit), {**EXPECTED["audit"], "figures": figures})  # the verdict's words are today's
    assert {curves.kept for curves in audit.curves} == {"held"}  # and what came later is not known
    assert all(math.isnan(curves.cpr) for curves in audit.curves)
    assert math.isnan(audit.scores.replacement)


def test_edits_load_and_do_what_they_did(old):
    kit = clew.load("kit")
    edits = load_edits("edits.json", kit.dictionary)
    assert_same([edit.to_json() for edit in edits], EXPECTED["edits"]["edits"])
    outputs = [list(row) for row in kit.edit(PROMPT, edits, predict="frozen").top_tokens(count=5)]
    assert_same(values.plain(outputs), EXPECTED["edits"]["outputs"], COMPUTED)


# --- labels ---------------------------------------------------------------------------------------------------------


def test_a_label_store_keeps_labels_scores_history_lists_and_answers(old):
    with LabelStore("labels.sqlite", EXPECTED["kit"]["dictionary"]["fingerprint"]) as store:
        assert_same(values.of_labels(store), EXPECTED["labels"])
        assert store.answer("a key") == Answer("an answer", 10, 2)
        assert [label.text for label in store.matching("furn")] == ["furniture"]
    with LabelStore("labels.sqlite", "another") as other:
        assert [label.text for label in other.of(FeatureId(0, 3))] == ["of another dictionary"]


def test_labels_name_features_of_a_kit(old):
    kit = clew.load("kit", labels="labels.sqlite")
    assert kit.names([FeatureId(0, 3)]) == {FeatureId(0, 3): "chairs and «столы»"}


def test_vectors_of_labels_are_not_made_again(old):
    asked = []

    class Letters:
        """As it was when the vectors were written."""

        name = "letters"

        def __call__(self, texts):
            asked.extend(texts)
            counts = np.array([[text.count(chr(97 + n)) for n in range(26)] for text in texts], np.float32)
            return counts / np.linalg.norm(counts, axis=1, keepdims=True)

    with LabelStore("labels.sqlite", EXPECTED["kit"]["dictionary"]["fingerprint"]) as store:
        nearest = meanings(store, Letters()).nearest("tables", limit=3)
    assert asked == ["tables"]
    shown = [[str(label.feature), label.text, cosine] for label, cosine in nearest]
    assert_same(values.plain(shown), EXPECTED["meaning"], 1e-5)


def test_an_export_of_labels_is_imported_whole(old):
    mark = EXPECTED["kit"]["dictionary"]["fingerprint"]
    with LabelStore("new.sqlite", mark) as store:
        assert import_labels(store, "labels.jsonl", dictionary=mark).labels == len(EXPECTED["labels"]["labels"])
        assert_same(values.of_labels(store)["labels"], EXPECTED["labels"]["labels"])


# --- training -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXPECTED["training"])
def test_a_stopped_run_goes_on_to_where_it_would_have_come(run, old, name):
    expected = EXPECTED["training"][name]
    stopped, steps = expected["stopped"], expected["table"]["step"][-1]
    kept = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in old.glob(f"training/{name}/activations/0*")}
    assert bool(kept) == (name == "clt")
    code, out, err = run("train", f"training/{name}", "--resume")
    assert code == 0, err
    said = [int(line.split("/")[0].removeprefix("step ")) for line in out.splitlines() if line.startswith("step ")]
    assert said == list(range(stopped + 1, steps + 1))
    table = files.read_table(f"training/{name}/metrics.parquet")
    dictionary = clew.Dictionary.load(f"training/{name}/dictionary")
    reached = {key: value for key, value in expected.items() if key != "stopped"}
    assert_same(values.of_training(dictionary, table), reached, LEAN if "lean" in name else COMPUTED)
    for path, (time, content) in kept.items():
        assert (path.stat().st_mtime_ns, path.read_bytes()) == (time, content), "activations were written anew"


def test_a_run_begins_where_a_stopped_one_stands(run, old):
    options = ("--kit", "kit", "--text", "text.txt", "--features", "16", "--k", "3", "--batch", "32", "--buffer", "256")
    code, _, err = run("train", "new", "--start", "training/clt", "--steps", "2", "--held-out", "60", *options)
    assert code == 0, err
    before, first = EXPECTED["training"]["clt"], files.read_table("new/metrics.parquet")
    assert first["nmse_0"][0] < 0.9 * before["table"]["nmse_0"][0]
    mark = clew.Dictionary.load("new/dictionary").provenance["start"]["fingerprint"]
    assert len(mark) == 64


def test_the_small_worlds_training_goes_on(old, monkeypatch):
    monkeypatch.setattr("clew.organism.tokenizer.SAMPLE", 2_000)
    monkeypatch.setattr("clew.organism.tokenizer.REPEATED", 50)
    expected = EXPECTED["organism"]
    config = TrainingConfig(
        statements=400, steps=30, documents=8, n_layer=1, n_embd=2, n_head=1, warmup=5, precision="float32"
    )
    assert int(files.load_note("organism/checkpoint.safetensors")["step"]) == expected["stopped"]
    reports = list(train(config, "organism"))
    assert [report.step for report in reports] == expected["steps"][-1:]
    assert reports[-1].tokens < 8 * 5 * 100  # of the steps that were left
    assert reports[-1].loss == pytest.approx(expected["loss"], rel=COMPUTED)
    tensors = files.load_tensors("organism/checkpoint.safetensors")
    assert_same(values.of_organism(tensors), expected["tensors"], COMPUTED)


# --- the workbench --------------------------------------------------------------------------------------------------


@pytest.fixture
def client(old):
    app = make_app("workspace", clew.load("kit"))
    with TestClient(app, base_url="http://127.0.0.1:4747", raise_server_exceptions=False) as client:
        yield client


def test_a_workspace_opens_with_graphs_arrangements_results_labels_and_an_atlas(client):
    expected = EXPECTED["workspace"]
    assert {job["kind"] for job in expected["jobs"].values()} == {"trace", "edit", "generate", "audit", "harvest"}
    assert_same(values.of_workbench(client, expected["jobs"]), expected, 1e-5)


def test_a_kit_without_an_atlas_gets_that_of_the_workspace(old):
    app = make_app("workspace", clew.load("kit/model", dictionary="kit/dictionary"))
    with TestClient(app, base_url="http://127.0.0.1:4747") as client:
        assert EXPECTED["workspace_atlas"]["card"]["fired"] > 0
        assert_same(client.get("/api/features/L0/3").json(), EXPECTED["workspace_atlas"], 1e-5)


def test_pins_and_groups_in_graph_json_come_back(client, old):
    head = {"content-type": "application/octet-stream"}
    answer = client.post("/api/graphs/import", content=(old / "marked.json").read_bytes(), headers=head)
    assert answer.status_code == 201, answer.text
    arrangement = client.get(f"/api/graphs/{answer.json()['graph']}/arrangement").json()
    groups = [{k: v for k, v in group.items() if k != "id"} for group in arrangement["groups"]]
    expected = EXPECTED["marked"]
    assert groups == [{k: v for k, v in group.items() if k != "id"} for group in expected["groups"]]
    assert (arrangement["pins"], arrangement["positions"]) == (expected["pins"], expected["positions"])


# --- what a later program writes ------------------------------------------------------------------------------------


def test_a_newer_workspace_is_refused_by_name(old):
    with closing(sqlite3.connect("workspace/bench.sqlite")) as opened:
        opened.execute("PRAGMA user_version = 99")
    with pytest.raises(FileError, match=r"bench\.sqlite has schema 99, this program reads up to"):
        make_app("workspace", clew.load("kit"))


def test_a_newer_token_file_is_refused_by_name(old):
    path = "training/clt/tokens.safetensors"
    files.save_tensors(path, files.load_tensors(path), files.load_note(path) | {"schema": "99"})
    with pytest.raises(FileError, match=r"tokens\.safetensors has schema 99, this program reads up to"):
        load_tokens(path, clew.load("kit").subject)


def test_a_newer_checkpoint_is_refused_by_name(run, old):
    path, subject = Path("training/clt/checkpoint.safetensors"), clew.load("kit").subject
    note = files.load_note(path)
    newer = json.dumps(json.loads(note["run"]) | {"version": 99}, sort_keys=True)
    files.save_tensors(path, {name: t.clone() for name, t in files.load_tensors(path).items()}, note | {"run": newer})
    with pytest.raises(FileError, match=r"checkpoint\.safetensors has schema 99, this program reads up to"):
        open_run(path.parent, subject)
    code, _, err = run("train", "training/clt", "--resume")
    assert code == 2
    assert "checkpoint.safetensors has schema 99, this program reads up to" in err


def test_activations_of_a_newer_schema_are_refused_and_left_as_they_are(run, old):
    about, shard = Path("training/clt/activations/cache.json"), Path("training/clt/activations/00000.safetensors")
    files.write_json(about, files.read_json(about) | {"schema": 99})
    before = hashlib.sha256(shard.read_bytes()).digest()
    code, _, err = run("train", "training/clt", "--resume")
    assert code == 2
    assert "training/clt/activations holds the activations of another model or text" in err
    assert hashlib.sha256(shard.read_bytes()).digest() == before
