"""Long work: in turn, one at a time, watched by its events, ended where it reports."""

import asyncio
import threading
import time

import pytest

from clew.errors import InputError
from clew.progress import Progress
from clew.web.errors import BusyError, NotFoundError
from clew.web.schema.graphs import GraphMade
from clew.web.schema.jobs import StepPair
from clew.web.workbench import job_queue as jobs_module
from clew.web.workbench.job_queue import ENDED, JobQueue
from clew.web.workbench.model_lock import ModelLock

SECONDS = 10


@pytest.fixture
def queue():
    jobs = JobQueue(ModelLock())
    yield jobs
    jobs.close()


def result(name="g"):
    return GraphMade(graph=name)


def over(queue, job):
    until = time.monotonic() + SECONDS
    while (view := queue.get(job)).state not in ENDED:
        assert time.monotonic() < until, view
        time.sleep(0.002)
    return view


class BlockedWork:
    """Work that reports for as long as it is not let go."""

    def __init__(self):
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, report):
        self.begun.set()
        while not self.go.is_set():
            report(Progress(what="work", done=1, of=3, note="working"))
            time.sleep(0.001)
        return result()


def read(queue, job, after=0):
    async def collect():
        return [event async for event in queue.events(job, after)]

    texts = asyncio.run(collect())
    parts = [dict(line.split(": ", 1) for line in event.strip().splitlines()) for event in texts]
    return [(int(part["id"]), part["event"], part["data"]) for part in parts]


def test_work_is_done_in_the_order_it_was_asked_for_and_never_two_at_once(queue):
    running, seen, most = [], [], []

    def work(name):
        def run(report):
            running.append(name)
            most.append(len(running))
            time.sleep(0.003)
            report(Progress(what="work", done=1, of=1))
            running.remove(name)
            seen.append(name)
            return result(str(name))

        return run

    asked = [queue.start("trace", "t", work(number)).id for number in range(12)]
    assert [over(queue, job).result.graph for job in asked] == [str(number) for number in range(12)]
    assert seen == list(range(12))
    assert max(most) == 1


def test_a_running_job_ends_at_its_next_report_and_the_next_one_runs(queue):
    work = BlockedWork()
    first, second = queue.start("trace", "a", work).id, queue.start("trace", "b", lambda report: result("second")).id
    assert work.begun.wait(SECONDS)
    assert queue.get(second).state == "queued"
    queue.cancel(first)
    assert over(queue, second).result.graph == "second"
    view = over(queue, first)
    assert (view.state, view.result, view.error) == ("cancelled", None, None)
    assert not work.go.is_set()


def test_a_waiting_job_is_cancelled_at_once_and_never_runs(queue):
    work, ran = BlockedWork(), []
    queue.start("trace", "a", work)
    waiting = queue.start("trace", "b", lambda report: ran.append(1) or result()).id
    assert queue.cancel(waiting).state == "cancelled"
    work.go.set()
    over(queue, queue.start("trace", "c", lambda report: result()).id)
    assert ran == []


def test_a_job_that_is_over_stays_as_it_is(queue):
    job = queue.start("trace", "a", lambda report: result()).id
    assert over(queue, job).state == "done"
    assert queue.cancel(job).state == "done"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("give\n  more"), "give more"),
        (ValueError("odd"), "ValueError: odd"),
        (MemoryError(), "there is not enough memory"),
        (OSError(28, "No space left on device"), "the disk is full"),
    ],
)
def test_work_that_fails_says_why_in_one_line_and_the_worker_lives_on(queue, error, line):
    def work(report):
        raise error

    view = over(queue, queue.start("trace", "a", work).id)
    assert view.state == "failed"
    assert line in view.error
    assert "\n" not in view.error
    assert over(queue, queue.start("trace", "b", lambda report: result()).id).state == "done"


def test_events_come_in_order_with_every_step_and_the_latest_progress_and_end_with_the_job(queue):
    def work(report):
        for number in range(5):
            report.step(StepPair(default=None, edited=None))
            report(Progress(what="work", done=number + 1, of=5))
        return result("x")

    job = queue.start("generate", "a", work).id
    over(queue, job)
    events = read(queue, job)
    numbers = [number for number, _, _ in events]
    assert numbers == sorted(set(numbers))
    assert [name for _, name, _ in events] == ["step"] * 5 + ["progress", "end"]
    assert '"done":5' in events[-2][2]
    assert '"graph":"x"' in events[-1][2]


def test_a_reader_who_was_cut_off_goes_on_behind_the_last_event_it_saw(queue):
    def work(report):
        for _ in range(6):
            report.step(StepPair(default=None, edited=None))
        return result()

    job = queue.start("generate", "a", work).id
    over(queue, job)
    whole = read(queue, job)
    for number, _, _ in whole:
        assert read(queue, job, after=number) == [event for event in whole if event[0] > number]


def test_readers_hear_of_a_job_while_it_runs(queue):
    work = BlockedWork()
    job = queue.start("trace", "a", work).id

    async def first():
        stream = queue.events(job)
        async for event in stream:
            if "working" in event:
                work.go.set()
            if "event: end" in event:
                return event

    assert '"state":"done"' in asyncio.run(asyncio.wait_for(first(), SECONDS))


def test_a_quiet_line_is_kept_alive(queue, monkeypatch):
    monkeypatch.setattr(jobs_module, "HEARTBEAT", 0.01)
    go = threading.Event()
    job = queue.start("trace", "a", lambda report: go.wait(SECONDS) and result()).id

    async def beats():
        async for event in queue.events(job):
            if event.startswith(":"):
                go.set()
                return True

    assert asyncio.run(asyncio.wait_for(beats(), SECONDS))


def test_too_much_waiting_work_is_refused_and_old_jobs_are_forgotten(queue, monkeypatch):
    monkeypatch.setattr(jobs_module, "MOST_WAITING", 3)
    monkeypatch.setattr(jobs_module, "MOST_KEPT", 2)
    work = BlockedWork()
    first = queue.start("trace", "a", work).id
    assert work.begun.wait(SECONDS)
    jobs = [queue.start("trace", "b", lambda report: result()).id for _ in range(3)]
    with pytest.raises(BusyError, match="3 jobs wait"):
        queue.start("trace", "c", lambda report: result())
    work.go.set()
    over(queue, jobs[-1])
    last = queue.start("trace", "d", lambda report: result()).id
    with pytest.raises(NotFoundError):
        queue.get(first)
    assert over(queue, last).state == "done"


def test_a_job_is_done_only_once_what_it_came_to_is_kept():
    kept = []

    def keep(job):
        if job.kind == "audit":
            raise InputError("the workspace is gone")
        kept.append((job.id, job.state, job.result.graph))

    queue = JobQueue(ModelLock(), keep)
    try:
        job = queue.start("trace", "a", lambda report: result("x")).id
        assert over(queue, job).state == "done"
        assert kept == [(job, "done", "x")]
        lost = over(queue, queue.start("audit", "b", lambda report: result()).id)
        assert (lost.state, lost.result, lost.error) == ("failed", None, "the workspace is gone")
    finally:
        queue.close()


def test_short_work_goes_between_the_reports_of_long_work_and_never_beside_it(queue):
    inside, clashes, got = [], [], []
    go = threading.Event()

    def work(report):
        for number in range(10_000):
            inside.append("long")
            if len(inside) > 1:
                clashes.append(list(inside))
            inside.pop()
            report(Progress(what="work", done=number, of=10_000))
            if go.is_set():
                break
        return result()

    job = queue.start("trace", "a", work).id

    def ask():
        with queue.model_lock.short():
            inside.append("short")
            if len(inside) > 1:
                clashes.append(list(inside))
            time.sleep(0.001)
            inside.pop()
        got.append(1)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert len(got) == 8
    assert queue.get(job).state == "running"
    go.set()
    assert over(queue, job).state == "done"
    assert clashes == []


def test_closing_ends_what_runs_and_what_waits():
    queue, work = JobQueue(ModelLock()), BlockedWork()
    running, waiting = queue.start("trace", "a", work).id, queue.start("trace", "b", work).id
    assert work.begun.wait(SECONDS)
    queue.close()
    assert [queue.get(job).state for job in (running, waiting)] == ["cancelled", "cancelled"]
