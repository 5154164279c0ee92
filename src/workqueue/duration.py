"""Durations as people give them: a timedelta, seconds, or text such as `10m`; and as they read them, with counts."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from workqueue.errors import InvalidOption

_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LONGEST: Final = 5000 * 365 * 86400.0  # seconds; now and so long after must still be a date
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")


def as_duration(value: object, name: str) -> timedelta:
    """Give `value` (a number means seconds) as a timedelta, zero or more.

    name: the argument it came as, for the message. Raises InvalidOption when it is negative, not finite, or too long.
    """
    if isinstance(value, bool) or not isinstance(value, timedelta | int | float):
        raise InvalidOption(
            f"expected {name} to be a timedelta or a number of seconds, got: {value!r}", name=name, value=value
        )
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not 0 <= seconds <= _LONGEST:  # NaN compares with nothing
        raise InvalidOption(
            f"expected {name} to be finite, zero or more, got: {value}; 5,000 years is the most", name=name, value=value
        )
    return value if isinstance(value, timedelta) else timedelta(seconds=value)


def parse_duration(text: str) -> timedelta:
    """Give the timedelta that `text` says: parts such as `1h30m`, `10s`, `250ms`, `2d`.

    Raises InvalidOption for anything else.

    >>> parse_duration("1h30m")
    datetime.timedelta(seconds=5400)
    """
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise InvalidOption(
            f"expected a duration such as 10m, 1h30m or 250ms (units: {', '.join(_UNITS)}), got: {text!r}",
            name="duration",
            value=text,
        )
    return as_duration(sum(float(number) * _UNITS[unit] for number, unit in parts), "duration")


def times(count: int, what: str = "time") -> str:
    """Give a count with its noun.

    >>> times(1), times(1200, "job")
    ('1 time', '1,200 jobs')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def span(value: timedelta) -> str:
    """Give a duration in its two largest units.

    >>> span(timedelta(hours=26, minutes=3)), span(timedelta(milliseconds=120))
    ('1d 2h', '120ms')
    """
    left = max(0, value // timedelta(milliseconds=1))
    if left < 1000:
        return f"{left}ms"
    parts: list[str] = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}")
    return " ".join(part for part in parts[:2] if part[0] != "0")
