"""A verb run beside the protocol: in a thread, one at a time, with its progress, and ended where the caller gives up.

What reports is what can be ended: `clew.progress.Report` may raise, and does here once the request is cancelled. A
request that was cancelled is let go at once; its thread ends at the next report, and the next verb waits for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import anyio
from anyio import from_thread, to_thread
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

from clew.errors import ClewError
from clew.progress import Progress, Report

R = TypeVar("R")
_PAUSE = 0.2  # seconds between two reports that a caller gets
_ASKED = 0.1  # seconds after which a waiting verb looks whether it is still wanted


class AbandonedError(Exception):
    """Nobody waits for this work any more."""


class Workshop:
    """Where verbs are run: one model serves one at a time."""

    def __init__(self) -> None:
        self._model = threading.Lock()
        self._running: set[threading.Event] = set()

    async def run(self, context: Context[Any, Any], verb: Callable[[Report], R]) -> R:
        """What a verb gives; a user's mistake is a ToolError of one line."""
        given_up = threading.Event()
        self._running.add(given_up)
        try:
            return await to_thread.run_sync(partial(self._work, context, verb, given_up), abandon_on_cancel=True)
        except ClewError as error:
            raise ToolError(str(error)) from error
        finally:
            given_up.set()
            self._running.discard(given_up)

    def close(self) -> None:
        """End what still runs, at its next report."""
        for given_up in self._running:
            given_up.set()

    def _work(self, context: Context[Any, Any], verb: Callable[[Report], R], given_up: threading.Event) -> R:
        while not self._model.acquire(timeout=_ASKED):
            if given_up.is_set():
                raise AbandonedError
        try:
            return verb(_ProgressReports(context, given_up))
        finally:
            self._model.release()


class _ProgressReports:
    """A verb's reports as the caller gets them: a number that only grows (a stage counts one), and what is done."""

    def __init__(self, context: Context[Any, Any], given_up: threading.Event) -> None:
        self.context, self.given_up = context, given_up
        self.stage, self.what, self.last, self.told = 0, "", -1.0, 0.0

    def __call__(self, progress: Progress) -> None:
        if self.given_up.is_set():
            raise AbandonedError
        if progress.what != self.what:
            self.stage, self.what = self.stage + bool(self.what), progress.what
        share = min(1.0, progress.done / progress.of) if progress.of else 0.0
        number, now = self.stage + share, time.monotonic()
        if number <= self.last or now - self.told < _PAUSE:
            return
        self.last, self.told = number, now
        of = f" of {progress.of:,}" if progress.of else ""
        words = f"{progress.what}: {progress.done:,}{of} {progress.unit}"
        try:
            from_thread.run(self.context.report_progress, number, None, words)
        except (anyio.ClosedResourceError, anyio.BrokenResourceError, RuntimeError):
            raise AbandonedError from None  # nobody is there to be told
