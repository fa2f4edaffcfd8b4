"""Requests made up from the contract, sound ones and broken ones: never a fault of the server, always as declared."""

import json
import signal

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
from tests.workbench import FRANCE, fetched, serving

CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
FEW, MANY = 12, 240  # cases an address; there are 21 of them
LONG = {"tokens": 20, "nodes": 2, "max_features": 30}  # work that is asked for is kept short, not its form
ADDRESSES = [(path, method) for path, methods in document(declared())["paths"].items() for method in methods]
QUIET = [
    HealthCheck.function_scoped_fixture,
    HealthCheck.too_slow,
    HealthCheck.filter_too_much,
    HealthCheck.data_too_large,
]


@pytest.fixture(scope="module")
def contract():
    return schemathesis.openapi.from_dict(document(declared()))


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A server with a graph for the ids that are made up to hit."""
    with serving(tmp_path_factory.mktemp("fuzzed")) as (process, address):
        ask(address, "/api/jobs", {"kind": "trace", "prompt": FRANCE})
        while not ask(address, "/api/graphs")["graphs"]:
            assert process.poll() is None
        yield address
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[1].strip() == ""


def ask(address, path, body=None, method=None):
    content = None if body is None else json.dumps(body).encode()
    return json.loads(fetched(address + path, content, method=method))


def called(case, address):
    known = ask(address, "/api/graphs?limit=1")["graphs"]
    if "graph" in (case.path_parameters or {}) and known and hash(repr(case.query)) % 4:
        case.path_parameters["graph"] = known[0]["id"]
    if isinstance(case.body, dict):
        case.body = {name: _short(name, value) for name, value in case.body.items()}
    answer = case.call(base_url=address)
    if answer.status_code == 202:
        ask(address, f"/api/jobs/{answer.json()['id']}", method="DELETE")
    case.validate_response(answer, checks=CHECKS)


def _short(name, value):
    return min(value, LONG[name]) if name in LONG and isinstance(value, int) else value


def fuzzed(contract, address, path, method, cases):
    for mode in GenerationMode.POSITIVE, GenerationMode.NEGATIVE:
        try:
            made = contract[path][method].as_strategy(generation_mode=mode)
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
        @given(case=made)
        def one(case):
            called(case, address)

        try:
            one()
        except Unsatisfiable:  # an address without anything to send cannot be sent anything wrong
            assert mode is GenerationMode.NEGATIVE


@pytest.mark.parametrize(("path", "method"), ADDRESSES)
def test_no_request_makes_the_server_fail_or_break_its_word(contract, address, path, method):
    fuzzed(contract, address, path, method, FEW)


@pytest.mark.long
@pytest.mark.parametrize(("path", "method"), ADDRESSES)
def test_no_request_of_five_thousand_makes_the_server_fail_or_break_its_word(contract, address, path, method):
    fuzzed(contract, address, path, method, MANY)


def test_the_addresses_and_their_cases_are_five_thousand():
    assert MANY * len(ADDRESSES) >= 5000
