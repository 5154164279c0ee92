"""Schedules: what may be given, when they are due in ordinary and in odd nights, and what is made up for."""

from __future__ import annotations

import time
import zoneinfo
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from workqueue.errors import InvalidOption
from workqueue.schedule import ALIASES, Schedule

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def utc(*fields: int) -> datetime:
    return datetime(*fields, tzinfo=UTC)


def slots(schedule: Schedule, start: datetime, count: int) -> list[datetime]:
    found = []
    for _ in range(count):
        start = schedule.after(start)
        found.append(start)
    return found


def clock(every: str, zone: str, start: str, count: int) -> list[str]:
    """The next slots as the zone's clock shows them; `start` is such a time too."""
    there = ZoneInfo(zone)
    begin = datetime.fromisoformat(start).replace(tzinfo=there)
    found = slots(Schedule(every=every, timezone=zone), begin, count)
    return [f"{slot.astimezone(there):%d %H:%M %z}" for slot in found]


# what may be given


@pytest.mark.parametrize(
    ("every", "reason"),
    [
        ("", "(fields: 0)"),
        ("* * * *", "(fields: 4)"),
        ("* * * * * *", "(fields: 6)"),
        ("@reboot", "(fields: 1)"),
        ("10m", "(fields: 1)"),
        ("60 * * * *", "(bad minute)"),
        ("* 24 * * *", "(bad hour)"),
        ("* * 0 * *", "(bad day-of-month)"),
        ("* * * 13 *", "(bad month)"),
        ("* * * * 8", "(bad day-of-week)"),
        ("*/0 * * * *", "(bad minute)"),
        ("5-1 * * * *", "(bad minute)"),
        ("0 0 31 2 *", "(bad day-of-month)"),
    ],
)
def test_an_expression_that_cron_would_not_take_is_refused_with_its_reason(every, reason):
    with pytest.raises(InvalidOption) as caught:
        Schedule(every=every)
    assert str(caught.value) == (
        "expected every to be a cron expression of five fields (minute hour day month weekday), one of @hourly, "
        f"@daily, @midnight, @weekly, @monthly, @yearly, @annually, or a timedelta; got: {every!r} {reason}"
    )
    assert (caught.value.name, caught.value.value) == ("every", every)


@pytest.mark.parametrize("every", [None, 60, 1.5, b"* * * * *", ["* * * * *"]])
def test_what_is_neither_text_nor_a_timedelta_is_refused(every):
    with pytest.raises(InvalidOption, match="or a timedelta; got: "):
        Schedule(every=every)


def test_an_expression_that_never_comes_is_refused():
    with pytest.raises(InvalidOption) as caught:
        Schedule(every="0 0 */31 * MON#2")  # the first of a month is not its second Monday
    assert str(caught.value) == (
        "expected every to name a time that comes, got: '0 0 */31 * MON#2'; no day in fifty years fits it"
    )


@pytest.mark.parametrize("every", [timedelta(0), timedelta(milliseconds=999), -DAY, timedelta.max])
def test_an_interval_is_a_second_or_more_and_finite(every):
    with pytest.raises(InvalidOption, match="^expected every to be "):
        Schedule(every=every)
    assert Schedule(every=timedelta(seconds=1)).every == timedelta(seconds=1)


@pytest.mark.parametrize(
    "zone", ["", "Europe", "europe/berlin", "Mars/Olympus", "../UTC", "/etc/localtime", "a\0b", "\ud800", None, 1]
)
def test_a_time_zone_that_nobody_knows_is_refused(zone):
    with pytest.raises(InvalidOption) as caught:
        Schedule(every="@daily", timezone=zone)
    assert str(caught.value) == (
        f"expected timezone to be an IANA name such as Europe/Berlin, got: {zone!r}; it is case-sensitive"
    )


def test_a_machine_without_time_zone_data_is_told_what_to_install(monkeypatch):
    def nothing(name):
        raise zoneinfo.ZoneInfoNotFoundError(name)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", nothing)
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    with pytest.raises(InvalidOption, match="has no time zone data at all: pip install tzdata$"):
        Schedule(every="@daily", timezone="Europe/Berlin")
    assert Schedule(every="@daily").after(utc(2026, 1, 1)) == utc(2026, 1, 2)


@pytest.mark.parametrize("jitter", [-MINUTE, float("nan"), "1m", True, None])
def test_a_jitter_is_a_duration(jitter):
    with pytest.raises(InvalidOption, match="^expected jitter to be "):
        Schedule(every="@daily", jitter=jitter)
    assert Schedule(every="@daily", jitter=90).jitter == timedelta(seconds=90)


@pytest.mark.parametrize("catch_up", [-1, 1001, 1.0, True, None, "1"])
def test_a_catch_up_is_a_whole_number_up_to_a_thousand(catch_up):
    with pytest.raises(InvalidOption) as caught:
        Schedule(every="@daily", catch_up=catch_up)
    assert str(caught.value) == f"expected catch_up to be a whole number from 0 to 1000, got: {catch_up!r}"


def test_an_instant_must_say_its_time_zone():
    with pytest.raises(InvalidOption, match="^expected an aware datetime, got the naive "):
        Schedule(every="@daily").after(datetime(2026, 1, 1))


# in ordinary days


@pytest.mark.parametrize(
    ("alias", "first", "second"),
    [
        ("@hourly", utc(2026, 8, 5, 13), utc(2026, 8, 5, 14)),
        ("@daily", utc(2026, 8, 6), utc(2026, 8, 7)),
        ("@midnight", utc(2026, 8, 6), utc(2026, 8, 7)),
        ("@weekly", utc(2026, 8, 9), utc(2026, 8, 16)),
        ("@monthly", utc(2026, 9, 1), utc(2026, 10, 1)),
        ("@yearly", utc(2027, 1, 1), utc(2028, 1, 1)),
        ("@annually", utc(2027, 1, 1), utc(2028, 1, 1)),
    ],
)
def test_an_alias_is_the_expression_it_stands_for(alias, first, second):
    assert slots(Schedule(every=alias), utc(2026, 8, 5, 12, 34), 2) == [first, second]
    assert slots(Schedule(every=alias.upper()), utc(2026, 8, 5, 12, 34), 1) == [first]


def test_every_alias_is_tested():
    assert len(ALIASES) == 7


def test_the_next_slot_is_strictly_later_to_the_microsecond():
    schedule = Schedule(every="0 3 * * *")
    tick = timedelta(microseconds=1)
    assert schedule.after(utc(2026, 1, 1, 3) - tick) == utc(2026, 1, 1, 3)
    assert schedule.after(utc(2026, 1, 1, 3)) == utc(2026, 1, 2, 3)
    assert schedule.after(utc(2026, 1, 1, 3) + tick) == utc(2026, 1, 2, 3)


def test_a_slot_is_given_in_utc_whatever_zone_was_asked_in():
    tokyo = datetime(2026, 1, 1, 12, tzinfo=ZoneInfo("Asia/Tokyo"))
    slot = Schedule(every="0 9 * * *", timezone="Asia/Tokyo").after(tokyo)
    assert (slot, slot.tzinfo) == (utc(2026, 1, 2), UTC)


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        ("0 0 1 * MON", [utc(2026, 6, 1), utc(2026, 6, 8), utc(2026, 6, 15)]),  # either, as both are named
        ("0 0 */10 * MON", [utc(2026, 6, 1), utc(2026, 8, 31), utc(2026, 9, 21)]),  # both, as one begins with a star
        ("0 0 L * *", [utc(2026, 5, 31), utc(2026, 6, 30), utc(2026, 7, 31)]),
        ("0 0 * * FRI#2", [utc(2026, 6, 12), utc(2026, 7, 10), utc(2026, 8, 14)]),
        ("0 0 * * 7", [utc(2026, 5, 31), utc(2026, 6, 7), utc(2026, 6, 14)]),
        ("5/25 22 * * *", [utc(2026, 5, 30, 22, 5), utc(2026, 5, 30, 22, 30), utc(2026, 5, 30, 22, 55)]),
    ],
)
def test_the_fields_mean_what_they_mean_to_cron(every, expected):
    assert slots(Schedule(every=every), utc(2026, 5, 30), 3) == expected


def test_intervals_are_counted_from_1970_so_that_all_agree():
    schedule = Schedule(every=timedelta(seconds=7), timezone="Asia/Kolkata")
    assert slots(schedule, utc(1970, 1, 1), 2) == [utc(1970, 1, 1, 0, 0, 7), utc(1970, 1, 1, 0, 0, 14)]
    assert schedule.after(utc(1970, 1, 1, 0, 0, 7) - timedelta(microseconds=1)) == utc(1970, 1, 1, 0, 0, 7)
    assert schedule.after(utc(1969, 12, 31, 23, 59, 58)) == utc(1970, 1, 1)
    assert (schedule.after(utc(2026, 8, 5)) - utc(1970, 1, 1)) % timedelta(seconds=7) == timedelta(0)


# in the nights when the clock jumps, and when it repeats itself


def test_a_time_that_is_skipped_comes_when_the_jump_is_over():
    assert clock("30 2 * * *", "Europe/Berlin", "2026-03-28 00:00", 3) == [
        "28 02:30 +0100",
        "29 03:00 +0200",
        "30 02:30 +0200",
    ]
    assert clock("15 2 * * *", "America/New_York", "2026-03-07 03:00", 2) == ["08 03:00 -0400", "09 02:15 -0400"]


def test_times_that_are_skipped_together_come_once():
    assert clock("0,20,40 2,3 * * *", "Europe/Berlin", "2026-03-29 01:00", 4) == [
        "29 03:00 +0200",
        "29 03:20 +0200",
        "29 03:40 +0200",
        "30 02:00 +0200",
    ]


def test_a_time_that_is_shown_twice_comes_at_the_first():
    assert clock("30 2 * * *", "Europe/Berlin", "2026-10-24 03:00", 2) == ["25 02:30 +0200", "26 02:30 +0100"]
    assert clock("30 1 * * *", "America/New_York", "2026-10-31 03:00", 2) == ["01 01:30 -0400", "02 01:30 -0500"]


def test_a_time_is_over_in_the_second_pass_though_the_clock_has_yet_to_show_it():
    second_pass = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # 02:10 in Berlin, again
    assert Schedule(every="30 2 * * *", timezone="Europe/Berlin").after(second_pass) == utc(2026, 10, 26, 1, 30)


def test_a_rhythm_keeps_ticking_in_both_nights():
    assert clock("*/30 * * * *", "Europe/Berlin", "2026-10-25 01:45", 5) == [
        "25 02:00 +0200",
        "25 02:30 +0200",
        "25 02:00 +0100",
        "25 02:30 +0100",
        "25 03:00 +0100",
    ]
    assert clock("*/30 * * * *", "America/New_York", "2026-03-08 01:15", 3) == [
        "08 01:30 -0500",
        "08 03:00 -0400",
        "08 03:30 -0400",
    ]
    assert len(slots(Schedule(every="@hourly", timezone="Europe/Berlin"), utc(2026, 10, 24, 22), 24)) == 24
    assert slots(Schedule(every="@hourly", timezone="Europe/Berlin"), utc(2026, 10, 24, 22), 24)[-1] == utc(
        2026, 10, 25, 22
    )


def test_lord_howe_moves_its_clock_by_half_an_hour():
    assert clock("15 2 * * *", "Australia/Lord_Howe", "2026-10-03 03:00", 2) == ["04 02:30 +1100", "05 02:15 +1100"]
    assert clock("45 1 * * *", "Australia/Lord_Howe", "2026-04-04 03:00", 2) == ["05 01:45 +1100", "06 01:45 +1030"]
    assert clock("*/15 * * * *", "Australia/Lord_Howe", "2026-04-05 01:31", 5) == [
        "05 01:45 +1100",
        "05 01:30 +1030",
        "05 01:45 +1030",
        "05 02:00 +1030",
        "05 02:15 +1030",
    ]


def test_a_rhythm_loses_nothing_beside_a_jump_that_begins_or_ends_within_an_hour():
    # Cronsim alone, which goes in whole hours, gives none of these three.
    assert clock("*/30 3 * * *", "Australia/Lord_Howe", "2026-10-03 23:00", 1) == ["04 03:00 +1100"]
    assert clock("*/10 2 * * *", "Australia/Lord_Howe", "2026-04-04 23:00", 1) == ["05 02:00 +1030"]
    assert clock("*/15 3 * * *", "Pacific/Chatham", "2026-09-26 23:00", 1) == ["27 03:45 +1345"]


def test_a_rhythm_has_no_slot_that_no_clock_shows():
    # Havana's clock goes from 23:59 to 01:00; cronsim alone gives 00:00.
    assert clock("*/30 0 * * SUN", "America/Havana", "2026-03-07 12:00", 1) == ["15 00:00 -0400"]


def test_a_day_that_was_skipped_is_made_up_for_when_it_is_over():
    # Samoa had no 30th of December 2011.
    assert clock("0 12 * * *", "Pacific/Apia", "2011-12-29 11:00", 3) == [
        "29 12:00 -1000",
        "31 00:00 +1400",
        "31 12:00 +1400",
    ]


# far away


def test_a_day_that_comes_once_in_decades_is_found():
    assert Schedule(every="0 0 * 2 MON#5").after(utc(2026, 1, 1)) == utc(2044, 2, 29)
    assert Schedule(every="0 0 29 2 */7").after(utc(2072, 1, 1)) == utc(2088, 2, 29)
    assert Schedule(every="0 0 29 2 *").after(utc(2096, 3, 1)) == utc(2104, 2, 29)


def test_time_zones_hold_for_centuries():
    assert Schedule(every="0 12 1 7 *", timezone="Europe/Berlin").after(utc(2500, 1, 1)) == utc(2500, 7, 1, 10)


def test_the_calendar_ends():
    for every in ("@yearly", timedelta(days=400)):
        with pytest.raises(OverflowError):
            Schedule(every=every).after(utc(9999, 12, 31))


# what is made up for


def test_a_slot_that_is_on_time_is_run_whatever_is_caught_up():
    for catch_up in (0, 1, 5):
        schedule = Schedule(every="@hourly", catch_up=catch_up)
        assert schedule.to_run(utc(2026, 1, 1, 3), utc(2026, 1, 1, 3)) == [utc(2026, 1, 1, 3)]
        assert schedule.to_run(utc(2026, 1, 1, 3), utc(2026, 1, 1, 3, 1)) == [utc(2026, 1, 1, 3)]


def test_after_an_outage_the_latest_so_many_are_run():
    since, until = utc(2026, 1, 1, 3), utc(2026, 1, 1, 9, 30)
    assert Schedule(every="@hourly").to_run(since, until) == [utc(2026, 1, 1, 9)]
    assert Schedule(every="@hourly", catch_up=3).to_run(since, until) == [utc(2026, 1, 1, h) for h in (7, 8, 9)]
    assert Schedule(every="@hourly", catch_up=7).to_run(since, until) == [utc(2026, 1, 1, h) for h in range(3, 10)]
    assert Schedule(every="@hourly", catch_up=900).to_run(since, until) == [utc(2026, 1, 1, h) for h in range(3, 10)]
    assert Schedule(every=HOUR, catch_up=3).to_run(since, until) == [utc(2026, 1, 1, h) for h in (7, 8, 9)]
    assert Schedule(every=HOUR, catch_up=900).to_run(since, until) == [utc(2026, 1, 1, h) for h in range(3, 10)]


def test_without_catch_up_a_slot_that_is_late_is_let_pass():
    schedule = Schedule(every="@hourly", catch_up=0)
    assert schedule.to_run(utc(2026, 1, 1, 3), utc(2026, 1, 1, 3, 1, 0, 1)) == []
    assert schedule.to_run(utc(2026, 1, 1, 3), utc(2026, 1, 1, 9, 30)) == []
    assert schedule.to_run(utc(2026, 1, 1, 3), utc(2026, 1, 1, 9, 0, 30)) == [utc(2026, 1, 1, 9)]


def test_nothing_is_run_before_its_time():
    assert Schedule(every="@hourly", catch_up=5).to_run(utc(2026, 1, 1, 3), utc(2026, 1, 1, 2)) == []
    assert Schedule(every=HOUR, catch_up=5).to_run(utc(2026, 1, 1, 3), utc(2026, 1, 1, 2)) == []


def test_catching_up_goes_no_further_back_than_it_is_told():
    schedule = Schedule(every="0 0 29 2 *", catch_up=1000)  # a thousand of them ago, no calendar had begun
    assert schedule.to_run(utc(2020, 2, 29), utc(2026, 1, 1)) == [utc(2020, 2, 29), utc(2024, 2, 29)]


def test_catching_up_goes_back_across_a_jump_of_the_clock():
    schedule = Schedule(every="*/10 * * * *", timezone="Europe/Berlin", catch_up=8)
    found = schedule.to_run(utc(2026, 3, 28), utc(2026, 3, 29, 1, 5))  # 03:05; what the clock skipped has no slots
    assert found == [utc(2026, 3, 28, 23, 50) + 10 * MINUTE * n for n in range(8)]


@pytest.mark.parametrize("every", ["* * * * *", "0 3 * * *", "* * * 1 *", "0 0 29 2 *", timedelta(seconds=1)])
@pytest.mark.parametrize("catch_up", [1, 10])
def test_an_outage_of_years_costs_no_more_than_one_of_hours(every, catch_up):
    schedule = Schedule(every=every, timezone="Europe/Berlin", catch_up=catch_up)
    since = schedule.after(utc(1990, 1, 1))
    began = time.process_time()
    found = schedule.to_run(since, utc(2026, 8, 5))
    assert time.process_time() - began < 0.5  # walking through all of them takes minutes
    assert found[-1] <= utc(2026, 8, 5) < schedule.after(found[-1])
    assert [schedule.after(slot) for slot in found[:-1]] == found[1:]
    assert len(found) == min(catch_up, 9 if every == "0 0 29 2 *" else catch_up)


# as text


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (Schedule(every="@daily"), '{"every":"@daily","timezone":"UTC","jitter":"P0D","catch_up":1}'),
        (
            Schedule(every=timedelta(seconds=90), timezone="Asia/Tokyo", jitter=MINUTE, catch_up=0),
            '{"every":"PT90S","timezone":"Asia/Tokyo","jitter":"PT60S","catch_up":0}',
        ),
    ],
)
def test_a_schedule_is_text_and_back(schedule, text):
    assert str(schedule) == text
    assert Schedule.from_text(text) == schedule


def test_text_of_a_later_version_may_have_more_fields():
    assert Schedule.from_text('{"every":"@daily","colour":"red"}') == Schedule(every="@daily")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"every":5}', '{"every":"PT"}', '{"every":"Punch"}', "\ud800"])
def test_text_that_no_schedule_wrote_is_refused(text):
    with pytest.raises(InvalidOption, match="^expected the text of a Schedule, got "):
        Schedule.from_text(text)


@pytest.mark.parametrize("text", ['{"every":"* * *"}', '{"every":"PT0.1S"}', '{"every":"@daily","timezone":"Nope"}'])
def test_text_is_checked_as_arguments_are(text):
    with pytest.raises(InvalidOption, match="^expected (every|timezone) to be "):
        Schedule.from_text(text)
