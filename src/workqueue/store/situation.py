"""Situation: what bears on when a job runs, as a store tells it. `contract.py` has the rest."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from workqueue.job import Job, JobStatus, Lane
from workqueue.store.timetable import ScheduleStanding

LONGEST_LINE: Final = 1000  # jobs that are counted before one in line
FEW: Final = 5  # jobs that are named of those which hold a lane


class Enlisted(msgspec.Struct, frozen=True, kw_only=True):
    """One runner on the list. alive: its process has not certainly ended. running: jobs it holds.

    knows: the names of the jobs it can run; None: any, or it has not said so far.
    """

    id: int
    queue: str
    label: str
    started_at: datetime
    alive: bool
    running: int
    knows: list[str] | None = None


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A job that runs, in the hands of a runner. seen_at: when that last renewed the lease, where it can be told."""

    runner: int
    until: datetime
    seen_at: datetime | None = None


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """A lane that a job is in. taken: how many of it run; or, of a rate, have started within its `per`.

    jobs: the first of those that run. opens_at: when another may start, of a rate without room.
    """

    lane: Lane
    taken: int
    jobs: list[int] = []
    opens_at: datetime | None = None


class Other(msgspec.Struct, frozen=True, kw_only=True):
    """A job that another one waits for."""

    id: int
    status: JobStatus


class Awaited(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that a job waits for. left: how many have not ended. sealed: no more jobs come."""

    id: int
    left: int
    total: int
    sealed: bool


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What bears on when a job runs: all as of one moment, by the store's clock.

    runners: of its queue. paused: names in its queue; None: the whole. moves: as in `Overview`. held: by whom it runs.
    kept: it stood in line before, and was kept back. before: how many stand before it in line, up to LONGEST_LINE; None
    where it does not stand there. limit, rate: its lanes. behind: what it follows in its order just now. follows,
    awaits: what must end before it. key_holder: another job that waits or runs and has its key. schedule: of which it
    is the newest job.
    """

    now: datetime
    job: Job
    runners: list[Enlisted] = []
    paused: list[str | None] = []
    moves: list[str] = []
    held: Held | None = None
    kept: bool = False
    before: int | None = None
    limit: Room | None = None
    rate: Room | None = None
    behind: Other | None = None
    follows: Other | None = None
    awaits: Awaited | None = None
    key_holder: int | None = None
    schedule: ScheduleStanding | None = None
