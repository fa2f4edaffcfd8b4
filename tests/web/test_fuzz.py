"""Requests made up from the contract, sound ones and broken ones: never a fault of the server, always as declared.

What is made up hits nothing: a random id is no graph's. So most cases get ids that are there: of graphs, jobs that are
over and jobs that run, features, nodes and labels. Every address must have done what it is for, not only refused.
"""

import json
import random
import re
import signal
import time
from collections import Counter
from urllib.request import Request, urlopen

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from clew.web.app import declared
from clew.web.openapi import document
from clew.web.schema.jobs import JobEvents
from tests.toy_study import TOY, tiny_kit
from tests.workbench import FRANCE, GERMANY, fetched, serving

CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
FEW, MANY, HALF = 8, 56, 500  # cases an address, seldom and often; and cases of half of the addresses
SLOW = {"/api/jobs": 40, "/api/graphs/{graph}/export": 16}  # addresses where a case takes long
LONG = {"tokens": 20, "nodes": 2, "max_features": 30}  # work that is asked for is kept short, not its form
ADDRESSES = [(path, method) for path, methods in document(declared())["paths"].items() for method in methods]
RESULT = "toy-0123456789ab"
OVER = ("done", "failed", "cancelled")
QUIET = [
    HealthCheck.function_scoped_fixture,
    HealthCheck.too_slow,
    HealthCheck.filter_too_much,
    HealthCheck.data_too_large,
]


@pytest.fixture(scope="module")
def contract():
    return schemathesis.openapi.from_dict(document(declared()))


class World:
    """A server with something behind every kind of id."""

    def __init__(self, address):
        self.address = address
        self.features = [f"L{layer}/{7 * layer + n}" for layer in range(6) for n in range(3)]
        edits = [{"verb": "ablate", "feature": "L0/2027"}, {"verb": "set", "feature": "L3/1", "strength": 2.0}]
        self.edits = edits
        self.over = [self.ended({"kind": "trace", "prompt": prompt}) for prompt in (FRANCE, GERMANY)]
        self.graphs = [job["result"]["graph"] for job in self.over]
        for graph in self.graphs:  # so that work can be seen to end
            assert self.ask(f"/api/graphs/{graph}")["nodes"]
        self.over.append(self.ended({"kind": "edit", "prompt": FRANCE, "edits": edits}))
        self.over.append(self.ended({"kind": "generate", "prompt": FRANCE, "edits": edits, "tokens": 4}))
        self.over.append(self.ended({"kind": "audit", "graph": self.graphs[0], "nodes": 2}))
        self.nodes = [node["id"] for node in self.ask(f"/api/graphs/{self.graphs[0]}?node=1&edge=1")["nodes"]]
        self.inner = [node for node in self.nodes if node.startswith("L")]
        self.circuits = [self.ask(f"/api/graphs/{graph}/circuits", {"name": "kept"})["saved"] for graph in self.graphs]
        self.json = self.ask(f"/api/graphs/{self.graphs[0]}/export?as=json")
        self.file = fetched(f"{address}/api/graphs/{self.graphs[1]}/export?as=graph")

    def ask(self, path, body=None, method=None):
        content = None if body is None else json.dumps(body).encode()
        return json.loads(fetched(self.address + path, content, method=method))

    def started(self, body):
        """A job that waits or runs."""
        return self.ask("/api/jobs", body)["id"]

    def ended(self, body):
        job = self.ending(self.started(body))
        assert job["state"] == "done", job
        return job

    def ending(self, job):
        while (job_view := self.ask(f"/api/jobs/{job}"))["state"] not in OVER:
            time.sleep(0.01)
        return job_view

    def imported(self):
        head = {"Content-Type": "application/octet-stream"}
        request = Request(f"{self.address}/api/graphs/import", self.file, head)
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)["graph"]

    def removed(self):
        graph = self.imported()
        fetched(f"{self.address}/api/graphs/{graph}", method="DELETE")
        return graph

    def labelled(self, rng):
        body = {"text": f"label {rng.random()}", "author": "fuzz"}
        return self.ask(f"/api/features/{rng.choice(self.features)}/labels", body)["id"]

    def saved(self, rng):
        """A graph and a circuit of it that nobody else asks for."""
        made = self.ask(f"/api/graphs/{self.graphs[0]}/circuits", {"name": f"circuit {rng.random()}"})
        return self.graphs[0], made["saved"]

    def aim(self, case, path, method, rng):
        """Put ids that are there into most cases."""
        parts = case.path_parameters or {}
        if "graph" in parts and rng.random() < 0.8:
            parts["graph"] = self.imported() if method == "delete" else rng.choice(self.graphs)
            if path.endswith("/restore"):
                parts["graph"] = self.removed()
        if "circuit" in parts and rng.random() < 0.8:
            parts["graph"], parts["circuit"] = (
                self.saved(rng) if method == "delete" else (self.graphs[0], self.circuits[0])
            )
        if "job" in parts and rng.random() < 0.8:
            running = {"kind": "generate", "prompt": FRANCE, "edits": self.edits, "tokens": 12}
            parts["job"] = self.started(running) if rng.random() < 0.3 else rng.choice(self.over)["id"]
        if "layer" in parts and rng.random() < 0.8:
            parts["layer"], parts["index"] = rng.choice(self.features).split("/")
        if "result" in parts and rng.random() < 0.8:
            parts["result"] = RESULT
            if "figure" in parts:
                parts["figure"] = "numbers"
        if "label" in parts and rng.random() < 0.5:
            parts["label"] = self.labelled(rng)
        if isinstance(case.query, dict) and rng.random() < 0.7:
            self.aim_query(case.query, path, rng)
        if isinstance(case.body, dict) and rng.random() < 0.7:
            self.aim_body(case.body, path, parts, rng)
        if path.endswith("/import") and rng.random() < 0.4:
            if case.media_type == "application/json":
                case.body = self.json
            elif case.media_type is not None:
                case.body = self.file

    def aim_query(self, query, path, rng):
        if path.endswith(("/node", "/effects")):
            query["id"] = rng.choice(self.nodes)
        elif path.endswith("/edge"):
            query |= {"source": rng.choice(self.nodes), "target": rng.choice(self.nodes)}
        elif path.endswith(("/pattern", "/look")):
            places = {"layer": rng.randrange(6), "head": rng.randrange(4), "query": rng.randrange(3, 6)}
            query |= places | ({"key": rng.randrange(4)} if "key" in query else {})
        elif path.endswith("/names"):
            query["ids"] = ",".join(rng.sample(self.features, rng.randrange(1, 9)))
        elif query.get("how") in ("alike", "words", "promotes", "fires"):
            known = {"alike": rng.choice(self.features), "words": "country", "promotes": "Paris", "fires": FRANCE}
            query["query"] = known[query["how"]]

    def aim_body(self, body, path, parts, rng):
        if path.endswith(("/compare", "/compare/graph")):
            body |= {side: rng.choice(self.graphs) for side in ("a", "b") if side in body}
        if path.endswith("/arrangement"):
            body["revision"] = self.ask(f"/api/graphs/{rng.choice(self.graphs)}/arrangement")["revision"]
            if parts["graph"] in self.graphs:
                body["revision"] = self.ask(f"/api/graphs/{parts['graph']}/arrangement")["revision"]
        if path.endswith("/note") and parts.get("graph") in self.graphs:
            body["revision"] = self.ask(f"/api/graphs/{parts['graph']}/note")["revision"]
        if path.endswith(("/circuits", "/rival")):
            body |= {"saved": None, "changes": []}
        if path.endswith("/rival"):
            body["token"] = rng.choice([" Rome", " Berlin"])
        if path.endswith("/claim"):
            body |= {"features": rng.sample(self.inner, 2), "draws": 2, "token": None}
        if "graph" in body and body.get("kind") in ("audit", "circuit", "swap"):
            body["graph"] = rng.choice(self.graphs)
        for edit in body["edits"] if isinstance(body.get("edits"), list) else ():
            if isinstance(edit, dict) and "feature" in edit:
                edit["feature"] = rng.choice(self.features)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    workspace = tmp_path_factory.mktemp("fuzzed")
    TOY.run(tiny_kit(), workspace / "studies" / RESULT)
    with serving(workspace) as (process, address):
        yield World(address)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[1].strip() == ""


def called(world, case, path, method):
    """The status of the answer, which is as declared, and so are events and what a job comes to."""
    body = case.body if isinstance(case.body, dict | list | str | bytes) else None
    rng = random.Random(repr((case.path_parameters, case.query, body)))  # the same for the same case
    world.aim(case, path, method, rng)
    if isinstance(case.body, dict) and case.body is not world.json:
        case.body = {name: _short(name, value) for name, value in case.body.items()}
    answer = case.call(base_url=world.address)
    case.validate_response(answer, checks=CHECKS)
    if answer.status_code == 202:
        job = answer.json()["id"]
        if rng.random() < 0.7 or case.body["kind"] == "harvest":  # a harvest reads and writes an atlas of every feature
            world.ask(f"/api/jobs/{job}", method="DELETE")
        error = world.ending(job)["error"]
        assert not re.match(r"\w*(Error|Exception)\b", error or ""), error  # a fault of ours is told by its name
    if path.endswith("/events") and answer.status_code == 200:
        _are_events(answer.text)
    return answer.status_code


def _short(name, value):
    return min(value, LONG[name]) if name in LONG and isinstance(value, int) else value


def _are_events(text):
    """Every event's data is the view of its name, the last one the end."""
    events = [dict(line.split(": ", 1) for line in event.splitlines()) for event in text.strip().split("\n\n")]
    for event in events:
        JobEvents.model_fields[event["event"]].annotation.model_validate_json(event["data"])
    assert not text or events[-1]["event"] == "end"


def fuzzed(contract, world, path, method, cases):
    """Statuses of so many cases at most, counted."""
    seen = Counter[int]()
    for mode in GenerationMode.POSITIVE, GenerationMode.NEGATIVE:
        try:
            strategy = contract[path][method].as_strategy(generation_mode=mode)
        except schemathesis.errors.SchemathesisError:
            continue

        @settings(
            max_examples=max(1, cases // 2),
            deadline=None,
            suppress_health_check=QUIET,
            phases=[Phase.generate],
            database=None,
            derandomize=True,
        )
        @given(case=strategy)
        def one(case):
            seen[called(world, case, path, method)] += 1

        try:
            one()
        except Unsatisfiable:  # an address without anything to send cannot be sent anything wrong
            assert mode is GenerationMode.NEGATIVE
    return seen


def worked(seen):
    return sum(count for status, count in seen.items() if 200 <= status < 300)


@pytest.mark.parametrize(("path", "method"), ADDRESSES)
def test_no_request_makes_the_server_fail_or_break_its_word(contract, world, path, method):
    seen = fuzzed(contract, world, path, method, FEW)
    assert worked(seen), seen


@pytest.mark.stress
@pytest.mark.parametrize("half", [0, 1])
def test_no_request_of_a_thousand_makes_the_server_fail_or_break_its_word(contract, world, half):
    """Two halves, so that two cores may share them."""
    seen = {
        f"{method} {path}": fuzzed(contract, world, path, method, SLOW.get(path, MANY))
        for path, method in ADDRESSES[half::2]
    }
    print(*(f"{name}: {dict(statuses)}" for name, statuses in seen.items()), sep="\n")
    assert sum(statuses.total() for statuses in seen.values()) >= HALF
    assert [name for name, statuses in seen.items() if not worked(statuses)] == []
