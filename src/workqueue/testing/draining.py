"""drain: runs what waits in a queue, here and now, by the very verbs and rules that a runner goes by.

Modes. *due*: what is due now, and what that pushes, until nothing is. *playing*: the queue's FakeClock is moved to each
instant at which a job or a schedule comes, up to a given one, and what is due there is run.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import Counter
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Self, cast

import msgspec

from workqueue.arguments import aware, between
from workqueue.context import Context
from workqueue.errors import InvalidOption, JobFailed, TimedOut, UsageError
from workqueue.executor.mixed import HandlingWorker
from workqueue.executor.observed import Around, tell_observers
from workqueue.executor.outcome import of_exception, of_result
from workqueue.job import Claim, Job, JobStatus
from workqueue.lifecycle import WAITING, Cancelled, HandedBack, Outcome, Postponed, Raised, Settlement, settle
from workqueue.logs import Log, running
from workqueue.queue import Queue
from workqueue.store.contract import Want
from workqueue.testing import inside
from workqueue.testing.clock import FakeClock
from workqueue.timekeeper import Timekeeper
from workqueue.worker import Handling

log = Log("workqueue.testing")

_LIMIT: Final = 10_000
_SWEPT: Final = 500
_TICK: Final = timedelta(microseconds=1)
_OF_THE_JOB: Final = (Exception, asyncio.CancelledError, SystemExit, GeneratorExit)  # not Ctrl-C, not pytest.fail()


class Drained(msgspec.Struct, frozen=True, kw_only=True):
    """What one `drain` did: its attempts, by how they ended.

    retried: raised, and is to be tried again. failures: the jobs that failed for good, each with what it raised.
    """

    completed: int = 0
    retried: int = 0
    failed: int = 0
    cancelled: int = 0
    snoozed: int = 0
    failures: list[tuple[Job, BaseException]] = []

    def raise_failures(self) -> None:
        """Raise what made the job fail, of several an ExceptionGroup; nothing when none did."""
        raise_all([error for _, error in self.failures])


def drain(queue: Queue, *, until: datetime | None = None, limit: int = _LIMIT) -> Drained:
    """Run what is due, and what that pushes, until nothing is; in this thread, one job after another.

    until: play the time until then: move the queue's FakeClock to each instant at which something comes, retries and
    slots of schedules too, and run it. Without it schedules rest. limit: of attempts.

    Limits, keys, batches, chains, pauses and retries are as in life. Otherwise than in life: isolated tasks run here,
    without `ctx.transaction()` as there; a `def` task past its timeout has timed out once it returns; a job that waits
    for another one's end waits for ever. What is no error of a job's (Ctrl-C, `pytest.fail`) hands it back, and is
    raised. Raises UsageError when the queue was started, inside its transaction, or when there is no end.
    """
    with Draining(queue, between(limit, 1, 2**31, "limit")) as draining:
        if until is None:
            draining.run_due()
        else:
            draining.play(aware(until, "until"))
        return draining.drained()


def raise_all(errors: list[BaseException]) -> None:
    """Raise the error, or the errors as a group."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise BaseExceptionGroup(f"{len(errors)} jobs raised", errors)


class Draining:
    """One drain. errors: what attempts raised, those too that are to be tried again."""

    def __init__(self, queue: Queue, limit: int = _LIMIT) -> None:
        inside.check_stopped(queue)
        self._queue = queue
        self._store = inside.store_of(queue)
        if self._store.is_joined():
            raise UsageError("expected drain() after the transaction's block, but it was called inside")
        self._worker = inside.worker_of(queue)
        self._plan = inside.plan_of(queue)
        self._limit = limit
        self._next_due: timedelta | None = None
        self._ran = Counter[str]()
        self._counts = Counter[str]()
        self._failures: list[tuple[Job, BaseException]] = []
        self.errors: list[BaseException] = []
        self._loop = _PrivateLoop()
        self._runner = self._store.enlist(queue.id, "drain")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.close()
        self._store.retire(self._runner)
        inside.tell_of_ends(self._queue)

    def drained(self) -> Drained:
        return Drained(**self._counts, failures=self._failures)

    def run_due(self) -> None:
        """Run what is due, until nothing is."""
        while True:
            while (claim := self._next()) is not None:
                self._run(claim)
            if not self._store.sweep(self._queue.id, _SWEPT):
                return

    def play(self, until: datetime) -> None:
        """Run what comes up to `until`, each at its time."""
        clock = inside.fake_clock_of(self._queue)
        if clock is None:
            raise UsageError("expected until= for a queue with a FakeClock: Queue(path, clock=FakeClock())")
        if until < clock.now():
            raise InvalidOption(
                f"expected until not to be past, for it is {clock.now()}, got: {until}", name="until", value=until
            )
        tasks = self._queue.task
        for name, schedule in tasks.schedules().items():
            self._store.schedules.put(self._queue.id, name, schedule, schedule.after(clock.now()))
        timekeeper = Timekeeper(self._store, self._queue.id, tasks.makers())
        while True:
            began = clock.now()
            slot = timekeeper.step()
            slot_at = None if slot is None else began + slot
            ran = self._ran.total()
            self.run_due()
            if clock.now() != began:  # by a handler: there may be slots up to now
                continue
            due_at = None if self._next_due is None else began + self._next_due
            next_at = min((at for at in (slot_at, due_at) if at is not None), default=None)
            if next_at is None or next_at > until:
                break
            self._move(clock, next_at, idle=ran == self._ran.total())
        clock.set(max(until, clock.now()))

    def _move(self, clock: FakeClock, at: datetime, *, idle: bool) -> None:
        if idle and at <= clock.now():  # an engine that says "now" and gives nothing shall not hold the time up
            at = clock.now() + _TICK
        clock.set(at)

    # one job

    def _next(self) -> Claim | None:
        want = Want(self._plan.queue, self._runner, self._plan.lease, 1)
        turn = self._store.turn([], want)
        if turn.suspects and not turn.claims:
            turn = self._store.turn([], msgspec.structs.replace(want, alone=True))
        self._next_due = turn.next_due
        if not turn.claims:
            return None
        if self._ran.total() >= self._limit:
            self._hand_back(turn.claims[0])
            [(name, times)] = self._ran.most_common(1)
            raise UsageError(
                f"expected nothing to be due after {self._limit:,} attempts, but there is; {times:,} of them were of "
                f"{name!r}: does it push itself, or snooze for no time? If so many are meant, say limit="
            )
        return turn.claims[0]

    def _run(self, claim: Claim) -> None:
        self._ran[claim.job.name] += 1
        context = Context(claim, self._store, time.monotonic())
        context.stays = self._plan.retention.completed is not None
        try:
            result, error = copy_context().run(self._attempt, context)  # no job sees what another one sets
        except BaseException:
            if not context.settled:
                self._hand_back(claim)
            raise
        if context.progress_data is not None:
            self._store.note_progress(self._runner, {claim.job.id: context.progress_data})
        if context.settled:
            self._counts["completed"] += 1
            tell_observers(self._plan.observers, context, Settlement(claim=claim, to=JobStatus.COMPLETED))
            if error is not None:
                log.about(claim.job, "raised after its transaction had completed it: %r", error)
            return
        if error is not None:
            context.cancel_requested = claim.job.id in self._store.held(self._runner).cancelled
        self._settle(context, of_result(context, result) if error is None else of_exception(context, error), error)

    def _attempt(self, context: Context) -> tuple[object, BaseException | None]:
        """Give what the handler gave, and what it raised. Raises what is no error of its own."""
        result: object = None
        error: BaseException | None = None
        running.set(context)
        around = Around(context, self._plan.observers)
        try:
            kind = self._prepare(context)
            context.started_at = time.monotonic()
            result = self._worker.do_work(context, context.job)
            if kind != "thread" and inspect.isawaitable(result):
                result = self._loop.wait(result, context.timeout)
        except _OF_THE_JOB as raised:
            error = raised
        except BaseException as raised:
            around.leave(raised)
            raise
        finally:
            left = context.end()
        seconds_left = context.time_left()
        if seconds_left is not None and seconds_left < 0:
            late = TimedOut(context.timeout or 0)
            late.__cause__ = error
            error = late
        around.leave(left or error)
        return result, left or error

    def _prepare(self, context: Context) -> str:
        """Ask how the job is to be run, and note it; give the kind."""
        if not hasattr(self._worker, "handling"):
            return "loop" if inspect.iscoroutinefunction(self._worker.do_work) else "thread"
        handling: Handling = cast("HandlingWorker", self._worker).handling(context.job)
        context.timeout = None if handling.timeout is None else handling.timeout.total_seconds()
        context.policy = handling.policy
        if handling.kind == "child":
            inside.take_store(context)
        return handling.kind

    def _settle(self, context: Context, outcome: Outcome, error: BaseException | None) -> None:
        job = context.job
        age = self._store.now() - job.pushed_at
        archive, stays = self._plan.archive, context.stays
        try:
            verdict = settle(context.claim, outcome, age=age, archive=archive, stays=stays)
        except Exception as worse:  # noqa: BLE001 - the handler may have made nonsense of its job's backoff
            error, outcome = worse, of_exception(context, worse)
            verdict = settle(context.claim, outcome, age=age, archive=archive, stays=stays)
        tell_observers(self._plan.observers, context, verdict)
        if self._store.turn([verdict], None).refused:
            log.about(job, "settled too late, its lease was lost")
            return
        if context.cancel_requested and verdict.to in WAITING:
            outcome = Cancelled("", timedelta(0))
        self._count(job, outcome, error, is_final=verdict.to is JobStatus.FAILED)

    def _count(self, job: Job, outcome: Outcome, error: BaseException | None, *, is_final: bool) -> None:
        match outcome:
            case Raised(message):
                raised = JobFailed(job.id, message) if error is None else error
                log.warning("job %d %r, attempt %d: %s", job.id, job.name, job.attempt, message, exc_info=raised)
                self.errors.append(raised)
                self._counts["failed" if is_final else "retried"] += 1
                if is_final:
                    self._failures.append((job, raised))
            case Postponed():
                self._counts["snoozed"] += 1
            case Cancelled():
                self._counts["cancelled"] += 1
            case _:
                self._counts["completed"] += 1

    def _hand_back(self, claim: Claim) -> None:
        self._store.turn([settle(claim, HandedBack(), age=claim.age)], None)


class _PrivateLoop:
    """An event loop for one drain; made when it is asked for."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._thread: ThreadPoolExecutor | None = None

    def wait(self, result: Awaitable[object], timeout: float | None) -> object:
        """Give what comes of it. In this thread; in one of its own where a loop runs in this."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._runner.run(_within(timeout, result), context=copy_context())
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "workqueue-drain")
        within = _within(timeout, result)
        return self._thread.submit(self._runner.run, within, context=copy_context()).result()

    def close(self) -> None:
        if self._thread is None:
            self._runner.close()
        else:
            self._thread.submit(self._runner.close).result()
            self._thread.shutdown()


async def _within(seconds: float | None, result: Awaitable[object]) -> object:
    async with asyncio.timeout(seconds):
        return await result
