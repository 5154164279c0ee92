"""The wall clock that a store reads: the only place in the package that asks for the time of day."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, TypeAlias

Clock: TypeAlias = Callable[[], int]
"""Gives the time of day in microseconds since 1970, UTC."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
END: Final = (datetime.max.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
_MICROSECOND: Final = timedelta(microseconds=1)


def system_clock() -> int:
    """Give the machine's time of day in microseconds since 1970."""
    return time.time_ns() // 1000


@lru_cache(maxsize=1024)  # jobs pushed together share their instants, and making one costs a microsecond
def instant(micros: int) -> datetime:
    """Give the aware datetime of `micros` since 1970."""
    return EPOCH + timedelta(microseconds=micros)


@lru_cache(maxsize=1024)
def span(micros: int) -> timedelta:
    """Give the duration of `micros`."""
    return timedelta(microseconds=micros)


def later(now: int, delay: timedelta) -> int:
    """Give the instant `delay` after `now`; where the calendar ends before that, its end."""
    return min(now + micros(delay), END)


def micros(value: datetime | timedelta) -> int:
    """Give an aware instant, or a duration, in whole microseconds."""
    return (value - EPOCH if isinstance(value, datetime) else value) // _MICROSECOND
