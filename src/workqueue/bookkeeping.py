"""What every runner notes of its jobs for the figures: counted here as they end, and added to the store's now and then.

A runner that is killed takes along what it had counted since: at most some seconds' worth.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta
from itertools import groupby
from math import inf
from typing import Final

from workqueue.context import Context
from workqueue.errors import WorkqueueError
from workqueue.figures import BOUNDS, Counted, shortened
from workqueue.job import Claim, JobStatus
from workqueue.lifecycle import Settlement
from workqueue.logs import Log
from workqueue.store.contract import Store

log = Log("workqueue.bookkeeping")

OTHERS: Final = "(others)"
_MOST_NAMES: Final = 500  # that one runner tells apart; a name is a kind of job, and not meant to be data
_BETWEEN: Final = 5.0  # seconds, between two writes of what was counted
_BETWEEN_LOOKS: Final = 30.0  # seconds, at the backlog, so that each minute has one of some runner's
_FIRST_BOUND: Final = BOUNDS[0]
_LOOK_SHARE: Final = 0.01  # of the time, at most, that a runner looks at a backlog which takes long to count


class Tally:
    """What became of the jobs of one name since the last write. Seconds are floats here: most take microseconds."""

    __slots__ = ("cancelled", "completed", "failed", "lost", "retried", "run_max", "run_sum", "runs", "wait_max",
                 "wait_sum", "waits")  # fmt: skip

    def __init__(self) -> None:
        self.completed = self.failed = self.retried = self.cancelled = self.lost = 0
        self.wait_sum = self.wait_max = self.run_sum = self.run_max = 0.0
        self.waits = [0] * (len(BOUNDS) + 1)
        self.runs = [0] * (len(BOUNDS) + 1)

    def counted(self) -> Counted:
        return Counted(
            completed=self.completed,
            failed=self.failed,
            retried=self.retried,
            cancelled=self.cancelled,
            lost=self.lost,
            wait_sum=timedelta(seconds=self.wait_sum),
            wait_max=timedelta(seconds=self.wait_max),
            run_sum=timedelta(seconds=self.run_sum),
            run_max=timedelta(seconds=self.run_max),
            wait_buckets=shortened(self.waits),
            run_buckets=shortened(self.runs),
        )


class Bookkeeping:
    """One runner's share. It belongs to the runner's thread. An error of the store's is logged, and never raised.

    counts: False where nobody wants figures; then nothing is done.
    """

    def __init__(self, store: Store, queue: str, *, counts: bool = True) -> None:
        self._counts = counts
        self._store = store
        self._queue = queue
        self._tallies: dict[tuple[str, str], Tally] = {}  # by queue and name: a rescuer meets jobs of other queues
        self._names: set[tuple[str, str]] = set()
        self._next_write = time.monotonic() + _BETWEEN
        self._next_look = 0.0
        self._failing: set[str] = set()

    def ended(self, done: Sequence[tuple[Context, Settlement]], refused: Collection[Claim] = ()) -> None:
        """Count attempts that ended here, but for those whose settlement was refused: another runner counts these."""
        if not self._counts:
            return
        if refused:
            done = [(context, settlement) for context, settlement in done if context.claim not in refused]
        names = {context.claim.job.name for context, _ in done}
        if len(names) == 1:  # nearly always
            self._count(self._tally(self._queue, names.pop()), done)
            return
        for name, alike in groupby(done, _name):
            self._count(self._tally(self._queue, name), list(alike))

    def _count(self, tally: Tally, done: Sequence[tuple[Context, Settlement]]) -> None:
        """Count attempts of one name.

        Every job comes through this loop, so it has little in it: in the common case what it sums up, and comparisons.
        """
        others, uncounted, slow = 0, 0, 0
        run_sum, run_max = 0.0, tally.run_max
        wait_sum, wait_max = 0.0, tally.wait_max
        age, due, waited = None, None, 0.0
        low, high, place, together = 0.0, -1.0, 0, 0  # the bucket that the last wait was in, and how many in a row
        for context, settlement in done:
            if settlement.to is not JobStatus.COMPLETED:
                others += 1
                if not _count_other(tally, context, settlement):
                    uncounted += 1
                    continue
            claim = context.claim
            started = context.started_at
            run = context.ended_at - started
            run_sum += run
            if run > run_max:  # noqa: PLR1730 - a call of max would cost as much as three of these lines
                run_max = run
            if run > _FIRST_BOUND:
                slow += 1
                tally.runs[bisect_left(BOUNDS, run)] += 1
            if claim.age is not age or claim.job.run_at is not due:
                # Those that were pushed together and claimed together share them.
                age, due = claim.age, claim.job.run_at
                waited = max(0.0, (age - (due - claim.job.pushed_at)).total_seconds())
            wait = waited + started - context.claimed_at
            wait_sum += wait
            if wait > wait_max:  # noqa: PLR1730 - as above
                wait_max = wait
            if low < wait <= high:
                together += 1
            else:
                tally.waits[place] += together
                place, together = bisect_left(BOUNDS, wait), 1
                low, high = _edges(place)
        tally.waits[place] += together
        tally.runs[0] += len(done) - uncounted - slow
        tally.completed += len(done) - others
        tally.run_sum += run_sum
        tally.wait_sum += wait_sum
        tally.run_max, tally.wait_max = run_max, wait_max

    def lost(self, settlements: Iterable[Settlement], refused: Collection[Claim] = ()) -> None:
        """Count attempts whose runner died, but for those that another runner counts."""
        for settlement in settlements if self._counts else ():
            if settlement.claim not in refused:
                tally = self._tally(settlement.claim.job.queue, settlement.claim.job.name)
                tally.lost += 1
                tally.failed += settlement.to is JobStatus.FAILED

    def step(self) -> None:
        """Write what was counted, and look at the backlog, where it is time for that."""
        now = time.monotonic()
        if now >= self._next_write and self._tallies:
            self._next_write = now + _BETWEEN
            self._quietly("written", self._write)
        if now >= self._next_look and self._counts:
            self._quietly("looked at", self._look)
            took = time.monotonic() - now
            self._next_look = now + max(_BETWEEN_LOOKS, took / _LOOK_SHARE)

    def close(self) -> None:
        """Write the rest."""
        if self._tallies:
            self._quietly("written", self._write)

    def _tally(self, queue: str, name: str) -> Tally:
        tally = self._tallies.get((queue, name))
        if tally is None:
            if (queue, name) not in self._names and len(self._names) >= _MOST_NAMES:
                name = OTHERS
            self._names.add((queue, name))
            tally = self._tallies.setdefault((queue, name), Tally())
        return tally

    def _write(self) -> None:
        for queue in {queue for queue, _ in self._tallies}:
            ours = {name: tally for (of, name), tally in self._tallies.items() if of == queue}
            self._store.ledger.add(queue, {name: tally.counted() for name, tally in ours.items()})
            for name in ours:  # and not before: where the store is away, they wait
                del self._tallies[queue, name]

    def _look(self) -> None:
        self._store.ledger.note_backlog(self._queue)

    def _quietly(self, what: str, step: Callable[[], None]) -> None:
        """Do what the work does not need; where it fails, say so once."""
        try:
            step()
        except Exception as error:
            if what not in self._failing:
                log.warning(
                    "the figures of queue %r cannot be %s; the jobs go on: %s",
                    self._queue,
                    what,
                    error,
                    exc_info=None if isinstance(error, WorkqueueError) else error,
                )
            self._failing.add(what)
        else:
            self._failing.discard(what)


def _name(done: tuple[Context, Settlement]) -> str:
    return done[0].claim.job.name


def _count_other(tally: Tally, context: Context, settlement: Settlement) -> bool:
    """Count a job that did not complete; say whether that is anything that is counted."""
    if settlement.to is JobStatus.FAILED:
        tally.failed += 1
    elif settlement.to is JobStatus.CANCELLED or context.cancel_requested:
        tally.cancelled += 1
    elif settlement.failures:
        tally.retried += 1
    else:
        return False  # put off, or handed back
    return True


def _edges(place: int) -> tuple[float, float]:
    return BOUNDS[place - 1] if place else -1.0, BOUNDS[place] if place < len(BOUNDS) else inf
