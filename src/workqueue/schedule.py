"""Schedules: the slots at which a periodic job is due. Pure, but for zoneinfo, which reads a time zone's rules once.

An expression of cron speaks of a wall clock, which in some nights jumps, or shows an hour twice. The rules are those of
Debian's cron. Where neither the minute nor the hour begins with `*`, a slot is a time of day, and comes once: the first
of two, and if it is skipped, when the jump is over. Else it is a rhythm, and comes whenever the clock shows it: twice,
or not at all. Cronsim tells what a clock without such nights would match; what that means is told here.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from typing import Final

import msgspec
from cronsim import CronSim, CronSimError

from workqueue.duration import as_duration
from workqueue.errors import InvalidOption

ALIASES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
ON_TIME: Final = timedelta(minutes=1)
SHORTEST: Final = timedelta(seconds=1)
MOST_CATCH_UP: Final = 1000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE: Final = timedelta(minutes=1)
_TICK: Final = timedelta(microseconds=1)


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When a periodic job is due: at its slots, each of which is run by one job.

    every: five fields of cron (minute, hour, day, month, weekday), an alias such as `@daily`, or an interval, a second
    or more, whose slots are counted from 1970-01-01 UTC, so that all processes agree. timezone: whose wall clock the
    fields mean, by its IANA name. jitter: the job is due so much after its slot at most, drawn evenly. catch_up: of the
    slots that nobody ran in time, the latest so many are run. Raises InvalidOption.

    >>> Schedule(every="30 2 * * *", timezone="Europe/Berlin").after(datetime(2026, 3, 29, tzinfo=UTC)).isoformat()
    '2026-03-29T01:00:00+00:00'
    """

    every: str | timedelta
    timezone: str = "UTC"
    jitter: timedelta = timedelta(0)
    catch_up: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.every, timedelta):
            _check_interval(self.every)
        else:
            _check_expression(self.every)
        _zone(self.timezone)
        msgspec.structs.force_setattr(self, "jitter", as_duration(self.jitter, "jitter"))
        _check_catch_up(self.catch_up)

    @classmethod
    def from_text(cls, text: str) -> Schedule:
        """Read what `str(schedule)` wrote. Raises InvalidOption, also if this machine does not know the time zone."""
        try:
            written = msgspec.json.decode(text, type=_Written)
            every = msgspec.convert(written.every, timedelta) if written.every.startswith("P") else written.every
        except (msgspec.MsgspecError, UnicodeEncodeError) as error:
            raise InvalidOption(
                f"expected the text of a Schedule, got {text[:80]!r}: {error}", name="schedule", value=text
            ) from error
        return cls(every=every, timezone=written.timezone, jitter=written.jitter, catch_up=written.catch_up)

    def __str__(self) -> str:
        return msgspec.json.encode(self).decode()

    @property
    def zone(self) -> tzinfo:
        """Give the time zone itself."""
        return _zone(self.timezone)

    def after(self, instant: datetime) -> datetime:
        """Give the first slot after an aware `instant`, in UTC. Raises OverflowError where the calendar ends."""
        instant = _in_utc(instant)
        if isinstance(self.every, timedelta):
            return _EPOCH + ((instant - _EPOCH) // self.every + 1) * self.every
        zone = _zone(self.timezone)
        expression = _fields(self.every)
        if _names_a_time_of_day(expression):
            return _next_time_of_day(expression, zone, instant)
        return _next_of_rhythm(expression, zone, instant)

    def to_run(self, since: datetime, until: datetime) -> list[datetime]:
        """Give the slots to run at `until`, oldest first, when none from the slot `since` on has been run.

        The latest `catch_up` of them. With a `catch_up` of 0 the newest, if it is on time: not over a minute old. What
        it costs does not depend on how long ago `since` is.
        """
        since, until = _in_utc(since), _in_utc(until)
        slots = self._latest(max(1, self.catch_up), since, until)
        if not self.catch_up and slots and until - slots[-1] > ON_TIME:
            return []
        return slots

    def _latest(self, most: int, since: datetime, until: datetime) -> list[datetime]:
        """Give the slots from `since` to `until`, oldest first, and if they are more, the latest `most`."""
        if isinstance(self.every, timedelta):
            last = (until - _EPOCH) // self.every
            first = max(last - most + 1, -((_EPOCH - since) // self.every))
            return [_EPOCH + number * self.every for number in range(first, last + 1)]
        reach = most
        while True:  # more than once only across a jump of the clock, which swallows some
            start = max(since, self._well_before(until, reach, since))
            slots = list(self._between(start, until))
            if len(slots) >= most or start == since:
                return slots[-most:]
            reach *= 2

    def _between(self, start: datetime, until: datetime) -> Iterator[datetime]:
        slot = self.after(start - _TICK)
        while slot <= until:
            yield slot
            slot = self.after(slot)

    def _well_before(self, until: datetime, count: int, since: datetime) -> datetime:
        """Give an instant about `count` slots before `until`; `since` where there are not so many after it."""
        zone = _zone(self.timezone)
        wall = until.astimezone(zone).replace(tzinfo=None, fold=0)
        start = since
        for match in islice(CronSim(_fields(str(self.every)), wall, reverse=True), count):
            start = match.replace(tzinfo=zone).astimezone(UTC)
            if start <= since:
                break
        return start


class _Written(msgspec.Struct):
    """A schedule as JSON; an interval stands as ISO 8601 has it, `PT30S`, which no expression can be taken for."""

    every: str
    timezone: str = "UTC"
    jitter: timedelta = timedelta(0)
    catch_up: int = 1


# the wall clock


def _names_a_time_of_day(expression: str) -> bool:
    minute, hour, *_ = expression.split()
    return not minute.startswith("*") and not hour.startswith("*")


def _next_time_of_day(expression: str, zone: tzinfo, instant: datetime) -> datetime:
    for match in CronSim(expression, _wall(instant, zone)):
        wall = match
        while not (times := _instants(wall, zone)):  # skipped: it comes when the jump is over
            wall += _MINUTE
        if times[0] > instant:
            return times[0]
    raise _never(expression)


def _next_of_rhythm(expression: str, zone: tzinfo, instant: datetime) -> datetime:
    wall = _wall(instant, zone)
    # How long until the clock shows the same again, in the first pass of what it shows twice; else zero.
    again = instant.astimezone(zone).replace(fold=1).astimezone(UTC) - instant
    found: list[datetime] = []
    for match in CronSim(expression, wall - again):
        found += [slot for slot in _instants(match, zone) if slot > instant]
        if found and match > wall:
            return min(found)
    raise _never(expression)


def _wall(instant: datetime, zone: tzinfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def _instants(wall: datetime, zone: tzinfo) -> list[datetime]:
    """Give when a clock of this zone shows `wall`: once, twice, or never."""
    both = {wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return sorted(instant for instant in both if _wall(instant, zone) == wall)


# what may be given


def _check_interval(every: timedelta) -> None:
    if as_duration(every, "every") < SHORTEST:
        raise InvalidOption(f"expected every to be {SHORTEST} or longer, got: {every}", name="every", value=every)


def _check_expression(every: object) -> None:
    expected = (
        "expected every to be a cron expression of five fields (minute hour day month weekday), "
        f"one of {', '.join(ALIASES)}, or a timedelta; got: {every!r}"
    )
    if not isinstance(every, str):
        raise InvalidOption(expected, name="every", value=every)
    fields = _fields(every).split()
    if len(fields) != 5:
        raise InvalidOption(f"{expected} (fields: {len(fields)})", name="every", value=every)
    try:
        matches = CronSim(" ".join(fields), datetime(2000, 1, 1))  # noqa: DTZ001 - a wall clock
    except CronSimError as error:
        raise InvalidOption(f"{expected} ({str(error).lower()})", name="every", value=every) from error
    if next(matches, None) is None:
        raise _never(every)


def _check_catch_up(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_CATCH_UP:
        raise InvalidOption(
            f"expected catch_up to be a whole number from 0 to {MOST_CATCH_UP}, got: {value!r}",
            name="catch_up",
            value=value,
        )


def _fields(every: str) -> str:
    return ALIASES.get(every.strip().lower(), every)


def _never(every: str) -> InvalidOption:
    return InvalidOption(
        f"expected every to name a time that comes, got: {every!r}; no day in fifty years fits it",
        name="every",
        value=every,
    )


def _zone(name: object) -> tzinfo:
    if name == "UTC":
        return UTC  # known without any data
    try:
        if isinstance(name, str):
            return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder, `Europe`
        pass
    hint = (
        "it is case-sensitive"
        if zoneinfo.available_timezones()
        else "this machine has no time zone data at all: pip install tzdata"
    )
    raise InvalidOption(
        f"expected timezone to be an IANA name such as Europe/Berlin, got: {name!r}; {hint}",
        name="timezone",
        value=name,
    )


def _in_utc(instant: datetime) -> datetime:
    if instant.utcoffset() is None:
        raise InvalidOption(
            f"expected an aware datetime, got the naive {instant!r}; say which zone it is in: astimezone(UTC)",
            name="instant",
            value=instant,
        )
    return instant.astimezone(UTC)
