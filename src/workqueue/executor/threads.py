"""Runs `def` handlers: each claim on one of `concurrency` threads."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import copy_context
from typing import TypeAlias

from workqueue.context import Context
from workqueue.errors import TimedOut
from workqueue.executor import forked
from workqueue.executor.deadlines import Deadlines
from workqueue.executor.outcome import not_started, of_exception, of_result
from workqueue.job import Job
from workqueue.lifecycle import Outcome, Returned
from workqueue.logs import Log, running

Handler: TypeAlias = Callable[[Context, Job], object]
log = Log("workqueue.executor")
_RETURNED = Returned()


class ThreadExecutor:
    """See `Executor`. A thread is started when a job finds none idle, and then stays.

    A thread cannot be stopped from outside: `interrupt` only lets go of its outcome. A job that runs past its timeout
    is told so (`ctx.cancelled`) and its outcome given at once, but its handler runs on, abandoned: whatever it still
    does, it does, while the job may already be tried again; a lock it holds, it keeps. Another thread takes the place
    of its own, for at most max(4, `concurrency`) of them. With more than that, each costs a job less at once until it
    returns; once none is left, nothing is run here, nor claimed. Isolate what may hang: a child process can be killed.

    ended: called for each outcome, by the thread that has it. keeps_time: False where the handler sees to timeouts.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        concurrency: int,
        enough: int,
        ready: Callable[[], None],
        ended: Callable[[Context], None] | None = None,
        keeps_time: bool = True,
    ) -> None:
        self._handler = handler
        self._concurrency = concurrency
        self._most_replaced = max(4, concurrency)
        self._enough = enough
        self._ready = ready
        self._ended = ended
        self._keeps_time = keeps_time
        self._deadlines: Deadlines | None = None  # until a job has a timeout
        self._inbox: deque[Context] = deque()
        self._done: deque[tuple[Context, Outcome]] = deque()
        self._unstarted: deque[Context] = deque()
        self._signalled = self._pressed = False
        self._halted = self._closed = False
        self._depth = forked.depth
        self._hiring = threading.Lock()
        self._hired = 0
        # A call wakes an idle thread, which then works until the inbox is empty. An exception thrown into an idle
        # thread (the well-known timeout for threads, when it comes late) costs what its next `get` gives: a call, and
        # not a job.
        self._threads: dict[threading.Thread, queue.SimpleQueue[bool]] = {}
        self._idle: dict[threading.Thread, queue.SimpleQueue[bool]] = {}  # who takes one out of it makes the call
        self._hire()

    def submit(self, contexts: Iterable[Context]) -> None:
        contexts = list(contexts)
        self._inbox.extend(contexts)
        for _ in range(min(len(contexts), self._concurrency)):
            try:
                _, calls = self._idle.popitem()
            except KeyError:
                if not self._hire_another():
                    return
            else:
                calls.put(True)

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

    def capacity(self) -> int:
        return max(0, self._concurrency - max(0, self.abandoned() - self._most_replaced))

    def abandoned(self) -> int:
        return 0 if self._deadlines is None else len(self._deadlines.late)

    def close(self) -> None:
        with self._hiring:
            self._closed = True
            for calls in self._threads.values():
                calls.put(False)
        if self._deadlines is not None:
            self._deadlines.close()

    def owns_current_thread(self) -> bool:
        return threading.current_thread() in self._threads

    # the threads

    def _hire(self) -> bool:
        """Start one more thread; say False when there are as many as there may be."""
        with self._hiring:
            if self._closed or len(self._threads) >= self._most_threads():
                return False
            thread = threading.Thread(target=self._work, name=f"workqueue-job-{self._hired}", daemon=True)
            self._threads[thread] = queue.SimpleQueue()
            try:
                thread.start()
            except BaseException:
                del self._threads[thread]
                raise
            self._hired += 1
            return True

    def _hire_another(self) -> bool:
        try:
            return self._hire()
        except RuntimeError as error:  # those that are there go on with the inbox
            log.error("cannot run more than %d jobs at once: %s", len(self._threads), error)
            return False

    def _most_threads(self) -> int:
        return self._concurrency + min(self.abandoned(), self._most_replaced)

    def _is_replaced(self) -> bool:
        """Say whether the current thread, back from a job that was given up, has lost its place; if so, it must end."""
        with self._hiring:
            replaced = len(self._threads) > self._most_threads()
            if replaced:
                del self._threads[threading.current_thread()]
        return replaced

    def _work(self) -> None:
        me = threading.current_thread()
        calls = self._threads[me]
        context: Context | None = None
        while True:
            try:
                while (context := self._take()) is not None:
                    if self._run(context) and self._is_replaced():
                        return
                self._idle[me] = calls
                # What came before that, and found nobody idle, would wait for the next job to be noticed.
                if self._inbox and self._idle.pop(me, None) is not None:
                    continue
                if not calls.get():
                    return
                self._idle.pop(me, None)  # the call was for an exception's, above
            except BaseException as error:  # noqa: BLE001 - `not_started`; or thrown into this thread after a handler's end
                self._idle.pop(me, None)
                if context is not None:  # the runner takes the first word on it only
                    if context.ended_at < context.started_at:  # it did not get so far
                        context.ended_at = time.monotonic()
                    self._forget(context)
                    self._deliver(context, of_exception(context, error))
                elif self._closed:
                    return

    def _take(self) -> Context | None:
        try:
            return self._inbox.popleft()
        except IndexError:
            return None

    def _run(self, context: Context) -> bool:
        """Run it; say whether it came too late, after its outcome was given."""
        if self._halted:
            self._unstarted.append(context)
            self._ready()
            return False
        context.started_at = time.monotonic()
        if context.timeout is not None and self._keeps_time:
            self._watch(context, context.started_at + context.timeout)
        outcome = copy_context().run(self._call, context)  # what it sets there, the next job does not see
        if context.timeout is not None and self._keeps_time and not self._forget(context):
            self._ready()
            return True
        context.ended_at = time.monotonic()
        self._deliver(context, outcome)
        return False

    def _call(self, context: Context) -> Outcome:
        running.set(context)
        outcome: Outcome = _RETURNED
        try:
            result = self._handler(context, context.claim.job)
            if forked.depth != self._depth:
                forked.end_child(None)
            if result is not None or context.give is not None:
                outcome = of_result(context, result)
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises fails its job and nothing else
            if forked.depth != self._depth:
                forked.end_child(error)
            outcome = of_exception(context, error)
        if left := context.end():
            outcome = of_exception(context, left)
        return outcome

    def _deliver(self, context: Context, outcome: Outcome) -> None:
        self._done.append((context, outcome))
        if self._ended is not None:
            self._ended(context)
        if not self._signalled:
            self._signalled = True
            self._ready()
        elif not self._pressed and self.is_pressing():
            self._pressed = True
            self._ready()

    # timeouts

    def _watch(self, context: Context, until: float) -> None:
        with self._hiring:
            if self._deadlines is None:
                try:
                    self._deadlines = Deadlines(self._give_up)
                except RuntimeError as error:
                    raise not_started(error) from error
        self._deadlines.add(context, until)

    def _forget(self, context: Context) -> bool:
        return self._deadlines is None or self._deadlines.remove(context)

    def _give_up(self, context: Context) -> None:
        """Go on without a handler whose time is up. On the thread that keeps the time."""
        context.ended_at = time.monotonic()
        context.cancel()
        outcome = of_exception(context, TimedOut(context.timeout or 0))
        late = [f"{one.job.id} {one.job.name!r}" for one in list(self._deadlines.late if self._deadlines else ())]
        if len(late) > self._most_replaced:
            log.error(
                "%d handlers run on past their timeouts, and no more threads are started in their place; isolate "
                "their tasks, or let them look at ctx.cancelled: jobs %s",
                len(late),
                ", ".join(late),
            )
        elif self._inbox:
            self._hire_another()
        self._deliver(context, outcome)
