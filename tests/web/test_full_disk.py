"""A full disk, over HTTP: told as such, nothing half kept, and the server goes on."""

import errno
import os
import shutil
import subprocess
from contextlib import contextmanager, suppress

import pytest

from clew import files
from clew.errors import FileError
from tests.workbench import FRANCE, asked, ended, opened, traced

JSON = {"content-type": "application/json"}


def full(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_graphs_that_the_disk_has_no_room_for_are_refused_and_the_server_goes_on(tmp_path, monkeypatch):
    with opened(tmp_path) as client:
        content = client.get(f"/api/graphs/{traced(client)}/export?as=graph").content
        monkeypatch.setattr(os, "fsync", full)
        refused = client.post("/api/graphs/import", content=content, headers=JSON)
        failed = ended(client, asked(client, {"kind": "trace", "prompt": FRANCE}))
        monkeypatch.undo()
        assert refused.status_code == 507
        assert refused.json()["error"].startswith("the disk is full")
        assert failed["state"] == "failed"
        assert failed["error"].startswith("the disk is full")
        assert traced(client)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 24 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    """Leave no room at all."""
    with (folder / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(b"x" * 4096)
    with suppress(OSError):
        (folder / "filler 2").write_bytes(b"x")


def test_a_disk_that_is_full_is_freed_from_the_page(small_disk):
    with opened(small_disk / "w") as client:
        first, second, third = traced(client), traced(client), traced(client)
        assert client.delete(f"/api/graphs/{third}").status_code == 204  # into the trash, which takes room
        fill(small_disk)
        refused = client.post(
            "/api/features/L0/1/labels", json={"text": "x" * 2000, "author": "me", "note": "y" * 9000}
        )
        assert refused.status_code == 507
        assert str(small_disk) not in refused.json()["error"]
        assert client.delete(f"/api/graphs/{first}").status_code == 204
        assert [entry["id"] for entry in client.get("/api/graphs").json()["graphs"]] == [second]
        assert [path.name for path in (small_disk / "w" / "graphs").iterdir()] == [f"{second}.graph"]
        assert list((small_disk / "w" / "removed").iterdir()) == []
        assert client.post(f"/api/graphs/{first}/restore").status_code == 404
        assert client.post("/api/features/L0/1/labels", json={"text": "x", "author": "me"}).status_code == 201


def test_where_the_index_cannot_be_written_a_graph_is_deleted_before_it(tmp_path, monkeypatch):
    """A quota, which the free space of the disk does not tell."""
    with opened(tmp_path) as client:
        graph, other = traced(client), traced(client)
        file = tmp_path / "graphs" / f"{graph}.graph"
        transaction = files.transaction

        @contextmanager
        def until_there_is_room(database, path):
            if file.exists():
                raise FileError("cannot use it") from OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
            with transaction(database, path) as write:
                yield write

        monkeypatch.setattr(files, "transaction", until_there_is_room)
        assert client.delete(f"/api/graphs/{graph}").status_code == 204
        monkeypatch.undo()
        assert [entry["id"] for entry in client.get("/api/graphs").json()["graphs"]] == [other]


def filled(database):
    """Let a database grow no more, as on a full disk."""
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count = {pages}")


def until_refused(ask):
    """The first answer that is not 2xx."""
    for number in range(2000):
        answer = ask(number)
        if not answer.is_success:
            return answer, number
    raise AssertionError("the disk was never full")


@pytest.mark.parametrize("what", ["label", "arrangement"])
def test_what_a_person_says_and_the_disk_has_no_room_for_is_refused_and_what_was_kept_stays(tmp_path, what):
    with opened(tmp_path) as client:
        workspace, address = client.app.state.workbench.open_kit.workspace, f"/api/graphs/{traced(client)}/arrangement"
        long = "x" * 1900

        def label(number):
            return client.post(f"/api/features/L0/{number}/labels", json={"text": f"{number} {long}", "author": "me"})

        def arrange(number):
            groups = [{"id": str(n), "name": "g", "nodes": ["T@1"], "note": long * (number + 1)} for n in range(4)]
            return client.put(address, json={"revision": number, "pins": ["T@0"], "groups": groups})

        ask, database = {
            "label": (label, workspace.labels._opened),
            "arrangement": (arrange, workspace._database),
        }[what]
        filled(database)
        refused, kept = until_refused(ask)
        assert refused.status_code == 507
        assert refused.json()["error"].startswith("the disk is full")
        assert "\n" not in refused.json()["error"]
        assert client.get("/api/workbench").status_code == 200
        if what == "label":
            label_lists = [client.get(f"/api/features/L0/{n}").json()["labels"] for n in range(kept + 1)]
            assert [any(label["author"] == "me" for label in labels) for labels in label_lists] == [True] * kept + [
                False
            ]
        else:
            assert client.get(address).json()["revision"] == kept
        database.execute("PRAGMA max_page_count = 1000000")
        assert ask(kept).is_success
