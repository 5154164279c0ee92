"""A worker whose jobs are run in different ways, through the queue's front door."""

from __future__ import annotations

import asyncio
import os
import select
import threading
from datetime import timedelta

import pytest
from workqueue import JobStatus, Queue
from workqueue.context import Context
from workqueue.control import Cancel, Retry, Snooze
from workqueue.executor.mixed import Children, MixedExecutor
from workqueue.job import Claim, Job
from workqueue.worker import Handling


class Mixed:
    """The first word of a job's name says how it is run, the second what it does."""

    def __init__(self, **deeds) -> None:
        self.deeds = deeds
        self.ran: list[tuple[str, str]] = []
        self.timeout: timedelta | None = None
        self.policy = None

    def id(self) -> str:
        return "mixed"

    def handling(self, job):
        kind, _, deed = job.name.partition(" ")
        if kind == "broken":
            raise LookupError("how?")
        return Handling(kind, timeout=self.timeout, entry="isolated:deeds", policy=self.policy)

    def do_work(self, ctx, job):
        kind, _, name = job.name.partition(" ")
        deed = self.deeds.get(name, lambda ctx: None)
        return self._later(job, deed, ctx) if kind == "loop" else self._now(job, deed, ctx)

    def _now(self, job, deed, ctx):
        self.ran.append((job.name, threading.current_thread().name))
        return deed(ctx)

    async def _later(self, job, deed, ctx):
        self.ran.append((job.name, threading.current_thread().name))
        await asyncio.sleep(0)
        return deed(ctx)


@pytest.fixture(params=["file", "memory"])
def path(request, tmp_path):
    return tmp_path / "jobs.db" if request.param == "file" else ":memory:"


def test_each_job_runs_where_its_handling_says(path):
    worker = Mixed()
    with Queue(path, worker, concurrency=4, auto_start=False) as queue:
        queue.push_many("thread a", range(20))
        queue.push_many("loop a", range(20))
        queue.start()
        assert queue.wait_idle(30)
        assert tuple(queue.size()) == (0, 0)
    assert {(name, "loop" in thread) for name, thread in worker.ran} == {("thread a", False), ("loop a", True)}
    assert len(worker.ran) == 40


class Isolated(Mixed):
    def handling(self, job):
        return Handling("child", timeout=self.timeout, entry="isolated:deeds", policy=self.policy)


def test_isolated_jobs_through_a_queue(tmp_path):
    with Queue(tmp_path / "jobs.db", Isolated(), concurrency=2) as queue:
        queue.push_many("plain", range(30))
        bad = queue.push("segfault")
        snoozed = queue.push("snooze", 3600)
        assert queue.wait_idle(60)
        assert "SIGSEGV" in queue.get(bad).message
        assert queue.get(snoozed).status is JobStatus.PENDING
        assert (queue.get(snoozed).retry_count, queue.get(snoozed).lost) == (0, 0)
        assert tuple(queue.size()) == (1, 1)


def test_a_queue_that_stops_kills_what_hangs_in_a_child(tmp_path):
    worker = Isolated()
    queue = Queue(tmp_path / "jobs.db", worker)
    job_id = queue.push("hang")
    context = None
    while context is None or context.progress_data is None:
        context = next(iter(list(queue._runner._in_hand.values())), None)
    pid = int(context.progress_data.strip(b"[]").split(b",")[0])
    queue.stop(grace=0.1)
    assert queue.get(job_id).status is JobStatus.PENDING
    queue.close()
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with open(descriptor):
        assert select.select([descriptor], [], [], 30)[0], "it lives"


def test_a_policy_for_what_happens_to_a_child(tmp_path):
    worker = Isolated()
    worker.policy = lambda error: Retry(timedelta(hours=1))
    with Queue(tmp_path / "jobs.db", worker) as queue:
        job_id = queue.push("exits", 4)
        while (job := queue.get(job_id)).retry_count == 0:
            threading.Event().wait(0.01)
        assert (job.status, job.message[:10]) == (JobStatus.RETRYING, "ChildDied:")


def test_one_at_a_time_in_order_whatever_their_kinds(path):
    at_once = threading.Semaphore(1)

    def alone(ctx):
        assert at_once.acquire(blocking=False)
        at_once.release()

    worker = Mixed(alone=alone)
    names = [f"{'thread loop'.split()[number % 3 % 2]} alone" for number in range(60)]
    with Queue(path, worker, auto_start=False, batch_size=7) as queue:
        for name in names:
            queue.push(name)
        queue.start()
        assert queue.wait_idle(30)
        assert tuple(queue.size()) == (0, 0)
    assert [name for name, _ in worker.ran] == names


def test_no_more_at_once_than_concurrency_of_all_kinds_together(path):
    running, most, lock, full = set(), [0], threading.Lock(), threading.Event()

    def here(ctx):
        with lock:
            running.add(ctx)
            most[0] = max(most[0], len(running))
            if len(running) == 3:
                full.set()
        full.wait(10)
        with lock:
            running.discard(ctx)

    # A handler on the loop blocks it here, so at most one of those runs.
    with Queue(path, Mixed(here=here), concurrency=3, auto_start=False) as queue:
        for _ in range(10):
            queue.push("thread here")
            queue.push("loop here")
            queue.push("thread here")
        queue.start()
        assert queue.wait_idle(60)
    assert most[0] == 3


def test_what_waits_for_its_turn_is_handed_over_by_what_ends():
    rung, worker = threading.Event(), Mixed()
    executor = MixedExecutor(worker, concurrency=1, children=Children(), enough=9, ready=rung.set)
    names = ["thread a", "loop b", "loop c", "thread d"]
    jobs = [Job(id=number, name=name, data=b"null") for number, name in enumerate(names)]
    executor.submit([Context(Claim(job, 1, timedelta(0), 0), None, 0.0) for job in jobs])
    while executor.finished() < len(names):
        assert rung.wait(30)
    executor.close()
    assert [name for name, _ in worker.ran] == names


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("broken", "LookupError: how?"),
        ("rocket", "UsageError: expected handling(job) to give one of the kinds ('thread', 'loop', 'child'), got: 'ro"),
    ],
)
def test_a_job_whose_handling_cannot_be_told_fails_and_the_worker_goes_on(path, name, says):
    with Queue(path, Mixed()) as queue:
        bad = queue.push(name)
        queue.push("thread good")
        assert queue.wait_idle(30)
        assert queue.get(bad).message.startswith(says)
        assert queue.size().waiting == 0


def test_a_job_for_the_loop_that_gives_no_awaitable_fails(path):
    class Plain(Mixed):
        def do_work(self, ctx, job):
            return 5

    with Queue(path, Plain()) as queue:
        bad = queue.push("loop x")
        assert queue.wait_idle(30)
        assert "expected do_work to give an awaitable for a job on the event loop, got: int" in queue.get(bad).message


@pytest.mark.parametrize("kind", ["thread", "loop"])
def test_control_through_a_plain_worker(path, kind):
    def snoozes(ctx):
        raise Snooze(3_600)

    def cancels(ctx):
        raise Cancel("superseded")

    with Queue(path, Mixed(snoozes=snoozes, cancels=cancels)) as queue:
        snoozed, cancelled = queue.push(f"{kind} snoozes"), queue.push(f"{kind} cancels")
        assert queue.wait_idle(30)
        assert (queue.get(snoozed).status, queue.get(snoozed).retry_count) == (JobStatus.PENDING, 0)
        assert (queue.get(cancelled).status, queue.get(cancelled).message) == (JobStatus.CANCELLED, "superseded")


@pytest.mark.parametrize("kind", ["thread", "loop"])
def test_a_timeout_through_a_queue(path, kind):
    go_on = threading.Event()
    worker = Mixed(late=lambda ctx: go_on.wait(30) if kind == "thread" else None)
    worker.timeout = timedelta(seconds=0.05)
    if kind == "loop":
        worker._later = sleeps
    with Queue(path, worker) as queue:
        late = queue.push(f"{kind} late")
        assert queue.wait_idle(30)
        assert queue.get(late).message == "TimedOut: expected the job to end within 0.05 s, but it still ran"
        go_on.set()


@pytest.mark.parametrize("kind", ["thread", "loop", "child"])
def test_what_cannot_be_started_puts_jobs_off_and_fails_none(path, kind, monkeypatch):
    monkeypatch.setattr("workqueue.executor.outcome._PUT_OFF", timedelta(milliseconds=1))
    refusals, start = iter(range(3)), threading.Thread.start

    def sometimes(thread):
        if thread.name in {"workqueue-job-0", "workqueue-loop"} and next(refusals, None) is not None:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", sometimes)
    verdicts, completed = [], threading.Event()
    worker, name = (Isolated(), "plain") if kind == "child" else (Mixed(), f"{kind} plain")
    with Queue(path, worker, auto_start=False) as queue:
        real = queue._store.turn

        def turn(settlements, want):
            verdicts.extend((one.to, one.error, one.failures) for one in settlements)
            if settlements and settlements[-1].to is JobStatus.COMPLETED:
                completed.set()
            return real(settlements, want)

        queue._store.turn = turn
        queue.push(name)
        queue.start()
        assert completed.wait(60)
    reason = "what is to run it could not be started: RuntimeError: can't start new thread"
    assert verdicts == [(JobStatus.PENDING, reason, 0)] * 3 + [(JobStatus.COMPLETED, "", 0)]


async def sleeps(*_):
    await asyncio.sleep(3_600)


def test_many_async_jobs_start_no_threads(path):
    worker = Mixed()
    before = threading.active_count()
    most = [0]
    worker.deeds["count"] = lambda ctx: most.__setitem__(0, max(most[0], threading.active_count()))
    with Queue(path, worker, concurrency=2_000, auto_start=False) as queue:
        queue.push_many("loop count", range(500))
        queue.start()
        assert queue.wait_idle(30)
    assert most[0] - before <= 4
