"""Figures: what became of a queue's jobs, counted by task and time, and how long they waited and ran, in buckets.

The bounds of the buckets are fixed: what was counted in another year, by another process, is added to what is counted
now. To change them is a migration of every store.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Final, Literal, TypeAlias

import msgspec

Span: TypeAlias = Literal["minute", "hour"]

BOUNDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    *(30.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0),
)
"""Seconds: each bucket has what took longer than the bound before, up to its own; one more has the rest."""

Buckets: TypeAlias = tuple[int, ...]
"""How many of each bucket, in their order; zeros at the end are left out."""

_ZERO: Final = timedelta(0)


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the jobs of one task within a time.

    completed, failed: jobs that ended so. retried: attempts that raised, whose job is tried again. cancelled: jobs that
    were cancelled while they ran. lost: attempts whose runner died; where that was once too often, the job is among
    `failed` too. An attempt that was handed back, or put itself off, counts nowhere.
    wait: from when the job was due to the start of the attempt; run: from there to its end; of each attempt that ended
    here, so of none that was lost.
    """

    completed: int = 0
    failed: int = 0
    retried: int = 0
    cancelled: int = 0
    lost: int = 0
    wait_sum: timedelta = _ZERO
    wait_max: timedelta = _ZERO
    run_sum: timedelta = _ZERO
    run_max: timedelta = _ZERO
    wait_buckets: Buckets = ()
    run_buckets: Buckets = ()


class Figures(Counted, frozen=True, kw_only=True):
    """What became of the jobs of one task of a queue within a minute, or an hour, which begins at `minute`.

    name: '' for the queue itself, of which there is nothing but the backlog, as it was looked at last in that time.
    waiting: jobs that are due and do not run. oldest: how long the one of them has been due that was pushed first.
    """

    queue: str
    name: str
    minute: datetime
    waiting: int | None = None
    oldest: timedelta | None = None


def total(counted: Iterable[Counted]) -> Counted:
    """Add them up."""
    known = list(counted)
    return Counted(
        completed=sum(one.completed for one in known),
        failed=sum(one.failed for one in known),
        retried=sum(one.retried for one in known),
        cancelled=sum(one.cancelled for one in known),
        lost=sum(one.lost for one in known),
        wait_sum=sum((one.wait_sum for one in known), _ZERO),
        wait_max=max((one.wait_max for one in known), default=_ZERO),
        run_sum=sum((one.run_sum for one in known), _ZERO),
        run_max=max((one.run_max for one in known), default=_ZERO),
        wait_buckets=_added(one.wait_buckets for one in known),
        run_buckets=_added(one.run_buckets for one in known),
    )


def bucket_of(seconds: float) -> int:
    """Give the bucket that has what took so long.

    >>> bucket_of(0.0), bucket_of(0.001), bucket_of(0.0011), bucket_of(1e9) == len(BOUNDS)
    (0, 0, 1, True)
    """
    return bisect_left(BOUNDS, seconds)


def shortened(buckets: Sequence[int]) -> Buckets:
    """Give the buckets without the zeros at the end."""
    length = len(buckets)
    while length and not buckets[length - 1]:
        length -= 1
    return tuple(buckets[:length])


def quantile(share: float, buckets: Buckets, longest: timedelta) -> timedelta | None:
    """Say within which time this share of them was done; None where there are none.

    As exact as the buckets: within one, times count as evenly spread. longest: of them all; none is said to be longer.

    >>> quantile(0.5, (0, 10), timedelta(milliseconds=2))
    datetime.timedelta(microseconds=1750)
    >>> quantile(0.99, (0, 10), timedelta(milliseconds=2))
    datetime.timedelta(microseconds=2000)
    """
    rank = share * sum(buckets)
    before = 0
    for place, count in enumerate(buckets):
        if count and before + count >= rank:
            low = BOUNDS[place - 1] if place else 0.0
            high = BOUNDS[place] if place < len(BOUNDS) else longest.total_seconds()
            return min(timedelta(seconds=low + (high - low) * (rank - before) / count), longest)
        before += count
    return None


def _added(buckets: Iterable[Buckets]) -> Buckets:
    return tuple(map(sum, zip_longest(*buckets, fillvalue=0)))
