"""What is kept of jobs that are over: how long, and how many."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import msgspec

from workqueue.duration import as_duration
from workqueue.errors import InvalidOption

FOREVER: Final = timedelta(days=5000 * 365)
_MOST: Final = 1_000_000


class Keep(msgspec.Struct, frozen=True):
    """Keep what is no older than `age`, and of that no more than `count`, the newest; None: whatever it is.

    age: since the job ended. count: of a queue.
    """

    age: timedelta | None = None
    count: int | None = None


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """What a queue keeps.

    completed: jobs that completed; None: none. failed: jobs that failed for good; None: all. results: of the tasks that
    do not say it themselves; None: none.
    """

    completed: Keep | None = None
    failed: Keep | None = None
    results: Keep | None = None

    @property
    def result_age(self) -> timedelta | None:
        """For how long a task's results are kept that says nothing of it."""
        if self.results is None:
            return None
        return FOREVER if self.results.age is None else self.results.age

    @property
    def counts_results(self) -> bool:
        return self.results is not None and self.results.count is not None


def as_keep(value: object, name: str) -> Keep | None:
    """Give the rule that `value` says: a timedelta is an age, a whole number a count. Raises InvalidOption."""
    match value:
        case None:
            return None
        case timedelta():
            rule = Keep(age=value)
        case int() if not isinstance(value, bool):
            rule = Keep(count=value)
        case Keep():
            rule = value
        case _:
            rule = Keep()
    if rule == Keep():
        raise InvalidOption(
            f"expected {name} to be a timedelta, a number of jobs, or Keep(age=…, count=…), got: {value!r}",
            name=name,
            value=value,
        )
    return Keep(age=_age(rule.age, name), count=_count(rule.count, name))


def as_keep_results(value: object, name: str) -> Keep | None:
    """Do as `as_keep`, but for a bare number: a task's own `keep_results` would take it for seconds."""
    if isinstance(value, int | float):
        raise InvalidOption(
            f"expected {name} to be a timedelta or Keep(age=…, count=…), got: {value!r}, which could be seconds, or "
            "results",
            name=name,
            value=value,
        )
    return as_keep(value, name)


def _age(value: object, name: str) -> timedelta | None:
    if value is None:
        return None
    age = as_duration(value, f"{name}.age")
    if not age:
        raise InvalidOption(f"expected the age in {name} to be more than 0, got: {value}", name=name, value=value)
    return age


def _count(value: object, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST:
        raise InvalidOption(
            f"expected the count in {name} to be a whole number from 1 to {_MOST}, got: {value!r}",
            name=name,
            value=value,
        )
    return value
