"""Figures of a file as records, for every face to show in its own way. Nothing here knows how."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from workqueue.errors import JobNotFound
from workqueue.figures import Buckets, Counted, Figures, Span, quantile, total
from workqueue.store import sizes
from workqueue.store.contract import Engine, Overview, Standing, Store
from workqueue.store.ledger import MINUTES_STAY
from workqueue.store.timetable import ScheduleStanding
from workqueue.why import Why, explain, explain_gone

_HOUR: Final = timedelta(hours=1)
_MOST_QUEUES: Final = 500  # whose pauses are asked for
_COUNTS: Final = ("pending", "retrying", "running", "failed", "cancelled", "completed", "later")


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a file, each as a sentence, and what it stands on. files: bytes of the parts on disk."""

    path: str
    problems: list[str]
    engine: Engine
    files: dict[str, int]


class Paused(msgspec.Struct, frozen=True, kw_only=True):
    """What is paused: a queue, or the jobs of one name in it."""

    queue: str
    name: str | None


class Sight(msgspec.Struct, frozen=True):
    """What there was to see a moment ago. paused: by queue, the names of what is paused; None is the queue itself."""

    overview: Overview
    paused: dict[str, list[str | None]]

    @property
    def total(self) -> Standing:
        """All queues as one."""
        standings = self.overview.queues
        due = [standing.oldest_due for standing in standings if standing.oldest_due is not None]
        counts = {word: sum(getattr(standing, word) for standing in standings) for word in _COUNTS}
        return Standing(queue="", oldest_due=min(due, default=None), **counts)

    def standing(self, queue: str) -> Standing:
        """Give the figures of one queue; zeros if nothing of it is there."""
        return next((one for one in self.overview.queues if one.queue == queue), Standing(queue=queue))

    def runners(self, queue: str) -> int:
        """Count the runners of a queue that are alive."""
        return sum(runner.alive for runner in self.overview.runners if runner.queue == queue)


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """How long attempts waited, or ran, in seconds: half of them no longer than p50. None where none ended."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What became of jobs, as people read it; see `figures.Counted` for what each counts."""

    completed: int = 0
    failed: int = 0
    retried: int = 0
    cancelled: int = 0
    lost: int = 0
    wait: Times = Times()
    run: Times = Times()


class Point(Told, frozen=True, kw_only=True):
    """What happened in one step of a stretch of time, which begins at `at`.

    waiting: jobs that were due and did not run, as they were counted last in the step, summed over the queues; oldest:
    for how many seconds the one of them had been due that was pushed first. None where nobody counted.
    """

    at: datetime
    waiting: int | None = None
    oldest: float | None = None


class TaskFigures(Told, frozen=True, kw_only=True):
    """What became of the jobs of one task in a stretch of time."""

    queue: str
    name: str


def overview(store: Store, queue: str | None = None) -> Overview:
    """Give the figures of the store; with `queue`, of that one alone, zeros if nothing of it is there."""
    whole = store.overview()
    if queue is None:
        return whole
    ours = [standing for standing in whole.queues if standing.queue == queue]
    return msgspec.structs.replace(
        whole,
        queues=ours or [Standing(queue=queue)],
        runners=[runner for runner in whole.runners if runner.queue == queue],
    )


def paused(store: Store, queues: Iterable[str]) -> list[Paused]:
    """Give what is paused of these queues."""
    return [Paused(queue=queue, name=name) for queue in queues for name in store.paused(queue)]


def sight(store: Store) -> Sight:
    """Give what there is to see just now: the figures, and what is paused of the first some hundred queues."""
    found = overview(store)
    pauses: dict[str, list[str | None]] = {}
    for one in paused(store, [standing.queue for standing in found.queues[:_MOST_QUEUES]]):
        pauses.setdefault(one.queue, []).append(one.name)
    return Sight(found, pauses)


def history(store: Store, queue: str | None, since: datetime, until: datetime, step: timedelta) -> list[Point]:
    """Give what happened in each step from `since`, of one queue or of all: a point for each, where nothing did too.

    step: whole minutes; those of an hour and more, which is what is kept for longer than two days, whole hours. The
    last point is that in which `until` is.
    """
    steps: defaultdict[int, list[Figures]] = defaultdict(list)
    for one in store.ledger.figures(queue, since, until, span=_span(since, until, step)):
        steps[(one.minute - since) // step].append(one)
    return [_point(since + number * step, steps[number]) for number in range(-((since - until) // step))]


def tasks(store: Store, queue: str | None, since: datetime, until: datetime) -> list[TaskFigures]:
    """Give what each task did from `since` to `until`, of one queue or of all, by queue and name."""
    found: defaultdict[tuple[str, str], list[Counted]] = defaultdict(list)
    for one in store.ledger.figures(queue, since, until, span=_span(since, until, _HOUR)):
        if one.name:
            found[one.queue, one.name].append(one)
    return [
        TaskFigures(queue=queue, name=name, **_told(total(counted))) for (queue, name), counted in sorted(found.items())
    ]


def _span(since: datetime, until: datetime, step: timedelta) -> Span:
    return "hour" if step % _HOUR == timedelta(0) and until - since > MINUTES_STAY else "minute"


def _point(at: datetime, figures: list[Figures]) -> Point:
    backlogs = {one.queue: one for one in figures if one.waiting is not None}  # the latest of each queue
    return Point(
        at=at,
        waiting=sum(one.waiting or 0 for one in backlogs.values()) if backlogs else None,
        oldest=_seconds(max((one.oldest for one in backlogs.values() if one.oldest is not None), default=None)),
        **_told(total(one for one in figures if one.name)),
    )


def _told(counted: Counted) -> dict[str, Any]:
    """Give what a `Told` says."""
    return {
        "completed": counted.completed,
        "failed": counted.failed,
        "retried": counted.retried,
        "cancelled": counted.cancelled,
        "lost": counted.lost,
        "wait": _times(counted.wait_buckets, counted.wait_max),
        "run": _times(counted.run_buckets, counted.run_max),
    }


def _times(buckets: Buckets, longest: timedelta) -> Times:
    p50, p95, p99 = (quantile(share, buckets, longest) for share in (0.5, 0.95, 0.99))
    return Times(p50=_seconds(p50), p95=_seconds(p95), p99=_seconds(p99))


def _seconds(time: timedelta | None) -> float | None:
    return None if time is None else time.total_seconds()


def schedules(store: Store, queue: str | None = None) -> list[ScheduleStanding]:
    """Give the schedules of the store, or of one queue of it, by queue and name."""
    return store.schedules.standings(queue)


def why(store: Store, job_id: int) -> Why:
    """Say why a job stands as it does, and what will happen to it. Raises JobNotFound for an id never given out."""
    try:
        return explain(store.situation(job_id))
    except JobNotFound:
        outlook = store.outlook([job_id]).get(job_id)
        if outlook is None:
            raise
        return explain_gone(job_id, outlook)


def health(store: Store) -> Health:
    """Examine the whole store; takes as long as reading all of it."""
    problems = store.check()
    return Health(
        path=store.path,
        problems=problems,
        engine=store.overview().engine,
        files={os.path.basename(store.path) + suffix: size for suffix, size in sizes(store.path).items()},
    )
