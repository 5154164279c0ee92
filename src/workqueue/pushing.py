"""Pushing: the verbs of a Queue by which jobs come in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from datetime import datetime, timedelta

from workqueue import arguments
from workqueue.batch import Batch, job_of
from workqueue.duration import as_duration
from workqueue.errors import InvalidPayload
from workqueue.pusher import Pusher
from workqueue.store.contract import Store
from workqueue.task import Call


class Pushing(ABC):
    """What a Queue is, seen by those who push."""

    id: str
    _pusher: Pusher

    @abstractmethod
    def _open_store(self) -> Store:
        """Give the store. Raises QueueClosed."""

    def push(
        self,
        name: str,
        obj: object = None,
        *,
        run_at: datetime | None = None,
        priority: int = 0,
        within: object | None = None,
    ) -> int:
        """Store a job with `obj` as JSON; durable when this returns. Gives its id.

        run_at: not before this aware datetime. priority: higher first. within: a connection of yours to the queue's
        database (sqlite3, psycopg 3, or SQLAlchemy's or Django's over either), in whose open transaction the job is
        stored, and with which it is durable, or gone; see docs/tasks.md. Raises InvalidPayload (with the path of the
        bad value), InvalidOption, UsageError, QueueFull or StoreUnavailable; then nothing was stored.
        """
        pusher = self._pusher
        job = pusher.new_job(name, pusher.encode(obj), run_at=run_at, priority=priority)
        return pusher.push(job, within=within)

    def push_after(
        self,
        name: str,
        obj: object = None,
        delay: timedelta | float = 0,
        *,
        priority: int = 0,
        within: object | None = None,
    ) -> int:
        """Store a job that runs no earlier than `delay` from now."""
        pusher = self._pusher
        data = pusher.encode(obj)
        job = pusher.new_job(name, data, delay=as_duration(delay, "delay"), priority=priority)
        return pusher.push(job, within=within)

    def push_bytes(
        self,
        name: str,
        data: bytes,
        *,
        run_at: datetime | None = None,
        priority: int = 0,
        within: object | None = None,
    ) -> int:
        """Store a job with these very bytes."""
        pusher = self._pusher
        job = pusher.new_job(name, pusher.as_bytes(data), run_at=run_at, priority=priority)
        return pusher.push(job, within=within)

    def push_many(
        self,
        name: str,
        objs: Iterable[object],
        *,
        run_at: datetime | None = None,
        priority: int = 0,
        within: object | None = None,
    ) -> list[int]:
        """Store a job for each of `objs`, taken as they come, in one transaction per 1,000; gives their ids in order.

        When it raises midway, the full thousands before are stored; the error's `__notes__` say how many.
        """
        self._open_store()
        if isinstance(objs, str | bytes):
            raise InvalidPayload(f"expected several objects, got one {type(objs).__name__}; push it by push()")
        head = self._pusher.new_job(name, b"", run_at=run_at, priority=priority)
        return self._pusher.push_many(self._pusher.alike(head, objs), within=within)

    async def apush(
        self,
        name: str,
        obj: object = None,
        *,
        run_at: datetime | None = None,
        delay: timedelta | float | None = None,
        priority: int = 0,
    ) -> int:
        """Do as `push` does, without blocking the event loop."""
        wait = None if delay is None else as_duration(delay, "delay")
        data = self._pusher.encode(obj)
        job = self._pusher.new_job(name, data, run_at=run_at, delay=wait, priority=priority)
        return await self._pusher.apush(job)

    def batch(self, *, then: Call[object] | None = None, within: object | None = None) -> Batch:
        """Begin a batch: `with queue.batch() as batch: batch.add(fetch.s(url))`. then: is run when all have ended.

        within: as of `push`; the batch is there when that transaction commits. Raises for `then` as `Batch.add` does.
        """
        store = self._open_store()
        last = None if then is None else job_of(then, self._pusher)
        batch = store.batches.open(self.id, within=within)
        return Batch(batch, store=self._open_store, pusher=self._pusher, then=last, within=within)

    def find_batch(self, batch: int) -> Batch:
        """Give a batch by its id, to be looked at, waited for and cancelled. Raises BatchNotFound."""
        self._open_store().batches.get(arguments.batch_id(batch))
        return Batch(batch, store=self._open_store, pusher=self._pusher, then=None)
