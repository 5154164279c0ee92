"""Rows: the jobs of a MemoryStore, in the order of their ids, with what a rollback needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

import msgspec

from workqueue.errors import JobNotFound
from workqueue.job import Attempt, Claim, Job, JobStatus, NewJob, Terms
from workqueue.lifecycle import WAITING
from workqueue.store.clock import instant, later, micros
from workqueue.store.gate import Kept
from workqueue.store.headers import frozen


@dataclass
class Row:
    """A stored job: the record, and what only the store knows of it.

    ready: its time has come. kept: what keeps it back all the same. following: it waits for other jobs to end.
    """

    job: Job
    position: int
    ready: bool
    runner: int = 0
    lease_until: int = 0
    history: list[Attempt] = field(default_factory=list[Attempt])
    kept: Kept | None = None
    following: bool = False

    def stands_in_line(self) -> bool:
        return self.is_due_now() and self.kept is None

    def is_due_now(self) -> bool:
        """Say whether it waits and its time has come, as far as was noticed."""
        return self.waits() and self.ready and not self.following

    def order(self) -> tuple[int, int, int]:
        """Sort by this, and the first is the next to be claimed."""
        return (-self.job.priority, self.position, self.job.id)

    def is_due(self, now: int) -> bool:
        return not self.following and (self.ready or micros(self.job.run_at) <= now)

    def waits(self) -> bool:
        return self.job.status in WAITING

    def runs_for(self, runner: int) -> bool:
        return self.runs() and self.runner == runner

    def runs(self) -> bool:
        return self.job.status is JobStatus.RUNNING

    def lease(self, runner: int, label: str, until: int) -> None:
        """Let the runner have it."""
        self.ready = False
        self.runner, self.lease_until = runner, until
        attempt = self.job.attempt + 1
        self.job = msgspec.structs.replace(self.job, status=JobStatus.RUNNING, attempt=attempt, runner=label)

    def say_since(self, lease: int | None) -> None:
        """Note when it was claimed, if that is not known: by its lease, not renewed so far. lease: how long it is."""
        if self.job.claimed_at is None and lease is not None:
            self.job = msgspec.structs.replace(self.job, claimed_at=instant(self.lease_until - lease))

    def restore(self, now: int) -> None:
        """Let it wait again, due now, with fresh counters."""
        self.ready = True
        self.position = now if self.position else 0
        self.job = msgspec.structs.replace(
            self.job,
            status=JobStatus.PENDING,
            retry_count=0,
            lost=0,
            settled_at=None,
            message="",
            run_at=instant(now),
        )

    def claim(self, job: Job, now: int) -> Claim:
        return Claim(job, self.runner, timedelta(microseconds=now - micros(self.job.pushed_at)), self.lease_until)


def new_row(job_id: int, new: NewJob, now: int, terms: Terms | None) -> Row:
    """Give the row of a job that is pushed now."""
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
        terms=terms,
        headers=frozen(new.headers),
    )
    return Row(job, run_at if new.timing else 0, ready=run_at <= now)


class Rows:
    """Row by id. Whoever changes a row gets it by `change`, so that what a transaction did can be undone; they nest."""

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}
        self._before: list[dict[int, Row | None]] = []  # of each open transaction, the innermost last

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def of(self, queue: str) -> list[Row]:
        return [row for row in self if row.job.queue == queue]

    def get(self, job_id: int) -> Row | None:
        """Give the row, to be looked at only."""
        return self._rows.get(job_id)

    def known(self, job_id: int) -> Row:
        """Do as `get`. Raises JobNotFound."""
        row = self.get(job_id)
        if row is None:
            raise JobNotFound(job_id)
        return row

    def change(self, row: Row) -> Row:
        self._keep(row.job.id)
        return row

    def add(self, row: Row) -> None:
        self._keep(row.job.id)
        self._rows[row.job.id] = row

    def remove(self, row: Row) -> None:
        self._keep(row.job.id)
        del self._rows[row.job.id]

    def begin(self) -> None:
        self._before.append({})

    def commit(self) -> None:
        before = self._before.pop()
        if self._before:
            self._before[-1] = before | self._before[-1]

    def roll_back(self) -> None:
        for job_id, row in self._before.pop().items():
            if row is None:
                self._rows.pop(job_id, None)
            else:
                self._rows[job_id] = row
        self._rows = dict(sorted(self._rows.items()))

    def _keep(self, job_id: int) -> None:
        if self._before and job_id not in self._before[-1]:
            row = self._rows.get(job_id)
            self._before[-1][job_id] = None if row is None else replace(row)
