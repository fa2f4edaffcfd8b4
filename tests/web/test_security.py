"""Who may ask, how much, and in what words: refused with 4xx in one line, or harmless."""

import json
import random
import re
import socket
from urllib.parse import quote

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from clew.errors import InputError
from clew.web import security
from clew.web.app import make_app
from clew.web.built_page import STATIC, assets
from clew.web.security import Guard, is_loopback
from tests.workbench import FRANCE, HERE, minnow, opened, traced

JSON = {"content-type": "application/json"}


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.method} {len(await request.body())}")


def guarded(host="127.0.0.1", token=None, base=HERE):
    app = Starlette(routes=[Route("/{path:path}", echo, methods=["GET", "POST", "PUT", "DELETE"])])
    return TestClient(Guard(app, host=host, token=token), base_url=base, follow_redirects=False)


# --- host -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1:4747", "localhost", "LOCALHOST:1", "[::1]:4747", "localhost.:80"])
def test_this_machines_names_are_answered(host):
    assert guarded().get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "10.0.0.5", "a b", "[::1",
        "127.0.0.1:x", "localhost.evil.example", "evil-localhost", "localhos", "ocalhost", "localhosts", "127.0.0.",
        "127.0.0", "127.0.0.1evil", "[::1]evil", "[::1].evil:80", "localhost:80:80", "localhost:", "localhost:123456",
    ],
)  # fmt: skip
def test_a_name_that_was_pointed_here_is_refused(host):
    for host_of_server in ("127.0.0.1", "0.0.0.0"):
        if host == "10.0.0.5" and host_of_server == "0.0.0.0":
            continue
        answer = guarded(host_of_server).get("/", headers={"host": host})
        assert answer.status_code == 403
        assert "\n" not in answer.json()["error"]


def test_on_other_interfaces_addresses_and_the_machines_name_are_answered():
    for host in ("10.0.0.5:4747", "[fe80::1]:4747", socket.gethostname()):
        assert guarded("0.0.0.0").get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("[::1]", True), ("localhost", True), ("0.0.0.0", False)],
)
def test_what_only_this_machine_reaches_is_known(host, expected):
    assert is_loopback(host) is expected
    assert not is_loopback("example.org")


# --- writes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://localhost:4747"},
        {"origin": "http://127.0.0.1:4747.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_site_cannot_write(method, headers):
    assert guarded().request(method, "/api/x", headers=JSON | headers).status_code == 403


@pytest.mark.parametrize("headers", [{}, {"origin": HERE, "sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}])
def test_the_page_itself_and_programs_can_write(headers):
    answer = guarded().post("/api/x", content=b"{}", headers=JSON | headers)
    assert answer.text == "POST 2"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; a=b", ""])
def test_a_form_of_another_site_is_no_json(kind):
    assert guarded().post("/api/x", content=b"{}", headers={"content-type": kind}).status_code == 415
    assert (
        guarded().post("/api/x", content=b"{}", headers={"content-type": "application/octet-stream"}).status_code == 415
    )


# --- sizes ----------------------------------------------------------------------------------------------------------


def test_a_body_larger_than_the_limit_is_refused_whether_it_says_its_size_or_not():
    within, beyond = b"x" * security.MOST_BYTES, b"x" * (security.MOST_BYTES + 1)
    assert guarded().post("/api/x", content=within, headers=JSON).text == f"POST {len(within)}"
    assert guarded().post("/api/x", content=beyond, headers=JSON).status_code == 413
    parts = (b"x" * 65536 for _ in range(40))
    assert guarded().post("/api/x", content=parts, headers=JSON).status_code == 413
    assert guarded().post("/api/x", content=b"", headers=JSON | {"content-length": "9" * 30}).status_code == 413
    assert guarded().post(security.IMPORT, content=beyond, headers=JSON).status_code == 200


# --- token ----------------------------------------------------------------------------------------------------------


def test_without_the_token_nothing_is_answered():
    client = guarded("0.0.0.0", "s3cret")
    for path in ("/", "/api/workbench", "/assets/page.js", "/?token=wrong", "/api/workbench?token=s3cret"):
        assert client.get(path).status_code == 401, path
    assert client.get("/", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/", headers={"cookie": "clew_token=wrong"}).status_code == 401
    assert client.get("/", headers=[(b"cookie", b'clew_token="\xe9\x01')]).status_code == 401


def test_opening_the_address_with_the_token_sets_a_cookie_and_takes_the_token_out_of_the_address():
    client = guarded("0.0.0.0", "s3cret")
    answer = client.get("/?token=s3cret&a=1")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/?a=1"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "max-age=2592000" in cookie  # thirty days
    assert client.get("/api/workbench").status_code == 200
    assert guarded("0.0.0.0", "s3cret").get("/", headers={"authorization": "Bearer s3cret"}).status_code == 200


def asking(client, guess):
    """The statuses for a guess, in each way in which a token is given."""
    cookie, head = (b"cookie", b"clew_token=" + guess), (b"authorization", b"Bearer " + guess)
    answers = [
        client.get("/", headers=[cookie]),
        client.get("/", headers=[head]),
        client.get("/?token=" + quote(guess)),
    ]
    client.cookies.clear()
    return [answer.status_code for answer in answers]


@pytest.mark.parametrize(
    "guess",
    [
        b"", b" ", b"s", b"s3cre", b"3cret", b"s3crets", b"s3cret.", b".s3cret", b"S3CRET", b"s3cret\xff",
        b"s3crets3cret", b"?",
    ],
)  # fmt: skip
def test_a_part_of_the_token_or_more_than_it_opens_nothing(guess):
    client = guarded("0.0.0.0", "s3cret")
    assert asking(client, b"s3cret") == [200, 200, 303]
    assert asking(client, guess) == [401, 401, 401]


@pytest.mark.parametrize("head", ["Bearer", "Bearer ", "Bearers3cret", "Basic s3cret", "s3cret", "Bearer s3cret x", ""])
def test_only_a_bearer_with_the_token_is_one(head):
    assert guarded("0.0.0.0", "s3cret").get("/", headers={"authorization": head}).status_code == 401


@pytest.mark.parametrize(
    "query", ["token", "token=", "token=&token=", "TOKEN=s3cret", "tokens=s3cret", "a=token=s3cret"]
)
def test_only_the_token_in_the_address_opens_the_page(query):
    assert guarded("0.0.0.0", "s3cret").get(f"/?{query}").status_code == 401


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("token", ["", " ", "a b", "Ж", "a\n", "a\x7f"])
def test_a_token_that_is_none_is_refused_before_anything_listens(tmp_path, host, token):
    with pytest.raises(InputError, match="the token"):
        make_app(tmp_path, minnow(), host=host, token=token)


def test_where_others_can_ask_there_is_a_token_of_this_server_alone(tmp_path):
    apps = [make_app(tmp_path, minnow(), host=host) for host in ("127.0.0.1", "0.0.0.0", "0.0.0.0")]
    ours, first, second = (app.state.token for app in apps)
    assert ours is None
    assert first != second
    assert len(first) >= 16
    with TestClient(apps[1], base_url=HERE) as client:
        assert client.get("/api/workbench").status_code == 401
        assert client.get("/api/workbench", headers={"authorization": f"Bearer {first}"}).status_code == 200
    for app in apps:
        app.state.workbench.close()


# --- every answer ---------------------------------------------------------------------------------------------------


def test_every_answer_runs_nothing_but_its_own(tmp_path):
    with opened(tmp_path) as client:
        for path in ("/", "/api/workbench", "/api/nothing", "/api/graphs/x", "/assets/nothing"):
            head = client.get(path).headers
            assert head["content-security-policy"] == "default-src 'self'; img-src 'self' blob:"
            assert head["x-content-type-options"] == "nosniff"
            assert head["x-frame-options"] == "DENY"
            assert head["referrer-policy"] == "no-referrer"
        assert client.get("/api/workbench", headers={"host": "evil.example"}).headers["x-frame-options"] == "DENY"
        assert client.get("/docs").status_code == 404


def test_no_asset_names_another_machine():
    for path in sorted(STATIC.rglob("*")):
        if path.suffix in (".html", ".css", ".js", ".svg"):
            addresses = set(re.findall(r"(?:https?:)?//[a-z0-9-]+(?:\.[a-z0-9-]+)+", path.read_text()))
            assert addresses <= {"http://www.w3.org"}, path


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../models.py",
        "/assets/%2e%2e/models.py",
        "/..%2f..%2fkit.py",
        "/assets//etc/passwd",
        "/static/index.html",
    ],
)
def test_a_path_never_leaves_the_page(tmp_path, path):
    with opened(tmp_path) as client:
        assert client.get(path).status_code == 404
    assert all("/" not in address.removeprefix("/assets/").removeprefix("/") for address in assets())


# --- bodies that are no bodies --------------------------------------------------------------------------------------

SURROGATE = b'{"prompt": "\\ud800"}'
BODIES = {
    "deep": b"[" * 100_000,
    "deep object": b'{"a":' * 50_000,
    "nan": b'{"prompt": NaN}',
    "not utf-8": b'{"prompt": "\xff\xfe"}',
    "surrogate": SURROGATE,
    "huge number": b'{"prompt": ' + b"9" * 10_000 + b"}",
    "nothing": b"",
    "a list": b"[]",
    "null": b"null",
    "half": b'{"prompt": "a',
    "nul": b'{"prompt": 1e999}',
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_none_is_refused_in_one_line_everywhere(tmp_path_factory, bench, name):
    for path in (
        "/api/tokens", "/api/jobs", "/api/compare", "/api/features/fires", "/api/features/L0/1/test",
        "/api/features/L0/1/labels", security.IMPORT,
    ):  # fmt: skip
        answer = bench.post(path, content=BODIES[name], headers=JSON)
        assert 400 <= answer.status_code < 500, (path, answer.status_code, answer.text)
        assert "\n" not in answer.json()["error"]
        assert "Traceback" not in answer.text


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("bench")) as client:
        yield client


@pytest.mark.parametrize("strength", ["NaN", "Infinity", "1e400", "1e308", '"1"', "true", "null"])
def test_strengths_beyond_all_bounds_are_refused(bench, strength):
    body = '{"kind": "edit", "prompt": "a", "edits": [{"verb": "set", "feature": "L0/1", "strength": ?}]}'
    body = body.replace("?", strength)
    answer = bench.post("/api/jobs", content=body, headers=JSON)
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "trace", "prompt": ""},
        {"kind": "trace", "prompt": "the " * 20_000},
        {"kind": "trace", "prompt": FRANCE, "max_features": 0},
        {"kind": "edit", "prompt": FRANCE, "edits": []},
        {"kind": "edit", "prompt": FRANCE, "edits": [{"verb": "ablate", "feature": "L0/999999"}]},
        {"kind": "edit", "prompt": FRANCE, "edits": [{"verb": "ablate", "feature": "L9/1"}]},
        {"kind": "edit", "prompt": FRANCE, "edits": [{"verb": "ablate", "feature": "L0/1", "positions": [99]}]},
        {"kind": "audit", "graph": "nothing"},
        {"kind": "harvest", "tokens": 0},
        {"kind": "other"},
        {},
    ],
)
def test_impossible_work_is_refused_before_it_waits(bench, body):
    answer = bench.post("/api/jobs", json=body)
    assert 400 <= answer.status_code < 500, answer.text
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/graphs/../bench.sqlite", "/api/graphs/%2e%2e%2fbench", "/api/graphs/nothing", "/api/jobs/nothing",
        "/api/jobs/nothing/events", "/api/features/L0/99999999", "/api/features/L77/1",
        "/api/features/L0/" + "9" * 5000, "/api/features/L" + "9" * 5000 + "/1",
        "/api/features/names?ids=" + "L" + "9" * 5000 + "/1",
        "/api/features?how=alike&query=L" + "9" * 1900 + "/1", "/api/features?how=alike&query=none",
        "/api/features?how=words&query=%00%ff", "/api/features?how=promotes&query=%F0%9F%98%80%F0%9F%98%80",
        "/api/features?how=words&query=%22%27%29%3B--", "/api/graphs?offset=99999999999999999999",
    ],
)  # fmt: skip
def test_odd_addresses_are_answered_without_a_fault(bench, path):
    answer = bench.get(path)
    assert answer.status_code in (200, 400, 404, 422), answer.text


def test_text_from_outside_stays_data(bench):
    payload = "</script><img src=x onerror=alert(1)>"
    answer = bench.post("/api/features/L0/1/labels", json={"text": payload, "author": payload, "note": payload})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["text"] == payload
    graph = traced(bench, payload)
    page = bench.get(f"/api/graphs/{graph}/export?as=html")
    assert "attachment" in page.headers["content-disposition"]
    assert "<img src=x" not in page.text


# --- imports --------------------------------------------------------------------------------------------------------


def changed(value, path, new):
    copy = json.loads(json.dumps(value))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = new
    return copy


@pytest.fixture(scope="module")
def graph_json(bench):
    return json.loads(bench.get(f"/api/graphs/{traced(bench)}/export?as=json").content)


@pytest.mark.parametrize(
    ("path", "new"),
    [
        (("links", 0, "weight"), 1e999),
        (("links", 0, "weight"), "x"),
        (("nodes", 0, "activation"), float("nan")),
        (("nodes", 0, "activation"), 10**400),
        (("nodes", 0, "ctx_idx"), 10**30),
        (("nodes", 0, "ctx_idx"), -1),
        (("nodes", 0, "layer"), "9" * 4000),
        (("metadata", "prompt"), "\ud800"),
        (("metadata", "prompt_tokens"), ["\ud800"] * 6),
        (("metadata", "prompt_tokens"), []),
        (("nodes",), []),
        (("nodes",), {}),
        (("links",), None),
        (("metadata",), None),
    ],
)
def test_a_graph_that_is_none_is_refused_in_one_line(bench, graph_json, path, new):
    answer = bench.post(security.IMPORT, content=json.dumps(changed(graph_json, path, new)).encode(), headers=JSON)
    assert 400 <= answer.status_code < 500, answer.text
    assert "\n" not in answer.json()["error"]


def test_a_graph_file_that_was_cut_or_changed_is_read_whole_or_refused_in_one_line(bench, graph_json):
    content = bench.get(f"/api/graphs/{traced(bench)}/export?as=graph").content
    rng, refused = random.Random(0), 0
    for number in range(60):
        broken = bytearray(content[: rng.randrange(len(content))] if number % 2 else content)
        for _ in range(rng.randrange(1, 6)):
            if broken:
                broken[rng.randrange(min(len(broken), 3000))] = rng.randrange(256)
        answer = bench.post(
            security.IMPORT, content=bytes(broken), headers={"content-type": "application/octet-stream"}
        )
        assert answer.status_code in (201, 413, 422), answer.text
        if answer.status_code == 201:
            view = bench.get(f"/api/graphs/{answer.json()['graph']}")
            assert view.status_code == 200
        else:
            refused += 1
            assert "\n" not in answer.json()["error"]
    assert refused > 30


def test_a_graph_too_large_for_memory_is_refused_before_it_takes_any(bench, graph_json):
    many = changed(graph_json, ("nodes",), [{}] * 100_000)
    answer = bench.post(security.IMPORT, content=json.dumps(many).encode(), headers=JSON)
    assert answer.status_code == 413
