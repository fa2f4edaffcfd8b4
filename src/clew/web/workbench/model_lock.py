"""One run of the model at a time: long work holds the gate, and opens it for short work whenever it reports.

The model is watched and changed by hooks while it runs, so two threads must never run it at once. Long work calls
`breathe` where it holds no hooks; whoever waits goes first then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread

_ASKING = 4  # requests that may wait for the model at a time, each in a thread
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Gate:
    """A lock that its holder can open for a moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = 0
        self._changed = threading.Condition()
        self._asking = CapacityLimiter(_ASKING)

    async def ask(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Call what may wait long, in threads kept for this: those who only read need not queue behind it."""
        return await to_thread.run_sync(function, *arguments, limiter=self._asking)

    @contextmanager
    def long(self) -> Iterator[None]:
        """Hold the gate for long work; it should `breathe`."""
        with self._lock:
            yield

    @contextmanager
    def short(self) -> Iterator[None]:
        """Hold the gate for work of well under a second."""
        with self._changed:
            self._waiting += 1
        try:
            with self._lock:
                yield
        finally:
            with self._changed:
                self._waiting -= 1
                self._changed.notify_all()

    def breathe(self) -> None:
        """Let those who wait for short work go first; by the holder of the gate alone."""
        with self._changed:
            if not self._waiting:
                return
        self._lock.release()
        try:
            with self._changed:
                self._changed.wait_for(lambda: not self._waiting, timeout=5)
        finally:
            self._lock.acquire()
