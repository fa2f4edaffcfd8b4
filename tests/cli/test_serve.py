"""`clew serve`: one line says where it is, another why it cannot be."""

import http.client
import json
import signal
import socket
import subprocess
import time
import urllib.error
from urllib.parse import urlsplit

import pytest

from tests.workbench import fetched, serving


def test_one_line_says_the_address_and_the_page_and_its_data_are_there(tmp_path):
    with serving(tmp_path / "w") as (process, address):
        assert address.startswith("http://127.0.0.1:")
        assert b"<title>Clew" in fetched(f"{address}/")
        assert json.loads(fetched(f"{address}/api/workbench"))["kit"]["name"] == "minnow"
        assert process.stdout.readline() == f"Your work is kept in {tmp_path / 'w'}\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0
        assert (out, err.strip()) == ("", "")


def test_another_interface_needs_the_token_that_the_address_has(tmp_path):
    with serving(tmp_path / "w", "--host", "0.0.0.0") as (_, address):
        port, token = address.rpartition(":")[2].split("/")[0], address.partition("token=")[2]
        assert len(token) >= 16
        with pytest.raises(urllib.error.HTTPError, match="401"):
            fetched(f"http://127.0.0.1:{port}/api/workbench")
        fetched(f"http://127.0.0.1:{port}/api/workbench", Authorization=f"Bearer {token}")


def test_a_busy_port_is_one_line_and_exit_code_2(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = run("serve", "--port", port, "--no-open")
    assert (code, out) == (2, "")
    assert (
        err
        == f"clew: cannot listen at 127.0.0.1, port {port} (Address already in use): give another --port or --host\n"
    )


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--kit", "nothing"), "no kit 'nothing'"),
        (("--workspace", "/proc/clew"), "cannot make the workspace /proc/clew"),
        (("--port", "99999"), "--port is 99999"),
        (("--host", "256.1.1.1"), "cannot listen at 256.1.1.1"),
        (("--dictionary", "x"), "--dictionary needs the model that it was made for"),
        (("--token", ""), "the token is empty"),
        (("--token", "", "--host", "0.0.0.0"), "the token is empty"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_exit_code_2(run, options, line):
    code, out, err = run("serve", "--no-open", "--port", 0, *options)
    assert (code, out) == (2, "")
    assert err.startswith(f"clew: {line}")
    assert err.count("\n") == 1


def test_help_shows_a_worked_example(run):
    code, out, _ = run("serve", "--help")
    assert code == 0
    assert "clew serve --kit minnow" in out


def test_importing_clew_imports_no_server(tmp_path):
    import sys

    seen = "import sys, clew; print(sorted({'fastapi', 'starlette', 'uvicorn', 'pydantic'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.alone
def test_a_kept_connection_is_answered_without_delay(tmp_path):
    with serving(tmp_path) as (_, address):
        place = urlsplit(address)
        kept, waited = http.client.HTTPConnection(place.hostname, place.port), []
        for _ in range(20):
            began = time.perf_counter()
            kept.request("POST", "/api/tokens", '{"prompt": "The capital"}', {"content-type": "application/json"})
            assert kept.getresponse().read()
            waited.append(time.perf_counter() - began)
        kept.close()
    assert sorted(waited)[5] < 0.03  # a delayed acknowledgement alone takes 0.04; the machine may be busy
