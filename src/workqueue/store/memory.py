"""MemoryStore: the contract in plain Python. The tests hold the SQLite engine against it; `Queue(":memory:")` is it.

Its jobs end with the process. `transaction` lends a private in-memory SQLite database for the application's own rows.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, cast

import msgspec

from workqueue.errors import JobNotFound, LeaseLost, QueueClosed, UsageError
from workqueue.job import Attempt, Claim, Job, JobStatus, NewJob, Size
from workqueue.lifecycle import WAITING, Settlement
from workqueue.store.clock import Clock, instant, micros, system_clock
from workqueue.store.contract import Beat, Bell, Find, Parameters, Rows, Transaction, Turn, Want

_KEPT_ATTEMPTS: Final = 100
_NOW: Final = timedelta(0)
_inside: ContextVar[MemoryStore | None] = ContextVar("workqueue_memory_transaction", default=None)


@dataclass
class _Row:
    """A stored job: the record, and what only the store knows of it."""

    job: Job
    position: int
    ready: bool
    runner: int = 0
    lease_until: int = 0
    history: list[Attempt] = field(default_factory=list[Attempt])

    def order(self) -> tuple[int, int, int]:
        return (-self.job.priority, self.position, self.job.id)


class _MemoryBell:
    def __init__(self) -> None:
        self._rung = threading.Event()

    def wait(self, timeout: float) -> None:
        self._rung.wait(max(0.0, timeout))
        self._rung.clear()

    def ring(self) -> None:
        self._rung.set()


class MemoryStore:
    """See `store.contract.Store` for what each verb promises; here a job survives nothing but its runner."""

    path = ":memory:"

    def __init__(self, clock: Clock = system_clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._holder: int | None = None
        self._rows: dict[int, _Row] = {}
        self._last_id = 0
        self._last_runner = 0
        self._runners: dict[int, tuple[str, str, _MemoryBell]] = {}
        self._labels: dict[int, str] = {}
        self._guest: sqlite3.Connection | None = None
        self._to_ring: set[str] = set()
        self._closed = False

    # push

    def push(self, jobs: Sequence[NewJob]) -> list[int]:
        with self._turn() as now:
            ids: list[int] = []
            for new in jobs:
                self._last_id += 1
                run_at = now if new.delay is None else now + micros(new.delay)
                if new.run_at is not None:
                    run_at = micros(new.run_at)
                job = Job(
                    id=self._last_id,
                    queue=new.queue,
                    name=new.name,
                    data=new.data,
                    priority=new.priority,
                    run_at=instant(run_at),
                    pushed_at=instant(now),
                    backoff=new.backoff.copy(),
                )
                self._rows[job.id] = _Row(job, run_at if new.timing else 0, ready=run_at <= now)
                ids.append(job.id)
            self._ring({new.queue for new in jobs})
            return ids

    # claim and settle

    def turn(self, settlements: Sequence[Settlement], want: Want | None) -> Turn:
        with self._turn() as now:
            refused = [settlement.claim for settlement in settlements if not self._settle(settlement, now)]
            if want is None:
                return Turn([], refused, suspects=False, next_due=None)
            self._promote(want.queue, now)
            claims = self._claim(want, now)
            left = [row for row in self._waiting(want.queue)]
            later = min((micros(row.job.run_at) for row in left if not row.ready), default=None)
            return Turn(
                claims,
                refused,
                suspects=any(row.ready and row.job.lost for row in left),
                next_due=None if later is None else timedelta(microseconds=max(0, later - now)),
            )

    def _settle(self, settlement: Settlement, now: int) -> bool:
        claim = settlement.claim
        row = self._running(claim)
        if row is None or (settlement.losses and row.lease_until != claim.lease_until):
            return False
        job = row.job
        if settlement.to is JobStatus.COMPLETED or not settlement.keep:
            del self._rows[job.id]
            return True
        counted = bool(settlement.failures or settlement.losses)
        waits = settlement.to in WAITING and not job.cancel_requested
        run_at = now + micros(settlement.delay) if counted else micros(job.run_at)
        row.job = msgspec.structs.replace(
            job,
            status=JobStatus.CANCELLED if settlement.to in WAITING and job.cancel_requested else settlement.to,
            run_at=instant(run_at),
            settled_at=None if waits else instant(now),
            retry_count=job.retry_count + settlement.failures,
            lost=job.lost + settlement.losses,
            message=settlement.error or job.message,
            cancel_requested=False,
        )
        row.ready = waits and (not counted or settlement.delay <= _NOW)
        if row.position and counted:
            row.position = run_at
        self._remember(row, settlement)
        row.runner = row.lease_until = 0
        if waits:
            self._ring({job.queue})
        return True

    def _remember(self, row: _Row, settlement: Settlement) -> None:
        if settlement.outcome:
            claim = settlement.claim
            started = claim.job.pushed_at + claim.age
            attempt = Attempt(
                claim.job.attempt,
                self._labels.get(claim.runner, ""),
                started,
                settlement.duration,
                settlement.outcome,
                settlement.error,
                settlement.traceback,
            )
            row.history = [*row.history, attempt][-_KEPT_ATTEMPTS:]

    def _promote(self, queue: str, now: int) -> None:
        for row in self._waiting(queue):
            row.ready = row.ready or micros(row.job.run_at) <= now

    def _claim(self, want: Want, now: int) -> list[Claim]:
        best = sorted(
            (row for row in self._waiting(want.queue) if row.ready and bool(row.job.lost) == want.alone), key=_Row.order
        )
        claims: list[Claim] = []
        for row in best[: 1 if want.alone else want.limit]:
            row.ready = False
            row.runner = want.runner
            row.lease_until = now + micros(want.lease)
            row.job = msgspec.structs.replace(row.job, status=JobStatus.RUNNING, attempt=row.job.attempt + 1)
            claims.append(self._as_claim(row, now))
        return claims

    def _as_claim(self, row: _Row, now: int) -> Claim:
        # A claim does not carry the last error along, as in every engine.
        job = msgspec.structs.replace(row.job, message="", cancel_requested=False)
        return Claim(job, row.runner, timedelta(microseconds=now - micros(job.pushed_at)), row.lease_until)

    def _running(self, claim: Claim) -> _Row | None:
        row = self._rows.get(claim.job.id)
        if row is None or row.job.status is not JobStatus.RUNNING or row.job.attempt != claim.job.attempt:
            return None
        return row

    def _waiting(self, queue: str) -> list[_Row]:
        return [row for row in self._rows.values() if row.job.queue == queue and row.job.status in WAITING]

    @contextmanager
    def transaction(self, claim: Claim | None = None) -> Generator[Transaction]:
        if _inside.get() is self:
            raise UsageError("expected one transaction at a time, but this code is inside a transaction of this queue")
        with self._turn():
            if self._guest is None:
                self._guest = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            guest = self._guest
            guest.execute("BEGIN")
            last_id = self._last_id
            self._holder = threading.get_ident()
            token = _inside.set(self)
            try:
                yield (transaction := _MemoryTransaction(guest))
                transaction.check()
                if claim is not None:
                    if self._running(claim) is None:
                        raise LeaseLost(claim.job.id, claim.job.attempt)
                    del self._rows[claim.job.id]
                guest.execute("COMMIT")
            except BaseException:
                for job_id in range(last_id + 1, self._last_id + 1):
                    self._rows.pop(job_id, None)
                self._to_ring.clear()
                raise
            finally:
                _inside.reset(token)
                self._holder = None
                if guest.in_transaction:
                    guest.execute("ROLLBACK")
            queues, self._to_ring = self._to_ring, set()
            self._ring(queues)

    # runners

    def enlist(self, queue: str, label: str) -> int:
        with self._turn():
            self._last_runner += 1
            self._runners[self._last_runner] = (queue, label, _MemoryBell())
            self._labels[self._last_runner] = label
            return self._last_runner

    def retire(self, runner: int) -> None:
        with self._turn():
            self._runners.pop(runner, None)

    def bell(self, runner: int) -> Bell:
        with self._turn():
            return self._runners[runner][2]

    def _ring(self, queues: Collection[str]) -> None:
        if _inside.get() is self:
            self._to_ring.update(queues)
            return
        for queue, _, bell in self._runners.values():
            if queue in queues:
                bell.ring()

    def beat(self, runner: int, lease: timedelta) -> Beat:
        with self._turn() as now:
            for row in self._held(runner):
                row.lease_until = now + micros(lease)
            return self.held(runner)

    def held(self, runner: int) -> Beat:
        with self._turn():
            jobs = [row.job for row in self._held(runner)]
            return Beat({job.id: job.attempt for job in jobs}, frozenset(j.id for j in jobs if j.cancel_requested))

    def _held(self, runner: int) -> list[_Row]:
        return [row for row in self._rows.values() if row.job.status is JobStatus.RUNNING and row.runner == runner]

    def orphans(self, *, expired: bool, limit: int) -> list[Claim]:
        with self._turn() as now:
            return [
                self._as_claim(row, now)
                for row in self._rows.values()
                if row.job.status is JobStatus.RUNNING
                and (row.runner not in self._runners or (expired and row.lease_until < now))
            ][:limit]

    # people

    def get(self, job_id: int) -> Job:
        with self._turn():
            return self._row(job_id).job

    def _row(self, job_id: int) -> _Row:
        row = self._rows.get(job_id)
        if row is None:
            raise JobNotFound(job_id)
        return row

    def find(self, which: Find) -> list[Job]:
        with self._turn():
            return [
                row.job
                for row in self._rows.values()
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
            row = self._row(job_id)
            status = row.job.status
            if status in WAITING:
                row.ready = False
                row.job = msgspec.structs.replace(
                    row.job, status=JobStatus.CANCELLED, settled_at=instant(now), message="cancelled"
                )
            elif status is JobStatus.RUNNING:
                row.job = msgspec.structs.replace(row.job, cancel_requested=True)
            self._ring({row.job.queue})
            return status in WAITING or status is JobStatus.RUNNING

    def restore(self, queue: str, job_ids: Collection[int] | None) -> int:
        with self._turn() as now:
            rows = [
                row
                for row in self._rows.values()
                if row.job.queue == queue
                and (
                    row.job.status is JobStatus.FAILED
                    if job_ids is None
                    else row.job.id in job_ids and row.job.status in (JobStatus.FAILED, JobStatus.CANCELLED)
                )
            ]
            for row in rows:
                row.ready = True
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
            gone = [
                row.job.id
                for row in self._rows.values()
                if row.job.queue == queue and row.job.status is status and row.job.settled_at is not None
            ]
            for job_id in gone:
                del self._rows[job_id]
            return len(gone)

    def size(self, queue: str) -> Size:
        with self._turn():
            ours = [row.job for row in self._rows.values() if row.job.queue == queue]
            failed = sum(job.status is JobStatus.FAILED for job in ours)
            return Size(waiting=sum(job.settled_at is None for job in ours), failed=failed)

    def idle(self, queue: str) -> bool:
        with self._turn() as now:
            return not any(
                row.job.status in (JobStatus.RUNNING, JobStatus.RETRYING) or row.ready or micros(row.job.run_at) <= now
                for row in self._rows.values()
                if row.job.queue == queue and row.job.settled_at is None
            )

    # itself

    def now(self) -> datetime:
        return instant(self._clock())

    def check(self) -> list[str]:
        with self._turn():
            rules: dict[str, Callable[[_Row], bool]] = {
                "is ready without waiting": lambda row: row.ready and row.job.status not in WAITING,
                "does not fit its runner": lambda row: bool(row.runner) is not (row.job.status is JobStatus.RUNNING),
                "runs without an attempt": lambda row: row.job.status is JobStatus.RUNNING and row.job.attempt < 1,
                "retries without a reason": lambda row: (
                    row.job.status is JobStatus.RETRYING and not row.job.retry_count + row.job.lost
                ),
            }
            return [
                f"job {row.job.id} {sentence}"
                for row in self._rows.values()
                for sentence, is_broken in rules.items()
                if is_broken(row)
            ]

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._guest is not None:
                self._guest.close()
                self._guest = None

    @contextmanager
    def _turn(self) -> Generator[int]:
        """Give the store's time, with the lock held; refuse a second task on the thread that has a transaction open."""
        with self._lock:
            if self._closed:
                raise QueueClosed(self.path)
            if self._holder == threading.get_ident() and _inside.get() is not self:
                raise UsageError(
                    "expected no await inside `with ctx.transaction()`: another job of this loop has a transaction open"
                )
            yield self._clock()


class _MemoryTransaction:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Parameters = ()) -> Rows:
        self.check()
        rows = self._connection.execute(sql, cast("Sequence[object]", parameters))
        self.check()
        return cast("Rows", rows)

    def executemany(self, sql: str, rows: Sequence[Parameters]) -> Rows:
        self.check()
        return cast("Rows", self._connection.executemany(sql, cast("Sequence[Sequence[object]]", rows)))

    def check(self) -> None:
        if not self._connection.in_transaction:
            raise UsageError(
                "expected the transaction to be open until its block ends, but a statement inside ended it (COMMIT or "
                "ROLLBACK); leave that to the block"
            )
