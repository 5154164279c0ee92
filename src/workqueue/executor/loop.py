"""Runs `async def` handlers: up to `concurrency` at once on an event loop of the runner's own thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Final, TypeAlias

import msgspec

from workqueue.context import Context
from workqueue.errors import TimedOut
from workqueue.executor import forked
from workqueue.executor.outcome import describe, of_exception, of_result
from workqueue.job import Job
from workqueue.lifecycle import MAX_LOST, HandedBack, Outcome, Raised, Returned
from workqueue.logs import Log, running

AsyncHandler: TypeAlias = Callable[[Context, Job], Awaitable[object]]
log = Log("workqueue.executor")
_RETURNED = Returned()
_GRACE_SECONDS: Final = 1.0  # that a handler has to end after its timeout, before it is let go


class LoopExecutor:
    """See `Executor`. `interrupt` cancels the handler's task; so does its timeout.

    What a handler makes of the cancellation of its timeout, it has timed out. One that goes on all the same is let go
    after a second: it runs on, abandoned, and another job in its place. One that blocks the loop blocks this too.

    ended: called for each outcome, on the loop's thread.
    """

    def __init__(
        self,
        handler: AsyncHandler,
        *,
        concurrency: int,
        enough: int,
        ready: Callable[[], None],
        ended: Callable[[Context], None] | None = None,
    ) -> None:
        self._handler = handler
        self._concurrency = self._free = concurrency
        self._enough = enough
        self._ready = ready
        self._ended = ended
        self._inbox: deque[Context] = deque()
        self._done: deque[tuple[Context, Outcome]] = deque()
        self._tasks: dict[Context, asyncio.Task[None]] = {}
        self._late: set[Context] = set()  # past their timeouts
        self._adrift: set[asyncio.Task[None]] = set()  # let go, and not ended yet
        self._signalled = self._pressed = False
        self._halted = False
        self._depth = forked.depth
        self._closing = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="workqueue-loop", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._loop.close()
            raise

    def submit(self, contexts: Iterable[Context]) -> None:
        self._inbox.extend(contexts)
        self._loop.call_soon_threadsafe(self._fill)

    def collect(self) -> list[tuple[Context, Outcome]]:
        self._signalled = self._pressed = False  # before taking: who appends from now on rings again
        done = self._done
        return [done.popleft() for _ in range(len(done))]

    def finished(self) -> int:
        return len(self._done)

    def is_pressing(self) -> bool:
        return not self._inbox or len(self._done) >= self._enough

    def halt(self) -> None:
        self._halted = True

    def take_back(self) -> list[Context]:
        unstarted: list[Context] = []
        while True:
            try:
                unstarted.append(self._inbox.popleft())
            except IndexError:
                return unstarted

    def interrupt(self, context: Context) -> None:
        context.abandoned = True
        self._loop.call_soon_threadsafe(self._cancel, context)

    def capacity(self) -> int:
        return self._concurrency

    def abandoned(self) -> int:
        return len(self._adrift)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._finish)

    def owns_current_thread(self) -> bool:
        return threading.current_thread() is self._thread

    # on the loop's thread

    def _run_loop(self) -> None:
        self._base = copy_context()  # of no job
        asyncio.set_event_loop(self._loop)
        while not self._closing or self._tasks or self._adrift:
            try:
                self._loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:  # a task of a handler's raised it: the loop itself is well
                log.warning("a job raised %s in a task of its own; the event loop goes on", describe(error))
            except BaseException as error:  # noqa: BLE001 - whatever a handler did to the loop, the next job gets a sound one
                self._begin_anew(error)
        self._loop.close()

    def _begin_anew(self, error: BaseException) -> None:
        log.error("the event loop of the jobs is broken (%s); making another", describe(error))
        with suppress(Exception):  # as far as it can still be closed
            self._loop.close()
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._adrift.clear()
        for context in list(self._tasks):
            self._deliver(context, _disturbed(context, of_exception(context, error)))
        self._fill()

    def _fill(self) -> None:
        while self._free and not self._halted:
            try:
                context = self._inbox.popleft()
            except IndexError:
                return
            self._free -= 1
            # Not by the loop's factory, which a handler may have set: its tasks may begin at once, or not at all. And
            # not in the context here, which is that of the job that ended.
            task = asyncio.Task(self._work(context), loop=self._loop, context=self._base.copy())
            self._tasks[context] = task
            task.add_done_callback(partial(self._has_ended, context))

    async def _work(self, context: Context) -> None:
        running.set(context)  # of this task alone, and of those that it begins
        context.started_at = time.monotonic()
        timer = None
        if context.timeout is not None:
            timer = self._loop.call_later(context.timeout, self._time_is_up, context)
        outcome: Outcome = _RETURNED
        try:
            result = await self._handler(context, context.claim.job)
            if forked.depth != self._depth:
                forked.end_child(None)
            if context.give is not None:
                outcome = of_result(context, result)
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises fails its job and nothing else
            if forked.depth != self._depth:
                forked.end_child(error)
            outcome = _timed_out(context, error) if context in self._late else _of_error(context, error)
        else:
            if context in self._late:
                outcome = _timed_out(context, None)
        if timer is not None:
            timer.cancel()
        if left := context.end():
            outcome = of_exception(context, left)
        self._deliver(context, outcome)
        self._fill()

    def _time_is_up(self, context: Context) -> None:
        task = self._tasks.get(context)
        if task is not None:
            self._late.add(context)
            context.cancel()
            task.cancel()
            self._loop.call_later(_GRACE_SECONDS, self._let_go, context)

    def _let_go(self, context: Context) -> None:
        """Go on without a handler that swallowed the cancellation of its timeout."""
        task = self._tasks.get(context)
        if task is not None and context in self._late:
            log.about(context.job, "runs on past its timeout: let go")
            self._adrift.add(task)
            task.add_done_callback(self._came_back)
            self._deliver(context, _timed_out(context, None))
            self._fill()

    def _came_back(self, task: asyncio.Task[None]) -> None:
        self._adrift.discard(task)
        self._stop_when_empty()

    def _has_ended(self, context: Context, task: asyncio.Task[None]) -> None:
        """Deliver for a task that could not: say, because it was cancelled before its first step."""
        if self._tasks.get(context) is task:
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            self._deliver(context, _RETURNED if error is None else _of_error(context, error))
            self._fill()

    def _deliver(self, context: Context, outcome: Outcome) -> None:
        if self._tasks.pop(context, None) is None:  # a task of a loop that broke
            return
        self._free += 1
        self._late.discard(context)
        context.ended_at = time.monotonic()
        self._done.append((context, outcome))
        if self._ended is not None:
            self._base.run(self._ended, context)  # for others, who shall see nothing of this job's
        if not self._signalled:
            self._signalled = True
            self._ready()
        elif not self._pressed and self.is_pressing():
            self._pressed = True
            self._ready()
        self._stop_when_empty()

    def _cancel(self, context: Context) -> None:
        task = self._tasks.get(context)
        if task is not None:
            task.cancel()

    def _finish(self) -> None:
        self._closing = True
        for task in self._adrift:
            task.cancel()
        self._stop_when_empty()

    def _stop_when_empty(self) -> None:
        if self._closing and not self._tasks and not self._adrift:
            self._loop.stop()


def _timed_out(context: Context, error: BaseException | None) -> Outcome:
    """Give the outcome of a job that ran past its timeout; the traceback shows where `error` ended it."""
    late = TimedOut(context.timeout or 0)
    late.__cause__ = error
    return of_exception(context, late)


def _of_error(context: Context, error: BaseException) -> Outcome:
    outcome = of_exception(context, error)
    if not issubclass(type(error), asyncio.CancelledError):  # isinstance would ask the error
        return outcome
    if context.abandoned:
        return HandedBack()
    task = asyncio.current_task()
    return _disturbed(context, outcome) if task is None or task.cancelling() else outcome


def _disturbed(context: Context, outcome: Outcome) -> Outcome:
    """Let a job be tried again that other code on its loop brought down; not for ever, for it may have been itself."""
    if isinstance(outcome, Raised) and context.claim.job.retry_count + 1 < MAX_LOST:
        return msgspec.structs.replace(outcome, recoverable=True)
    return outcome
