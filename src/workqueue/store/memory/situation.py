"""What bears on when a job runs, in memory; and what a runner says of itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from contextlib import AbstractContextManager
from datetime import timedelta

from workqueue.job import Job, JobStatus, Lane, Terms
from workqueue.lifecycle import FINAL
from workqueue.store.clock import instant, micros
from workqueue.store.contract import TaskStanding
from workqueue.store.memory.keeping import Keeping
from workqueue.store.memory.rows import Row, Rows
from workqueue.store.memory.runners import Runner, enlisted
from workqueue.store.memory.schedules import MemorySchedules
from workqueue.store.situation import FEW, LONGEST_LINE, Awaited, Held, Other, Room, Situation


class Situations:
    """The part of a MemoryStore that tells it."""

    _rows: Rows
    _keeping: Keeping
    _runners: dict[int, Runner]
    schedules: MemorySchedules

    def _turn(self) -> AbstractContextManager[int]:
        raise NotImplementedError  # the store's

    def introduce(self, runner: int, lease: timedelta, knows: Collection[str] | None) -> None:
        with self._turn():
            if runner in self._runners:
                self._runners[runner].lease = micros(lease)
                self._runners[runner].knows = None if knows is None else sorted(knows)
                for row in self._rows:
                    if row.runs_for(runner):
                        self._rows.change(row).say_since(micros(lease))

    def task_standings(self, most: int) -> list[TaskStanding]:
        with self._turn() as now:
            figures: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
            rows = [row for row in self._rows if row.job.status is not JobStatus.COMPLETED]
            for row in sorted(rows, key=lambda row: row.job.id, reverse=True)[:most]:
                due = "due" if row.is_due(now) else "later"
                figures[row.job.queue, row.job.name][due if row.waits() else str(row.job.status)] += 1
            return [TaskStanding(queue=queue, name=name, **figures[queue, name]) for queue, name in sorted(figures)]

    def situation(self, job_id: int) -> Situation:
        with self._turn() as now:
            row = self._rows.known(job_id)
            job, terms = row.job, row.job.terms or Terms()
            slots = self.schedules.standings(job.queue)
            running = Counter(other.runner for other in self._rows if other.runs())
            return Situation(
                now=instant(now),
                job=job,
                runners=[one for one in enlisted(self._runners, running) if one.queue == job.queue],
                paused=[name or None for where, name in sorted(self._keeping.beside.pauses) if where == job.queue],
                held=self._held_by(row),
                kept=row.kept is not None,
                before=self._before(row) if row.stands_in_line() and not job.lost else None,
                limit=None if terms.limit is None else self._limit(job.queue, terms.limit),
                rate=None if terms.rate is None else self._rate(now, job.queue, terms.rate),
                behind=None if terms.order is None or job.status in FINAL else self._ahead(job, terms.order),
                follows=self._followed(row, terms.follows),
                awaits=self._batch(row, terms.follows_batch),
                key_holder=self._key_holder(row),
                schedule=next((one for one in slots if one.last_job == job_id), None),
            )

    def _held_by(self, row: Row) -> Held | None:
        if not row.runs():
            return None
        runner = self._runners.get(row.runner)
        lease = None if runner is None else runner.lease
        seen_at = None if lease is None else instant(row.lease_until - lease)
        return Held(runner=row.runner, until=instant(row.lease_until), seen_at=seen_at)

    def _before(self, row: Row) -> int:
        line = [other for other in self._rows.of(row.job.queue) if other.stands_in_line() and not other.job.lost]
        return min(LONGEST_LINE, sum(other.order() < row.order() for other in line))

    def _limit(self, queue: str, lane: Lane) -> Room:
        jobs = self._keeping.holders(queue, lane.name)
        return Room(lane=lane, taken=len(jobs), jobs=jobs[:FEW])

    def _rate(self, now: int, queue: str, lane: Lane) -> Room:
        starts = [at for at in self._keeping.beside.starts.get((queue, lane.name), ()) if at > now - micros(lane.per)]
        most = lane.starts or 0
        if len(starts) < most:
            return Room(lane=lane, taken=len(starts))
        nth = sorted(starts, reverse=True)[most - 1 : most]
        opens_at = instant(nth[0] + micros(lane.per)) if nth else None
        return Room(lane=lane, taken=len(starts), opens_at=opens_at)

    def _ahead(self, job: Job, order: str) -> Other | None:
        ahead = self._keeping.ahead(job.queue, order, job.id)
        return None if ahead is None else Other(id=ahead.job.id, status=ahead.job.status)

    def _followed(self, row: Row, followed: int | None) -> Other | None:
        other = None if followed is None or not row.following else self._rows.get(followed)
        return None if other is None else Other(id=other.job.id, status=other.job.status)

    def _batch(self, row: Row, batch: int | None) -> Awaited | None:
        standing = None if batch is None or not row.following else self._keeping.beside.batches.get(batch)
        if standing is None:
            return None
        return Awaited(id=standing.id, left=standing.left, total=standing.total, sealed=standing.sealed)

    def _key_holder(self, row: Row) -> int | None:
        holder = self._keeping.key_holder(row)
        return None if holder is None or holder is row else holder.job.id
