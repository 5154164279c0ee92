"""The schedules of a store: what an engine promises of them. `contract.py` has the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Protocol

import msgspec

from workqueue.job import NewJob
from workqueue.schedule import Schedule


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule whose next slot has come. slot: that; now: by the store's clock; text: as it is stored."""

    name: str
    slot: datetime
    now: datetime
    text: str

    @property
    def schedule(self) -> Schedule:
        """Raises InvalidOption where this machine does not know its time zone, though another did."""
        return Schedule.from_text(self.text)


class ScheduleStanding(msgspec.Struct, frozen=True, kw_only=True):
    """How a schedule stands. last_at: the slot that was run last; last_job: the job that ran it."""

    queue: str
    name: str
    text: str
    next_at: datetime
    last_at: datetime | None = None
    last_job: int | None = None
    paused: bool = False

    @property
    def schedule(self) -> Schedule:
        """Raises InvalidOption where this machine does not know its time zone, though another did."""
        return Schedule.from_text(self.text)


class Schedules(Protocol):
    """The periodic jobs of a store, by queue and name. Like the verbs of `Store`, each of these is one transaction."""

    def put(self, queue: str, name: str, schedule: Schedule, first: datetime) -> None:
        """Register a schedule, whose next slot is `first`. The same again changes nothing, so every process may do it.

        Another of the same name takes its place, from its own `first` on; it stays paused if it was.
        """
        ...

    def due(self, queue: str) -> list[Due]:
        """Give those that are not paused and whose next slot has come, the earliest first."""
        ...

    def next_at(self, queue: str, names: Collection[str]) -> datetime | None:
        """Give the earliest next slot of those of `names` that are not paused."""
        ...

    def fire(
        self, queue: str, name: str, *, seen: datetime, then: datetime, jobs: Mapping[datetime, NewJob]
    ) -> list[int] | None:
        """Push the jobs of a schedule's slots, and let its next slot be `then`; give the jobs' ids.

        jobs: by slot, oldest first. None, and nothing is pushed, if its next slot is not `seen` any more, or if it was
        paused or forgotten: so of all who see the same slot one runs it. Raises what `Store.push` does.
        """
        ...

    def standings(self, queue: str | None) -> list[ScheduleStanding]:
        """Give all schedules of a queue, or of every queue, by queue and name."""
        ...

    def pause(self, queue: str, name: str) -> None:
        """Let its slots pass. Safe to do twice. Raises ScheduleNotFound."""
        ...

    def resume(self, queue: str, name: str) -> None:
        """Undo a pause: the first slot after now is the next, and those of the pause are not run.

        Changes nothing if it is not paused. Raises ScheduleNotFound.
        """
        ...

    def forget(self, queue: str, name: str) -> bool:
        """Delete it; its jobs stay. False when there is none."""
        ...
