"""One run of the model at a time: long work holds the lock, and opens it for short work whenever it reports.

The model is watched and changed by hooks while it runs, so two threads must never run it at once. Long work calls
`give_way` at points where it holds no hooks; threads that wait for short work then go first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread

_WAITING_THREADS = 4  # requests that may wait for the model at a time, each in a thread
_LONGEST_PAUSE = 5  # seconds for which long work gives way
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class ModelLock:
    """A lock that its holder can open for a moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = 0
        self._changed = threading.Condition()
        self._limiter = CapacityLimiter(_WAITING_THREADS)

    async def in_thread(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Call a function that may wait long, in threads of its own, so that plain reads do not queue behind it."""
        return await to_thread.run_sync(function, *arguments, limiter=self._limiter)

    @contextmanager
    def long(self) -> Iterator[None]:
        """Hold the lock for long work, which should call `give_way`."""
        with self._lock:
            yield

    @contextmanager
    def short(self) -> Iterator[None]:
        """Hold the lock for work of well under a second."""
        with self._changed:
            self._waiting += 1
        try:
            with self._lock:
                yield
        finally:
            with self._changed:
                self._waiting -= 1
                self._changed.notify_all()

    def give_way(self) -> None:
        """Let threads that wait for short work go first. Only the holder of the lock may call it."""
        with self._changed:
            if not self._waiting:
                return
        self._lock.release()
        try:
            with self._changed:
                self._changed.wait_for(lambda: not self._waiting, timeout=_LONGEST_PAUSE)
        finally:
            self._lock.acquire()
