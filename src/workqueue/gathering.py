"""Gathering: what many push at the same moment is stored in one transaction (group commit).

A commit costs a flush of the disk, however many jobs it holds. While one pusher leads, storing all that wait at that
moment, others gather behind it; when it is done, one of those leads next. A pusher alone waits for nobody.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from workqueue.errors import StoreUnavailable, UsageError
from workqueue.job import NewJob
from workqueue.store.contract import Store

_MOST_JOBS: Final = 1000
_MOST_BYTES: Final = 32 * 1024 * 1024


class Gathering:
    """Pushes single jobs into `store`. Safe from any thread and any event loop.

    Each job has its own fate: when they cannot be stored together, each is tried alone, and its pusher gets its error.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._mutex = threading.Lock()
        self._waiting: deque[_Push] = deque()
        self._led = False  # somebody leads

    def push(self, job: NewJob) -> int:
        """Store the job; give its id. Inside an open transaction of the store it joins that."""
        if self._store.is_joined():
            return self._store.push([job])[0]
        if self._is_free():
            try:
                return self._store.push([job])[0]
            finally:
                self._pass_on()
        turn = threading.Lock()
        turn.acquire()
        push = _Push(job, lead=turn.release, tell=turn.release)
        try:
            if not self._join(push):
                turn.acquire()
            if not push.is_settled():
                self._lead()
        except BaseException:
            self._drop(push)
            raise
        return push.result()

    async def apush(self, job: NewJob) -> int:
        """Do as `push` does, without blocking the event loop. One that is cancelled meanwhile may be stored or not."""
        if self._store.is_joined():
            raise UsageError("expected push() inside a transaction's block: there must be no await")
        loop = asyncio.get_running_loop()
        settled = asyncio.Event()

        def lead() -> None:
            threading.Thread(target=self._lead, name="workqueue-push", daemon=True).start()

        def tell() -> None:
            with suppress(RuntimeError):  # its loop has ended, and nobody waits any more
                loop.call_soon_threadsafe(settled.set)

        push = _Push(job, lead=lead, tell=tell)
        if self._join(push):
            lead()
        try:
            await settled.wait()
        except asyncio.CancelledError:
            push.dropped = True
            raise
        return push.result()

    def _is_free(self) -> bool:
        """Say whether nobody leads, and let the caller do so: with its own job alone, for whom nobody waits."""
        with self._mutex:
            free = not self._led
            self._led = True
            return free

    def _join(self, push: _Push) -> bool:
        """Stand in line; say whether to lead at once."""
        with self._mutex:
            self._waiting.append(push)
            push.leads = not self._led
            self._led = True
            return push.leads

    def _lead(self) -> None:
        try:
            self._store_some()
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        with self._mutex:
            while self._waiting and self._waiting[0].dropped:
                self._waiting.popleft()
            heir = self._waiting[0] if self._waiting else None
            self._led = heir is not None
            if heir is not None:
                heir.leads = True
        if heir is not None:
            heir.lead()

    def _drop(self, push: _Push) -> None:
        """Forget about a push whose thread was interrupted; if it was to lead, somebody else must."""
        with self._mutex:
            push.dropped = True
            was_waiting_to_lead = push.leads and push in self._waiting
        if was_waiting_to_lead:
            self._pass_on()

    def _store_some(self) -> None:
        """Store those that have waited longest."""
        pushes = self._take()
        try:
            self._store_all(pushes)
        except BaseException:  # of this thread alone (Ctrl-C): the others' jobs are still to be stored
            self._waiting.extendleft(push for push in reversed(pushes) if not (push.is_settled() or push.leads))
            raise
        for push in pushes:
            push.tell()

    def _take(self) -> list[_Push]:
        pushes: list[_Push] = []
        size = 0
        while self._waiting and len(pushes) < _MOST_JOBS and size < _MOST_BYTES:
            push = self._waiting.popleft()
            if not push.dropped:
                pushes.append(push)
                size += len(push.job.data)
        return pushes

    def _store_all(self, pushes: list[_Push]) -> None:
        try:
            ids = self._store.push([push.job for push in pushes])
        except StoreUnavailable as error:  # after much waiting already
            for push in pushes:
                push.error = error
        except Exception as error:  # noqa: BLE001 - handed to those who push
            if len(pushes) == 1:
                pushes[0].error = error
            else:
                for push in pushes:
                    self._store_all([push])
        else:
            for push, job_id in zip(pushes, ids, strict=True):
                push.id = job_id


class _Push:
    """One job that waits to be stored, and what became of it. lead, tell: how its pusher learns that it is to."""

    __slots__ = ("dropped", "error", "id", "job", "lead", "leads", "tell")

    def __init__(self, job: NewJob, *, lead: Callable[[], object], tell: Callable[[], object]) -> None:
        self.job = job
        self.lead = lead
        self.tell = tell
        self.leads = False
        self.dropped = False
        self.id = 0
        self.error: Exception | None = None

    def is_settled(self) -> bool:
        return self.id != 0 or self.error is not None

    def result(self) -> int:
        if self.error is not None:
            raise self.error
        return self.id
