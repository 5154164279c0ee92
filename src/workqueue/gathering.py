"""Gathering: what many push at the same moment is stored in one transaction (group commit).

A commit costs a flush of the disk, however many jobs it holds. While one pusher leads, storing all that wait at that
moment, others gather behind it; when it is done, one of those leads next. A pusher alone waits for nobody.

The main thread stores its own jobs alone, and never leads: Ctrl-C may come in the midst of anything that it does.
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
        if threading.get_ident() == threading.main_thread().ident or self._store.is_joined():
            return self._store.push([job])[0]
        if self._is_free():  # and nobody waits
            try:
                return self._store.push([job])[0]
            finally:
                self._pass_on()
        turn = threading.Lock()
        turn.acquire()
        push = _Push(job, lead=turn.release, tell=turn.release)
        try:
            if not self._join(push, leads=True):
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
            _begin(self._lead)

        def tell() -> None:
            with suppress(RuntimeError):  # its loop has ended, and nobody waits any more
                loop.call_soon_threadsafe(settled.set)

        push = _Push(job, lead=lead, tell=tell)
        try:
            if self._join(push, leads=False):  # the new thread does that: this one may be interrupted meanwhile
                _begin(self._lead_if_free)
            await settled.wait()
        except BaseException:
            push.dropped = True
            raise
        return push.result()

    def _is_free(self) -> bool:
        """Say whether nobody leads, and let the caller do so."""
        with self._mutex:
            free = not self._led
            self._led = True
            return free

    def _join(self, push: _Push, *, leads: bool) -> bool:
        """Stand in line; say whether nobody led. leads: the caller does, then."""
        with self._mutex:
            self._waiting.append(push)
            free = not self._led
            push.leads = free and leads
            self._led = self._led or leads
            return free

    def _lead(self) -> None:
        try:
            self._store_some()
        finally:
            self._pass_on()

    def _lead_if_free(self) -> None:
        if self._is_free():
            self._lead()

    def _pass_on(self) -> None:
        while (heir := self._heir()) is not None:
            try:
                heir.lead()
            except RuntimeError:  # no thread can be started for it, so its job is stored here
                self._store_some()
            else:
                return

    def _heir(self) -> _Push | None:
        """Give who is to lead next; without any, nobody leads."""
        with self._mutex:
            while self._waiting and self._waiting[0].dropped:
                self._waiting.popleft()
            heir = self._waiting[0] if self._waiting else None
            self._led = heir is not None
            if heir is not None:
                heir.leads = True
            return heir

    def _drop(self, push: _Push) -> None:
        """Forget about a push whose thread was interrupted; if it was to lead, somebody else must."""
        with self._mutex:
            push.dropped = True
            was_waiting_to_lead = push.leads and push in self._waiting
        if was_waiting_to_lead:
            self._pass_on()

    def _store_some(self) -> None:
        """Store those that have waited longest, and tell them."""
        pushes = self._take()
        if not pushes:  # another was quicker, or their pushers have gone
            return
        try:
            self._store_all(pushes)
        except BaseException as error:  # of this thread alone, and it may have come after the commit
            for push in pushes:
                if not push.is_settled():
                    push.error = self._unknown(error)
            raise
        finally:
            for push in pushes:
                push.tell()

    def _unknown(self, error: BaseException) -> StoreUnavailable:
        unavailable = StoreUnavailable(
            "expected the job to be stored together with others, but the thread that did so was interrupted by "
            f"{type(error).__name__}: it may be stored or not; look, and push it again where it is not",
            path=self._store.path,
        )
        unavailable.__cause__ = error
        return unavailable

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


def _begin(lead: Callable[[], None]) -> None:
    threading.Thread(target=lead, name="workqueue-push", daemon=True).start()


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
