"""A lock keeps a second writer out, says whose it is, and ends with its holder."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from clew import files
from clew.errors import FileError
from clew.files import locks

HOLDER = """
import sys
from clew import files
with files.{lock}(sys.argv[1], "training"):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder():
    """Start processes that hold a lock until their input ends."""
    processes = []

    def start(lock: str, path: Path) -> subprocess.Popen:
        command = [sys.executable, "-c", HOLDER.format(lock=lock), str(path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout.readline() == "locked\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("lock", ["lock_folder", "lock_file"])
def test_a_second_writer_is_refused_with_the_process_of_the_first_until_that_is_killed(holder, tmp_path, lock):
    process, path = holder(lock, tmp_path / "run"), tmp_path / "run"
    take = getattr(files, lock)
    with pytest.raises(FileError, match=rf"run is in use by process {process.pid} \(training\)"), take(path, "a test"):
        pass
    process.kill()
    process.wait()
    with take(path, "a test"):
        assert list(tmp_path.rglob("*lock"))
    assert not list(tmp_path.rglob("*lock"))


def test_a_folder_made_for_a_lock_goes_with_it_when_nothing_was_written(tmp_path):
    with files.lock_folder(tmp_path / "runs" / "a", "training"):
        assert (tmp_path / "runs" / "a").is_dir()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lock", ["lock_folder", "lock_file"])
def test_a_place_that_cannot_be_written_is_named_and_not_the_lock_in_it(tmp_path, lock):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "runs" / "a"
    with pytest.raises(FileError) as refused, getattr(files, lock)(path, "training"):
        pass
    assert str(refused.value) == f"cannot write {path}: Not a directory"


def test_a_lock_holds_within_one_process_too_and_leaves_what_was_written(tmp_path):
    folder = tmp_path / "runs" / "a"
    with files.lock_folder(folder, "training"):
        with pytest.raises(FileError, match=f"process {os.getpid()}"), files.lock_folder(folder, "tuning"):
            pass
        files.write_text(folder / "x", "1")
    assert [path.name for path in folder.iterdir()] == ["x"]


def test_on_windows_a_byte_behind_the_text_is_locked(tmp_path, monkeypatch):
    """There a locked byte cannot be read, and the text says whose the lock is."""
    locked = []

    def locking(descriptor, mode, count):
        place = os.lseek(descriptor, 0, os.SEEK_CUR)
        if place in locked:
            raise OSError(36, "Resource deadlock avoided")
        locked.append(place)

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    monkeypatch.setattr(locks, "sys", SimpleNamespace(platform="win32"))
    with files.lock_folder(tmp_path, "training"):
        assert locked == [1 << 20]
        assert (tmp_path / ".lock").read_text().startswith('{"pid"')
        refusal = rf"in use by process {os.getpid()} \(training\)"
        with pytest.raises(FileError, match=refusal), files.lock_folder(tmp_path, "a test"):
            pass
    assert not list(tmp_path.iterdir())


def test_many_processes_in_turn_never_hold_a_lock_together(tmp_path):
    """Each takes the lock again and again, and finds the mark of another if that holds it too."""
    children = []
    for _ in range(4):
        if child := os.fork():
            children.append(child)
            continue
        taken = 0
        while taken < 25:
            try:
                with files.lock_file(tmp_path / "x", "a test"):
                    (tmp_path / "mark").touch(exist_ok=False)
                    (tmp_path / "mark").unlink()
                    taken += 1
            except FileError:
                continue
            except BaseException:
                os._exit(1)
        os._exit(0)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
