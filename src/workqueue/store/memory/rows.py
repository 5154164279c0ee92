"""Rows: the jobs of a MemoryStore, in the order of their ids, with what a rollback needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

from workqueue.job import Attempt, Claim, Job, JobStatus
from workqueue.lifecycle import WAITING
from workqueue.store.clock import micros


@dataclass
class Row:
    """A stored job: the record, and what only the store knows of it."""

    job: Job
    position: int
    ready: bool
    runner: int = 0
    lease_until: int = 0
    history: list[Attempt] = field(default_factory=list[Attempt])

    def order(self) -> tuple[int, int, int]:
        """Sort by this, and the first is the next to be claimed."""
        return (-self.job.priority, self.position, self.job.id)

    def is_due(self, now: int) -> bool:
        return self.ready or micros(self.job.run_at) <= now

    def waits(self) -> bool:
        return self.job.status in WAITING

    def runs_for(self, runner: int) -> bool:
        return self.runs() and self.runner == runner

    def runs(self) -> bool:
        return self.job.status is JobStatus.RUNNING

    def claim(self, job: Job, now: int) -> Claim:
        return Claim(job, self.runner, timedelta(microseconds=now - micros(self.job.pushed_at)), self.lease_until)


class Rows:
    """Row by id. Whoever changes a row gets it by `change`, so that what a transaction did can be undone."""

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}
        self._before: dict[int, Row | None] | None = None  # None: no transaction is open

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def of(self, queue: str) -> list[Row]:
        return [row for row in self if row.job.queue == queue]

    def get(self, job_id: int) -> Row | None:
        """Give the row, to be looked at only."""
        return self._rows.get(job_id)

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
        self._before = {}

    def commit(self) -> None:
        self._before = None

    def roll_back(self) -> None:
        for job_id, row in (self._before or {}).items():
            if row is None:
                self._rows.pop(job_id, None)
            else:
                self._rows[job_id] = row
        self._rows = dict(sorted(self._rows.items()))
        self._before = None

    def _keep(self, job_id: int) -> None:
        if self._before is not None and job_id not in self._before:
            row = self._rows.get(job_id)
            self._before[job_id] = None if row is None else replace(row)
