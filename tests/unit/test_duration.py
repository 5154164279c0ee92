"""Durations as people give them."""

from __future__ import annotations

import doctest
import math
from datetime import timedelta
from decimal import Decimal

import pytest
from workqueue import InvalidOption, duration
from workqueue.duration import as_duration, parse_duration

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, timedelta(0)),
        (-0.0, timedelta(0)),
        (90, 90 * SECOND),
        (0.25, SECOND / 4),
        (1e-6, timedelta(microseconds=1)),
        (5 * SECOND, 5 * SECOND),
        (timedelta(0), timedelta(0)),
    ],
)
def test_numbers_are_seconds_and_timedeltas_stay(value, expected):
    assert as_duration(value, "delay") == expected


@pytest.mark.parametrize(
    "value",
    [-1, -1e-9, -timedelta(microseconds=1), math.nan, math.inf, -math.inf, 10**400],
    ids=lambda value: str(value)[:12],
)
def test_a_duration_is_finite_and_not_negative(value):
    with pytest.raises(InvalidOption, match="expected pause to be finite, zero or more, got: ") as caught:
        as_duration(value, "pause")
    assert caught.value.name == "pause"
    assert caught.value.value is value


@pytest.mark.parametrize("value", ["5", "5m", None, True, False, b"5", Decimal(5), [5], 1j])
def test_a_duration_is_a_timedelta_or_a_number(value):
    with pytest.raises(InvalidOption, match="expected pause to be a timedelta or a number of seconds, got: ") as caught:
        as_duration(value, "pause")
    assert (caught.value.name, caught.value.value) == ("pause", value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", [1e12, 1e300, timedelta.max], ids=str)
def test_a_duration_reaches_no_further_than_a_calendar(value):
    """Longer ones are mistakes (milliseconds, usually), and `now + duration` would be no date any more."""
    with pytest.raises(InvalidOption, match="expected pause to .*, got: ") as caught:
        as_duration(value, "pause")
    assert (caught.value.name, caught.value.value) == ("pause", value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10s", 10 * SECOND),
        ("250ms", SECOND / 4),
        ("10m", 600 * SECOND),
        ("1h30m", 5400 * SECOND),
        ("2d", timedelta(days=2)),
        ("1w2d3h4m5s6ms", timedelta(weeks=1, days=2, hours=3, minutes=4, seconds=5, milliseconds=6)),
        ("1.5h", 5400 * SECOND),
        ("0s", timedelta(0)),
    ],
)
def test_text_says_parts_with_units(text, expected):
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "s",
        "10 s",
        " 10s",
        "10s ",
        "10s\n",
        "-10s",
        "1e3s",
        "10x",
        "10S",
        "1h30",
        "nan",
        "infs",
        ".5s",
        "1.s",
        "٣x",
    ],
)
def test_other_text_is_refused(text):
    with pytest.raises(InvalidOption, match="expected a duration such as 10m, 1h30m or 250ms") as caught:
        parse_duration(text)
    assert (caught.value.name, caught.value.value) == ("duration", text)
    assert f"got: {text!r}" in str(caught.value)
    assert "units: ms, s, m, h, d, w" in str(caught.value)


def test_text_too_long_for_a_duration_is_refused():
    with pytest.raises(InvalidOption, match="expected duration to .*, got: "):
        parse_duration("9" * 400 + "s")


def test_the_examples_in_the_docstrings():
    assert doctest.testmod(duration).attempted > 0
    assert doctest.testmod(duration).failed == 0
