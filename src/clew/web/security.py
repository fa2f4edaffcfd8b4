"""Who may ask: this machine's own pages, and whoever has the token where one is set.

1. *Host*: a page elsewhere can have its name point here (DNS rebinding), but cannot change what the browser says it
   asked for. Only this machine's names and, on other interfaces, plain addresses are answered.
2. *Writes*: `Origin` must be this server's, `Sec-Fetch-Site` this page's own, and a body JSON, which a form of another
   site cannot send without asking first.
3. *Sizes*: a body is read whole up to a limit, and refused beyond it.
4. *Token*: on other interfaces everything needs it: as a cookie, set by opening /?token=..., or as a bearer.
5. Every answer says that it runs no script but its own, is no other type than it says, and is shown in no frame.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clew.web.errors import problem

COOKIE = "clew_token"
MOST_BYTES, MOST_IMPORTED = 1 << 20, 32 << 20
IMPORT = "/api/graphs/import"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_READS = ("GET", "HEAD", "OPTIONS")
_HEAD = {
    "Content-Security-Policy": "default-src 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """An ASGI application that answers for another one what it should not be asked."""

    def __init__(self, app: ASGIApp, *, host: str = "127.0.0.1", token: str | None = None) -> None:
        self.app, self.token, self.open = app, token, not is_loopback(host)
        self.names: Collection[str] = {*LOOPBACK, host.lower(), *([socket.gethostname().lower()] if self.open else [])}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        answer = self._refused(scope, headers) or self._stranger(scope, headers)
        if answer is None:
            limit = MOST_IMPORTED if scope["path"] == IMPORT else MOST_BYTES
            body = await _read(receive, headers, limit)
            if body is None:
                answer = problem(413, f"the body is larger than {limit >> 20} MB")
            else:
                receive = _again(body, receive)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEAD)
            await send(message)

        await (answer or self.app)(scope, receive, guarded)

    def _refused(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return problem(403, f"this server is not {host[:100]!r}: open it by the address that it printed")
        if scope["method"] in _READS:
            return None
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None and re.sub(r"^https?://", "", origin) != host:
            return problem(403, "another site may not write here")
        if site is not None and site not in ("same-origin", "none"):
            return problem(403, "another site may not write here")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        allowed = ("application/json", "application/octet-stream") if scope["path"] == IMPORT else ("application/json",)
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        if (kind or has_body) and kind not in allowed:
            return problem(415, f"send {' or '.join(allowed)}")
        return None

    def _is_ours(self, host: str) -> bool:
        match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(:\d{1,5})?", host)
        if match is None:
            return False
        name = match[1].strip("[]").lower().removesuffix(".")
        return name in self.names or (self.open and _is_address(name))

    def _stranger(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        """An answer to whoever lacks the token; to whoever brings it in the address, a cookie."""
        if self.token is None:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = dict(query).get("token") if scope["path"] == "/" else None
        if given is not None and _same(given, self.token):
            rest = urlencode([(name, value) for name, value in query if name != "token"])
            back = RedirectResponse("/" + (f"?{rest}" if rest else ""), 303)
            back.set_cookie(COOKIE, self.token, httponly=True, samesite="strict", max_age=30 * 86400)
            return back
        bearer = headers.get("authorization", "").partition(" ")
        if bearer[0].lower() == "bearer" and _same(bearer[2].strip(), self.token):
            return None
        try:
            kept = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            kept = None
        if kept is not None and _same(kept.value, self.token):
            return None
        return problem(401, "this server asks for a token: open the address that it printed")


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _read(receive: Receive, headers: Headers, limit: int) -> bytes | None:
    """The whole body; None when it is larger than the limit."""
    told = headers.get("content-length", "")
    if told.isascii() and told.isdecimal() and (len(told) > 12 or int(told) > limit):
        return None
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            break
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            return None
        if not message.get("more_body", False):
            break
    return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives the body once, then what else comes: that the reader is gone."""
    given = False

    async def receiving() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving
