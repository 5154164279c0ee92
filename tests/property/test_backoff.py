"""Backoff over its whole range: between its bounds, rising, pure, and never an overflow."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from workqueue.backoff import Backoff
from workqueue.errors import InvalidOption

LONGEST = timedelta(days=5000 * 365)  # as long as a duration may be

durations = st.timedeltas(min_value=timedelta(0), max_value=LONGEST)
short = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400))
factors = st.floats(min_value=1, allow_infinity=False, allow_nan=False)
attempts = st.integers(min_value=0, max_value=10**6)
anything = st.floats() | st.integers(min_value=-(10**30), max_value=10**30)


def backoffs(durations: st.SearchStrategy[timedelta] = durations) -> st.SearchStrategy[Backoff]:
    return st.builds(Backoff, factor=factors, jitter=st.booleans(), min=durations, max=durations, attempt=attempts)


@given(backoffs(), anything)
@example(Backoff(), math.inf)
@example(Backoff(), -math.inf)
@example(Backoff(), math.nan)
@example(Backoff(factor=1.7976931348623157e308), 2)
@example(Backoff(max=LONGEST), 10**6)
@example(Backoff(min=timedelta(0), factor=1e300), 10**6)
def test_a_delay_is_between_min_and_max_whatever_the_attempt(backoff, n):
    delay = backoff.for_attempt(n)
    assert min(backoff.min, backoff.max) <= delay <= backoff.max


@given(backoffs(), anything)
def test_min_at_or_above_max_gives_max(backoff, n):
    if backoff.min >= backoff.max:
        assert backoff.for_attempt(n) == backoff.max


@given(backoffs(), st.integers(min_value=0, max_value=3000))
def test_without_jitter_delays_never_fall(backoff, n):
    backoff.jitter = False
    assert backoff.for_attempt(n) <= backoff.for_attempt(n + 1)


@given(backoffs(short), attempts)
def test_jitter_only_shortens(backoff, n):
    plain = Backoff(factor=backoff.factor, min=backoff.min, max=backoff.max)
    # A rounded microsecond may go either way.
    assert backoff.for_attempt(n) <= plain.for_attempt(n) + timedelta(microseconds=1)


# Beyond 270 years the seconds of a timedelta, as a float, do not tell one microsecond from the next.
@given(backoffs(short))
def test_the_first_delay_is_min_or_max_if_that_is_less(backoff):
    assert backoff.for_attempt(0) == min(backoff.min, backoff.max)


@given(
    st.integers(min_value=1, max_value=10_000), st.sampled_from([1, 2, 3, 10]), st.integers(min_value=0, max_value=30)
)
def test_whole_factors_give_the_exact_power(first_ms, factor, n):
    first, longest = timedelta(milliseconds=first_ms), timedelta(days=1)
    expected = min(first_ms * factor**n, 86_400_000)
    assert Backoff(factor=factor, min=first, max=longest).for_attempt(n) == timedelta(milliseconds=expected)


@given(backoffs(), anything)
def test_asking_for_an_attempt_moves_no_counter(backoff, n):
    before = backoff.attempt
    backoff.for_attempt(n)
    assert backoff.attempt == before


@given(backoffs(), st.integers(min_value=1, max_value=20))
def test_duration_gives_the_delays_in_turn_and_counts(backoff, times):
    backoff.jitter = False
    start = backoff.attempt
    assert [backoff.duration() for _ in range(times)] == [backoff.for_attempt(start + step) for step in range(times)]
    assert backoff.attempt == start + times
    backoff.reset()
    assert backoff.attempt == 0


@given(backoffs(), st.none() | durations, st.none() | st.integers(min_value=1))
def test_a_copy_has_the_same_constraints_and_a_counter_of_its_own(backoff, expiration, limit):
    backoff.expiration, backoff.limit = expiration, limit
    before = backoff.attempt
    copy = backoff.copy()
    assert copy.attempt == 0
    copy.duration()
    assert backoff.attempt == before
    copy.attempt = backoff.attempt
    assert copy == backoff


too_short = st.timedeltas(max_value=timedelta(microseconds=-1))
too_long = st.timedeltas(min_value=LONGEST + timedelta(days=1))


@given(
    st.one_of(
        st.tuples(st.just("factor"), st.floats(max_value=1, exclude_max=True) | st.sampled_from([math.inf, math.nan])),
        st.tuples(st.sampled_from(["min", "max", "expiration"]), too_short | too_long),
        st.tuples(st.just("limit"), st.integers(max_value=0)),
        st.tuples(st.just("attempt"), st.integers(max_value=-1)),
    )
)
@settings(max_examples=60)
def test_a_value_outside_its_range_is_refused_by_name(option):
    name, value = option
    with pytest.raises(InvalidOption) as caught:
        Backoff(**{name: value})
    assert caught.value.name == name
    assert caught.value.value is value
    assert name in str(caught.value)
