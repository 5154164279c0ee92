"""What a MemoryStore holds beyond what is to be kept; see `store.surplus.Surplus` for what each verb promises."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from workqueue.job import JobStatus
from workqueue.retention import Keep
from workqueue.store.clock import micros
from workqueue.store.memory.keeping import Keeping
from workqueue.store.memory.rows import Rows
from workqueue.store.surplus import Kept, Mark

_LAST: Final = 2**63 - 1
_STATUS: Final = {"completed": JobStatus.COMPLETED, "failed": JobStatus.FAILED}


class MemorySurplus:
    """turn: the store's lock and time."""

    def __init__(self, rows: Rows, keeping: Keeping, turn: Callable[[], AbstractContextManager[int]]) -> None:
        self._rows = rows
        self._keeping = keeping
        self._turn = turn

    def find(self, queue: str, what: Kept, keep: Keep) -> Mark | None:
        with self._turn() as now:
            kept = self._kept(queue, what)
            marks = [] if keep.count is None else kept[: max(0, len(kept) - keep.count)]
            if keep.age is not None and what != "results":
                mark = Mark(now - micros(keep.age), _LAST)
                marks += [mark] if kept and kept[0] <= mark else []
            return max(marks, default=None)

    def prune(self, queue: str, what: Kept, mark: Mark, limit: int) -> int:
        with self._turn():
            old = [place.last for place in self._kept(queue, what) if place <= mark]
            old = (sorted(old) if what == "failed" else old)[:limit]
            for job in old:
                if what == "results":
                    del self._keeping.beside.results[job]
                else:
                    self._rows.remove(self._rows.known(job))
            return len(old)

    def shrink(self, limit: int, *, whole: bool = False) -> int:
        del limit, whole
        return 0

    def _kept(self, queue: str, what: Kept) -> list[Mark]:
        """Give the places of all that is kept, the oldest first."""
        if what == "results":
            results = self._keeping.beside.results.items()
            return sorted(Mark(until, job) for job, (_, until, counted) in results if counted == queue)
        jobs = (row.job for row in self._rows.of(queue) if row.job.status is _STATUS[what])
        return sorted(Mark(micros(job.settled_at), job.id) for job in jobs if job.settled_at is not None)
