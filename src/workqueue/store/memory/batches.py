"""Batches of a MemoryStore; see `store.batching.Batches` for what each verb promises."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager

from workqueue.job import NewJob
from workqueue.store.batching import BatchStanding
from workqueue.store.lender import refuse_in_memory
from workqueue.store.memory.keeping import Keeping
from workqueue.store.memory.rows import Row


class MemoryBatches:
    """turn: the store's lock and time; push: the store's.

    cancel: of one job, with a reason; ring: wakes the runners of queues.
    """

    def __init__(
        self,
        keeping: Keeping,
        *,
        turn: Callable[[], AbstractContextManager[int]],
        push: Callable[[Sequence[NewJob]], list[int]],
        cancel: Callable[[Row, int, str], bool],
        ring: Callable[[Collection[str]], None],
    ) -> None:
        self._keeping = keeping
        self._turn = turn
        self._push = push
        self._cancel = cancel
        self._ring = ring

    def open(self, queue: str, *, within: object | None = None) -> int:
        with self._turn():
            refuse_in_memory(within)
            return self._keeping.open_batch(queue)

    def seal(self, batch: int, jobs: Sequence[NewJob] = (), *, within: object | None = None) -> list[int]:
        with self._turn() as now:
            refuse_in_memory(within)
            queue = self._keeping.batch(batch).queue
            ids = self._push(jobs)
            self._keeping.seal(batch, now)
            self._ring({queue})
            return ids

    def get(self, batch: int) -> BatchStanding:
        with self._turn():
            return self._keeping.batch(batch)

    def newest(self, limit: int, *, before: int | None = None) -> list[BatchStanding]:
        with self._turn():
            standings = self._keeping.beside.batches
            ids = sorted((batch for batch in standings if before is None or batch < before), reverse=True)
            return [standings[batch] for batch in ids[:limit]]

    def cancel(self, batch: int, *, within: object | None = None) -> int:
        with self._turn() as now:
            refuse_in_memory(within)
            self._keeping.seal(batch, now)
            open_ones = [row for row in self._keeping.members(batch) if row.job.settled_at is None]
            asked = [row for row in open_ones if not row.job.cancel_requested]
            for row in reversed(asked):  # what follows others has not been cancelled with them then
                self._cancel(row, now, "cancelled with its batch")
            return len(asked)
