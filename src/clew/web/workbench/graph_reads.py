"""Views of graphs, a few at a time: each may take seconds and a copy of its graph, and more may be asked for than that.

They run in threads of their own, so that plain requests do not queue behind them, and as with jobs only so many wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from clew.web.errors import BusyError

AT_ONCE, MOST_WAITING = 2, 64
T = TypeVar("T")


class GraphReads:
    """The views that are being made, and those that wait. To be used in one event loop."""

    def __init__(self) -> None:
        self._limiter = CapacityLimiter(AT_ONCE)
        self._asked = 0

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Call a function when its turn comes; BusyError when too many wait already."""
        if self._asked >= AT_ONCE + MOST_WAITING:
            raise BusyError(f"{MOST_WAITING} views of graphs wait already: ask again later")
        self._asked += 1
        try:
            return await to_thread.run_sync(function, limiter=self._limiter)
        finally:
            self._asked -= 1
