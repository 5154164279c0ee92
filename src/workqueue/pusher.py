"""Pusher: what comes in is checked, encoded and handed to the store; the front door's and the tasks' one way in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import msgspec

from workqueue import payload
from workqueue.arguments import aware, between, checked_name
from workqueue.backoff import Backoff
from workqueue.errors import InvalidOption
from workqueue.executor.importing import check_not_importing
from workqueue.gathering import Gathering
from workqueue.job import NewJob
from workqueue.observer import NOBODY, Observers
from workqueue.store.contract import Store

_BATCH: Final = 1000
_BATCH_BYTES: Final = 32 * 1024 * 1024
_PRIORITIES: Final = 2**31


class Pusher:
    """Pushes into one queue. Safe from any thread, and any event loop.

    store: gives the store, or raises QueueClosed. timing, backoff, max_payload, observers: see `Queue`.
    """

    def __init__(
        self,
        store: Callable[[], Store],
        queue: str,
        *,
        timing: bool,
        backoff: Backoff,
        max_payload: int,
        observers: Observers = NOBODY,
    ) -> None:
        self._store = store
        self.queue = queue
        self.backoff = backoff
        self.max_payload = max_payload
        self.timing = timing
        self._observers = observers
        self.make_locks()

    def make_locks(self) -> None:
        """Begin with new ones: in a forked child whoever holds the parent's does not exist."""
        self._gathering = Gathering(self._store())

    def encode(self, obj: object) -> bytes:
        return payload.encode(obj, limit=self.max_payload)

    def as_bytes(self, data: object) -> bytes:
        """Give `data`, which is bytes already. Raises InvalidPayload."""
        plain = payload.as_bytes(data)
        payload.check_size(plain, limit=self.max_payload)
        return plain

    def new_job(
        self,
        name: str,
        data: bytes,
        *,
        run_at: datetime | None = None,
        delay: timedelta | None = None,
        priority: int = 0,
        backoff: Backoff | None = None,
    ) -> NewJob:
        """Give a job of this queue, its options checked. Raises InvalidOption."""
        if run_at is not None and delay is not None:
            raise InvalidOption("expected run_at or delay, got both", name="delay", value=delay)
        return NewJob(
            queue=self.queue,
            name=checked_name(name, "name"),
            data=data,
            priority=between(priority, -_PRIORITIES, _PRIORITIES, "priority"),
            run_at=None if run_at is None else aware(run_at, "run_at"),
            delay=delay,
            timing=self.timing,
            backoff=self.backoff if backoff is None else backoff,
        )

    def push(self, job: NewJob, *, within: object | None = None) -> int:
        """Store one; durable when this returns, or when the transaction `within` commits. Gives its id."""
        store = self._store()
        check_not_importing()
        if self._observers:
            with self._observers.pushing(self.queue, [job], is_bulk=False) as push:
                [job] = push.jobs
                push.ids = [self._gathering.push(job)] if within is None else store.push([job], within=within)
            return push.ids[0]
        return self._gathering.push(job) if within is None else store.push([job], within=within)[0]

    async def apush(self, job: NewJob) -> int:
        """Do as `push` does, without blocking the event loop."""
        self._store()
        check_not_importing()
        if self._observers:
            with self._observers.pushing(self.queue, [job], is_bulk=False) as push:
                push.ids = [await self._gathering.apush(push.jobs[0])]
            return push.ids[0]
        return await self._gathering.apush(job)

    def push_together(self, jobs: list[NewJob], *, within: object | None = None) -> list[int]:
        """Store all or none."""
        return self.observed(jobs, partial(self._store().push, within=within))

    def push_many(self, jobs: Iterable[NewJob], *, within: object | None = None) -> list[int]:
        """Store what comes, in one transaction per 1,000, or per 32 MiB, or all `within` one; give the ids in order.

        When it raises midway, the batches before are stored, or are part of that transaction; the error's `__notes__`
        say how many jobs those were.
        """
        store = self._store()
        ids: list[int] = []
        try:
            for batch in _batches(jobs):
                ids += self.observed(batch, partial(store.push, within=within))
        except BaseException as error:
            error.add_note(f"push_many had stored {len(ids):,} jobs before this")
            raise
        return ids

    def observed(self, jobs: Sequence[NewJob], store: Callable[[Sequence[NewJob]], list[int]]) -> list[int]:
        """Have several jobs stored, with observers around; give their ids."""
        check_not_importing()
        if not self._observers or not jobs:
            return store(jobs)
        with self._observers.pushing(self.queue, jobs, is_bulk=True) as push:
            push.ids = ids = store(push.jobs)
        return ids

    def alike(self, head: NewJob, objs: Iterable[object]) -> Iterator[NewJob]:
        """Give jobs like `head`, one for each of `objs`."""
        for obj in objs:
            yield msgspec.structs.replace(head, data=self.encode(obj))


def _batches(jobs: Iterable[NewJob]) -> Iterator[list[NewJob]]:
    batch: list[NewJob] = []
    size = 0
    for job in jobs:
        batch.append(job)
        size += len(job.data)
        if len(batch) == _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
