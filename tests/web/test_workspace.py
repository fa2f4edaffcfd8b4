"""The workspace keeps what it acknowledged, for several servers at once, and ids never become paths."""

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from clew import files
from clew.attribution.graph import Graph
from clew.errors import FileError
from clew.web.errors import NotFoundError, disk_is_full, line_of, status_of
from clew.web.schema.graphs import Arrangement, GraphMade, NodeGroup, Thresholds
from clew.web.schema.jobs import GeneratedView, Job, JobProgress
from clew.web.workbench.workspace import Workspace
from tests.graphs import capital_graph, random_graph

MINE = "a" * 64


@pytest.fixture
def workspace(tmp_path):
    opened = Workspace(tmp_path / "w", MINE)
    yield opened
    opened.close()


def arranged(revision, name="Paris"):
    group = NodeGroup(id="1", name=name, nodes=["L0/1@2"], note="")
    thresholds = Thresholds(node=0.5, edge=0.9)
    return Arrangement(
        revision=revision, pins=["T@1"], groups=[group], positions={"T@1": (1.5, 2)}, thresholds=thresholds
    )


def job(id, result):
    progress = JobProgress(done=1, total=1, note="")
    return Job(id=id, kind="generate", state="done", title="t", date="d", progress=progress, error=None, result=result)


def test_a_graph_comes_back_as_it_was_kept(workspace):
    graph = capital_graph()
    kept = workspace.keep(graph, "trace")
    back = workspace.load(kept)
    assert back.rows.equal(graph.rows)
    assert dict(back.labels) == dict(graph.labels)
    entry = workspace.entry(kept)
    assert (entry.prompt, entry.tokens) == (graph.prompt, list(graph.tokens))
    assert (entry.top.label, entry.top.probability) == (graph.targets[0].label, graph.targets[0].probability)
    assert entry.scores.replacement == graph.scores().replacement
    assert not entry.of_kit


def test_history_is_the_latest_first_in_pages(workspace):
    kept = [workspace.keep(random_graph(seed), "import") for seed in range(5)]
    total, first = workspace.history(0, 2)
    _, rest = workspace.history(2, 10)
    assert total == 5
    assert [entry.id for entry in first + rest] == kept[::-1]


def test_a_removed_graph_is_gone_with_its_file_its_arrangement_and_its_results(workspace):
    kept = workspace.keep(capital_graph(), "trace")
    workspace.arrange(kept, arranged(0))
    workspace.remove(kept)
    assert list((workspace.folder / "graphs").iterdir()) == []
    for ask in (workspace.load, workspace.entry, workspace.arrangement, workspace.remove, workspace.content):
        with pytest.raises(NotFoundError):
            ask(kept)


def test_a_removed_graph_comes_back_as_it_was(workspace):
    kept, other = workspace.keep(capital_graph(), "trace"), workspace.keep(random_graph(1), "import")
    workspace.arrange(kept, arranged(0))
    workspace.keep_result(result := job("j1", GraphMade(graph=kept)))
    entry, arrangement, content = workspace.entry(kept), workspace.arrangement(kept), workspace.content(kept)
    workspace.remove(kept)
    with pytest.raises(NotFoundError):
        workspace.result("j1")
    assert workspace.restore(kept) == entry
    assert (workspace.arrangement(kept), workspace.content(kept), workspace.result("j1")) == (
        arrangement,
        content,
        result,
    )
    for id in (kept, other, "../secret", "nothing"):
        with pytest.raises(NotFoundError):
            workspace.restore(id)


def test_any_server_of_a_workspace_brings_a_removed_graph_back(workspace, tmp_path):
    other = Workspace(tmp_path / "w", "b" * 64)
    kept = workspace.keep(capital_graph(), "trace")
    workspace.arrange(kept, arranged(0))
    entry, arrangement = workspace.entry(kept), workspace.arrangement(kept)
    workspace.remove(kept)
    assert other.restore(kept).id == kept
    assert (workspace.entry(kept), other.arrangement(kept)) == (entry, arrangement)
    other.remove(kept)
    with pytest.raises(NotFoundError):
        other.remove(kept)
    other.close()
    workspace.close()
    later = Workspace(tmp_path / "w", MINE)
    assert later.restore(kept) == entry
    assert later.load(kept).rows.equal(capital_graph().rows)
    with pytest.raises(NotFoundError):
        later.restore(kept)
    later.close()


@pytest.mark.parametrize("moved", [True, False])
def test_a_server_killed_while_it_removes_or_restores_has_done_it_or_not(workspace, moved):
    """Between the index and the file: whichever was done, the graph can be brought back whole."""
    kept = workspace.keep(capital_graph(), "trace")
    workspace.remove(kept)
    if not moved:
        workspace._trash.give_file(kept, workspace._graph_path(kept))
    workspace.clear()
    with pytest.raises(NotFoundError):
        workspace.load(kept)
    workspace.restore(kept)
    assert workspace.load(kept).rows.equal(capital_graph().rows)


def test_what_was_removed_a_day_ago_is_gone_with_its_file(workspace):
    kept, later = (workspace.keep(random_graph(seed), "trace") for seed in range(2))
    workspace.remove(kept)
    workspace.remove(later)
    with workspace._write() as write:
        write("UPDATE removed SET time = time - 86401 WHERE graph = ?", (kept,))
    workspace.clear()
    assert [path.stem for path in (workspace.folder / "removed").iterdir()] == [later]
    with pytest.raises(NotFoundError):
        workspace.restore(kept)
    assert workspace.restore(later).id == later


def test_only_the_last_removed_graphs_come_back(workspace, monkeypatch):
    monkeypatch.setattr("clew.web.workbench.trash.MOST_KEPT", 2)
    kept = [workspace.keep(random_graph(seed), "trace") for seed in range(3)]
    for graph in kept:
        workspace.remove(graph)
    assert len(list((workspace.folder / "removed").iterdir())) == 2
    with pytest.raises(NotFoundError):
        workspace.restore(kept[0])
    assert workspace.restore(kept[1]).id == kept[1]


@pytest.mark.parametrize(
    "id", ["../secret", "..", "", "/etc/passwd", "%2e%2e/secret", "a\x00b", "' OR 1=1 --", "secret", "x" * 10_000]
)
def test_ids_are_looked_up_and_never_become_paths(workspace, id):
    files.write_text(workspace.folder / "secret.graph", "not yours")
    files.write_text(workspace.folder / "graphs" / "secret.graph", "not yours")
    workspace.keep(capital_graph(), "trace")
    for ask in (workspace.load, workspace.content, workspace.arrangement, workspace.remove, workspace.result):
        with pytest.raises(NotFoundError):
            ask(id)
    assert (workspace.folder / "secret.graph").exists()
    assert (workspace.folder / "graphs" / "secret.graph").exists()


def test_an_arrangement_made_of_an_old_one_is_not_kept_and_the_newest_is_told(workspace):
    kept = workspace.keep(capital_graph(), "trace")
    assert workspace.arrangement(kept).revision == 0
    assert workspace.arrange(kept, arranged(0, "first"))[0]
    is_kept, newest = workspace.arrange(kept, arranged(0, "second"))
    assert (is_kept, newest.revision, newest.groups[0].name) == (False, 1, "first")
    is_kept, newest = workspace.arrange(kept, arranged(1, "third"))
    assert (is_kept, newest.revision, newest.groups[0].name) == (True, 2, "third")
    assert workspace.arrangement(kept) == newest


def test_of_many_who_arrange_at_once_each_revision_has_one_winner(workspace, tmp_path):
    kept, others = workspace.keep(capital_graph(), "trace"), [Workspace(tmp_path / "w", MINE) for _ in range(3)]
    won = []

    def arrange(server, name):
        for _ in range(20):
            revision = server.arrangement(kept).revision
            if server.arrange(kept, arranged(revision, name))[0]:
                won.append(revision)

    threads = [threading.Thread(target=arrange, args=(server, str(n))) for n, server in enumerate([workspace, *others])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for server in others:
        server.close()
    assert sorted(won) == list(range(workspace.arrangement(kept).revision))


def test_two_servers_on_one_workspace_see_each_others_graphs(workspace, tmp_path):
    other = Workspace(tmp_path / "w", "b" * 64)
    kept = workspace.keep(capital_graph(), "trace")
    assert other.load(kept).prompt == capital_graph().prompt
    other.remove(kept)
    with pytest.raises(NotFoundError):
        workspace.load(kept)
    other.close()


def test_results_of_jobs_outlive_the_server(tmp_path):
    first = Workspace(tmp_path / "w", MINE)
    result = job("j1", GeneratedView(prompt="p", default="a", edited="b"))
    first.keep_result(result)
    first.close()
    second = Workspace(tmp_path / "w", MINE)
    assert second.result("j1") == result
    second.close()


def test_a_result_of_another_version_is_not_found_and_no_fault(workspace):
    workspace.keep_result(job("j1", GeneratedView(prompt="p", default="a", edited="b")))
    with workspace._write() as write:
        write("UPDATE results SET job = replace(job, 'prompt', 'text')")
    with pytest.raises(NotFoundError, match="another version"):
        workspace.result("j1")


def test_a_workspace_that_cannot_be_is_refused_in_one_line(tmp_path):
    files.write_text(tmp_path / "file", "")
    with pytest.raises(FileError, match="is a file: give a folder"):
        Workspace(tmp_path / "file", MINE)
    with pytest.raises(FileError, match="cannot make the workspace"):
        Workspace("/proc/clew", MINE)
    files.write_bytes(tmp_path / "foreign" / "bench.sqlite", b"x" * 4096)
    with pytest.raises(FileError, match=r"bench\.sqlite"):
        Workspace(tmp_path / "foreign", MINE)


# --- what killed writers leave --------------------------------------------------------------------------------------


def aged(path, seconds=3600.0, content=b"x"):
    files.write_bytes(path, content)
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_files_that_the_index_does_not_name_are_deleted_at_the_start(workspace, tmp_path):
    kept, removed = workspace.keep(capital_graph(), "trace"), workspace.keep(random_graph(1), "trace")
    workspace.remove(removed)
    graphs, atlases, trash = (workspace.folder / part for part in ("graphs", "atlases", "removed"))
    orphans = [
        aged(graphs / "0123456789abcdef.graph"), aged(graphs / "0123456789abcdee.incoming"),
        aged(atlases / "0123456789abcded.sqlite"), aged(trash / "0123456789abcdec.graph"),
        aged(atlases / "0123456789abcdeb.sqlite.part", 90_000),
    ]  # fmt: skip
    others = [
        aged(graphs / "mine.graph"), aged(atlases / "0123456789abcdea.sqlite.part"),
        aged(graphs / "0123456789abcde9.graph", 1), aged(workspace.folder / "0123456789abcde8.graph"),
    ]  # fmt: skip
    for path in (graphs / f"{kept}.graph", trash / f"{removed}.graph"):
        os.utime(path, (0, 0))
    workspace.close()
    Workspace(tmp_path / "w", MINE).close()
    assert [path for path in orphans if path.exists()] == []
    assert [path for path in others if not path.exists()] == []
    again = Workspace(tmp_path / "w", MINE)
    assert again.load(kept).n_nodes
    assert again.restore(removed)
    again.close()


def test_temporary_files_of_a_killed_writer_are_deleted_at_the_start(workspace, tmp_path):
    workspace.keep(capital_graph(), "trace")
    left = [workspace.folder / part / ".x.graph.ab12cd34" for part in ("", "graphs", "atlases")]
    for folder in left:
        aged(folder / "x.graph")
        os.utime(folder, (0, 0))
    workspace.close()
    Workspace(tmp_path / "w", MINE).close()
    assert [folder for folder in left if folder.exists()] == []


def test_a_graph_that_has_lost_its_file_leaves_the_list_at_the_start(workspace, tmp_path):
    lost, kept = (workspace.keep(random_graph(seed), "trace") for seed in range(2))
    (workspace.folder / "graphs" / f"{lost}.graph").unlink()
    workspace.close()
    again = Workspace(tmp_path / "w", MINE)
    assert [entry.id for entry in again.history(0, 10)[1]] == [kept]
    again.close()


# --- retracing ------------------------------------------------------------------------------------------------------


def test_a_later_graph_of_the_same_prompt_takes_over_what_was_done_to_the_latest(workspace):
    graph = capital_graph()
    ids = [str(node.id) for node in graph.nodes]
    part, gone = graph.prune(0.5, 0.9), set(ids)
    gone -= {str(node.id) for node in part.nodes}
    lost = sorted(gone)[0]
    first, second = (workspace.keep(graph, "trace") for _ in range(2))
    groups = [NodeGroup(id="1", name="a", nodes=["T@0", lost], note="n"), NodeGroup(id="2", name="b", nodes=[lost])]
    pins = [ids[-1], lost, "T@1"]
    done = arranged(0).model_copy(update={"pins": pins, "groups": groups, "positions": {lost: (1.0, 2.0)}})
    workspace.arrange(first, done)
    workspace.arrange(second, done.model_copy(update={"pins": ["T@2"]}))
    workspace.arrange(first, done.model_copy(update={"revision": 1}))
    taken = workspace.earlier_arrangement(part)
    assert taken.pins == [ids[-1], "T@1"]
    assert [(group.name, group.nodes, group.note) for group in taken.groups] == [("a", ["T@0"], "n")]
    assert taken.positions == {}
    id = workspace.keep(part, "trace", arrangement=taken)
    assert (workspace.arrangement(id).revision, workspace.arrangement(id).pins) == (1, taken.pins)
    for other in (
        replace(part, prompt="x"),
        replace(part, dictionary_fingerprint="x"),
        replace(part, tokens=part.tokens[::-1]),
    ):
        assert workspace.earlier_arrangement(other) is None


def test_an_output_of_the_same_rank_and_another_name_is_not_the_same(workspace):
    graph = capital_graph()
    pin = str(graph.nodes[-1].id)
    kept = workspace.keep(graph, "trace")
    workspace.arrange(kept, arranged(0).model_copy(update={"pins": [pin, "T@1"], "groups": [], "positions": {}}))
    assert workspace.earlier_arrangement(graph).pins == [pin, "T@1"]
    other = (*graph.targets[:-1], replace(graph.targets[-1], label="another"))
    assert workspace.earlier_arrangement(replace(graph, targets=other)).pins == ["T@1"]
    workspace.arrange(kept, arranged(1).model_copy(update={"pins": [], "groups": [], "positions": {}}))
    assert workspace.earlier_arrangement(graph) is None


# --- a full disk ----------------------------------------------------------------------------------------------------


def full(*arguments, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_told_from_other_failures_and_leaves_no_trace(workspace, monkeypatch):
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError) as failed:
        workspace.keep(capital_graph(), "trace")
    monkeypatch.undo()
    assert disk_is_full(failed.value)
    assert status_of(failed.value) == 507
    assert line_of(failed.value).startswith("the disk is full: ")
    assert workspace.history(0, 10) == (0, [])
    assert list((workspace.folder / "graphs").iterdir()) == []


def test_a_graph_that_the_index_has_no_room_for_leaves_no_file(workspace, monkeypatch):
    def refused(self):
        raise FileError("no room") from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Workspace, "_write", refused)
    with pytest.raises(FileError, match="no room"):
        workspace.keep(capital_graph(), "trace")
    assert list((workspace.folder / "graphs").iterdir()) == []


def test_a_database_without_room_says_that_the_disk_is_full(workspace):
    kept = workspace.keep(capital_graph(), "trace")
    (pages,) = workspace._read("PRAGMA page_count", ())[0]
    workspace._read(f"PRAGMA max_page_count = {pages}", ())

    def fill():
        for revision in range(100):
            workspace.arrange(kept, arranged(revision, "x" * 100_000))

    with pytest.raises(FileError) as failed:
        fill()
    assert status_of(failed.value) == 507
    workspace._read("PRAGMA max_page_count = 1000000", ())
    assert workspace.arrange(kept, arranged(workspace.arrangement(kept).revision, "small"))[0]


def test_a_file_that_is_only_broken_is_no_full_disk():
    assert status_of(FileError("x is truncated")) == 400
    error = FileError("cannot read x")
    error.__cause__ = OSError(errno.EACCES, "Permission denied")
    assert status_of(error) == 400


# --- kill -9 --------------------------------------------------------------------------------------------------------

WRITER = """
import sys
from clew.features.label import Label
from clew.ids import FeatureId
from clew.web.schema.graphs import Arrangement, Thresholds
from clew.web.workbench.workspace import Workspace
from tests.graphs import random_graph
workspace = Workspace(sys.argv[1], "a" * 64)
graph, number = random_graph(0), int(sys.argv[2])
print("ready", flush=True)
while True:
    number += 1
    kept = workspace.keep(graph, "trace")
    print("graph", kept, flush=True)
    start = Arrangement(
        revision=0, pins=[f"T@{number}"], groups=[], positions={}, thresholds=Thresholds(node=0.8, edge=0.98)
    )
    workspace.arrange(kept, start)
    print("arranged", kept, number, flush=True)
    workspace.labels.add([Label(feature=FeatureId(0, number), text=f"n{number}", kind="person", author="me")])
    print("label", number, flush=True)
"""


@pytest.mark.long
def test_a_kill_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path):
    rng, lines = random.Random(0), []
    for round in range(4):  # a start takes seconds
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path / "w", str(round * 100_000)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(0.05 + 0.5 * rng.random())
        writer.send_signal(signal.SIGKILL)
        lines += [line.split() for line in writer.communicate()[0].splitlines(keepends=True) if line.endswith("\n")]
    workspace = Workspace(tmp_path / "w", MINE)
    labels = {label.text for label in workspace.labels.shown().values()}
    assert len(lines) > 30
    for kind, *what in lines:
        if kind == "graph":
            assert isinstance(workspace.load(what[0]), Graph)
        elif kind == "arranged":
            assert workspace.arrangement(what[0]).pins == [f"T@{what[1]}"]
        else:
            assert f"n{what[0]}" in labels
    workspace.close()
