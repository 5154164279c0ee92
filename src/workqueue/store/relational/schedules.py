"""Schedules in a database: one row for each, moved on in the transaction that pushes its job."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from workqueue.errors import ScheduleNotFound
from workqueue.job import NewJob
from workqueue.schedule import Schedule
from workqueue.store.clock import instant, micros
from workqueue.store.relational.pushing import Pushing
from workqueue.store.relational.session import Database, Session
from workqueue.store.timetable import Due, ScheduleStanding


class StoredSchedules:
    """See `store.timetable.Schedules`.

    database: gives this process's own, or raises QueueClosed. pushing: the store's work of a push.
    """

    def __init__(self, database: Callable[[], Database], pushing: Callable[[Sequence[NewJob]], Pushing]) -> None:
        self._database = database
        self._pushing = pushing

    def put(self, queue: str, name: str, schedule: Schedule, first: datetime) -> None:
        row = {"queue": queue, "name": name, "spec": str(schedule), "first": micros(first)}

        def work(session: Session, now: int) -> None:
            del now
            session.ask("put_schedule", row)

        self._database().write(work, _do_again)

    def due(self, queue: str) -> list[Due]:
        database = self._database()
        now = database.clock()

        def work(session: Session) -> list[Due]:
            rows = session.ask("due_schedules", {"queue": queue, "now": now}).fetchall()
            return [Due(name=name, slot=instant(next_at), now=instant(now), text=spec) for name, next_at, spec in rows]

        return database.read(work)

    def next_at(self, queue: str, names: Collection[str]) -> datetime | None:
        rows = self._database().read(lambda c: c.ask("next_slots", {"queue": queue}).fetchall())
        return next((instant(next_at) for name, next_at in rows if name in names), None)

    def fire(
        self, queue: str, name: str, *, seen: datetime, then: datetime, jobs: Mapping[datetime, NewJob]
    ) -> list[int] | None:
        row = {"queue": queue, "name": name, "seen": micros(seen)}
        push, pushed = self._pushing(list(jobs.values()))

        def work(session: Session, now: int) -> list[int] | None:
            if not session.ask("fire", row | {"then": micros(then)}).rowcount:
                return None
            ids = push(session, now)
            if ids:
                last = {"queue": queue, "name": name, "slot": micros(max(jobs)), "job": ids[-1]}
                session.ask("fired", last)
            return ids

        def landed(session: Session, ids: list[int] | None) -> bool:
            # Others may have moved it on since; then the jobs tell whether ours was the first.
            return ids is None or (not session.ask("slot_stands", row).fetchone()[0] and pushed(session, ids))

        return self._database().write(work, landed)

    def standings(self, queue: str | None) -> list[ScheduleStanding]:
        return self._database().read(lambda session: standings(session, queue))

    def pause(self, queue: str, name: str) -> None:
        def work(session: Session, now: int) -> None:
            del now
            if not session.ask("pause_schedule", {"queue": queue, "name": name}).rowcount:
                raise ScheduleNotFound(queue, name)

        self._database().write(work, _do_again)

    def resume(self, queue: str, name: str) -> None:
        row = {"queue": queue, "name": name}

        def work(session: Session, now: int) -> None:
            found = session.ask("schedule", row).fetchone()
            if found is None:
                raise ScheduleNotFound(queue, name)
            spec, paused = found
            if paused:
                then = Schedule.from_text(spec).after(instant(now))
                session.ask("resume_schedule", row | {"then": micros(then)})

        self._database().write(work, _do_again)

    def forget(self, queue: str, name: str) -> bool:
        row = {"queue": queue, "name": name}

        def work(session: Session, now: int) -> bool:
            del now
            return bool(session.ask("forget_schedule", row).rowcount)

        def landed(session: Session, _forgotten: bool) -> bool:
            return session.ask("schedule", row).fetchone() is None

        return self._database().write(work, landed)


def standings(session: Session, queue: str | None) -> list[ScheduleStanding]:
    """Give all schedules of a queue, or of every queue, by queue and name."""
    return [
        ScheduleStanding(
            queue=queue,
            name=name,
            text=spec,
            next_at=instant(next_at),
            last_at=None if last_at is None else instant(last_at),
            last_job=last_job,
            paused=bool(paused),
        )
        for queue, name, spec, next_at, last_at, last_job, paused in session.ask(
            "schedules", {"queue": queue}
        ).fetchall()
    ]


def _do_again(_session: Session, _result: None) -> bool:
    return False  # what was perhaps written may be written once more
