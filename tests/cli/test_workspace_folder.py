"""Where graphs, labels and results are kept: one place for every command, wherever it is started."""

from pathlib import Path

from clew.cli.kits import labels_file, workspace_folder
from clew.ids import FeatureId
from clew.labels.store import LabelStore
from tests.workbench import fetched, minnow, serving


def test_what_the_page_labels_lies_where_every_command_looks_for_labels(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with serving(None) as (process, address):
        fetched(f"{address}/api/features/L4/1590/labels", b'{"text": "kept in one place", "author": "me"}')
        assert process.stdout is not None
        assert process.stdout.readline() == f"Your work is kept in {tmp_path / 'clew' / 'workspace'}\n"
    monkeypatch.chdir(tmp_path)
    assert labels_file() == tmp_path / "clew" / "workspace" / "labels.sqlite"
    with LabelStore(labels_file(), minnow().dictionary.fingerprint) as store:
        assert [label.text for label in store.of(FeatureId(4, 1590))] == ["kept in one place"]


def test_a_workspace_that_is_here_already_is_used_and_another_folder_of_this_name_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "workspace").mkdir()
    assert workspace_folder() == tmp_path / "home" / "clew" / "workspace"
    LabelStore(tmp_path / "workspace" / "labels.sqlite", "a" * 64).close()
    assert (workspace_folder(), labels_file()) == (Path("workspace"), Path("workspace/labels.sqlite"))
    (tmp_path / "workspace" / "labels.sqlite").rename(tmp_path / "workspace" / "bench.sqlite")
    assert workspace_folder() == Path("workspace")
