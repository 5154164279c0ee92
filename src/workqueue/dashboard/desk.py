"""The store, from a page's point of view: asked on threads of its own, and by many as if by one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final, ParamSpec, TypeAlias, TypeVar

import msgspec

from workqueue import report
from workqueue.dashboard import charts
from workqueue.dashboard.charts import Chart
from workqueue.dashboard.filters import Stretch
from workqueue.duration import span
from workqueue.errors import InvalidOption
from workqueue.looks import Look, Looks
from workqueue.queue import Queue
from workqueue.report import Sight
from workqueue.store import open_existing
from workqueue.store.contract import Store
from workqueue.store.paging import Find, Page, look_on
from workqueue.store.timetable import ScheduleStanding

Place: TypeAlias = Queue | Store | str | os.PathLike[str]
"""What a dashboard is of: a queue, whose store may have others too; a store; its path or URL."""

P = ParamSpec("P")
T = TypeVar("T")
_THREADS: Final = 8
_PATIENCE: Final = 0.4  # seconds that a page waits for new figures, before it shows the last ones
_LOOKING_ON: Final = 0.5  # seconds that one page is looked for
_MOST_SCHEDULES: Final = 1000
_CHART_PERIODS: Final = 5  # runners tell what they did every few seconds


class Slot(msgspec.Struct, frozen=True):
    """A schedule for people. may_trigger: its task is known here."""

    standing: ScheduleStanding
    every: str
    timezone: str
    now: datetime
    may_trigger: bool


class Desk:
    """Whoever answers for the store. Its coroutines run on any event loop; none of them blocks it.

    queue: whose tasks can be triggered from here; None where only the database is known. period: seconds from one look
    at the figures to the next.
    """

    def __init__(self, place: Place, period: float) -> None:
        self.period = period
        self.queue = place if isinstance(place, Queue) else None
        self.store, self._is_ours = _opened(place)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="workqueue-dashboard")
        self._sight = Look(lambda: report.sight(self.store), period=period)
        self._charts: Looks[list[Chart]] = Looks(period=_CHART_PERIODS * period)
        self._tasks: Looks[list[report.TaskFigures]] = Looks(period=_CHART_PERIODS * period)

    async def ask(self, verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a verb of the store on a thread."""
        return await asyncio.wrap_future(self._threads.submit(verb, *args, **kwargs))

    async def sight(self) -> Sight | None:
        """Give the figures as they were a moment ago; None when counting takes long, and nobody has counted yet."""
        return await self.ask(self._sight.latest, _PATIENCE)

    async def find(self, which: Find) -> Page:
        """Give a page of jobs; where few match, it is looked on for a while, and `next` says how far that came."""
        return await self.ask(look_on, self.store.find, which, _LOOKING_ON)

    async def charts(self, stretch: Stretch, queue: str | None = None) -> list[Chart]:
        """Give what happened over time, of one queue or of all."""

        def ask() -> list[Chart]:
            until = self.store.now()
            since = charts.beginning(until, stretch)
            return charts.of(report.history(self.store, queue, since, until, stretch.step), stretch, until)

        return await self.ask(self._charts.at((stretch.name, queue), ask).latest, _PATIENCE) or []

    async def tasks(self, stretch: Stretch, queue: str | None = None) -> list[report.TaskFigures]:
        """Give what each task did, of one queue or of all."""

        def ask() -> list[report.TaskFigures]:
            until = self.store.now()
            return report.tasks(self.store, queue, charts.beginning(until, stretch), until)

        return await self.ask(self._tasks.at((stretch.name, queue), ask).latest, _PATIENCE) or []

    async def schedules(self, queue: str | None = None) -> list[Slot]:
        """Give the schedules, of one queue or of all."""
        return await self.ask(self._slots, queue)

    def outdate(self) -> None:
        """Something was changed: let the next page see it."""
        self._sight.outdate()

    def close(self) -> None:
        """Let go of what was opened here. Safe to call twice."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._is_ours:
            self.store.close()

    def _slots(self, queue: str | None) -> list[Slot]:
        now, ours = self.store.now(), self.queue
        known: set[tuple[str, str]] = set() if ours is None else {(ours.id, name) for name in ours.task.schedules()}
        return [
            Slot(standing, *_spelled(standing), now, (standing.queue, standing.name) in known)
            for standing in report.schedules(self.store, queue)[:_MOST_SCHEDULES]
        ]


def _spelled(standing: ScheduleStanding) -> tuple[str, str]:
    try:
        schedule = standing.schedule
    except InvalidOption:  # a time zone that this machine does not know
        return standing.text, ""
    every = schedule.every if isinstance(schedule.every, str) else f"every {span(schedule.every)}"
    return every, schedule.timezone


def _opened(place: Place) -> tuple[Store, bool]:
    """Give the store at `place`, and whether it was opened here."""
    if isinstance(place, Queue):  # a face looks at all queues of its store
        return place._open_store(), False  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if isinstance(place, str | os.PathLike):
        return open_existing(place), True
    return place, False
