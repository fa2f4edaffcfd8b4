"""A folder that is replaced is the old one or the new one whenever its writer is killed; its traces go."""

import ctypes
import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from clew import files
from clew.errors import FileError
from clew.files import atomic, folders

REAL_EXCHANGE = folders._exchange
CHANGES = ("mkdir", "rename", "replace", "rmdir", "unlink", "fsync", "link")  # functions of os that change the disk


def write(target: Path, content: str) -> None:
    with files.new_folder(target) as folder:
        (folder / "b").mkdir()
        for name in ("a", "b/c"):
            (folder / name).write_text(content)


def content_of(target: Path) -> str:
    """What both files of a folder hold."""
    (content,) = {(target / name).read_text() for name in ("a", "b/c")}
    assert sorted(path.name for path in target.rglob("*")) == ["a", "b", "c"]
    return content


def killed_at(n: int, work: Callable[[], None]) -> bool:
    """Whether a process that does some work is killed when it comes to its nth change of the disk."""
    child = os.fork()
    if not child:
        count = 0

        def deadly(change: Callable) -> Callable:
            def call(*arguments, **options):
                nonlocal count
                count += 1
                if count == n:
                    os.kill(os.getpid(), signal.SIGKILL)
                return change(*arguments, **options)

            return call

        for name in CHANGES:
            setattr(os, name, deadly(getattr(os, name)))
        folders._exchange = deadly(folders._exchange)
        work()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.fixture(params=["exchange", "two renames"])
def _way(request, monkeypatch):
    if request.param == "two renames":
        monkeypatch.setattr(folders, "_exchange", lambda one, other: False)


@pytest.mark.usefixtures("_way")
def test_a_writer_killed_at_any_change_of_the_disk_leaves_the_old_folder_or_the_new_one(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "_FRESH", 0.0)
    target, seen = tmp_path / "kit", []
    for n in range(1, 1000):
        write(target, "old")
        if not killed_at(n, lambda: write(target, "new")):
            break
        seen.append(content_of(files.recover(target)))
        write(target, "next")
        assert [path.name for path in tmp_path.iterdir()] == ["kit"], "a writer clears what the killed one has left"
    assert n > 10
    assert seen == sorted(seen, reverse=True), "once the new folder is there it stays"
    assert set(seen) == {"old", "new"}


def test_folders_are_exchanged_in_one_step_where_the_system_can(tmp_path):
    write(tmp_path / "one", "1")
    write(tmp_path / "other", "2")
    if folders._exchange(tmp_path / "one", tmp_path / "other"):
        assert [content_of(tmp_path / name) for name in ("one", "other")] == ["2", "1"]
    else:
        assert [content_of(tmp_path / name) for name in ("one", "other")] == ["1", "2"]


@pytest.mark.parametrize("platform", ["win32", "freebsd14", "linux"])
def test_a_system_that_cannot_exchange_names_says_so_and_leaves_them(tmp_path, monkeypatch, platform):
    """Windows has no library of all functions; a Unix, or an old Linux, may have one without this function."""

    def library(name, **options):
        if platform == "win32":
            raise TypeError("no name")
        return object()

    write(tmp_path / "one", "1")
    write(tmp_path / "other", "2")
    monkeypatch.setattr("ctypes.CDLL", library)
    monkeypatch.setattr("sys.platform", platform)
    assert not folders._exchange(tmp_path / "one", tmp_path / "other")
    assert [content_of(tmp_path / name) for name in ("one", "other")] == ["1", "2"]


def test_a_file_system_that_cannot_exchange_names_is_told_from_a_failure(tmp_path, monkeypatch):
    class Library:
        def renameat2(self, *arguments):
            ctypes.set_errno(number)
            return -1

    monkeypatch.setattr("ctypes.CDLL", lambda name, **options: Library())
    monkeypatch.setattr("sys.platform", "linux")
    number = errno.EINVAL
    assert not folders._exchange(tmp_path / "one", tmp_path / "other")
    number = errno.ENOSPC
    with pytest.raises(OSError, match="No space left"):
        folders._exchange(tmp_path / "one", tmp_path / "other")


def test_what_an_earlier_version_left_between_its_two_renames_comes_back(tmp_path):
    write(tmp_path / "kit", "old")
    (tmp_path / ".kit.old.0a1b2c3d").mkdir()
    (tmp_path / "kit").rename(tmp_path / ".kit.old.0a1b2c3d" / "was")
    assert content_of(files.recover(tmp_path / "kit")) == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["kit"]


@pytest.mark.usefixtures("_way")
def test_an_error_while_a_folder_takes_its_place_leaves_the_old_one(tmp_path, monkeypatch):
    write(tmp_path / "kit", "old")
    rename, renames = os.rename, []

    def full(source, to):
        renames.append(to)
        if Path(to) == tmp_path / "kit" and Path(source).name == "kit":
            raise OSError(28, "No space left on device")
        rename(source, to)

    def no_exchange(one, other):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full)
        if folders._exchange is REAL_EXCHANGE:
            patch.setattr(folders, "_exchange", no_exchange)
        with pytest.raises(FileError, match=r"cannot write .*kit: No space left on device"):
            write(tmp_path / "kit", "new")
    assert content_of(tmp_path / "kit") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["kit"]


def test_orphans_are_cleared_and_neither_live_writers_nor_folders_of_others_are_touched(tmp_path):
    assert killed_at(4, lambda: files.write_text(tmp_path / "x.json", "half"))
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / ".x.sqlite.lock").touch()  # a lock whose holder was killed
    (tmp_path / ".config.settings").mkdir()
    (tmp_path / ".config.settings" / "mine").touch()
    with files.new_folder(tmp_path / "live") as folder, files.lock_file(tmp_path / "y", "a test"):
        (folder / "a").touch()
        files.clear_orphans(tmp_path)
        left = sorted(path.name for path in tmp_path.iterdir())
        assert left == sorted([".config.settings", folder.parent.name, ".y.lock"])
    assert (tmp_path / "live" / "a").exists()
    shutil.rmtree(tmp_path / "live")
    assert [path.name for path in tmp_path.iterdir()] == [".config.settings"]


def test_a_rename_is_on_the_disk_before_the_writer_goes_on(tmp_path, monkeypatch):
    steps: list[str] = []
    sync, rename = os.fsync, os.rename

    def fsync(descriptor):
        where = Path(f"/proc/self/fd/{descriptor}").readlink()
        steps.append(f"sync {where.name if where != tmp_path else 'its folder'}")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", lambda *names: (steps.append("rename"), rename(*names)))
    monkeypatch.setattr(os, "replace", lambda *names: (steps.append("rename"), rename(*names)))
    files.write_text(tmp_path / "x", "1")
    assert steps == ["sync x", "rename", "sync its folder"]
    steps.clear()
    with files.new_folder(tmp_path / "kit") as folder:
        (folder / "copied").write_text("by something else than files")
    assert steps == ["sync copied", "sync kit", "rename", "sync its folder"]
