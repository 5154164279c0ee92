"""Blocks inside which a queue is otherwise: it stands in memory, or runs what is pushed at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import TypeVar
from unittest.mock import patch

from workqueue.batch import Batch
from workqueue.job import NewJob
from workqueue.queue import Queue
from workqueue.store.clock import Clock, system_clock
from workqueue.store.contract import Transaction
from workqueue.store.memory.engine import MemoryStore
from workqueue.task import Call
from workqueue.testing import inside
from workqueue.testing.draining import Draining, raise_all


@contextmanager
def in_memory(queue: Queue, *, clock: Clock = system_clock) -> Generator[Queue]:
    """Let the queue, its tasks and batches stand on an empty store in memory inside the block; its file stays as it is.

    For the queue of a module: `with in_memory(app.queue): …`. Started inside, it is stopped at the end; closed inside,
    it is open again. A handle of a job from outside knows nothing inside, and the reverse. Not while other threads
    push. Raises UsageError when the queue was started.
    """
    inside.check_stopped(queue)
    with inside.standing_on(queue, MemoryStore(clock)):
        yield queue


@contextmanager
def inline(queue: Queue) -> Generator[Queue]:
    """Run each push inside the block at once, as `drain` does, with whatever else is due; what a job raises, it raises.

    So too where the job is to be tried again: that waits. What jobs push runs when they have ended, what is pushed in
    `queue.transaction()` when that commits, and what follows a batch when that is sealed. Not for several threads.
    Raises UsageError when the queue was started.
    """
    inside.check_stopped(queue)
    now = _Inline(queue)
    pusher = inside.pusher_of(queue)
    with (
        patch.multiple(pusher, push=now.push, apush=now.apush, push_together=now.push_together),
        patch.multiple(pusher, push_many=now.push_many),
        patch.multiple(queue, transaction=now.transaction, batch=now.batch),
    ):
        yield queue


T = TypeVar("T")


class _Inline:
    """The verbs that push, each followed by a run of what is due."""

    def __init__(self, queue: Queue) -> None:
        pusher = inside.pusher_of(queue)
        self._queue = queue
        self._push, self._apush = pusher.push, pusher.apush
        self._push_together, self._push_many = pusher.push_together, pusher.push_many
        self._transaction, self._batch = queue.transaction, queue.batch
        self._runs = False

    def push(self, job: NewJob, *, within: object | None = None) -> int:
        return self._then_run(self._push(job, within=within), within)

    async def apush(self, job: NewJob) -> int:
        return self._then_run(await self._apush(job), None)

    def push_together(self, jobs: list[NewJob], *, within: object | None = None) -> list[int]:
        return self._then_run(self._push_together(jobs, within=within), within)

    def push_many(self, jobs: Iterable[NewJob], *, within: object | None = None) -> list[int]:
        return self._then_run(self._push_many(jobs, within=within), within)

    @contextmanager
    def transaction(self) -> Generator[Transaction]:
        with self._transaction() as transaction:
            yield transaction
        self._run()

    def batch(self, *, then: Call[object] | None = None, within: object | None = None) -> Batch:
        batch = self._batch(then=then, within=within)
        seal: Callable[[], None] = batch.seal

        def seal_and_run() -> None:
            seal()
            self._then_run(None, within)

        vars(batch)["seal"] = seal_and_run
        return batch

    def _then_run(self, given: T, within: object | None) -> T:
        if within is None:  # else it is not there before the commit, of which nobody tells
            self._run()
        return given

    def _run(self) -> None:
        """Run what is due, unless it runs already, or waits for a commit."""
        if self._runs or inside.store_of(self._queue).is_joined():
            return
        self._runs = True
        try:
            with Draining(self._queue) as draining:
                draining.run_due()
        finally:
            self._runs = False
        raise_all(draining.errors)
