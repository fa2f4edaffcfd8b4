"""A full disk, over HTTP: told as such, nothing half kept, and the server goes on."""

import errno
import os

import pytest

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
