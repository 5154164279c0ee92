"""What a running job sees."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from typing import Final, TypeAlias, cast

from workqueue import payload
from workqueue.control import Retry
from workqueue.duration import as_duration
from workqueue.errors import InvalidPayload, UsageError
from workqueue.job import Claim, Job
from workqueue.lifecycle import Outcome, Returned
from workqueue.observer import Run
from workqueue.store.contract import Store, Transaction

Policy: TypeAlias = Callable[[BaseException], Retry | None]
"""What the handler raised → whether it is tried again; None: it failed for good. Asked of no control, like Snooze."""

Give: TypeAlias = Callable[[object], Outcome]
"""What the handler returned → the outcome, `Returned` with the result as bytes. Raises InvalidPayload."""


class Context:
    """One attempt of one job, as its handler sees it. Safe from any thread of the handler.

    job: the job as it was claimed. deadline: the instant after which nobody waits for this attempt any more: None until
    the queue stops, then the end of its grace, unless the store is away just then. A job's own timeout is told by
    `time_left`.
    """

    # Defaults of the class: most jobs change none of them, and each assignment costs.
    deadline: datetime | None = None
    settled = False  # by `transaction`, in its own commit
    cancel_requested = False  # by a person, and not by stop()
    abandoned = False  # handed back while it ran: its end interests nobody
    stays = False  # once it completes, among the jobs that did
    policy: Policy | None = None  # by whoever calls the handler, as `give`
    give: Give | None = None
    task: str | None = None  # its name, where the handler is one
    timeout: float | None = None  # seconds, from `started_at`
    entry = ""  # see `Handling`
    progress_data: bytes | None = None  # the newest
    observed: Run | None = None  # what observers see of it
    _cancelled = False
    _event: threading.Event | None = None
    _sleepers: tuple[Callable[[], object], ...] = ()
    _open: ExitStack | None = None
    _result: object = None  # of `set_result`

    def __init__(self, claim: Claim, store: Store | None, claimed_at: float) -> None:
        self.claim = claim
        self.claimed_at = self.started_at = self.ended_at = claimed_at  # monotonic
        self._store = store

    @property
    def job(self) -> Job:
        return self.claim.job

    @property
    def cancelled(self) -> bool:
        """True once the queue stops, a person cancels the job, or its lease was lost: finish early if you can."""
        return self._cancelled

    def time_left(self) -> float | None:
        """Give the seconds until the job's timeout, negative after it; None where it has none."""
        return None if self.timeout is None else self.started_at + self.timeout - time.monotonic()

    def progress(self, value: object) -> None:
        """Tell how far the job is, by whatever JSON can carry. Raises InvalidPayload.

        The newest is stored once in each `poll_rate`, and at the end of an attempt that does not complete the job.
        """
        self.progress_data = payload.encode(value)

    def wait(self, seconds: timedelta | float) -> bool:
        """Wait, but no longer than until the job is cancelled; give `cancelled`. For `def` handlers."""
        longest = as_duration(seconds, "seconds").total_seconds()
        # The same for all threads of the handler, of which several may come here first.
        event = self._event or self.__dict__.setdefault("_event", threading.Event())
        # `cancel` sets the flag first and looks for the event then; this looks in the other order.
        if not self._cancelled:
            event.wait(longest)
        return self._cancelled

    async def sleep(self, seconds: timedelta | float) -> bool:
        """Wait as `wait` does, without blocking the event loop. For `async def` handlers."""
        longest = as_duration(seconds, "seconds").total_seconds()
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(woken.set)

        self._sleepers = (*self._sleepers, wake)
        try:
            if not self._cancelled:
                async with asyncio.timeout(longest):
                    await woken.wait()
        except TimeoutError:
            pass
        finally:
            self._sleepers = tuple(sleeper for sleeper in self._sleepers if sleeper is not wake)
        return self._cancelled

    @contextmanager
    def transaction(self) -> Generator[Transaction]:
        """Open a transaction of the queue's database that commits together with the job's completion, or not at all.

        Pushes made inside by the same thread (or asyncio task) commit with it too. The job is completed when the block
        ends, so let it be the handler's last act; what the handler raises later is logged, and changes nothing, and
        what it returns is too late: a task whose result somebody wants says `set_result` before. It holds the only
        write lock of a SQLite file: no network calls and no `await` inside. Raises LeaseLost, rolled back, when the job
        was given to another runner meanwhile; UsageError when the job is settled already, or runs in a child process:
        that has no connection to the database, and no share in its parent's.
        """
        if self._store is None:
            raise UsageError(
                "expected ctx.transaction() in the process that claimed the job, but an isolated job runs in a child, "
                "which has no connection of the queue's; return what is to be written, or do not isolate the task"
            )
        if self.settled:
            raise UsageError("expected one ctx.transaction() for each job, but this job was settled by an earlier one")
        with ExitStack() as stack:
            done = Returned()
            transaction = stack.enter_context(
                self._store.transaction(self.claim, returned=lambda: done, stays=self.stays)
            )
            self._open = stack
            try:
                yield transaction
            finally:
                self._open = None
            done = self._returned()
        self.settled = True

    def set_result(self, value: object) -> None:
        """Say what the job gives, in or before its `transaction`, which completes it before the handler returns."""
        self._result = value

    def _returned(self) -> Returned:
        """Give the outcome of a job that its transaction completes."""
        if self.give is None:
            return Returned()
        try:
            return cast("Returned", self.give(self._result))
        except InvalidPayload as error:
            if self._result is not None:
                raise
            raise UsageError(
                "expected ctx.set_result(…) before the end of ctx.transaction(), which completes the job, for somebody "
                "wants the result: its task says keep_results=, or a chain goes on with it"
            ) from error

    def end(self) -> UsageError | None:
        """Roll back a transaction that the handler left open, and give its error. Called where the handler ran."""
        stack = self._open
        if stack is None:
            return None
        self._open = None
        error = UsageError(
            "expected `with ctx.transaction()` to end before the handler does, but it was left open; it was rolled back"
        )
        with suppress(UsageError):
            stack.__exit__(UsageError, error, None)
        return error

    def is_of(self, path: str, queue: str) -> bool:
        """Say whether the job is of this queue of this store; of a child's job only the queue is known. The watch's."""
        return self.job.queue == queue and (self._store is None or self._store.path == path)

    def when_cancelled(self, call: Callable[[], object]) -> None:
        """Have `call` made at each `cancel`, and now if there was one. The executors' to use."""
        self._sleepers = (*self._sleepers, call)
        if self._cancelled:  # and perhaps by `cancel` too: it sets the flag first
            call()

    def cancel(self) -> None:
        """Tell the handler to finish early. The runner's to call; a person says `queue.cancel(id)`."""
        self._cancelled = True
        if self._event is not None:
            self._event.set()
        for wake in self._sleepers:
            with suppress(RuntimeError):  # its loop was closed
                wake()


class _Injected(Context):
    """Of no job at all, but known to be meant for a context."""

    def __init__(self) -> None: ...

    def __repr__(self) -> str:
        return "injected"


injected: Final[Context] = _Injected()
"""The default of a task's parameter that gets its context when the job runs, so that pushes need not name it."""
