"""Timeouts: an outcome in time, whatever the handler does; and room for others, as long as there can be."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest
from workqueue.context import Context
from workqueue.control import Retry
from workqueue.executor.loop import LoopExecutor
from workqueue.executor.threads import ThreadExecutor
from workqueue.job import Claim, Job
from workqueue.lifecycle import Postponed, Raised, Returned

LATE = "TimedOut: expected the job to end within 0.05 s, but it still ran"


class Stage:
    """An executor and what came of its contexts; each job has a deed of its own."""

    def __init__(self, kind, *, concurrency=1) -> None:
        self.rung = threading.Event()
        self._outcomes: dict[Context, object] = {}
        self._deeds = {}
        handler = self._call if kind is ThreadExecutor else self._await
        self.executor = kind(handler, concurrency=concurrency, enough=1, ready=self.rung.set)

    def _call(self, ctx, job):
        return self._deeds[job.id](ctx)

    async def _await(self, ctx, job):
        return await self._deeds[job.id](ctx)

    def start(self, deed, *, timeout=0.05) -> Context:
        number = len(self._deeds)
        self._deeds[number] = deed
        context = Context(Claim(Job(id=number, name=f"job {number}", data=b"null"), 1, timedelta(0), 0), None, 0.0)
        context.timeout = timeout
        self.executor.submit([context])
        return context

    def outcome(self, context):
        while context not in self._outcomes:
            assert self.rung.wait(30)
            self.rung.clear()
            for one, outcome in self.executor.collect():
                assert one not in self._outcomes, "told once"
                self._outcomes[one] = outcome
        return self._outcomes[context]


@pytest.fixture
def threads():
    yield from closing(ThreadExecutor)


@pytest.fixture
def loop():
    yield from closing(LoopExecutor)


def closing(kind):
    before = set(threading.enumerate())
    stages = []

    def make(**options):
        stages.append(Stage(kind, **options))
        return stages[-1]

    yield make
    for stage in stages:
        stage.executor.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive(), thread


# threads


def test_a_thread_past_its_timeout_is_told_and_left_behind(threads):
    stage, told, go_on = threads(), threading.Event(), threading.Event()

    def late(ctx):
        assert ctx.wait(30)
        assert ctx.time_left() <= 0
        told.set()
        go_on.wait(30)
        raise ValueError("nobody listens any more")

    context = stage.start(late)
    outcome = stage.outcome(context)
    assert isinstance(outcome, Raised)
    assert outcome.error == LATE
    assert told.wait(30)
    assert stage.executor.abandoned() == 1
    # the place is taken by another thread, and given back
    assert stage.outcome(stage.start(lambda ctx: None)) == Returned()
    go_on.set()
    for _ in range(20):
        assert stage.outcome(stage.start(lambda ctx: None, timeout=60)) == Returned()


def test_the_policy_says_whether_a_late_job_is_tried_again(threads):
    stage, go_on = threads(), threading.Event()

    def late(ctx):
        ctx.policy = lambda error: Retry(timedelta(seconds=3)) if isinstance(error, TimeoutError) else None
        go_on.wait(30)

    outcome = stage.outcome(stage.start(late))
    assert (outcome.recoverable, outcome.delay) == (True, timedelta(seconds=3))
    go_on.set()


def test_who_ends_in_time_has_not_timed_out(threads):
    stage = threads(concurrency=3)
    contexts = [stage.start(lambda ctx: ctx.wait(0), timeout=30) for _ in range(50)]
    assert {stage.outcome(context) for context in contexts} == {Returned()}
    assert stage.executor.abandoned() == 0
    assert not any(context.cancelled for context in contexts)


def test_a_nearer_deadline_is_seen_behind_a_farther_one(threads):
    stage, go_on = threads(concurrency=2), threading.Event()
    far = stage.start(lambda ctx: go_on.wait(30), timeout=3_000)
    near = stage.start(lambda ctx: go_on.wait(30))
    assert stage.outcome(near).error == LATE
    go_on.set()
    assert stage.outcome(far) == Returned()


def test_a_job_is_put_off_when_nobody_can_keep_its_time(threads, monkeypatch):
    stage, start = threads(), threading.Thread.start

    def refuse(thread):
        if thread.name == "workqueue-deadlines":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        outcome = stage.outcome(stage.start(lambda ctx: None))
    assert isinstance(outcome, Postponed)
    assert outcome.reason == "what is to run it could not be started: RuntimeError: can't start new thread"
    assert stage.outcome(stage.start(lambda ctx: None)) == Returned()


def test_no_more_threads_are_left_behind_than_bounded_and_that_is_said(threads, caplog):
    stage, go_on = threads(), threading.Event()
    late = [stage.start(lambda ctx: go_on.wait(30)) for _ in range(5)]
    for context in late:
        assert stage.outcome(context).error == LATE
    assert stage.executor.abandoned() == 5
    waiting = stage.start(lambda ctx: None)
    assert "5 handlers run on past their timeouts, and no more threads are started in their place" in caplog.text
    assert "0 'job 0'" in caplog.text
    assert len(stage.executor._threads) == 5
    assert not stage.executor.finished()
    go_on.set()  # the first to return takes up the work
    assert stage.outcome(waiting) == Returned()


def test_what_can_run_at_once_is_less_for_each_left_behind_beyond_the_bound_and_a_return_is_told(threads):
    stage = threads(concurrency=2)
    ends = [threading.Event() for _ in range(6)]
    capacities = []
    for end in ends:
        assert stage.outcome(stage.start(lambda ctx, end=end: end.wait(30))).error == LATE
        capacities.append(stage.executor.capacity())
    assert capacities == [2, 2, 2, 2, 1, 0]
    stage.rung.clear()
    ends[0].set()
    assert stage.rung.wait(30)
    assert stage.executor.capacity() == 1
    for end in ends:
        end.set()


def test_threads_come_as_they_are_needed(threads):
    stage, go_on = threads(concurrency=50), threading.Event()
    for _ in range(10):
        stage.outcome(stage.start(lambda ctx: None, timeout=None))
    assert len(stage.executor._threads) <= 4  # one that has just delivered is not idle yet
    contexts = [stage.start(lambda ctx: go_on.wait(30), timeout=None) for _ in range(60)]
    assert len(stage.executor._threads) == 50
    go_on.set()
    assert {stage.outcome(context) for context in contexts} == {Returned()}
    assert not any(thread.name == "workqueue-deadlines" for thread in threading.enumerate())


class Doorway(dict):
    """Has a job come in at the very moment in which a thread turns idle."""

    def __init__(self, come) -> None:
        super().__init__()
        self.come = come

    def __setitem__(self, thread, calls) -> None:
        come, self.come = self.come, lambda: None
        come()
        super().__setitem__(thread, calls)


def test_a_job_that_comes_as_the_thread_turns_idle_is_not_overlooked(threads):
    stage, came = threads(), []
    assert stage.outcome(stage.start(lambda ctx: None)) == Returned()
    while not stage.executor._idle:
        pass
    stage.executor._idle = Doorway(lambda: came.append(stage.start(lambda ctx: None)))
    [calls] = stage.executor._threads.values()
    calls.put(True)
    while not came:
        pass
    assert stage.outcome(came[0]) == Returned()


# the loop


def test_an_async_handler_is_cancelled_at_its_timeout(loop):
    stage, seen = loop(), []

    async def late(ctx):
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            seen.append(ctx.cancelled)
            raise

    outcome = stage.outcome(stage.start(late))
    assert (outcome.error, outcome.recoverable, seen) == (LATE, False, [True])
    assert "asyncio.sleep(3_600)" in outcome.traceback


def test_what_a_late_async_handler_makes_of_it_is_late_all_the_same(loop):
    stage = loop()

    async def cleans_up(ctx):
        ctx.policy = lambda error: Retry() if isinstance(error, TimeoutError) else None
        try:
            await asyncio.sleep(3_600)
        finally:
            raise ValueError("in the cleaning")

    async def swallows(ctx):
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            return 5

    outcome = stage.outcome(stage.start(cleans_up))
    assert (outcome.error, outcome.recoverable) == (LATE, True)
    assert "ValueError: in the cleaning" in outcome.traceback
    assert stage.outcome(stage.start(swallows)).error == LATE


def test_a_timeout_of_the_handlers_own_is_its_own(loop):
    async def own(ctx):
        async with asyncio.timeout(0.01):
            await asyncio.sleep(3_600)

    stage = loop()
    assert stage.outcome(stage.start(own, timeout=30)).error == "TimeoutError"


def test_an_async_handler_that_goes_on_is_let_go(loop, caplog):
    stage, go_on = loop(), threading.Event()

    async def deaf(ctx):
        while not go_on.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                pass

    async def good(ctx):
        return None

    context = stage.start(deaf)
    assert stage.outcome(context).error == LATE
    assert "runs on past its timeout: let go" in caplog.text
    assert stage.executor.abandoned() == 1
    assert stage.outcome(stage.start(good)) == Returned()
    go_on.set()


def test_async_results_are_given_out(loop):
    async def gives(ctx):
        ctx.give = lambda result: Returned(str(result).encode())
        return 7

    stage = loop()
    assert stage.outcome(stage.start(gives, timeout=None)) == Returned(b"7")
