"""Connections that stall are closed in time, and only so many are open; none of that troubles a client that goes on."""

import json
import socket
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from clew.web import security
from clew.web.app import declared
from clew.web.connections import TimedProtocol
from clew.web.security import Guard
from tests.browser import serving

SOON = 0.3


class Hasty(TimedProtocol):
    most, head_seconds, reading_seconds = 4, SOON, SOON


async def answer(request):
    return PlainTextResponse(f"{len(await request.body())}")


async def slow(request):
    async def parts():
        import asyncio

        for _ in range(8):
            await asyncio.sleep(SOON / 4)
            yield b"x"

    return StreamingResponse(parts())


async def large(request):
    return PlainTextResponse("x" * (64 << 20))


@pytest.fixture(scope="module")
def place():
    routes = [Route("/slow", slow), Route("/large", large), Route("/{path:path}", answer, methods=["GET", "POST"])]
    with serving(Guard(Starlette(routes=routes)), http=Hasty) as address:
        yield urlsplit(address)


@contextmanager
def connected(place):
    with socket.create_connection((place.hostname, place.port)) as opened:
        opened.settimeout(20)
        yield opened


def rest(opened):
    """All that still comes, until the server closes; and after how long it did."""
    began, content = time.monotonic(), b""
    try:
        while part := opened.recv(1 << 16):
            content += part
    except ConnectionResetError:
        pass
    return content, time.monotonic() - began


HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


def test_a_connection_that_says_nothing_is_closed(place):
    with connected(place) as opened:
        _, seconds = rest(opened)
    assert SOON * 0.9 < seconds < 10


@pytest.mark.parametrize("before", [b"", HEAD + b"\r\n"], ids=["the first request", "a later request"])
def test_a_head_that_comes_a_byte_at_a_time_is_not_waited_for(place, before):
    with connected(place) as opened:
        if before:
            opened.sendall(before)
            assert b"200 OK" in opened.recv(4096)
        began = time.monotonic()
        try:
            for byte in HEAD * 40:
                opened.sendall(bytes([byte]))
                time.sleep(0.02)
        except OSError:
            pass
        assert time.monotonic() - began < 0.02 * 40 * len(HEAD) / 2


def test_a_body_that_does_not_arrive_is_refused_with_a_line(place, monkeypatch):
    monkeypatch.setattr(security, "BODY_SECONDS", SOON)
    with connected(place) as opened:
        opened.sendall(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        content, seconds = rest(opened)
    assert content.startswith(b"HTTP/1.1 408")
    assert json.loads(content.partition(b"\r\n\r\n")[2]) == {"error": "the body did not arrive in time"}
    assert seconds < 15


def test_a_body_has_more_time_the_more_of_it_has_come(place, monkeypatch):
    monkeypatch.setattr(security, "BODY_SECONDS", SOON)
    monkeypatch.setattr(security, "LEAST_RATE", 100)
    with connected(place) as opened:
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
        opened.sendall(head + b"Content-Length: 1000\r\n\r\n")
        for _ in range(10):
            opened.sendall(b"x" * 100)
            time.sleep(SOON / 4)
        assert rest(opened)[0].endswith(b"1000")


def test_a_client_that_does_not_read_its_answer_is_left(place):
    with connected(place) as opened:
        opened.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(SOON * 4)
        assert len(rest(opened)[0]) < 64 << 20


def test_an_answer_that_takes_long_is_not_broken_off(place):
    with connected(place) as opened:
        opened.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        content, seconds = rest(opened)
    assert content.count(b"1\r\nx\r\n") == 8
    assert seconds > SOON


def test_beyond_so_many_connections_a_new_one_is_refused_with_a_line_until_one_is_closed(place):
    with ExitStack() as stack:
        for _ in range(Hasty.most):
            opened = stack.enter_context(connected(place))
            opened.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with connected(place) as late:
            content, _ = rest(late)
        assert content.startswith(b"HTTP/1.1 503")
        assert json.loads(content.partition(b"\r\n\r\n")[2])["error"].startswith("4 connections are open already")
    time.sleep(0.1)
    with connected(place) as opened:
        opened.sendall(HEAD + b"Connection: close\r\n\r\n")
        assert rest(opened)[0].startswith(b"HTTP/1.1 200")


def test_the_server_of_the_command_line_is_timed(monkeypatch):
    from clew.cli import serve

    seen = []
    monkeypatch.setattr(serve.uvicorn, "Config", lambda app, **options: seen.append(options) or 1 / 0)
    with pytest.raises(ZeroDivisionError), socket.socket() as listening:
        serve._run(declared(), listening, "", Path(), browse=False)
    assert seen[0]["http"] is TimedProtocol
