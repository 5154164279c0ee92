"""MemoryStore: the contract in plain Python. The tests hold the SQLite engine against it; `Queue(":memory:")` is it.

Its jobs end with the process. `transaction` lends a private in-memory SQLite database for the application's own rows.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

import msgspec

from workqueue.errors import JobNotFound, LeaseLost, QueueClosed, StoreUnavailable, UsageError
from workqueue.job import Attempt, Claim, Job, JobStatus, NewJob, Size
from workqueue.lifecycle import FINAL, Settlement
from workqueue.store.clock import Clock, instant, later, micros, system_clock
from workqueue.store.contract import Beat, Bell, Engine, Enlisted, Find, Overview, Transaction, Turn, Want
from workqueue.store.guest import GuestTransaction
from workqueue.store.joining import Opened, opened_by_us
from workqueue.store.memory.inspection import broken_invariants, standing
from workqueue.store.memory.rows import Row, Rows
from workqueue.store.memory.runners import Runner
from workqueue.store.memory.schedules import MemorySchedules
from workqueue.store.memory.settling import held, settle

_PATIENCE: Final = 30.0  # seconds that a verb waits for another thread's transaction


_stores: weakref.WeakSet[MemoryStore] = weakref.WeakSet()


class MemoryStore:
    """See `store.contract.Store` for what each verb promises; here a job survives nothing but its runner."""

    path = ":memory:"

    def __init__(self, clock: Clock = system_clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._rows = Rows()
        self.schedules = MemorySchedules(self._turn, self.push)
        self._open: Opened | None = None
        self._to_ring: set[str] = set()  # by the open transaction
        self._last_id = 0
        self._last_runner = 0
        self._runners: dict[int, Runner] = {}
        self._guest: sqlite3.Connection | None = None
        self._closed = False
        _stores.add(self)

    # push

    def push(self, jobs: Sequence[NewJob]) -> list[int]:
        with self._turn() as now:
            rows: list[Row] = []
            for job_id, new in enumerate(jobs, start=self._last_id + 1):
                run_at = now if new.delay is None else later(now, new.delay)
                if new.run_at is not None:
                    run_at = micros(new.run_at)
                job = Job(
                    id=job_id,
                    queue=new.queue,
                    name=new.name,
                    data=new.data,
                    priority=new.priority,
                    run_at=instant(run_at),
                    pushed_at=instant(now),
                    backoff=new.backoff.copy(),
                )
                rows.append(Row(job, run_at if new.timing else 0, ready=run_at <= now))
            for row in rows:
                self._rows.add(row)
            self._last_id += len(rows)
            self._ring({new.queue for new in jobs})
            return [row.job.id for row in rows]

    # claim and settle

    def turn(self, settlements: Sequence[Settlement], want: Want | None) -> Turn:
        with self._turn() as now:
            refused = [settlement.claim for settlement in settlements if not self._settle(settlement, now)]
            if want is None:
                return Turn([], refused, suspects=False, next_due=None)
            self._promote(want.queue, now)
            claims = self._claim(want, now)
            left = self._waiting(want.queue)
            next_run_at = min((micros(row.job.run_at) for row in left if not row.ready), default=None)
            return Turn(
                claims,
                refused,
                suspects=any(row.ready and row.job.lost for row in left),
                next_due=None if next_run_at is None else timedelta(microseconds=max(0, next_run_at - now)),
            )

    def _settle(self, settlement: Settlement, now: int) -> bool:
        runner = self._runners.get(settlement.claim.runner)
        row = settle(self._rows, settlement, label="" if runner is None else runner.label, now=now)
        if row is not None and row.waits():
            self._ring({row.job.queue})
        return row is not None

    def _promote(self, queue: str, now: int) -> None:
        for row in self._waiting(queue):
            if not row.ready and row.is_due(now):
                self._rows.change(row).ready = True

    def _claim(self, want: Want, now: int) -> list[Claim]:
        best = sorted(
            (row for row in self._waiting(want.queue) if row.ready and bool(row.job.lost) == want.alone), key=Row.order
        )
        claims: list[Claim] = []
        for row in best[: 1 if want.alone else want.limit]:
            self._rows.change(row).ready = False
            row.runner = want.runner
            row.lease_until = now + micros(want.lease)
            row.job = msgspec.structs.replace(row.job, status=JobStatus.RUNNING, attempt=row.job.attempt + 1)
            # What is claimed to be run does not carry the last error along, as in every engine.
            claims.append(row.claim(msgspec.structs.replace(row.job, message=""), now))
        return claims

    def _waiting(self, queue: str) -> list[Row]:
        return [row for row in self._rows.of(queue) if row.waits()]

    @contextmanager
    def transaction(self, claim: Claim | None = None) -> Generator[Transaction]:
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
            self.schedules.begin()
            self._to_ring.clear()
            token = opened.join()
            transaction = GuestTransaction(guest)
            try:
                guest.set_authorizer(_authorise)
                try:
                    yield transaction
                finally:
                    guest.set_authorizer(None)
                transaction.check()
                if claim is not None:
                    self._complete(claim)
                guest.execute("COMMIT")
                self._rows.commit()
            except BaseException:
                self._rows.roll_back()
                self.schedules.roll_back()
                raise
            finally:
                opened.leave(token)
                self._open = None
                transaction.end()
                if guest.in_transaction:
                    guest.execute("ROLLBACK")
            self._ring(self._to_ring)

    def _complete(self, claim: Claim) -> None:
        row = held(self._rows, claim)
        if row is None:
            raise LeaseLost(claim.job.id, claim.job.attempt)
        self._rows.remove(row)

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
                self._rows.change(row).lease_until = now + micros(lease)
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
            return self._row(job_id).job

    def _row(self, job_id: int) -> Row:
        row = self._rows.get(job_id)
        if row is None:
            raise JobNotFound(job_id)
        return row

    def find(self, which: Find) -> list[Job]:
        with self._turn():
            return [
                row.job
                for row in self._rows
                if row.job.id > which.after
                and which.queue in (None, row.job.queue)
                and which.status in (None, row.job.status)
                and which.name in (None, row.job.name)
            ][: which.limit]

    def history(self, job_id: int) -> list[Attempt]:
        with self._turn():
            row = self._rows.get(job_id)
            return [] if row is None else list(row.history)

    def cancel(self, job_id: int) -> bool:
        with self._turn() as now:
            row = self._rows.change(self._row(job_id))
            status = row.job.status
            if row.waits():
                row.ready = False
                row.job = msgspec.structs.replace(
                    row.job, status=JobStatus.CANCELLED, settled_at=instant(now), message="cancelled"
                )
            elif status is JobStatus.RUNNING:
                row.job = msgspec.structs.replace(row.job, cancel_requested=True)
            self._ring({row.job.queue})
            return status not in FINAL

    def restore(self, queue: str, job_ids: Collection[int] | None) -> int:
        with self._turn() as now:
            rows = [
                row
                for row in self._rows.of(queue)
                if (
                    row.job.status is JobStatus.FAILED
                    if job_ids is None
                    else row.job.id in job_ids and row.job.status in (JobStatus.FAILED, JobStatus.CANCELLED)
                )
            ]
            for row in rows:
                self._rows.change(row).ready = True
                row.position = now if row.position else 0
                row.job = msgspec.structs.replace(
                    row.job,
                    status=JobStatus.PENDING,
                    retry_count=0,
                    lost=0,
                    settled_at=None,
                    message="",
                    run_at=instant(now),
                )
            self._ring({queue})
            return len(rows)

    def clean(self, queue: str, status: JobStatus) -> int:
        with self._turn():
            gone = [row for row in self._rows.of(queue) if row.job.status is status and status in FINAL]
            for row in gone:
                self._rows.remove(row)
            return len(gone)

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
            runners: list[Enlisted] = []
            for number, runner in self._runners.items():
                running = len(self._held(number))
                if runner.alive or running:
                    runners.append(
                        Enlisted(
                            id=number,
                            queue=runner.queue,
                            label=runner.label,
                            started_at=instant(runner.started_at),
                            alive=runner.alive,
                            running=running,
                        )
                    )
            queues = {row.job.queue for row in self._rows} | {runner.queue for runner in runners}
            return Overview(
                now=instant(now),
                queues=[standing(queue, self._rows.of(queue), now=now) for queue in sorted(queues)],
                runners=runners,
                engine=Engine(name="memory", notes=["the jobs end with the process"]),
            )

    # itself

    def now(self) -> datetime:
        return instant(self._clock())

    def check(self) -> list[str]:
        with self._turn():
            return broken_invariants(self._rows, last_id=self._last_id)

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
        if not self._lock.acquire(timeout=_PATIENCE):
            raise StoreUnavailable(
                f"expected a turn within {_PATIENCE:.0f} s, but another thread holds a transaction open", path=self.path
            )
        try:
            yield
        finally:
            self._lock.release()


def _authorise(action: int, *_: str | None) -> int:
    """Deny a guest the statements that begin and end transactions; SQLite asks when one is prepared."""
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_TRANSACTION else sqlite3.SQLITE_OK


def _forget_locks() -> None:
    """In a forked child, which has a copy of the jobs: whoever holds the parent's locks does not exist here."""
    for store in list(_stores):
        store._lock = threading.RLock()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - this module's own


os.register_at_fork(after_in_child=_forget_locks)
