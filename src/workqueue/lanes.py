"""Lanes: what a task's limits make of one call: which jobs it shares a limit with, and which key is its own."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Final

import msgspec

from workqueue.arguments import between
from workqueue.duration import parse_duration
from workqueue.errors import InvalidOption
from workqueue.job import Lane, Terms

_MOST: Final = 1_000_000
_RATE: Final = re.compile(r"(\d+)\s*/\s*(\S+)")
_UNITS: Final = {"second": "1s", "minute": "1m", "hour": "1h", "day": "1d", "s": "1s", "m": "1m", "h": "1h", "d": "1d"}


def parse_rate(text: object) -> tuple[int, timedelta]:
    """Give how many within how long, of text such as `100/minute`, `5/s` or `3/10m`. Raises InvalidOption."""
    found = _RATE.fullmatch(text) if isinstance(text, str) else None
    try:
        if (
            found is not None
            and 1 <= int(found[1]) <= _MOST
            and (per := parse_duration(_UNITS.get(found[2], found[2])))
        ):
            return int(found[1]), per
    except InvalidOption:  # it speaks of the duration alone
        pass
    raise InvalidOption(
        f"expected rate to be a number per time, such as '100/minute', '5/s' or '3/10m', got: {text!r}",
        name="rate",
        value=text,
    )


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How many of a task's jobs run at once, or start within a time, and which run one after another.

    most, rate: of all its jobs, or of those that agree in the arguments `most_by`, `rate_by`. order_by: those that
    agree in it run one after another. key_by: those that agree in it are one job, while it waits or runs.
    """

    task: str
    most: int | None = None
    most_by: str | None = None
    rate: tuple[int, timedelta] | None = None
    rate_by: str | None = None
    order_by: str | None = None
    key_by: str | None = None

    def any(self) -> bool:
        """Say whether there is anything to see to."""
        return (self.most, self.rate, self.order_by, self.key_by) != (None, None, None, None)

    def by(self) -> frozenset[str]:
        """Name the arguments that matter."""
        return frozenset(name for name in (self.most_by, self.rate_by, self.order_by, self.key_by) if name is not None)

    def terms(self, texts: Mapping[str, str]) -> Terms:
        """Give the terms of a job whose arguments have these texts, of which it needs those that `by` names."""
        limit = rate = None
        if self.most is not None:
            limit = Lane(self._lane(self.most_by, texts), most=self.most)
        if self.rate is not None:
            starts, per = self.rate
            rate = Lane(self._lane(self.rate_by, texts), starts=starts, per=per)
        return Terms(
            key=None if self.key_by is None else texts[self.key_by],
            limit=limit,
            rate=rate,
            order=None if self.order_by is None else self._lane(self.order_by, texts),
        )

    def _lane(self, by: str | None, texts: Mapping[str, str]) -> str:
        return self.task if by is None else f"{self.task} {by}={texts[by]}"


def checked_limits(
    task: str,
    known: Collection[str],
    *,
    limit: int | None,
    limit_by: str | None,
    rate: str | None,
    rate_by: str | None,
    ordered_by: str | None,
    key_by: str | None,
) -> Limits:
    """Give the limits of a task that has the parameters `known`. Raises InvalidOption."""
    for name, by in {"limit_by": limit_by, "rate_by": rate_by, "ordered_by": ordered_by, "key_by": key_by}.items():
        if by is not None and by not in known:
            has = ", ".join(known) or "it has none"
            raise InvalidOption(
                f"expected {name} to name a parameter of task {task!r} ({has}), got: {by!r}",
                name=name,
                value=by,
            )
    for name, by, what, whole in (("limit_by", limit_by, "limit", limit), ("rate_by", rate_by, "rate", rate)):
        if by is not None and whole is None:
            raise InvalidOption(f"expected {what} beside {name}, got: {name}={by!r} alone", name=name, value=by)
    return Limits(
        task=task,
        most=None if limit is None else between(limit, 1, _MOST, "limit"),
        most_by=limit_by,
        rate=None if rate is None else parse_rate(rate),
        rate_by=rate_by,
        order_by=ordered_by,
        key_by=key_by,
    )
