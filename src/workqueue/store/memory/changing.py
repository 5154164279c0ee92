"""What people change in a MemoryStore: jobs cancelled, restored and deleted."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from workqueue.store.clock import instant, micros
from workqueue.store.memory.inspection import meant
from workqueue.store.memory.keeping import Keeping
from workqueue.store.memory.rows import Row, Rows
from workqueue.store.paging import DONE_TO, Changed, Deed, Find


class Changing:
    """See the module. Its caller holds the store's lock, and rings afterwards."""

    def __init__(self, rows: Rows, keeping: Keeping) -> None:
        self._rows = rows
        self._keeping = keeping

    def change(self, which: Find, deed: Deed, now: int) -> tuple[Changed, set[str]]:
        """Do it to a page of the jobs that are meant; say what came of it, and in which queues."""
        found, following = meant(self._rows, which, DONE_TO[deed])
        if deed == "cancel":  # the newest first: what follows others has not been cancelled with them then
            newest_first = sorted(found, key=lambda row: row.job.id, reverse=True)
            waiting = [row for row in newest_first if row.waits()]
            running = [row for row in newest_first if row.runs()]
            count = sum(self.cancel(row, now) for row in [*waiting, *running])
        elif deed == "retry":
            count = self.hasten(found, now) + self.restore(found, now)
        elif deed == "restore":
            count = self.restore(found, now)
        else:
            count = self.delete(found)
        return Changed(count, following), {row.job.queue for row in found}

    def cancel(self, row: Row, now: int, reason: str = "cancelled") -> bool:
        """Cancel it if it waits, ask its runner to if it runs; False when it is settled."""
        if self._keeping.cancel(row, now, reason):
            return True
        if row.runs():
            self._rows.change(row).job = msgspec.structs.replace(row.job, cancel_requested=True)
        return row.runs()

    def hasten(self, found: Iterable[Row], now: int) -> int:
        """Let those that wait for their time be due now: the next claim lets them stand in line."""
        early = [row for row in found if row.waits() and micros(row.job.run_at) > now]
        for row in early:
            self._rows.change(row).job = msgspec.structs.replace(row.job, run_at=instant(now))
            row.position = now if row.position else 0
        return len(early)

    def restore(self, found: Iterable[Row], now: int) -> int:
        """Let those that failed, or were cancelled, wait again; those stay whose key another job has by now."""
        restored = 0
        for row in sorted(found, key=lambda row: row.job.id):
            if row.job.status in DONE_TO["restore"] and self._keeping.may_reopen(row):
                self._keeping.reopen(row)
                self._rows.change(row).restore(now)
                restored += 1
        return restored

    def delete(self, found: Iterable[Row]) -> int:
        gone = list(found)
        for row in gone:
            self._rows.remove(row)
        return len(gone)
