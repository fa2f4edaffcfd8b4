"""Where graphs, labels and results are kept: one place for every command, wherever it is started."""

from pathlib import Path

from clew.cli.kits import labels_file, workspace_folder
from clew.ids import FeatureId
from clew.labels.store import LabelStore
from tests.workbench import fetched, minnow, serving


def test_what_the_page_labels_every_command_sees_wherever_it_is_started(run, tmp_path, monkeypatch):
    home = tmp_path / "home"
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    with serving(None) as (process, address):
        fetched(f"{address}/api/features/L4/1637/labels", b'{"text": "kept in one place", "author": "me"}')
        out = process.stdout.readline()
    assert out == f"Your work is kept in {home / 'clew' / 'workspace'}\n"
    for command in (("labels", "show", "L4/1637"), ("features", "show", "L4/1637")):
        assert "kept in one place" in run(*command)[1]
    code, out, err = run("label", "L4/1637", "--text", "and back", "--author", "me", "--judge", "none")
    assert (code, err) == (0, ""), out
    assert sorted(path.name for path in tmp_path.iterdir() if path != home) == []
    with LabelStore(home / "clew" / "workspace" / "labels.sqlite", minnow().dictionary.fingerprint) as store:
        assert [label.text for label in store.of(FeatureId(4, 1637))] == ["and back"]


def test_a_workspace_that_is_here_already_is_used_and_another_folder_of_this_name_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "workspace").mkdir()
    assert workspace_folder() == tmp_path / "home" / "clew" / "workspace"
    LabelStore(tmp_path / "workspace" / "labels.sqlite", "a" * 64).close()
    assert (workspace_folder(), labels_file()) == (Path("workspace"), Path("workspace/labels.sqlite"))
    (tmp_path / "workspace" / "labels.sqlite").rename(tmp_path / "workspace" / "bench.sqlite")
    assert workspace_folder() == Path("workspace")
