"""Watch: looks how jobs stand on behalf of all who wait for them, with one question for all, while anybody waits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Final

from workqueue.errors import StoreUnavailable, WorkqueueError
from workqueue.lifecycle import FINAL
from workqueue.logs import Log, running
from workqueue.nudge import Nudge
from workqueue.store.contract import Outlook, Store

log = Log("workqueue.watch")

_SOONEST: Final = 0.002  # seconds between two looks
_LATEST: Final = 0.1
_AT_ONCE: Final = 1000  # jobs in one question


class Watch:
    """Waits for jobs of one queue to come to their end. Safe from any thread.

    store: gives the store, or raises QueueClosed. queue: its id. Its thread is there only while somebody waits.
    """

    def __init__(self, store: Callable[[], Store], queue: str) -> None:
        self._store = store
        self._queue = queue
        self._warned: set[str] = set()  # the tasks that it has warned of
        self.forget_locks()

    def forget_locks(self) -> None:
        """Begin anew: in a forked child whoever waited, and the thread, do not exist."""
        self._lock = threading.Lock()
        self._waiting: dict[int, list[End]] = {}
        self._thread: threading.Thread | None = None
        self._news = Nudge()

    def look(self, job_id: int) -> Outlook:
        """Say how the job stands just now; as one that is gone, where its id was never given out."""
        return self._store().outlook([job_id]).get(job_id, Outlook(status=None))

    def wait(self, job_id: int, timeout: float | None) -> Outlook | None:
        """Wait until the job has ended; None when so many seconds were over before."""
        told = Nudge()
        end = self.end_of(job_id, told.give)
        try:
            return end.outlook() if told.wait(timeout) else None
        finally:
            end.dropped = True

    async def ended(self, job_id: int) -> Outlook:
        """Do as `wait` does, without a timeout and without blocking the event loop."""
        loop = asyncio.get_running_loop()
        told = asyncio.Event()

        def tell() -> None:
            with suppress(RuntimeError):  # its loop has ended, and nobody waits any more
                loop.call_soon_threadsafe(told.set)

        end = self.end_of(job_id, tell)
        try:
            await told.wait()
            return end.outlook()
        finally:
            end.dropped = True

    def end_of(self, job_id: int, tell: Callable[[], object]) -> End:
        """Give what will have the job's outlook once it has ended, and have been told then. Drop it to wait no more."""
        self._warn(job_id)
        end = End(tell)
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="workqueue-watch", daemon=True)
                thread.start()
                self._thread = thread  # only now: one that could not be started watches nothing
            self._waiting.setdefault(job_id, []).append(end)
        self._news.give()
        return end

    def nudge(self) -> None:
        """Say that jobs have ended here, so that it looks at once."""
        if self._waiting:
            self._news.give()

    def _warn(self, job_id: int) -> None:
        """Say once of a task that its jobs wait for others of their queue: with all places so taken, for ever."""
        context = running.get()
        if context is None or context.job.name in self._warned:
            return
        if context.is_of(self._store().path, self._queue):
            self._warned.add(context.job.name)
            log.about(
                context.job,
                "waits for job %d of its own queue, and keeps its place meanwhile: when all places wait so, nobody is "
                "left to run what they wait for; make it a chain, or allow more concurrency (docs/tasks.md)",
                job_id,
            )

    def _run(self) -> None:
        pause = _SOONEST
        while True:
            self._news.wait(0)  # what there was is looked at now
            with self._lock:
                for job_id, ends in list(self._waiting.items()):
                    self._waiting[job_id] = [end for end in ends if not end.dropped]
                    if not self._waiting[job_id]:
                        del self._waiting[job_id]
                if not self._waiting:
                    self._thread = None
                    return
                jobs = list(self._waiting)
            pause = _SOONEST if self._look(jobs) else min(_LATEST, pause * 1.5)
            if self._news.wait(pause):
                pause = _SOONEST

    def _look(self, jobs: list[int]) -> bool:
        """Tell those whose job has ended; say whether there were any."""
        told = False
        rest = iter(jobs)
        while some := list(islice(rest, _AT_ONCE)):
            try:
                found = self._store().outlook(some)
            except StoreUnavailable as error:
                log.warning("cannot see how %d jobs stand, trying again: %s", len(jobs), error)
                time.sleep(_LATEST)
                return told
            except WorkqueueError as error:  # closed, or no store of ours any more
                self._give_up(error)
                return True
            for job_id in some:
                outlook = found.get(job_id, Outlook(status=None))
                if outlook.status is None or outlook.status in FINAL:
                    told = True
                    with self._lock:
                        ends = self._waiting.pop(job_id, [])
                    for end in ends:
                        end.is_told(outlook)
        return told

    def _give_up(self, error: WorkqueueError) -> None:
        with self._lock:
            ends = [end for each in self._waiting.values() for end in each]
            self._waiting.clear()
        for end in ends:
            end.is_told(error)


class End:
    """What is known of a job once it has ended. Without a lock, so that nobody who is interrupted can keep one."""

    __slots__ = ("_answer", "_tell", "dropped")

    def __init__(self, tell: Callable[[], object]) -> None:
        self._tell = tell
        self._answer: Outlook | WorkqueueError = Outlook(status=None)
        self.dropped = False

    def is_told(self, answer: Outlook | WorkqueueError) -> None:
        self._answer = answer
        self._tell()

    def outlook(self) -> Outlook:
        """Give it, to who was told. Raises what kept the watch from looking."""
        if isinstance(self._answer, WorkqueueError):
            raise self._answer
        return self._answer
