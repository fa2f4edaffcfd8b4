"""A server that is killed while many write over HTTP: what was acknowledged is there, and nothing is half there."""

import http.client
import json
import random
import threading
import time
import urllib.error
from contextlib import suppress

import pytest

from tests.graphs import random_graph
from tests.workbench import fetched, serving


class Writers:
    """Threads that label, trace, arrange, remove and restore over HTTP, and remember what was acknowledged.

    A request that the kill has cut off may have been done or not: what it asked for is in doubt.
    """

    def __init__(self, address, graph_file, rounds):
        self.address, self.graph_file, self.rounds = address, graph_file, rounds
        self.labels, self.withdrawn = {}, set()
        self.graphs, self.removed, self.pins, self.results = set(), set(), {}, {}
        self.in_doubt, self.acknowledged, self.refusals = set(), 0, []

    def ask(self, path, body=None, method=None):
        content = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            answer = fetched(f"{self.address}/api/{path}", content, method=method)
        except urllib.error.HTTPError as error:
            self.refusals.append((path, error.read()))
            raise
        self.acknowledged += 1
        return json.loads(answer) if answer else None

    def label(self, author):
        for number in range(100_000):
            text, place = f"{author}-{self.rounds}-{number}", f"features/L0/{number % 5000}/labels"
            id = self.ask(place, {"text": text, "author": f"{author}{number}"})["id"]
            self.labels[id] = number % 5000, text
            if number % 3 == 0:
                self.in_doubt.add(id)
                self.ask(f"labels/{id}", method="DELETE")
                self.withdrawn.add(id)
                self.in_doubt.discard(id)

    def graph(self):
        for number in range(100_000):
            id = self.ask("graphs/import", self.graph_file)["graph"]
            self.graphs.add(id)
            self.ask(f"graphs/{id}/arrangement", {"revision": 0, "pins": [f"T@{number % 3}"]}, "PUT")
            self.pins[id] = [f"T@{number % 3}"]
            self.in_doubt.add(id)
            if number % 2:
                self.ask(f"graphs/{id}", method="DELETE")
                self.removed.add(id)
                if number % 4 == 1:
                    self.ask(f"graphs/{id}/restore", method="POST")
                    self.removed.discard(id)
            self.in_doubt.discard(id)

    def work(self):
        edits = [{"verb": "ablate", "feature": "L0/2027"}]
        while True:
            job = self.ask("jobs", {"kind": "generate", "prompt": "The capital", "edits": edits, "tokens": 2})["id"]
            while (view := self.ask(f"jobs/{job}"))["state"] in ("queued", "running"):
                time.sleep(0.01)
            self.results[job] = view["result"]

    def each_kind(self):
        """Whether each kind of writer was answered; jobs and imports are slower than labels."""
        return len(self.labels) > 3 and len(self.graphs) > 3 and self.results

    def until_killed(self, process, enough, seconds):
        """Let all of them write until so much was acknowledged, then kill the server in the middle of it."""
        jobs = [lambda: self.label("ann"), lambda: self.label("bob"), self.graph, self.graph, self.work]
        threads = [threading.Thread(target=until_refused, args=(job,), daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 60
        while not (self.acknowledged >= enough and self.each_kind()) and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(seconds)
        process.kill()
        for thread in threads:
            thread.join()

    def check(self, address):
        """Everything acknowledged is there, nothing else is half there, and what is listed opens."""
        assert self.refusals == []
        self.address = address
        listed = {entry["id"] for entry in self.ask("graphs?limit=500")["graphs"]}
        for id in listed:
            assert self.ask(f"graphs/{id}")["nodes"]
        assert self.graphs - self.removed - self.in_doubt <= listed
        assert not (self.removed - self.in_doubt) & listed
        for id, pins in self.pins.items():
            if id in listed:
                assert self.ask(f"graphs/{id}/arrangement")["pins"] == pins
        for id in [*sorted(self.removed - self.in_doubt)[-3:], *(self.in_doubt & self.graphs - listed)]:
            with suppress(urllib.error.HTTPError):  # the trash keeps twenty
                assert self.ask(f"graphs/{id}/restore", method="POST")["id"] == id
                assert self.ask(f"graphs/{id}")["nodes"]
        for id, (number, text) in list(self.labels.items())[-60:]:
            label = next(each for each in self.ask(f"features/L0/{number}")["labels"] if each["id"] == id)
            assert label["text"] == text
            assert id in self.in_doubt or label["current"] == (id not in self.withdrawn)
        for job, result in self.results.items():
            assert self.ask(f"jobs/{job}")["result"] == result


def until_refused(work):
    with suppress(OSError, http.client.HTTPException):
        work()


def killed_while_it_writes(folder, kills, enough):
    graph_file, rng = json.dumps(random_graph(3).to_json()).encode(), random.Random(0)
    for number in range(kills):
        with serving(folder) as (process, address):
            writers = Writers(address, graph_file, number)
            writers.until_killed(process, enough, 0.1 * rng.random())
        with serving(folder) as (_, address):
            writers.check(address)
        assert len(writers.labels) > 3
        assert len(writers.graphs) > 3
        assert writers.results
        yield writers


def test_a_server_killed_while_it_labels_removes_and_works_loses_nothing_acknowledged(tmp_path):
    (writers,) = killed_while_it_writes(tmp_path / "w", 1, 60)
    assert writers.withdrawn or writers.removed


@pytest.mark.stress
def test_a_server_killed_again_and_again_while_many_write_loses_nothing_acknowledged(tmp_path):
    rounds = list(killed_while_it_writes(tmp_path / "w", 8, 150))
    for kind in ("in_doubt", "removed", "withdrawn"):
        assert any(getattr(writers, kind) for writers in rounds), kind
