"""Gate: which of the jobs that stand in line may start now. The rules are the same on every engine.

A job that may not is *kept back*: it leaves the line, and so is in nobody's way, until what keeps it lets go. An engine
lets go of the best that a lane keeps back whenever one of the lane ends, and whenever a rate has room again; what was
let go stands in line and is judged anew, so that letting go of too many costs time and breaks no promise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import datetime
from enum import IntEnum
from typing import Protocol

from workqueue.job import Lane, Terms


class Kept(IntEnum):
    """What keeps a job back."""

    BY_LIMIT = 1
    BY_ORDER = 2
    BY_RATE = 3
    BY_PAUSE = 4


class Facts(Protocol):
    """What a gate asks its engine, as it stands at the beginning of the claim; of one queue."""

    def running(self, lane: str) -> int:
        """Say how many jobs of the lane run."""
        ...

    def started(self, lane: Lane) -> int:
        """Say how many jobs of the lane started within its `per`."""
        ...

    def is_behind(self, order: str, job: int) -> bool:
        """Say whether an earlier job for this order runs, is due or waits for another try, or a later one runs."""
        ...


class Gate:
    """Judges the candidates of one claim, one after another, and remembers whom it let start.

    paused: the names of jobs that are not to start. limits, rates: the lanes it met, by name.
    """

    def __init__(self, facts: Facts, now: datetime, paused: Collection[str]) -> None:
        self._facts = facts
        self._now = now
        self._paused = frozenset(paused)
        self.limits: dict[str, Lane] = {}
        self.rates: dict[str, Lane] = {}
        self._running = Counter[str]()
        self._started = Counter[str]()
        self._orders: set[str] = set()

    def is_expired(self, terms: Terms | None) -> bool:
        return terms is not None and terms.expires_at is not None and terms.expires_at <= self._now

    def judge(self, job: int, name: str, terms: Terms | None) -> Kept | None:
        """Say what keeps the job back; None when it starts, which is counted."""
        if terms is not None:
            self._meet(terms)  # what its lanes had let start for nothing, others may
        if name in self._paused:
            return Kept.BY_PAUSE
        if terms is None:
            return None
        if terms.order is not None and (terms.order in self._orders or self._facts.is_behind(terms.order, job)):
            return Kept.BY_ORDER
        if terms.limit is not None and self.room(terms.limit) < 1:
            return Kept.BY_LIMIT
        if terms.rate is not None and self.allowance(terms.rate) < 1:
            return Kept.BY_RATE
        self._start(terms)
        return None

    def room(self, lane: Lane) -> int:
        """Say how many more of the lane may run."""
        return 0 if lane.most is None else lane.most - self._running[lane.name]

    def allowance(self, lane: Lane) -> int:
        """Say how many more of the lane may start now."""
        return 0 if lane.starts is None else lane.starts - self._started[lane.name]

    def _meet(self, terms: Terms) -> None:
        limit, rate = terms.limit, terms.rate
        if limit is not None:
            if limit.name not in self.limits:
                self._running[limit.name] = self._facts.running(limit.name)
            self.limits[limit.name] = limit
        if rate is not None:
            if rate.name not in self.rates:
                self._started[rate.name] = self._facts.started(rate)
            self.rates[rate.name] = rate

    def _start(self, terms: Terms) -> None:
        if terms.order is not None:
            self._orders.add(terms.order)
        if terms.limit is not None:
            self._running[terms.limit.name] += 1
        if terms.rate is not None:
            self._started[terms.rate.name] += 1
