"""MemoryStore: the contract in plain Python. The tests hold the SQLite engine against it; `Queue(":memory:")` is it.

Its jobs end with the process. `transaction` lends a private in-memory SQLite database for the application's own rows.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

import msgspec

from workqueue.errors import LeaseLost, QueueClosed, StoreUnavailable, UsageError
from workqueue.job import Attempt, Claim, Job, JobStatus, NewJob, Size
from workqueue.lifecycle import FINAL, Returned, Settlement, completion
from workqueue.store.clock import Clock, instant, later, micros, system_clock
from workqueue.store.contract import Beat, Bell, Outlook, Overview, Transaction, Turn, Want
from workqueue.store.guest import GuestTransaction, authorise
from workqueue.store.joining import Opened, opened_by_us
from workqueue.store.lender import refuse_in_memory
from workqueue.store.memory.batches import MemoryBatches
from workqueue.store.memory.changing import Changing
from workqueue.store.memory.claiming import claim
from workqueue.store.memory.inspection import broken_invariants, find, outlook, overview
from workqueue.store.memory.keeping import Keeping
from workqueue.store.memory.ledger import MemoryLedger
from workqueue.store.memory.rows import Row, Rows, new_row
from workqueue.store.memory.runners import Runner
from workqueue.store.memory.schedules import MemorySchedules
from workqueue.store.memory.settling import settle
from workqueue.store.memory.situation import Situations
from workqueue.store.memory.surplus import MemorySurplus
from workqueue.store.paging import Changed, Deed, Find, Page

_PATIENCE: Final = 30.0  # seconds that a verb waits for another thread's transaction

_stores: weakref.WeakSet[MemoryStore] = weakref.WeakSet()


class MemoryStore(Situations):
    """See `store.contract.Store` for what each verb promises; here a job survives nothing but its runner."""

    path = ":memory:"

    def __init__(self, clock: Clock = system_clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._rows = Rows()
        self._keeping = Keeping(self._rows)
        self.batches = MemoryBatches(
            self._keeping, turn=self._turn, push=self.push, cancel=self._cancel, ring=self._ring
        )
        self._changing = Changing(self._rows, self._keeping)
        self.schedules = MemorySchedules(self._turn, self.push)
        self.surplus = MemorySurplus(self._rows, self._keeping, self._turn)
        self.ledger = MemoryLedger(self._rows, self._turn)
        self._open: Opened | None = None
        self._to_ring: set[str] = set()  # by the open transaction
        self._last_id = 0
        self._last_runner = 0
        self._runners: dict[int, Runner] = {}
        self._guest: sqlite3.Connection | None = None
        self._closed = False
        _stores.add(self)

    # push

    def push(self, jobs: Sequence[NewJob], *, within: object | None = None) -> list[int]:
        with self._turn() as now:
            refuse_in_memory(within)
            with self._all_or_none():
                ids: list[int] = []
                for new in jobs:
                    ids.append(self._store(new, now, before=ids[-1] if ids else None))
            self._ring({new.queue for new in jobs})
            return ids

    def _store(self, new: NewJob, now: int, *, before: int | None) -> int:
        holder = self._keeping.holder(new, now)
        if holder is not None:
            return holder
        self._last_id += 1
        row = new_row(self._last_id, new, now, self._keeping.resolved(new, now, before))
        self._rows.add(row)
        self._keeping.add(row, new, now)
        return row.job.id

    @contextmanager
    def _all_or_none(self) -> Generator[None]:
        """Undo what the block did, when it raises."""
        self._rows.begin()
        self._keeping.begin()
        try:
            yield
        except BaseException:
            self._rows.roll_back()
            self._keeping.roll_back()
            raise
        self._rows.commit()
        self._keeping.commit()

    # claim and settle

    def turn(self, settlements: Sequence[Settlement], want: Want | None) -> Turn:
        with self._turn() as now:
            refused = [settlement.claim for settlement in settlements if not self._settle(settlement, now)]
            if want is None:
                return Turn([], refused, suspects=False, next_due=None)
            if self._keeping.is_paused(want.queue):
                return Turn([], refused, suspects=False, next_due=None)
            claims = claim(self._rows, self._keeping, want, now, runner=self._runners.get(want.runner))
            left = [row for row in self._rows.of(want.queue) if row.waits()]
            times = [micros(row.job.run_at) for row in left if not row.ready and not row.following]
            opening = self._keeping.next_opening(want.queue)
            next_at = min(times if opening is None else [*times, opening], default=None)
            return Turn(
                claims,
                refused,
                suspects=any(row.stands_in_line() and row.job.lost for row in left),
                next_due=None if next_at is None else timedelta(microseconds=max(0, next_at - now)),
            )

    def _settle(self, settlement: Settlement, now: int) -> bool:
        row = settle(self._rows, settlement, label=self._label(settlement.claim.runner), now=now)
        if row is None:
            return False
        if settlement.keep_result and settlement.result is not None:
            until = later(now, settlement.keep_result)
            queue = row.job.queue if settlement.counted else None
            self._keeping.beside.results[row.job.id] = settlement.result, until, queue
        if row.waits():
            self._keeping.stop(row)
            self._ring({row.job.queue})
        else:
            status = settlement.to if row.runs() else row.job.status  # it left, and was not changed before
            self._keeping.end(row, now, status, settlement.result)
        return True

    @contextmanager
    def transaction(
        self, claim: Claim | None = None, *, returned: Callable[[], Returned] = Returned, stays: bool = False
    ) -> Generator[Transaction]:
        with self._turn() as now:
            if self._open is not None:
                raise UsageError(
                    "expected one transaction at a time, but this code is inside a transaction of this queue"
                )
            if self._guest is None:
                self._guest = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            guest = self._guest
            guest.execute("BEGIN")
            opened = self._open = Opened(self, guest, now)
            self._rows.begin()
            self._keeping.begin()
            self.schedules.begin()
            self._to_ring.clear()
            token = opened.join()
            transaction = GuestTransaction(guest)
            try:
                guest.set_authorizer(authorise)
                try:
                    yield transaction
                finally:
                    transaction.close_cursors()
                    guest.set_authorizer(None)
                transaction.check()
                if claim is not None and not self._settle(completion(claim, returned(), stays=stays), now):
                    raise LeaseLost(claim.job.id, claim.job.attempt)
                guest.execute("COMMIT")
                self._rows.commit()
                self._keeping.commit()
            except BaseException:
                self._rows.roll_back()
                self._keeping.roll_back()
                self.schedules.roll_back()
                raise
            finally:
                opened.leave(token)
                self._open = None
                transaction.end()
                if guest.in_transaction:
                    guest.execute("ROLLBACK")
            self._ring(self._to_ring)

    def is_joined(self) -> bool:
        return opened_by_us(self) is not None

    # runners

    def enlist(self, queue: str, label: str) -> int:
        with self._turn() as now:
            self._last_runner += 1
            self._runners[self._last_runner] = Runner(queue, label, now)
            return self._last_runner

    def retire(self, runner: int) -> None:
        with self._turn():
            if runner in self._runners:
                if any(row.runner == runner for row in self._rows):
                    self._runners[runner].alive = False
                else:
                    del self._runners[runner]

    def _label(self, runner: int) -> str:
        known = self._runners.get(runner)
        return "" if known is None else known.label

    def bell(self, runner: int) -> Bell:
        with self._turn():
            return self._runners[runner].bell

    def _ring(self, queues: Collection[str]) -> None:
        if self._open is not None:
            self._to_ring.update(queues)
            return
        for runner in self._runners.values():
            if runner.alive and runner.queue in queues:
                runner.bell.ring()

    def beat(self, runner: int, lease: timedelta) -> Beat:
        with self._turn() as now:
            for row in self._held(runner):
                self._rows.change(row).say_since(micros(lease))
                row.lease_until = now + micros(lease)
            return self.held(runner)

    def held(self, runner: int) -> Beat:
        with self._turn():
            jobs = [row.job for row in self._held(runner)]
            return Beat({job.id: job.attempt for job in jobs}, frozenset(j.id for j in jobs if j.cancel_requested))

    def _held(self, runner: int) -> list[Row]:
        return [row for row in self._rows if row.runs_for(runner)]

    def orphans(self, *, expired: bool, limit: int) -> list[Claim]:
        with self._turn() as now:
            alive = {number for number, runner in self._runners.items() if runner.alive}
            return [
                row.claim(row.job, now)
                for row in self._rows
                if row.runs() and (row.runner not in alive or (expired and row.lease_until < now))
            ][:limit]

    # people

    def get(self, job_id: int) -> Job:
        with self._turn():
            return self._rows.known(job_id).job

    def find(self, which: Find) -> Page:
        with self._turn():
            return find(self._rows, which)

    def change(self, which: Find, deed: Deed) -> Changed:
        with self._turn() as now:
            changed, queues = self._changing.change(which, deed, now)
            self._ring(queues if deed != "delete" else ())
            return changed

    def history(self, job_id: int) -> list[Attempt]:
        with self._turn():
            row = self._rows.get(job_id)
            return [] if row is None else list(row.history)

    def cancel(self, job_id: int) -> bool:
        with self._turn() as now:
            return self._cancel(self._rows.known(job_id), now)

    def _cancel(self, row: Row, now: int, reason: str = "cancelled") -> bool:
        self._ring({row.job.queue})
        return self._changing.cancel(row, now, reason)

    def restore(self, queue: str, job_ids: Collection[int] | None) -> int:
        with self._turn() as now:
            self._ring({queue})
            ours = self._rows.of(queue)
            if job_ids is None:
                return self._changing.restore([row for row in ours if row.job.status is JobStatus.FAILED], now)
            return self._changing.restore([row for row in ours if row.job.id in job_ids], now)

    def clean(self, queue: str, status: JobStatus) -> int:
        with self._turn():
            settled = [row for row in self._rows.of(queue) if row.job.status is status and status in FINAL]
            return self._changing.delete(settled)

    def edit(self, job_id: int, data: bytes, *, was: bytes | None = None) -> bool:
        with self._turn():
            row = self._rows.change(self._rows.known(job_id))
            may = not row.runs() and row.job.status is not JobStatus.COMPLETED and was in (None, row.job.data)
            if may:
                row.job = msgspec.structs.replace(row.job, data=data)
            return may

    def pause(self, queue: str, name: str | None) -> None:
        with self._turn():
            self._keeping.beside.pauses.add((queue, name or ""))

    def resume(self, queue: str, name: str | None) -> None:
        with self._turn():
            self._keeping.resume(queue, name or "")
            self._ring({queue})

    def paused(self, queue: str) -> list[str | None]:
        with self._turn():
            return [name or None for where, name in sorted(self._keeping.beside.pauses) if where == queue]

    def outlook(self, job_ids: Collection[int]) -> dict[int, Outlook]:
        with self._turn():
            known = (job for job in job_ids if 0 < job <= self._last_id)
            return {job: outlook(self._rows.get(job), job, self._keeping) for job in known}

    def note_progress(self, runner: int, progress: Mapping[int, bytes]) -> None:
        with self._turn():
            held = {row.job.id for row in self._held(runner)}
            self._keeping.beside.progress |= {job: data for job, data in progress.items() if job in held}

    def sweep(self, queue: str, limit: int) -> int:
        with self._turn() as now:
            self._ring({queue})
            self.ledger.forget(now)
            return self._keeping.sweep(queue, now, limit)

    def size(self, queue: str) -> Size:
        with self._turn():
            ours = [row.job for row in self._rows.of(queue)]
            failed = sum(job.status is JobStatus.FAILED for job in ours)
            return Size(waiting=sum(job.settled_at is None for job in ours), failed=failed)

    def idle(self, queue: str) -> bool:
        with self._turn() as now:
            return not any(
                row.runs() or row.job.status is JobStatus.RETRYING or (row.waits() and row.is_due(now))
                for row in self._rows.of(queue)
            )

    def overview(self) -> Overview:
        with self._turn() as now:
            return overview(self._rows, self._runners, {queue for queue, _ in self._keeping.beside.pauses}, now)

    # itself

    def now(self) -> datetime:
        return instant(self._clock())

    def check(self) -> list[str]:
        with self._turn():
            return broken_invariants(self._rows, last_id=self._last_id) + self.ledger.broken_invariants()

    def close(self) -> None:
        with self._locked():
            if self._open is not None:
                raise UsageError("expected close() after the transaction's block, but it was called inside")
            self._closed = True
            if self._guest is not None:
                self._guest.close()
                self._guest = None

    @contextmanager
    def _turn(self) -> Generator[int]:
        """Give the store's time, with the lock held; refuse a second task on the thread that has a transaction open."""
        with self._locked():
            if self._closed:
                raise QueueClosed(self.path)
            if self._open is not None and opened_by_us(self) is None:
                raise UsageError(
                    "expected no await inside `with ctx.transaction()`: another job of this loop has a transaction open"
                )
            yield self._clock()

    @contextmanager
    def _locked(self) -> Generator[None]:
        opened_by_us(self)  # refuses another thread in its name, which would wait for a block that waits for it
        try:
            if not self._lock.acquire(timeout=_PATIENCE):
                held = f"expected a turn within {_PATIENCE:.0f} s, but another thread holds a transaction open"
                raise StoreUnavailable(held, path=self.path)
            yield
        finally:
            try:  # not by `suppress`: between its steps Ctrl-C may come, and the lock be kept for ever
                self._lock.release()
            except RuntimeError:  # it is not ours: the wait for it was in vain
                pass


def _forget_locks() -> None:
    """In a forked child, which has a copy of the jobs: whoever holds the parent's locks does not exist here."""
    for store in list(_stores):
        store._lock = threading.RLock()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - this module's own


os.register_at_fork(after_in_child=_forget_locks)
