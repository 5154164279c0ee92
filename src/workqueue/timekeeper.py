"""What every runner does for the schedules of its queue: it runs the slots that have come. Safe twice: no leader."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import msgspec

from workqueue.errors import StoreError
from workqueue.job import NewJob
from workqueue.logs import Log
from workqueue.store.contract import Store
from workqueue.store.timetable import Due

log = Log("workqueue.timekeeper")

MakeJob: TypeAlias = Callable[[datetime], NewJob]
"""Gives the job of a slot; its `run_at` is set afterwards."""

_REST: Final = timedelta(seconds=10)  # of a schedule that failed, so that its error is not the only thing in the log


class Timekeeper:
    """One runner's share. All runners of a queue look at the same slots; the store lets one of them run each.

    makers: by the name of a schedule, for those that this process knows; others are left to whoever knows them. It
    belongs to one thread.
    """

    def __init__(self, store: Store, queue: str, makers: Mapping[str, MakeJob]) -> None:
        self._store = store
        self._queue = queue
        self._makers = makers
        self._resting: dict[str, datetime] = {}

    def step(self) -> timedelta | None:
        """Push the jobs of the slots that have come; give how long until the next comes, None if none will.

        What is wrong with one schedule is logged, and it is tried again after a rest; the others go on. Raises what the
        store does when it cannot be asked.
        """
        found = self._store.schedules.due(self._queue)
        self._resting = {due.name: self._resting[due.name] for due in found if self._is_resting(due)}
        for due in found:
            make_job = self._makers.get(due.name)
            if make_job is None or due.name in self._resting:
                continue
            try:
                self._fire(due, make_job)
            except StoreError as error:
                self._resting[due.name] = due.now + _REST
                log.error("schedule %r of queue %r: %s; trying again", due.name, self._queue, error)
            except Exception:
                self._resting[due.name] = due.now + _REST
                log.exception("schedule %r of queue %r has no job for %s", due.name, self._queue, due.slot)
        return self._until_next()

    def _fire(self, due: Due, make_job: MakeJob) -> None:
        schedule = due.schedule
        jobs: dict[datetime, NewJob] = {}
        for slot in schedule.to_run(due.slot, due.now):
            run_at = slot + random.random() * schedule.jitter  # noqa: S311 - spreads load, guards no secret
            jobs[slot] = msgspec.structs.replace(make_job(slot), run_at=run_at, delay=None)
        then = schedule.after(due.now)
        fired = self._store.schedules.fire(self._queue, due.name, seen=due.slot, then=then, jobs=jobs)
        if fired is not None and not jobs:
            log.warning("schedule %r of queue %r: nobody ran its slot %s in time", due.name, self._queue, due.slot)

    def _is_resting(self, due: Due) -> bool:
        until = self._resting.get(due.name)
        return until is not None and due.now < until <= due.now + _REST  # not longer, though the clock was set back

    def _until_next(self) -> timedelta | None:
        now = self._store.now()
        next_at = self._store.schedules.next_at(self._queue, self._makers.keys() - self._resting.keys())
        ends = [*self._resting.values(), *([] if next_at is None else [next_at])]
        return max(timedelta(0), min(ends) - now) if ends else None
