"""Watch: looks how jobs stand on behalf of all who wait for them, with one question for all, while anybody waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from itertools import islice
from typing import Final

from workqueue.errors import StoreUnavailable, WorkqueueError
from workqueue.lifecycle import FINAL
from workqueue.logs import Log, running
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
        self._changed = threading.Condition()
        self._waiting: dict[int, list[Future[Outlook]]] = {}
        self._thread: threading.Thread | None = None
        self._is_news = False

    def look(self, job_id: int) -> Outlook:
        """Say how the job stands just now; as one that is gone, where its id was never given out."""
        return self._store().outlook([job_id]).get(job_id, Outlook(status=None))

    def end_of(self, job_id: int) -> Future[Outlook]:
        """Give what will have the job's outlook once it has ended. Cancel it to wait no more."""
        self._warn(job_id)
        future: Future[Outlook] = Future()
        with self._changed:
            self._waiting.setdefault(job_id, []).append(future)
            self._is_news = True
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="workqueue-watch", daemon=True)
                self._thread.start()
        return future

    def nudge(self) -> None:
        """Say that jobs have ended here, so that it looks at once."""
        if self._waiting:
            with self._changed:
                self._is_news = True
                self._changed.notify()

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
            with self._changed:
                for job_id, futures in list(self._waiting.items()):
                    self._waiting[job_id] = [future for future in futures if not future.cancelled()]
                    if not self._waiting[job_id]:
                        del self._waiting[job_id]
                if not self._waiting:
                    self._thread = None
                    return
                self._is_news = False
                jobs = list(self._waiting)
            pause = _SOONEST if self._look(jobs) else min(_LATEST, pause * 1.5)
            with self._changed:
                if not self._is_news:
                    self._changed.wait(pause)
                if self._is_news:
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
                    self._tell(job_id, outlook)
        return told

    def _tell(self, job_id: int, outlook: Outlook) -> None:
        with self._changed:
            futures = self._waiting.pop(job_id, [])
        for future in futures:
            if future.set_running_or_notify_cancel():
                future.set_result(outlook)

    def _give_up(self, error: WorkqueueError) -> None:
        with self._changed:
            futures = [future for each in self._waiting.values() for future in each]
            self._waiting.clear()
        for future in futures:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
