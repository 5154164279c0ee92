"""The store, from the monitor's point of view: one look at all that is shown, and the verbs by which people act.

A server that went away is waited for by the store itself; a file that is another by now is opened anew here.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import msgspec

from workqueue import payload, report
from workqueue.errors import JobNotFound
from workqueue.job import Attempt, Job, JobStatus
from workqueue.looks import Look
from workqueue.payload import Json
from workqueue.report import Point, Sight, TaskFigures
from workqueue.steering import Steering
from workqueue.store import identity, open_existing
from workqueue.store.contract import Outlook, Store, TaskStanding
from workqueue.store.paging import Find, Page, look_on

HISTORY: Final = timedelta(hours=4)
COUNTED: Final = 100_000
LAST: Final = timedelta(hours=1)  # over which tasks are counted
_MINUTE: Final = timedelta(minutes=1)
_PATIENCE: Final = 0.4  # seconds that a frame waits for new figures, before it has the last ones
_SLOW: Final = 5.0  # seconds between two looks at what runners tell as seldom
_RATE_OVER: Final = 15.0  # seconds; some of what runners tell, so that a rate does not jump
_MOST_RUNNING: Final = 200
_MOST_FAILURES: Final = 100
_RUNNING: Final = Find(status=JobStatus.RUNNING, limit=_MOST_RUNNING)
_FAILED: Final = Find(status=JobStatus.FAILED, newest_first=True, limit=_MOST_FAILURES)
_RETRYING: Final = Find(status=JobStatus.RETRYING, newest_first=True, limit=_MOST_FAILURES)


class Running(msgspec.Struct, frozen=True):
    """A job that runs. progress: what its handler said last."""

    job: Job
    progress: Json = None


class Failure(msgspec.Struct, frozen=True):
    """An attempt that failed, as its job tells of it. at: when, where that is known."""

    job: Job
    at: datetime | None


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs a second came to this end just now."""

    completed: float
    failed: float


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to see at once. sight: None when counting takes long, and nobody has counted yet.

    points: what happened in each minute. tasks: what each did in the last hour. standings: how many jobs each has, of
    the newest COUNTED. rates: None for the first seconds.
    """

    path: str
    now: datetime
    sight: Sight | None
    points: list[Point]
    tasks: list[TaskFigures]
    standings: list[TaskStanding]
    running: list[Running]
    failures: list[Failure]
    rates: Rates | None

    @property
    def counted_all(self) -> bool:
        """Whether the standings are of all jobs there are."""
        return sum(standing.jobs for standing in self.standings) < COUNTED


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one job. job: None when it has left."""

    id: int
    now: datetime
    why: list[str]
    job: Job | None = None
    attempts: list[Attempt] = []
    outlook: Outlook = Outlook(status=None)


class Hand(Steering):
    """The verbs of a `Queue` for its jobs, on the store that is open already."""

    def __init__(self, store: Store, queue: str) -> None:
        self._store = store
        self.id = queue

    def _open_store(self) -> Store:
        return self._store

    def _encode(self, obj: object) -> bytes:
        return payload.encode(obj, limit=payload.DEFAULT_LIMIT)


class Desk:
    """Whoever answers for the store. Its verbs may take a while, and are safe from any thread.

    place: a path or a URL. period: seconds from one look at the figures to the next. Raises what opening raises.
    """

    def __init__(self, place: str | os.PathLike[str], *, period: float = 1.0, allow_network: bool = False) -> None:
        self._place = place
        self._allow_network = allow_network
        self._opening = threading.Lock()
        self._store: Store | None = None
        self._opened: tuple[int, int] | None = None  # which file that was
        self.path = self._at_hand().path
        self._sight = Look(lambda: report.sight(self._at_hand()), period=period)
        self._points = Look(self._see_points, period=max(period, _SLOW))
        self._tasks = Look(self._see_tasks, period=max(period, _SLOW))
        self._standings = Look(lambda: self._at_hand().task_standings(COUNTED), period=period)
        self._failures = Look(self._see_failures, period=period)
        self._totals: deque[tuple[float, int, int]] = deque()
        self._failed_at: dict[tuple[int, int], datetime | None] = {}
        self._looking = threading.Lock()

    # look

    def frame(self, patience: float = _PATIENCE) -> Frame:
        """Look at all that is shown. patience: seconds for new figures, before it shows the last ones.

        Raises StoreError while the database is away.
        """
        with self._looking:
            if self._store is not None and identity(self._place) != self._opened:
                self._let_go()  # who only reads would not notice, and look at the old file for ever
            return self._frame(self._at_hand(), patience)

    def story(self, job_id: int) -> Story:
        """Tell all about one job. Raises JobNotFound for an id that was never given out."""
        store = self._at_hand()
        why = report.why(store, job_id).sentences
        outlook = store.outlook([job_id]).get(job_id, Outlook(status=None))
        try:
            job = store.get(job_id)
        except JobNotFound:  # it has left
            return Story(id=job_id, now=store.now(), why=why, outlook=outlook)
        attempts = store.history(job_id)
        return Story(id=job_id, now=store.now(), why=why, job=job, attempts=attempts, outlook=outlook)

    def find(self, which: Find) -> Page:
        """Give a page of jobs; where few match, they are looked for a moment long."""
        return look_on(self._at_hand().find, which, _PATIENCE)

    def is_paused(self, queue: str, name: str | None) -> bool:
        """Say whether a queue, or the jobs of one name in it, are paused just now."""
        return name in self._at_hand().paused(queue)

    def now(self) -> datetime:
        """Give the store's own time."""
        return self._at_hand().now()

    # act

    def hand(self, queue: str) -> Hand:
        """Give the verbs for the jobs of a queue."""
        return Hand(self._at_hand(), queue)

    def outdate(self) -> None:
        """Something was changed: let the next frame show it."""
        for look in (self._sight, self._standings, self._failures):
            look.outdate()

    def close(self) -> None:
        """Let go of the store. Safe to call twice."""
        self._let_go()

    # inside

    def _at_hand(self) -> Store:
        with self._opening:
            if self._store is None:
                self._opened = identity(self._place)
                self._store = open_existing(self._place, allow_network=self._allow_network)
            return self._store

    def _let_go(self) -> None:
        with self._opening:
            store, self._store = self._store, None
        if store is not None:
            store.close()

    def _frame(self, store: Store, patience: float) -> Frame:
        return Frame(
            path=self.path,
            now=store.now(),
            sight=self._sight.latest(patience),
            points=self._points.latest(patience) or [],
            tasks=self._tasks.latest(patience) or [],
            standings=self._standings.latest(patience) or [],
            running=self._running(store),
            failures=self._failures.latest(patience) or [],
            rates=self._rates(store),
        )

    def _running(self, store: Store) -> list[Running]:
        jobs = store.find(_RUNNING).jobs
        outlooks = store.outlook([job.id for job in jobs])
        said = {job: outlook.progress for job, outlook in outlooks.items() if outlook.progress is not None}
        return [Running(job, payload.decode(said[job.id]) if job.id in said else None) for job in jobs]

    def _rates(self, store: Store) -> Rates | None:
        totals = store.ledger.totals().values()
        now = time.monotonic()
        self._totals.append((now, sum(one.completed for one in totals), sum(one.failed for one in totals)))
        while len(self._totals) > 2 and self._totals[1][0] <= now - _RATE_OVER:
            self._totals.popleft()
        (began, completed, failed), (ended, completed_now, failed_now) = self._totals[0], self._totals[-1]
        if ended - began < _SLOW:  # runners tell as seldom: a shorter while says nothing
            return None
        return Rates(
            completed=max(0, completed_now - completed) / (ended - began),
            failed=max(0, failed_now - failed) / (ended - began),
        )

    def _see_points(self) -> list[Point]:
        store = self._at_hand()
        until = store.now()
        since = _minute_of(until) - HISTORY + _MINUTE
        return report.history(store, None, since, until, _MINUTE)

    def _see_tasks(self) -> list[TaskFigures]:
        store = self._at_hand()
        until = store.now()
        return report.tasks(store, None, _minute_of(until) - LAST, until)

    def _see_failures(self) -> list[Failure]:
        store = self._at_hand()
        failed = [Failure(job, job.settled_at) for job in store.find(_FAILED).jobs]
        tried_again = look_on(store.find, _RETRYING, _PATIENCE).jobs  # no index leads to them
        retrying = [Failure(job, self._when(store, job)) for job in tried_again if job.retry_count]
        known = {(failure.job.id, failure.job.attempt) for failure in retrying}
        self._failed_at = {key: at for key, at in self._failed_at.items() if key in known}
        dated = [*failed, *retrying]
        dated.sort(key=lambda failure: (failure.at is not None, failure.at or failure.job.pushed_at), reverse=True)
        return dated[:_MOST_FAILURES]

    def _when(self, store: Store, job: Job) -> datetime | None:
        """Say when the last attempt of a job failed; asked once for each attempt."""
        key = job.id, job.attempt
        if key not in self._failed_at:
            last = next(iter(store.history(job.id)[-1:]), None)
            self._failed_at[key] = None if last is None else last.started_at + last.duration
        return self._failed_at[key]


def _minute_of(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


def on_a_thread(call: Callable[[], object]) -> None:
    """Call it beside everything else. Nobody waits for it at the end of the process: the database may be away."""
    threading.Thread(target=call, name="workqueue-monitor", daemon=True).start()
