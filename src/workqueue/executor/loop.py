"""Runs `async def` handlers: up to `concurrency` at once on an event loop of the runner's own thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

from workqueue.context import Context
from workqueue.executor.outcome import of_exception
from workqueue.job import Job
from workqueue.lifecycle import HandedBack, Outcome, Returned

AsyncHandler: TypeAlias = Callable[[Context, Job], Awaitable[object]]
_RETURNED = Returned()


class LoopExecutor:
    """See `Executor`. `interrupt` cancels the handler's task."""

    def __init__(self, handler: AsyncHandler, *, concurrency: int, enough: int, ready: Callable[[], None]) -> None:
        self._handler = handler
        self._free = concurrency
        self._enough = enough
        self._ready = ready
        self._inbox: deque[Context] = deque()
        self._done: deque[tuple[Context, Outcome]] = deque()
        self._tasks: dict[Context, asyncio.Task[None]] = {}
        self._signalled = self._pressed = False
        self._halted = False
        self._closing = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="workqueue-loop", daemon=True)
        self._thread.start()

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

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._finish)

    def owns_current_thread(self) -> bool:
        return threading.current_thread() is self._thread

    # on the loop's thread

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _fill(self) -> None:
        while self._free and not self._halted:
            try:
                context = self._inbox.popleft()
            except IndexError:
                return
            self._free -= 1
            self._tasks[context] = self._loop.create_task(self._work(context))

    async def _work(self, context: Context) -> None:
        context.started_at = time.monotonic()
        outcome: Outcome = _RETURNED
        try:
            await self._handler(context, context.claim.job)
        except asyncio.CancelledError as error:
            outcome = HandedBack() if context.abandoned else of_exception(context, error)
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises fails its job and nothing else
            outcome = of_exception(context, error)
        del self._tasks[context]
        self._free += 1
        context.ended_at = time.monotonic()
        self._done.append((context, outcome))
        self._fill()
        if not self._signalled:
            self._signalled = True
            self._ready()
        elif not self._pressed and self.is_pressing():
            self._pressed = True
            self._ready()
        if self._closing and not self._tasks:
            self._loop.stop()

    def _cancel(self, context: Context) -> None:
        task = self._tasks.get(context)
        if task is not None:
            task.cancel()

    def _finish(self) -> None:
        self._closing = True
        if not self._tasks:
            self._loop.stop()
