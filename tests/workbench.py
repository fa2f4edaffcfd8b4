"""A workbench on the bundled kit for tests, asked in this process; and the real server, in one of its own."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from clew.kit import Kit, load

HERE = "http://127.0.0.1:4747"
FRANCE, GERMANY = "The capital of France is", "The capital of Germany is"


@lru_cache
def minnow() -> Kit:
    return load("minnow")


@contextmanager
def opened(workspace: Path, **options: Any) -> Iterator[TestClient]:
    """A client of a workbench that is closed at the end."""
    from clew.web.app import make_app

    with TestClient(make_app(workspace, minnow(), **options), base_url=HERE, raise_server_exceptions=False) as client:
        yield client


def done(client: TestClient, body: dict[str, Any], seconds: float = 60) -> dict[str, Any]:
    """What a job came to; fails when it does not end well."""
    job_view = ended(client, asked(client, body), seconds)
    assert job_view["state"] == "done", job_view
    return job_view["result"]


def asked(client: TestClient, body: dict[str, Any]) -> str:
    answer = client.post("/api/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def ended(client: TestClient, job: str, seconds: float = 60) -> dict[str, Any]:
    until = time.monotonic() + seconds
    while (job_view := client.get(f"/api/jobs/{job}").json())["state"] in ("queued", "running"):
        assert time.monotonic() < until, job_view
        time.sleep(0.01)
    return job_view


def traced(client: TestClient, prompt: str = FRANCE) -> str:
    return done(client, {"kind": "trace", "prompt": prompt})["graph"]


def strongest(client: TestClient, graph: str) -> dict[str, Any]:
    """The most influential feature node of a graph."""
    nodes = [node for node in client.get(f"/api/graphs/{graph}").json()["nodes"] if node["kind"] == "feature"]
    return max(nodes, key=lambda node: node["influence"])


def events(client: TestClient, job: str, **headers: str) -> list[tuple[int, str, Any]]:
    """Number, name and data of every event of a job."""
    text = client.get(f"/api/jobs/{job}/events", headers=headers).text
    parts = [dict(line.split(": ", 1) for line in event.splitlines()) for event in text.strip().split("\n\n")]
    return [(int(part["id"]), part["event"], json.loads(part["data"])) for part in parts]


@contextmanager
def serving(workspace: Path | None, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`clew serve` in a process of its own, in the default workspace unless one is given: the process, its address."""
    where = [] if workspace is None else ["--workspace", str(workspace)]
    command = [sys.executable, "-m", "clew", "serve", *where, "--port", "0", "--no-open"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Clew is at "), line + (process.stderr.read() if process.stderr and not line else "")
        yield process, line.removeprefix("Clew is at ").strip().rstrip("/")
    finally:
        process.kill()
        process.communicate()


def fetched(address: str, body: bytes | None = None, *, method: str | None = None, **headers: str) -> bytes:
    head = {"Content-Type": "application/json"} | headers if body else headers
    request = urllib.request.Request(address, body, head, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()
