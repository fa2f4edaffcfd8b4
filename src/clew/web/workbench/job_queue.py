"""Long work in a queue: one worker thread runs the jobs in turn and publishes their progress as events.

A job is a function that is given a `report` to call. A cancelled job ends where it reports: the report raises, at a
point where the model has no hooks, and the next job begins. The events of each job are numbered from 1, so that a
reader whose connection broke goes on where it was. Of progress events only the latest is kept.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from clew.errors import ClewError
from clew.features.label import now
from clew.progress import Progress
from clew.web.errors import BusyError, NotFoundError, disk_is_full, line_of
from clew.web.schema.jobs import Job, JobKind, JobProgress, JobState, Result
from clew.web.workbench.model_lock import ModelLock

MOST_WAITING = 64
MOST_KEPT = 200  # jobs that have ended
HEARTBEAT = 15.0  # seconds without an event after which a comment shows the reader that the connection is alive
ENDED: tuple[JobState, ...] = ("done", "failed", "cancelled")


class CancelledError(Exception):
    """Raised in the work where it reports, once it is cancelled."""


class JobReport:
    """What a job calls as it goes: a `clew.progress.Report` that can also send parts of the result."""

    def __init__(self, queue: JobQueue, task: Task) -> None:
        self._queue, self._task = queue, task

    def __call__(self, progress: Progress) -> None:
        """Publish progress, and let short work on the model go first; CancelledError when the job was cancelled."""
        self._queue._report(self._task, JobProgress(done=progress.done, total=progress.of, note=progress.note))

    def step(self, view: BaseModel) -> None:
        """Publish a part of the result."""
        self._queue._step(self._task, view)


Work = Callable[[JobReport], Result]


@dataclass(eq=False)
class Task:
    """One job as the queue holds it; `Job` is what the page sees of it."""

    id: str
    kind: JobKind
    title: str
    work: Work
    date: str = field(default_factory=now)
    state: JobState = "queued"
    progress: JobProgress = field(default_factory=lambda: JobProgress(done=0, total=0, note=""))
    error: str | None = None
    result: Result | None = None
    cancelled: bool = False
    last: int = 0
    """The number of the last event."""
    events: list[tuple[int, str, str]] = field(default_factory=list)
    """Number, name and data of every step and of the end."""
    latest: tuple[int, str, str] | None = None
    """The latest progress."""
    readers: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = field(default_factory=set)

    def view(self) -> Job:
        return Job(
            id=self.id,
            kind=self.kind,
            state=self.state,
            title=self.title,
            date=self.date,
            progress=self.progress,
            error=self.error,
            result=self.result,
        )

    def since(self, after: int) -> list[tuple[int, str, str]]:
        """Events with a number above `after`, in order."""
        events = [*self.events, *([self.latest] if self.latest else [])]
        return sorted(event for event in events if event[0] > after)


class JobQueue:
    """The jobs of one model."""

    def __init__(
        self, model_lock: ModelLock, keep: Callable[[Job], None] | None = None, *, folders: Sequence[Path] = ()
    ) -> None:
        """`keep` is called with every job that is done, before its end is published; no error names `folders`."""
        self.model_lock, self._keep, self._folders = model_lock, keep, folders
        self._tasks: OrderedDict[str, Task] = OrderedDict()
        self._waiting: deque[Task] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._worker = threading.Thread(target=self._run, name="clew-jobs", daemon=True)
        self._worker.start()

    # --- for routes ---------------------------------------------------------------------------------------------

    def start(self, kind: JobKind, title: str, work: Work) -> Job:
        """Put work into the queue; BusyError when too much waits already."""
        task = Task(id=secrets.token_hex(8), kind=kind, title=title, work=work)
        with self._changed:
            if len(self._waiting) >= MOST_WAITING:
                raise BusyError(f"{MOST_WAITING} jobs wait already: cancel some, or ask again later")
            self._tasks[task.id] = task
            self._waiting.append(task)
            self._drop_oldest()
            self._changed.notify_all()
            return task.view()

    def all(self) -> list[Job]:
        """All jobs, the latest first."""
        with self._changed:
            return [task.view() for task in reversed(self._tasks.values())]

    def get(self, job: str) -> Job:
        """NotFoundError when there is none."""
        with self._changed:
            return self._task(job).view()

    def cancel(self, job: str) -> Job:
        """End a waiting job at once, a running one at its next report; NotFoundError when there is no such job."""
        with self._changed:
            task = self._task(job)
            task.cancelled = True
            if task.state == "queued":
                self._waiting.remove(task)
                self._end(task, "cancelled")
            return task.view()

    def events(self, job: str, after: int = 0) -> AsyncIterator[str]:
        """Server-sent events of a job after number `after`; NotFoundError at once when there is no such job."""
        with self._changed:
            task = self._task(job)
        return self._stream(task, after)

    async def _stream(self, task: Task, after: int) -> AsyncIterator[str]:
        reader = asyncio.get_running_loop(), asyncio.Event()
        with self._changed:
            task.readers.add(reader)
        try:
            while True:
                reader[1].clear()
                with self._changed:
                    events, ended = task.since(after), task.state in ENDED
                for after, name, data in events:
                    yield f"id: {after}\nevent: {name}\ndata: {data}\n\n"
                if ended:
                    return
                try:
                    await asyncio.wait_for(reader[1].wait(), HEARTBEAT)
                except TimeoutError:
                    yield ": still here\n\n"
        finally:
            with self._changed:
                task.readers.discard(reader)

    def close(self) -> None:
        """Cancel every job and wait for the worker to end."""
        with self._changed:
            self._closed = True
            for task in list(self._waiting):
                self._waiting.remove(task)
                self._end(task, "cancelled")
            for task in self._tasks.values():
                task.cancelled = True
            self._changed.notify_all()
        self._worker.join(timeout=5)  # a job that never reports is left to its daemon thread

    # --- the worker ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                task = self._waiting.popleft()
                task.state = "running"
                self._publish(task, "progress", task.progress.model_dump_json())
            self._run_task(task)

    def _run_task(self, task: Task) -> None:
        state: JobState = "failed"
        try:
            with self.model_lock.long():
                result = task.work(JobReport(self, task))
            if self._keep is not None:
                self._keep(task.view().model_copy(update={"state": "done", "result": result}))
            state, task.result = "done", result
        except CancelledError:
            state = "cancelled"
        except ClewError as error:
            task.error = line_of(error, self._folders)
        except MemoryError:
            task.error = "there is not enough memory for this: give a shorter prompt, or max_features"
        except Exception as error:  # a defect of ours: report it and keep the worker alive
            full, line = disk_is_full(error), line_of(error, self._folders)[:300]
            task.error = "the disk is full: nothing was kept" if full else f"{type(error).__name__}: {line}"
        with self._changed:
            self._end(task, state)

    def _report(self, task: Task, progress: JobProgress) -> None:
        if task.cancelled:
            raise CancelledError
        with self._changed:
            task.progress = progress
            self._publish(task, "progress", progress.model_dump_json())
        self.model_lock.give_way()

    def _step(self, task: Task, view: BaseModel) -> None:
        with self._changed:
            self._publish(task, "step", view.model_dump_json())

    def _end(self, task: Task, state: JobState) -> None:
        task.state = state
        self._publish(task, "end", task.view().model_dump_json())

    def _publish(self, task: Task, name: str, data: str) -> None:
        task.last += 1
        event = task.last, name, data
        if name == "progress":
            task.latest = event
        else:
            task.events.append(event)
        for loop, new_event in task.readers:
            with suppress(RuntimeError):  # the loop has ended with its server
                loop.call_soon_threadsafe(new_event.set)

    def _task(self, job: str) -> Task:
        if job not in self._tasks:
            raise NotFoundError(f"there is no job {job[:60]!r}")
        return self._tasks[job]

    def _drop_oldest(self) -> None:
        ended = [task.id for task in self._tasks.values() if task.state in ENDED]
        for job in ended[: max(0, len(ended) - MOST_KEPT)]:
            del self._tasks[job]
