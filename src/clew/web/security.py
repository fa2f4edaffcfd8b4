"""Which requests are answered: those of this machine's own pages and, where a token is set, of whoever has it.

1. *Host*: another site can make its name point here (DNS rebinding), but the browser still sends that name. Only this
   machine's names and, on other interfaces, plain addresses are answered.
2. *Writes*: `Origin` must be this server, `Sec-Fetch-Site` this page, and the body JSON, which a form of another site
   cannot send without a preflight request.
3. *Sizes*: a body is read up to a limit, and refused beyond it; and for as long as it comes at a fair rate.
4. *Token*: on other interfaces every request needs it: as a cookie, set by opening /?token=..., or as a bearer. It is
   never empty, and a guess is compared with the whole of it, in constant time.
5. Headers of every answer forbid foreign scripts, type sniffing and frames.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import socket
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from anyio import current_time, fail_after
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clew.errors import InputError
from clew.web.errors import problem

COOKIE = "clew_token"
MOST_BYTES, MOST_IMPORTED = 1 << 20, 32 << 20
BODY_SECONDS, LEAST_RATE = 20.0, 1 << 16
"""How long a body may take at least, and how many bytes a second of one that takes longer must come."""
IMPORT = "/api/graphs/import"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_READS = ("GET", "HEAD", "OPTIONS")
_HEAD = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens at this host."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def token_for(host: str, token: str | None) -> str | None:
    """The token that a server at this host asks for: the given one, else a new one where others can reach the server.

    InputError for a token that is empty, or that a cookie or a header cannot hold.
    """
    if token is None:
        return None if is_loopback(host) else secrets.token_urlsafe(16)
    if not token:
        raise InputError("the token is empty, which would let everyone in: give one, or none to have it made up")
    if re.fullmatch(r"[!-~]+", token) is None:
        raise InputError("the token has spaces or letters beyond ASCII: give letters, digits and signs such as - or _")
    return token


class Guard:
    """An ASGI application around another one, which refuses what the other one should not answer."""

    def __init__(self, app: ASGIApp, *, host: str = "127.0.0.1", token: str | None = None) -> None:
        """With a token, which `token_for` has checked, every request needs it."""
        assert token != "", "an empty token lets everyone in"
        self.app, self.token, self.open = app, token, not is_loopback(host)
        self.names: Collection[str] = {*LOOPBACK, host.lower(), *([socket.gethostname().lower()] if self.open else [])}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        answer = self._refusal(scope, headers) or self._token_answer(scope, headers)
        if answer is None:
            limit = MOST_IMPORTED if scope["path"] == IMPORT else MOST_BYTES
            try:
                receive = _replay(await _read(receive, headers, limit), receive)
            except TimeoutError:
                answer = problem(408, "the body did not arrive in time")
            except _TooLargeError:
                answer = problem(413, f"the body is larger than {limit >> 20} MB")

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEAD)
            await send(message)

        await (answer or self.app)(scope, receive, guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> ASGIApp | None:
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

    def _token_answer(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        """A refusal without the token, a redirect that sets the cookie when the address has the token, else None."""
        if self.token is None:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        token = dict(query).get("token") if scope["path"] == "/" else None
        if token is not None and _same(token, self.token):
            rest = urlencode([(name, value) for name, value in query if name != "token"])
            redirect = RedirectResponse("/" + (f"?{rest}" if rest else ""), 303)
            redirect.set_cookie(COOKIE, self.token, httponly=True, samesite="strict", max_age=30 * 86400)
            return redirect
        bearer = headers.get("authorization", "").partition(" ")
        if bearer[0].lower() == "bearer" and _same(bearer[2].strip(), self.token):
            return None
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            cookie = None
        if cookie is not None and _same(cookie.value, self.token):
            return None
        return problem(401, "this server asks for a token: open the address that it printed")


def _same(text: str, token: str) -> bool:
    """Compare in constant time, so that answers do not tell how much of a guess was right."""
    return hmac.compare_digest(text.encode("utf-8", "surrogatepass"), token.encode())


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class _TooLargeError(Exception):
    """A body beyond its limit."""


async def _read(receive: Receive, headers: Headers, limit: int) -> bytes:
    """The whole body; _TooLargeError when it is larger than the limit, TimeoutError when it comes too slowly."""
    length = headers.get("content-length", "")
    if length.isascii() and length.isdecimal() and (len(length) > 12 or int(length) > limit):
        raise _TooLargeError
    parts, size, began = [], 0, current_time()
    while True:
        with fail_after(max(0.0, began + BODY_SECONDS + size / LEAST_RATE - current_time())):
            message = await receive()
        if message["type"] != "http.request":
            break
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise _TooLargeError
        if not message.get("more_body", False):
            break
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A receiver that gives the body once, then the later messages, such as a disconnect."""
    is_sent = False

    async def replayed() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
