"""How long to wait before the next try. Pure arithmetic: no clock, and no sleep."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from datetime import timedelta
from types import UnionType

from workqueue.duration import as_duration
from workqueue.errors import InvalidOption


@dataclass(slots=True, init=False)
class Backoff:
    """Exponential delays: `min` × `factor` ** attempt, never above `max`.

    factor: 1 or more, finite. jitter: draw evenly from `min` to the delay, so that jobs which failed together do not
    come back together. expiration: no retry later than this after the push. limit: at most this many attempts, from
    1. attempt: the counter that `duration` raises. Durations may be given as seconds. Raises InvalidOption for a value
    outside its range.

    `for_attempt` is pure and safe from any thread; `duration` and `reset` move the counter: one `copy()` per thread.
    Source: the arithmetic is that of the seed (github.com/jpillora/backoff).

    >>> Backoff(min=timedelta(seconds=1), max=timedelta(minutes=1)).for_attempt(3)
    datetime.timedelta(seconds=8)
    """

    factor: float = 2.0
    jitter: bool = False
    min: timedelta = timedelta(milliseconds=100)
    max: timedelta = timedelta(hours=1)
    expiration: timedelta | None = None
    limit: int | None = None
    attempt: int = 0

    def __init__(  # noqa: PLR0917 - in the order of the fields, as that of any dataclass
        self,
        factor: float = 2.0,
        jitter: bool = False,
        min: timedelta | float = timedelta(milliseconds=100),
        max: timedelta | float = timedelta(hours=1),
        expiration: timedelta | float | None = None,
        limit: int | None = None,
        attempt: int = 0,
    ) -> None:
        self.factor = factor
        self.jitter = jitter
        self.min = as_duration(min, "min")
        self.max = as_duration(max, "max")
        self.expiration = None if expiration is None else as_duration(expiration, "expiration")
        self.limit = limit
        self.attempt = attempt
        self.__post_init__()

    def __post_init__(self) -> None:
        # The durations once more, since msgspec, which reads the rules of jobs, calls this and not __init__; it takes
        # what a rule does not say from the defaults of the fields.
        if not (_is_number(self.factor, int | float) and math.isfinite(self.factor) and self.factor >= 1):
            raise _invalid("factor", "a finite number, 1 or more", self.factor)
        if not isinstance(self.jitter, bool):  # pyright: ignore[reportUnnecessaryIsInstance] - a 0 could be stored, and not read back
            raise _invalid("jitter", "True or False", self.jitter)
        if self.limit is not None and not (_is_number(self.limit, int) and self.limit >= 1):
            raise _invalid("limit", "a whole number, 1 or more", self.limit)
        if not (_is_number(self.attempt, int) and self.attempt >= 0):
            raise _invalid("attempt", "a whole number, 0 or more", self.attempt)
        self.min = as_duration(self.min, "min")
        self.max = as_duration(self.max, "max")
        self.expiration = None if self.expiration is None else as_duration(self.expiration, "expiration")

    def copy(self) -> Backoff:
        """Give equal constraints with a counter of their own, starting at 0."""
        return replace(self, attempt=0)

    def duration(self) -> timedelta:
        """Give the delay for the current attempt, then raise the counter."""
        delay = self.for_attempt(self.attempt)
        self.attempt += 1
        return delay

    def reset(self) -> None:
        """Set the counter back to 0."""
        self.attempt = 0

    def for_attempt(self, n: float) -> timedelta:
        """Give the delay for attempt `n`; the first is 0.

        What overflows, is infinite or is not a number ends at `max`; `min >= max` gives `max`.
        """
        if self.min >= self.max or n == math.inf:
            return self.max
        lowest = self.min.total_seconds()
        highest = self.max.total_seconds()
        try:
            seconds = lowest * float(self.factor) ** float(n)
        except OverflowError:
            return self.max
        if not seconds < highest:
            return self.max
        if seconds <= lowest:
            return self.min
        if self.jitter:
            seconds = lowest + random.random() * (seconds - lowest)  # noqa: S311 - spreads load, guards no secret
        return max(self.min, timedelta(seconds=seconds))


def _is_number(value: object, kind: type[int] | UnionType) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _invalid(name: str, expected: str, value: object) -> InvalidOption:
    return InvalidOption(f"expected backoff {name} to be {expected}, got: {value}", name=name, value=value)
