"""The schedules of a MemoryStore."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

import msgspec

from workqueue.errors import ScheduleNotFound
from workqueue.job import NewJob
from workqueue.schedule import Schedule
from workqueue.store.clock import instant
from workqueue.store.timetable import Due, ScheduleStanding


class MemorySchedules:
    """See `store.timetable.Schedules`. The entries are frozen, so a copy of their dict is all that a rollback needs.

    turn: holds the store's lock and gives its time; push: the store's.
    """

    def __init__(
        self, turn: Callable[[], AbstractContextManager[int]], push: Callable[[Sequence[NewJob]], list[int]]
    ) -> None:
        self._turn = turn
        self._push = push
        self._entries: dict[tuple[str, str], ScheduleStanding] = {}
        self._before: dict[tuple[str, str], ScheduleStanding] = {}

    def put(self, queue: str, name: str, schedule: Schedule, first: datetime) -> None:
        with self._turn():
            entry = self._entries.get((queue, name))
            if entry is None:
                entry = ScheduleStanding(queue=queue, name=name, text="", next_at=first)
            if entry.text != str(schedule):
                self._entries[queue, name] = msgspec.structs.replace(entry, text=str(schedule), next_at=first)

    def due(self, queue: str) -> list[Due]:
        with self._turn() as micros:
            now = instant(micros)
            due = [entry for entry in self._of(queue) if not entry.paused and entry.next_at <= now]
            return [
                Due(name=entry.name, slot=entry.next_at, now=now, text=entry.text)
                for entry in sorted(due, key=lambda entry: (entry.next_at, entry.name))
            ]

    def next_at(self, queue: str, names: Collection[str]) -> datetime | None:
        with self._turn():
            return min(
                (entry.next_at for entry in self._of(queue) if entry.name in names and not entry.paused), default=None
            )

    def fire(
        self, queue: str, name: str, *, seen: datetime, then: datetime, jobs: Mapping[datetime, NewJob]
    ) -> list[int] | None:
        with self._turn():
            entry = self._entries.get((queue, name))
            if entry is None or entry.next_at != seen or entry.paused:
                return None
            ids = self._push(list(jobs.values()))
            entry = msgspec.structs.replace(entry, next_at=then)
            if ids:
                entry = msgspec.structs.replace(entry, last_at=max(jobs), last_job=ids[-1])
            self._entries[queue, name] = entry
            return ids

    def standings(self, queue: str | None) -> list[ScheduleStanding]:
        with self._turn():
            entries = list(self._entries.values()) if queue is None else self._of(queue)
            return sorted(entries, key=lambda entry: (entry.queue, entry.name))

    def pause(self, queue: str, name: str) -> None:
        with self._turn():
            self._entries[queue, name] = msgspec.structs.replace(self._entry(queue, name), paused=True)

    def resume(self, queue: str, name: str) -> None:
        with self._turn() as now:
            entry = self._entry(queue, name)
            if entry.paused:
                then = entry.schedule.after(instant(now))
                self._entries[queue, name] = msgspec.structs.replace(entry, paused=False, next_at=then)

    def forget(self, queue: str, name: str) -> bool:
        with self._turn():
            return self._entries.pop((queue, name), None) is not None

    # what a transaction of the store has open

    def begin(self) -> None:
        self._before = self._entries.copy()

    def roll_back(self) -> None:
        self._entries = self._before

    def _of(self, queue: str) -> list[ScheduleStanding]:
        return [entry for entry in self._entries.values() if entry.queue == queue]

    def _entry(self, queue: str, name: str) -> ScheduleStanding:
        entry = self._entries.get((queue, name))
        if entry is None:
            raise ScheduleNotFound(queue, name)
        return entry
