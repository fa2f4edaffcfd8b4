"""Connections of the server: so many at once, and none that stalls.

uvicorn closes a connection that is idle between two requests, but waits for ever for one that opens and says nothing,
that sends its request a byte at a time, or that does not read its answer. Here each of these has its time. A body that
does not arrive is `security.Guard`'s.
"""

from __future__ import annotations

import asyncio
import json

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 256


class TimedProtocol(H11Protocol):
    """HTTP/1.1 that closes what stalls."""

    most = MOST_CONNECTIONS
    head_seconds = 15.0
    """For the head of a request, from the first byte; and for that byte on a new connection."""
    reading_seconds = 60.0
    """For a client to read on, once what was sent waits for it."""
    _until_head: asyncio.TimerHandle | None = None
    _until_read: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._end(503, f"{self.most} connections are open already: close some, or ask again later")
        else:
            self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_between_requests():
            self._wait_for_head()
        else:
            _cancel(self._until_head)
            self._until_head = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._until_read = self.loop.call_later(self.reading_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        _cancel(self._until_read)

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._until_head)
        _cancel(self._until_read)
        super().connection_lost(exc)

    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _wait_for_head(self) -> None:
        """Let the time run, once: a byte now and then does not begin it anew."""
        if self._until_head is None and not self.transport.is_closing():
            self._until_head = self.loop.call_later(self.head_seconds, self._end_without_head)

    def _end_without_head(self) -> None:
        self._until_head = None
        if self._is_between_requests():
            self._end(408, "no whole request arrived in time")

    def _end(self, status: int, line: str) -> None:
        """Answer as the application does, and close."""
        if not self.transport.is_closing():
            body = json.dumps({"error": line}).encode()
            head = f"HTTP/1.1 {status} Closed\r\nContent-Type: application/json\r\nConnection: close\r\n"
            self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            self.transport.close()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
