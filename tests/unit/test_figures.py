"""Figures: added up, and what their buckets tell."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workqueue.figures import BOUNDS, Counted, bucket_of, quantile, shortened, total

MILLISECOND = timedelta(milliseconds=1)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


def test_the_bounds_are_those_that_stores_have_counted_by():
    assert BOUNDS == (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200,
                      43200)  # fmt: skip


def test_what_took_as_long_as_a_bound_is_in_its_bucket():
    assert [bucket_of(bound) for bound in BOUNDS] == list(range(len(BOUNDS)))
    assert bucket_of(BOUNDS[-1] + 1) == len(BOUNDS)


def test_adding_up_adds_counts_and_keeps_the_longest():
    one = Counted(completed=1, failed=2, wait_sum=SECOND, wait_max=SECOND, wait_buckets=(1,), run_buckets=(0, 0, 3))
    other = Counted(completed=4, lost=1, wait_sum=DAY, wait_max=DAY, wait_buckets=(0, 2), run_buckets=(1,))
    assert total([one, other]) == Counted(
        completed=5,
        failed=2,
        lost=1,
        wait_sum=SECOND + DAY,
        wait_max=DAY,
        wait_buckets=(1, 2),
        run_buckets=(1, 0, 3),
    )
    assert total([]) == Counted()


def test_zeros_at_the_end_are_left_out():
    assert [shortened(buckets) for buckets in ((), (0, 0), (0, 1, 0), (2,))] == [(), (), (0, 1), (2,)]


def test_there_is_no_quantile_of_nothing():
    assert quantile(0.5, (), DAY) is None
    assert quantile(0.5, (0, 0), DAY) is None


@pytest.mark.parametrize(
    ("share", "buckets", "longest", "expected"),
    [
        (0.5, (10,), DAY, MILLISECOND / 2),
        (0.5, (5, 5), DAY, MILLISECOND),  # the half of them is done when the first bucket is
        (0.75, (5, 5), DAY, 1.75 * MILLISECOND),
        (0.99, (0,) * len(BOUNDS) + (100,), DAY, 12 * 3600 * SECOND + 0.99 * (DAY - 12 * 3600 * SECOND)),
        (0.99, (100,), MILLISECOND / 4, MILLISECOND / 4),  # none took longer than the longest
    ],
)
def test_a_quantile_stands_within_its_bucket(share, buckets, longest, expected):
    found = quantile(share, buckets, longest)
    assert found is not None
    assert abs(found - expected) <= timedelta(microseconds=1)


@given(st.lists(st.floats(0, 100_000), min_size=1), st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_is_in_the_bucket_that_the_true_one_is_in(seconds, share):
    counts = [0] * (len(BOUNDS) + 1)
    for one in seconds:
        counts[bucket_of(one)] += 1
    longest = max(seconds)
    found = quantile(share, shortened(counts), timedelta(seconds=longest))
    true = sorted(seconds)[max(0, -int(-share * len(seconds) // 1) - 1)]
    assert found is not None
    place = bucket_of(true)
    low, high = (BOUNDS[place - 1] if place else 0.0), (BOUNDS[place] if place < len(BOUNDS) else longest)
    assert min(low, longest) - 1e-5 <= found.total_seconds() <= max(high, longest) + 1e-5
    assert found.total_seconds() <= high + 1e-5
