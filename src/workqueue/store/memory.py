"""MemoryStore: the contract in plain Python. The tests hold the SQLite engine against it; `Queue(":memory:")` is it.

Its jobs end with the process. `transaction` lends a private in-memory SQLite database for the application's own rows.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, cast

import msgspec

from workqueue.errors import JobNotFound, LeaseLost, QueueClosed, StoreUnavailable, UsageError
from workqueue.job import Attempt, Claim, Job, JobStatus, NewJob, Size
from workqueue.lifecycle import FINAL, WAITING, Settlement
from workqueue.store.clock import Clock, instant, later, micros, system_clock
from workqueue.store.contract import (
    Beat,
    Bell,
    Engine,
    Enlisted,
    Find,
    Overview,
    Parameters,
    Rows,
    Standing,
    Transaction,
    Turn,
    Want,
)

_KEPT_ATTEMPTS: Final = 100
_PATIENCE: Final = 30.0  # seconds that a verb waits for another thread's transaction
_NOW: Final = timedelta(0)


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


@dataclass(eq=False)
class _Open:
    """A transaction while it is open: what a rollback puts back (None: the job was not there), and whom a commit wakes.

    Known by itself and not by its store: a task or thread that was started inside keeps the context for longer.
    """

    thread: int
    before: dict[int, _Row | None] = field(default_factory=dict["int", "_Row | None"])
    to_ring: set[str] = field(default_factory=set[str])


_inside: ContextVar[tuple[_Open, ...]] = ContextVar("workqueue_memory_transactions", default=())


class _MemoryBell:
    def __init__(self) -> None:
        self._rung = threading.Event()

    def wait(self, timeout: float) -> None:
        self._rung.wait(max(0.0, timeout))
        self._rung.clear()

    def ring(self) -> None:
        self._rung.set()


@dataclass
class _Runner:
    """A runner that was enlisted; kept when it has retired, because its label stands in the history of its jobs."""

    queue: str
    label: str
    started_at: int
    alive: bool = True
    bell: _MemoryBell = field(default_factory=_MemoryBell)


class MemoryStore:
    """See `store.contract.Store` for what each verb promises; here a job survives nothing but its runner."""

    path = ":memory:"

    def __init__(self, clock: Clock = system_clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._open: _Open | None = None
        self._rows: dict[int, _Row] = {}
        self._last_id = 0
        self._last_runner = 0
        self._runners: dict[int, _Runner] = {}
        self._guest: sqlite3.Connection | None = None
        self._closed = False

    # push

    def push(self, jobs: Sequence[NewJob]) -> list[int]:
        with self._turn() as now:
            rows: list[_Row] = []
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
                rows.append(_Row(job, run_at if new.timing else 0, ready=run_at <= now))
            for row in rows:
                self._change(row.job.id)
                self._rows[row.job.id] = row
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
        claim = settlement.claim
        row = self._running(claim)
        if row is None or (settlement.losses and row.lease_until != claim.lease_until):
            return False
        job = row.job
        self._change(job.id)
        if settlement.to is JobStatus.COMPLETED or (settlement.to is JobStatus.FAILED and not settlement.keep):
            del self._rows[job.id]
            return True
        counted = bool(settlement.failures or settlement.losses)
        waits = settlement.to in WAITING and not job.cancel_requested
        run_at = later(now, settlement.delay) if counted else micros(job.run_at)
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
                self._runners[claim.runner].label if claim.runner in self._runners else "",
                started,
                settlement.duration,
                settlement.outcome,
                settlement.error,
                settlement.traceback,
            )
            row.history = [*row.history, attempt][-_KEPT_ATTEMPTS:]

    def _promote(self, queue: str, now: int) -> None:
        for row in self._waiting(queue):
            if not row.ready and micros(row.job.run_at) <= now:
                self._change(row.job.id)
                row.ready = True

    def _claim(self, want: Want, now: int) -> list[Claim]:
        best = sorted(
            (row for row in self._waiting(want.queue) if row.ready and bool(row.job.lost) == want.alone), key=_Row.order
        )
        claims: list[Claim] = []
        for row in best[: 1 if want.alone else want.limit]:
            self._change(row.job.id)
            row.ready = False
            row.runner = want.runner
            row.lease_until = now + micros(want.lease)
            row.job = msgspec.structs.replace(row.job, status=JobStatus.RUNNING, attempt=row.job.attempt + 1)
            # What is claimed to be run does not carry the last error along, as in every engine.
            claims.append(_claim(row, msgspec.structs.replace(row.job, message=""), now))
        return claims

    def _running(self, claim: Claim) -> _Row | None:
        row = self._rows.get(claim.job.id)
        if row is None or row.job.status is not JobStatus.RUNNING or row.job.attempt != claim.job.attempt:
            return None
        return row

    def _waiting(self, queue: str) -> list[_Row]:
        return [row for row in self._rows.values() if row.job.queue == queue and row.job.status in WAITING]

    @contextmanager
    def transaction(self, claim: Claim | None = None) -> Generator[Transaction]:
        with self._turn():
            if self._open is not None:
                raise UsageError(
                    "expected one transaction at a time, but this code is inside a transaction of this queue"
                )
            if self._guest is None:
                self._guest = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            guest = self._guest
            guest.execute("BEGIN")
            opened = self._open = _Open(threading.get_ident())
            token = _inside.set((*_inside.get(), opened))
            transaction = _MemoryTransaction(guest)
            try:
                guest.set_authorizer(_authorise)
                try:
                    yield transaction
                finally:
                    guest.set_authorizer(None)
                transaction.check()
                if claim is not None and self._running(claim) is None:
                    raise LeaseLost(claim.job.id, claim.job.attempt)
                guest.execute("COMMIT")
                if claim is not None:
                    del self._rows[claim.job.id]
            except BaseException:
                self._put_back(opened)
                raise
            finally:
                _inside.reset(token)
                self._open = None
                transaction.is_over = True
                if guest.in_transaction:
                    guest.execute("ROLLBACK")
            self._ring(opened.to_ring)

    def _change(self, job_id: int) -> None:
        """Say that a job is about to be added, changed or removed, so that a rollback can undo it."""
        if self._open is not None and job_id not in self._open.before:
            row = self._rows.get(job_id)
            self._open.before[job_id] = None if row is None else replace(row)

    def _put_back(self, opened: _Open) -> None:
        for job_id, row in opened.before.items():
            if row is None:
                self._rows.pop(job_id, None)
            else:
                self._rows[job_id] = row
        self._rows = dict(sorted(self._rows.items()))

    # runners

    def enlist(self, queue: str, label: str) -> int:
        with self._turn() as now:
            self._last_runner += 1
            self._runners[self._last_runner] = _Runner(queue, label, now)
            return self._last_runner

    def retire(self, runner: int) -> None:
        with self._turn():
            if runner in self._runners:
                if any(row.runner == runner for row in self._rows.values()):
                    self._runners[runner].alive = False
                else:
                    del self._runners[runner]

    def bell(self, runner: int) -> Bell:
        with self._turn():
            return self._runners[runner].bell

    def _ring(self, queues: Collection[str]) -> None:
        if self._open is not None:
            self._open.to_ring.update(queues)
            return
        for runner in self._runners.values():
            if runner.alive and runner.queue in queues:
                runner.bell.ring()

    def beat(self, runner: int, lease: timedelta) -> Beat:
        with self._turn() as now:
            for row in self._held(runner):
                self._change(row.job.id)
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
            alive = {number for number, runner in self._runners.items() if runner.alive}
            return [
                _claim(row, row.job, now)
                for row in self._rows.values()
                if row.job.status is JobStatus.RUNNING
                and (row.runner not in alive or (expired and row.lease_until < now))
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
            self._change(job_id)
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
                self._change(row.job.id)
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
                self._change(job_id)
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
            queues = {row.job.queue for row in self._rows.values()} | {runner.queue for runner in runners}
            return Overview(
                now=instant(now),
                queues=[self._standing(queue, now) for queue in sorted(queues)],
                runners=runners,
                engine=Engine(name="memory", notes=["the jobs end with the process"]),
            )

    def _standing(self, queue: str, now: int) -> Standing:
        count = Counter(row.job.status for row in self._rows.values() if row.job.queue == queue)
        waiting = self._waiting(queue)
        due = [row.job for row in waiting if row.ready or micros(row.job.run_at) <= now]
        return Standing(
            queue=queue,
            pending=count[JobStatus.PENDING],
            retrying=count[JobStatus.RETRYING],
            running=count[JobStatus.RUNNING],
            failed=count[JobStatus.FAILED],
            cancelled=count[JobStatus.CANCELLED],
            later=len(waiting) - len(due),
            oldest_due=due[0].run_at if due else None,
        )

    # itself

    def now(self) -> datetime:
        return instant(self._clock())

    def check(self) -> list[str]:
        with self._turn():
            rules: dict[str, Callable[[_Row], bool]] = {
                "is completed and still here": lambda row: row.job.status is JobStatus.COMPLETED,
                "has an id that was never given out": lambda row: row.job.id > self._last_id,
                "is ready without waiting": lambda row: row.ready and row.job.status not in WAITING,
                "does not fit its runner": lambda row: bool(row.runner) is not (row.job.status is JobStatus.RUNNING),
                "does not fit its settled_at": lambda row: (row.job.settled_at is None) is (row.job.status in FINAL),
                "is to be cancelled without running": lambda row: (
                    row.job.cancel_requested and row.job.status is not JobStatus.RUNNING
                ),
                "has a history beyond its attempts": lambda row: any(a.attempt > row.job.attempt for a in row.history),
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
            if self._open is not None and self._open not in _inside.get():
                raise UsageError(
                    "expected no await inside `with ctx.transaction()`: another job of this loop has a transaction open"
                )
            yield self._clock()

    @contextmanager
    def _locked(self) -> Generator[None]:
        opened = self._open
        if opened is not None and opened in _inside.get() and opened.thread != threading.get_ident():
            # The block may be waiting for this very thread, which would wait for the block.
            raise UsageError("expected no await inside `with ctx.transaction()`, but another thread acts in its name")
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


def _claim(row: _Row, job: Job, now: int) -> Claim:
    return Claim(job, row.runner, timedelta(microseconds=now - micros(job.pushed_at)), row.lease_until)


class _MemoryTransaction:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.is_over = False

    def execute(self, sql: str, parameters: Parameters = ()) -> Rows:
        self.check()
        try:
            rows = self._connection.execute(sql, cast("Sequence[object]", parameters))
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_AUTH:
                raise UsageError(
                    f"expected statements that leave the transaction open until its block ends, got: {sql!r:.80}; "
                    "leave that to the block"
                ) from error
            raise
        self.check()
        return cast("Rows", rows)

    def executemany(self, sql: str, rows: Sequence[Parameters]) -> Rows:
        self.check()
        return cast("Rows", self._connection.executemany(sql, cast("Sequence[Sequence[object]]", rows)))

    def check(self) -> None:
        if self.is_over:
            raise UsageError("expected a transaction to be used inside its block, but the block has ended")
        if not self._connection.in_transaction:
            raise UsageError(
                "expected the transaction to be open until its block ends, but a statement inside ended it (such as "
                "a conflict that rolls back); leave that to the block"
            )
