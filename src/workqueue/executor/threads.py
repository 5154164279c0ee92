"""Runs `def` handlers: each claim on one of `concurrency` threads."""

from __future__ import annotations

import inspect
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias

from workqueue.context import Context
from workqueue.errors import UsageError
from workqueue.executor import forked
from workqueue.executor.outcome import of_exception
from workqueue.job import Job
from workqueue.lifecycle import Outcome, Returned

Handler: TypeAlias = Callable[[Context, Job], object]
_RETURNED = Returned()


class ThreadExecutor:
    """See `Executor`. A thread cannot be stopped from outside: `interrupt` only lets go of its outcome."""

    def __init__(self, handler: Handler, *, concurrency: int, enough: int, ready: Callable[[], None]) -> None:
        self._handler = handler
        self._enough = enough
        self._ready = ready
        # A call wakes an idle thread, which then works until the inbox is empty. An exception thrown into an idle
        # thread (the well-known timeout for threads, when it comes late) costs what its next `get` gives: a call, which
        # is made again, and not a job.
        self._calls: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._inbox: deque[Context] = deque()
        self._done: deque[tuple[Context, Outcome]] = deque()
        self._unstarted: deque[Context] = deque()
        self._signalled = self._pressed = False
        self._halted = False
        self._depth = forked.depth
        self._threads = [
            threading.Thread(target=self._work, name=f"workqueue-job-{number}", daemon=True)
            for number in range(concurrency)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, contexts: Iterable[Context]) -> None:
        contexts = list(contexts)
        self._inbox.extend(contexts)
        for _ in range(min(len(contexts), len(self._threads))):
            self._calls.put(True)

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
        unstarted = [self._unstarted.popleft() for _ in range(len(self._unstarted))]
        while True:
            try:
                unstarted.append(self._inbox.popleft())
            except IndexError:
                return unstarted

    def interrupt(self, context: Context) -> None:
        context.abandoned = True

    def close(self) -> None:
        for _ in self._threads:
            self._calls.put(False)

    def owns_current_thread(self) -> bool:
        return threading.current_thread() in self._threads

    def _work(self) -> None:
        context: Context | None = None
        while True:
            try:
                while self._calls.get():
                    while (context := self._take()) is not None:
                        self._run(context)
                return
            except BaseException as error:  # noqa: BLE001 - thrown into this thread after a handler's end, or by its tracer
                self._calls.put(True)
                if context is not None:  # the runner takes the first word on it only
                    self._deliver(context, of_exception(context, error))

    def _take(self) -> Context | None:
        try:
            return self._inbox.popleft()
        except IndexError:
            return None

    def _run(self, context: Context) -> None:
        if self._halted:
            self._unstarted.append(context)
            self._ready()
            return
        context.started_at = time.monotonic()
        outcome: Outcome = _RETURNED
        try:
            result = self._handler(context, context.claim.job)
            if forked.depth != self._depth:
                forked.end_child(None)
            if result is not None and (left := _left_undone(result)):
                outcome = of_exception(context, left)
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises fails its job and nothing else
            if forked.depth != self._depth:
                forked.end_child(error)
            outcome = of_exception(context, error)
        if left := context.end():
            outcome = of_exception(context, left)
        context.ended_at = time.monotonic()
        self._deliver(context, outcome)

    def _deliver(self, context: Context, outcome: Outcome) -> None:
        self._done.append((context, outcome))
        if not self._signalled:
            self._signalled = True
            self._ready()
        elif not self._pressed and self.is_pressing():
            self._pressed = True
            self._ready()


def _left_undone(result: object) -> UsageError | None:
    """Give the error of a handler that returned its work instead of doing it."""
    if inspect.isawaitable(result):
        close = getattr(result, "close", None)
        if close is not None:
            close()
        return UsageError("expected do_work to return when done, but it returned an awaitable; declare it `async def`")
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        return UsageError("expected do_work to return when done, but it returned a generator, which nobody runs")
    return None
