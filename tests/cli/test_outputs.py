"""Files that a command writes: another's file is left alone, and two outputs never share a name."""

import json
import os
from pathlib import Path

import pytest

import clew
from clew import files
from clew.cli.outputs import OutputFile, check_outputs
from clew.errors import FileError, InputError
from tests.graphs import capital_graph

PROMPT = "The cat"


@pytest.fixture
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def output(name, kind="clew.graph", flag="--save"):
    return OutputFile(flag, Path(name), kind)


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """A file of every kind that Clew makes."""
    folder, graph = tmp_path_factory.mktemp("ours"), capital_graph()
    graph.save(folder / "a.graph")
    graph.to_json(folder / "a.json")
    clew.export_html(graph, folder / "a.html")
    files.write_table(folder / "a.parquet", {"text": ["a"]}, {"format": "clew.features"})
    files.write_json(folder / "a.edits", {"format": "clew.edits", "schema": 1, "edits": []})
    from matplotlib.figure import Figure

    files.write_figure(folder / "a.png", Figure(figsize=(1, 1)))
    Figure(figsize=(1, 1)).savefig(folder / "other.png")
    return folder


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.graph", "clew.graph"), ("a.json", files.GRAPH_JSON), ("a.html", files.PAGE), ("a.png", files.PICTURE),
        ("a.edits", "clew.edits"), ("other.png", ""), ("missing", ""),
    ],
)  # fmt: skip
def test_a_file_says_whether_clew_made_it(ours, name, kind):
    assert files.kind_of(ours / name) == kind


def test_what_clew_made_is_written_again_and_what_it_did_not_is_left(here, ours):
    check_outputs([output(ours / "a.graph")])
    Path("notes.txt").write_text("precious")
    for other in ("notes.txt", ours / "a.json", ours / "a.html"):  # another's, and ours of another kind
        with pytest.raises(FileError, match=r"is there already.*--replace"):
            check_outputs([output(other)])
        check_outputs([output(other)], replace=True)


def test_graph_json_of_another_program_is_not_ours(here):
    Path("theirs.json").write_text(json.dumps({"metadata": {"slug": "a", "prompt": "clew"}, "nodes": [], "links": []}))
    with pytest.raises(FileError, match="is there already"):
        check_outputs([output("theirs.json", files.GRAPH_JSON)])


@pytest.mark.parametrize("name", ["a.html", "./a.html", "A.HTML", "link.html", "folder/../a.html"])
def test_two_outputs_never_share_a_name(here, name):
    Path("folder").mkdir()
    Path("link.html").symlink_to("a.html")
    with pytest.raises(InputError, match="--save and --html both write"):
        check_outputs([output(name), output("a.html", files.PAGE, "--html")])


def test_an_output_is_no_input(here):
    Path("prompts.txt").write_text("The cat")
    with pytest.raises(InputError, match="--prompts reads"):
        check_outputs([output("prompts.txt")], replace=True, inputs=[("--prompts", Path("prompts.txt"))])


def test_what_cannot_be_written_is_refused_before_the_work(here):
    Path("folder").mkdir()
    with pytest.raises(FileError, match="is a folder"):
        check_outputs([output("folder")])
    Path("file").touch()
    with pytest.raises(FileError, match="no folder that can be written"):
        check_outputs([output("file/below/a.graph")])
    if os.geteuid() != 0:
        Path("folder").chmod(0o500)
        with pytest.raises(FileError, match="no folder that can be written"):
            check_outputs([output("folder/a.graph")])


@pytest.mark.parametrize(
    "arguments",
    [
        ("trace", PROMPT, "--save", "notes.txt"),
        ("trace", PROMPT, "--html", "notes.txt"),
        ("trace", "--prompts", "prompts.txt", "--save", "notes.txt"),  # which are notes-1.txt and notes-2.txt
        ("trace", PROMPT, "--save", "a.html", "--html", "a.html"),
        ("edit", PROMPT, "--ablate", "L0/1", "--save-edits", "notes.txt"),
        ("audit", PROMPT, "--save", "notes.txt"),
        ("audit", PROMPT, "--save", "picture"),  # beside which picture.png would be written
        ("audit", PROMPT, "--save", "both.png"),
        ("eval", "--figure", "picture.png"),
        ("eval", "--figure", "picture.svg"),
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_every_verb_that_writes_leaves_anothers_file_alone(run, here, monkeypatch, arguments):
    monkeypatch.setattr("clew.cli.kits.load", lambda *names, **options: pytest.fail("the work began"))
    monkeypatch.setattr("clew.runs.evaluate.evaluate", lambda *names, **options: pytest.fail("the work began"))
    Path("prompts.txt").write_text("The cat\nThe dog\n")
    for name in ("notes.txt", "notes-2.txt", "picture.png"):
        Path(name).write_text("precious")
    code, _, err = run(*arguments)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert {Path(name).read_text() for name in ("notes.txt", "notes-2.txt", "picture.png")} == {"precious"}


def test_endings_count_whatever_their_case_and_a_graph_is_written_again(run, here):
    for _ in range(2):
        code, _, err = run("trace", PROMPT, "--save", "a.JSON")
        assert code == 0, err
    assert json.loads(Path("a.JSON").read_text())["metadata"]["prompt"] == PROMPT
    Path("a.JSON").write_text("precious")
    assert run("trace", PROMPT, "--save", "a.JSON", "--replace")[0] == 0
    assert clew.Graph.from_json("a.JSON").prompt == PROMPT
