"""The verbs that are the same on each engine that speaks SQL: those of people, and of those who wait for a job."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta

import msgspec

from workqueue.errors import JobNotFound
from workqueue.job import Attempt, Job, JobStatus, NewJob, Size
from workqueue.store.clock import micros
from workqueue.store.contract import Outlook, TaskStanding
from workqueue.store.paging import Changed, Deed, Find, Page
from workqueue.store.relational import changing, finding, outlook, records, situation
from workqueue.store.relational.batches import StoredBatches
from workqueue.store.relational.ledger import StoredLedger
from workqueue.store.relational.pushing import Pushing
from workqueue.store.relational.schedules import StoredSchedules
from workqueue.store.relational.session import Database, Session
from workqueue.store.relational.surplus import StoredSurplus
from workqueue.store.relational.whole import Whole
from workqueue.store.situation import Situation

_names = msgspec.json.Decoder(list[str])


class Verbs(ABC):
    """What an engine need not write; see `store.contract.Store` for what each verb promises."""

    path: str

    def __init__(self) -> None:
        self._batches = StoredBatches(self._db, self._pushing)
        self._schedules = StoredSchedules(self._db, self._pushing)
        self._surplus = StoredSurplus(self._db)
        self._ledger = StoredLedger(self._db)

    @abstractmethod
    def _db(self) -> Database:
        """Give this process's database, or raise QueueClosed."""

    @abstractmethod
    def is_joined(self) -> bool:
        """Say whether this code is inside an open transaction, which the verbs join."""

    @abstractmethod
    def _pushing(self, jobs: Sequence[NewJob]) -> Pushing:
        """Give the work of a push, to be done within another's write."""

    @abstractmethod
    def _deaths(self) -> Callable[[int], bool]:
        """Give what says whether the process of a runner has certainly ended."""

    @property
    def batches(self) -> StoredBatches:
        return self._batches

    @property
    def surplus(self) -> StoredSurplus:
        return self._surplus

    @property
    def whole(self) -> Whole:
        return Whole(self._db)

    @property
    def schedules(self) -> StoredSchedules:
        return self._schedules

    @property
    def ledger(self) -> StoredLedger:
        return self._ledger

    def get(self, job_id: int) -> Job:
        job = self._db().read(lambda session: records.get(session, job_id))
        if job is None:
            raise JobNotFound(job_id)
        return job

    def find(self, which: Find) -> Page:
        return self._db().read(lambda session: finding.find(session, which))

    def change(self, which: Find, deed: Deed) -> Changed:
        return changing.change(self._db(), which, deed)

    def history(self, job_id: int) -> list[Attempt]:
        return self._db().read(lambda session: records.history(session, job_id))

    def situation(self, job_id: int) -> Situation:
        database = self._db()
        now, is_dead = database.clock(), self._deaths()

        def work(session: Session) -> Situation | None:
            return situation.look(session, now, job_id, records.enlisted(session, is_dead))

        if self.is_joined():
            found = database.read(work)
        else:
            with database.look() as session:
                found = work(session)
        if found is None:
            raise JobNotFound(job_id)
        return found

    def task_standings(self, most: int) -> list[TaskStanding]:
        database = self._db()
        now = database.clock()
        return database.read(lambda session: records.task_standings(session, now, most))

    def introduce(self, runner: int, lease: timedelta, knows: Collection[str] | None) -> None:
        names = None if knows is None else msgspec.json.encode(sorted(knows)).decode()
        row = {"runner": runner, "lease": micros(lease), "knows": names}

        def work(session: Session, now: int) -> None:
            del now
            session.ask("introduce", row)

        self._db().write(work, lambda _session, _none: False, gated=False)  # twice is once

    def size(self, queue: str) -> Size:
        row = self._db().read(lambda session: session.ask("size", {"queue": queue}).fetchone())
        return Size(waiting=row[0], failed=row[1])

    def idle(self, queue: str) -> bool:
        database = self._db()
        row = {"queue": queue, "now": database.clock()}
        return bool(database.read(lambda session: session.ask("idle", row).fetchone()[0]))

    def cancel(self, job_id: int) -> bool:
        return changing.cancel(self._db(), self.get(job_id).queue, job_id)

    def restore(self, queue: str, job_ids: Collection[int] | None) -> int:
        return changing.restore(self._db(), queue, job_ids)

    def clean(self, queue: str, status: JobStatus) -> int:
        return changing.clean(self._db(), queue, status)

    def edit(self, job_id: int, data: bytes, *, was: bytes | None = None) -> bool:
        return changing.edit(self._db(), job_id, data, was)

    def pause(self, queue: str, name: str | None) -> None:
        changing.pause(self._db(), queue, name or "")

    def resume(self, queue: str, name: str | None) -> None:
        changing.resume(self._db(), queue, name or "")

    def paused(self, queue: str) -> list[str | None]:
        answer = self._db().read(lambda session: session.ask("pauses", {"queue": queue}).fetchone()[0])
        return [name or None for name in _names.decode(answer)]

    def outlook(self, job_ids: Collection[int]) -> dict[int, Outlook]:
        return self._db().read(lambda session: outlook.look(session, job_ids))

    def note_progress(self, runner: int, progress: Mapping[int, bytes]) -> None:
        def work(session: Session, now: int) -> None:
            del now
            outlook.note_progress(session, runner, progress)

        self._db().write(work, lambda _session, _none: False, gated=False)

    def sweep(self, queue: str, limit: int) -> int:
        database = self._db()
        now = database.clock()

        def look(session: Session) -> tuple[bool, bool]:
            wanted = outlook.wants_sweeping(session, now, queue)
            return wanted, wanted and outlook.wants_ending(session, now, queue)

        def end(session: Session, now: int) -> int:
            session.to_wake.add(queue)
            return outlook.end(session, now, queue, limit)

        wanted, ends = database.read(look)
        if wanted:  # first, for it waits for nobody
            database.write(outlook.forget, lambda _session, _none: False, gated=False)
        return database.write(end, lambda _session, _count: False) if ends else 0
