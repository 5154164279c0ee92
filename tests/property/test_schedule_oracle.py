"""Schedules against an oracle that shares nothing with them: a walk through every minute that a zone's clock shows.

The rule of Debian's cron, as the walk has it. A rhythm (minute or hour begins with a star) comes at each minute whose
time matches. A time of day comes when the clock first reaches it: of the minutes that the clock has not reached before,
those that it jumps over count as reached when the jump is over.

All time zones are covered: zones whose clocks make the same moves in a year are one to the rule, which sees nothing
else of them, so one of each kind is walked.
"""

from __future__ import annotations

import random
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workqueue.errors import InvalidOption
from workqueue.schedule import Schedule

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
YEARS = (2011, 2018, 2026)  # Samoa's lost day; Pyongyang's half hour; as things are
TIMES_OF_DAY = [
    "0 0 * * *",
    "30 0 * * *",
    "15 1 * * *",
    "30 2 * * *",
    "0,20,50 2,3 * * *",
    "45 23 * * *",
    "10-40/15 0-4 * * *",
    "0 12 * * *",
    "20 2 * * 0",
    "0 3 1-7 * 0",
    "5 1 30,31 */3 *",
]
RHYTHMS = [
    "*/20 * * * *",
    "*/7 * * * *",
    "0 * * * *",
    "15 * * * *",
    "*/30 0 * * *",
    "*/10 1-3 * * *",
    "*/15 3 * * 0",
    "5 */2 * * *",
    "*/30 23 * * *",
    "*/45 0-4/2 */2 * *",
]
LIMITS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]

Clock = list[tuple[datetime, datetime]]  # an instant, and what the clock shows


# the oracle


class Fields:
    """The plain syntax of cron: numbers, ranges, steps and lists."""

    def __init__(self, expression: str) -> None:
        words = expression.split()
        self.minute, self.hour, self.day, self.month, self.weekday = map(self._values, words, LIMITS)
        self.both_days = words[2].startswith("*") or words[4].startswith("*")
        self.is_rhythm = words[0].startswith("*") or words[1].startswith("*")

    def _values(self, word: str, limits: tuple[int, int]) -> set[int]:
        found: set[int] = set()
        for part in word.split(","):
            span, _, step = part.partition("/")
            low, _, high = span.partition("-")
            first, last = limits if span == "*" else (int(low), int(high or low))
            found |= set(range(first, last + 1, int(step or 1)))
        return found

    def match(self, wall: datetime) -> bool:
        if wall.minute not in self.minute or wall.hour not in self.hour or wall.month not in self.month:
            return False
        day, weekday = wall.day in self.day, wall.isoweekday() % 7 in self.weekday
        return (day and weekday) if self.both_days else (day or weekday)


def walk(expression: str, clock: Clock) -> list[datetime]:
    fields = Fields(expression)
    if fields.is_rhythm:
        return [instant for instant, wall in clock if fields.match(wall)]
    found = []
    reached = clock[0][1] - MINUTE
    for instant, wall in clock:
        due = False
        while reached < wall:
            reached += MINUTE
            due = due or fields.match(reached)
        if due:
            found.append(instant)
    return found


# the clocks of the world


def transitions(zone: ZoneInfo, year: int) -> Iterator[datetime]:
    """The instants of a year at which the zone's clock jumps or goes back, found by halving weeks in which it does."""
    week = datetime(year, 1, 1, tzinfo=UTC)
    while week.year == year:
        low, high = week, week + 7 * 24 * HOUR
        if low.astimezone(zone).utcoffset() != high.astimezone(zone).utcoffset():
            while high - low > SECOND:
                middle = low + (high - low) // SECOND // 2 * SECOND
                if middle.astimezone(zone).utcoffset() == low.astimezone(zone).utcoffset():
                    low = middle
                else:
                    high = middle
            yield high
        week += 7 * 24 * HOUR


@cache
def kinds(year: int) -> dict[tuple[object, ...], str]:
    """One zone for each table of moves of that year."""
    found: dict[tuple[object, ...], str] = {}
    for name in sorted(zoneinfo.available_timezones()):
        zone = ZoneInfo(name)
        moves = tuple(
            (at, (at - SECOND).astimezone(zone).utcoffset(), at.astimezone(zone).utcoffset())
            for at in transitions(zone, year)
        )
        found.setdefault(moves or (datetime(year, 1, 1, tzinfo=UTC).astimezone(zone).utcoffset(),), name)
    return found


def clock_around(zone: ZoneInfo, at: datetime) -> Clock:
    start = at - 5 * HOUR
    instants = [start + MINUTE * n for n in range(30 * 60)]
    return [(instant, instant.astimezone(zone).replace(tzinfo=None)) for instant in instants]


def moves(year: int) -> Iterator[tuple[str, ZoneInfo, datetime]]:
    for table, name in kinds(year).items():
        zone = ZoneInfo(name)
        yield from ((name, zone, move[0]) for move in table if isinstance(move, tuple))


# the comparison


def test_the_oracle_knows_the_nights_it_is_asked_about():
    assert sum(1 for _ in moves(2026)) > 40
    named = {name for year in YEARS for name in kinds(year).values()}
    assert "Pacific/Apia" in named
    clock = clock_around(ZoneInfo("Europe/Berlin"), datetime(2026, 10, 25, 1, tzinfo=UTC))
    both = [datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 26, 1, 30, tzinfo=UTC)]
    assert walk("30 2 * * *", clock) == both
    assert len(walk("30 * * * *", clock)) == 30


@pytest.mark.parametrize("year", YEARS)
def test_slots_are_those_of_a_walk_through_every_minute_in_all_time_zones(year):
    draw = random.Random(year)
    for name, zone, at in moves(year):
        clock = clock_around(zone, at)
        begin, end = clock[0][0] - SECOND, clock[-1][0]
        for expression in TIMES_OF_DAY + RHYTHMS:
            expected = walk(expression, clock)
            schedule = Schedule(every=expression, timezone=name, catch_up=7)
            found = []
            slot = schedule.after(begin)
            while slot <= end:
                found.append(slot)
                slot = schedule.after(slot)
            assert found == expected, (expression, name)
            if expected:
                instant = at + SECOND * draw.randint(-7200, 7200)
                assert schedule.after(instant) == next((s for s in expected if s > instant), slot), (expression, name)
                due = [s for s in expected if s <= instant]
                assert schedule.to_run(expected[0], instant) == due[-7:], (expression, name, instant)


# every text and every schedule

expressions = st.lists(st.text(alphabet="0123456789*/-,#LWMONFRIJAN@", max_size=6), max_size=6).map(" ".join)
zones = st.sampled_from(sorted(zoneinfo.available_timezones()))
intervals = st.timedeltas(min_value=SECOND, max_value=timedelta(days=4000))
instants = st.datetimes(datetime(1980, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


@given(st.text(max_size=40) | expressions, instants)
def test_an_expression_is_refused_or_comes(text, instant):
    try:
        schedule = Schedule(every=text)
    except InvalidOption as error:
        assert str(error).startswith("expected every to ")  # noqa: PT017
    else:
        assert schedule.after(instant) > instant


@given(
    st.sampled_from(TIMES_OF_DAY + RHYTHMS + ["@weekly"]) | intervals,
    zones,
    st.timedeltas(timedelta(0), timedelta(days=400)),
    st.integers(0, 1000),
)
def test_every_schedule_is_text_and_back(every, zone, jitter, catch_up):
    schedule = Schedule(every=every, timezone=zone, jitter=jitter, catch_up=catch_up)
    assert Schedule.from_text(str(schedule)) == schedule


@given(intervals, instants)
def test_the_slots_of_an_interval_are_so_far_apart_and_none_is_missed(every, instant):
    schedule = Schedule(every=every, catch_up=3)
    first = schedule.after(instant)
    assert instant < first <= instant + every
    assert schedule.after(first) == first + every
    assert schedule.to_run(first, first + 5 * every) == [first + n * every for n in (3, 4, 5)]
