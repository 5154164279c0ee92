"""The seed's Backoff, row by row of docs/from-go.md."""

from __future__ import annotations

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from workqueue import Backoff, InvalidOption, JobStatus, RecoverableWorkerError

MS = timedelta(milliseconds=1)
NONE = timedelta(0)


def again(_ctx, _job):
    raise RecoverableWorkerError("not yet")


def test_backoff_has_the_seeds_fields_and_defaults():
    backoff = Backoff()
    assert (backoff.factor, backoff.jitter, backoff.expiration, backoff.limit, backoff.attempt) == (
        2,
        False,
        None,
        None,
        0,
    )
    assert NONE < backoff.min < backoff.max
    given = Backoff(factor=3, jitter=True, min=MS, max=9 * MS, expiration=timedelta(days=1), limit=5, attempt=2)
    assert (given.factor, given.jitter, given.min, given.max) == (3, True, MS, 9 * MS)
    assert (given.expiration, given.limit, given.attempt) == (timedelta(days=1), 5, 2)


def test_backoff(open_queue, notes):
    """`limit` is the number of attempts; `expiration` lets no retry begin later than that after the push."""
    worker = notes(again)
    queue = open_queue(worker, auto_start=False, backoff=Backoff(min=NONE, max=NONE, limit=3))
    queue.push("limited", "limited")
    queue.start()
    assert queue.wait_idle(10)
    assert worker.ran == ["limited"] * 3
    [job] = queue.jobs()
    assert (job.status, job.retry_count, job.backoff.limit) == (JobStatus.FAILED, 3, 3)


def test_backoff_expiration(open_queue, notes):
    worker = notes(again)
    hour = timedelta(hours=1)
    queue = open_queue(worker, backoff=Backoff(min=hour, max=2 * hour, expiration=hour / 2))
    queue.push("expires", "expires")
    assert queue.wait_idle(10)
    assert worker.ran == ["expires"]
    assert queue.size().failed == 1


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"factor": 0.5}, "factor"),
        ({"factor": math.nan}, "factor"),
        ({"factor": math.inf}, "factor"),
        ({"min": -MS}, "min"),
        ({"max": -MS}, "max"),
        ({"expiration": -MS}, "expiration"),
        ({"limit": 0}, "limit"),
        ({"attempt": -1}, "attempt"),
    ],
)
def test_backoff_refuses(options, name):
    with pytest.raises(InvalidOption, match=f"expected (backoff )?{name} to be .*, got: ") as caught:
        Backoff(**options)
    assert caught.value.name == name


def test_backoff_copy():
    backoff = Backoff(factor=3, jitter=True, min=MS, max=9 * MS, expiration=timedelta(days=1), limit=5, attempt=4)
    copy = backoff.copy()
    assert copy.attempt == 0
    copy.attempt = backoff.attempt
    assert copy == backoff
    copy.duration()
    assert (copy.attempt, backoff.attempt) == (5, 4)


def test_backoff_duration():
    backoff = Backoff(factor=2, min=100 * MS, max=500 * MS)
    assert [backoff.duration() for _ in range(5)] == [100 * MS, 200 * MS, 400 * MS, 500 * MS, 500 * MS]
    assert backoff.attempt == 5


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (0, 100 * MS),
        (1, 200 * MS),
        (2.0, 400 * MS),
        (0.5, timedelta(seconds=0.1 * 2**0.5)),
        (3, 800 * MS),
        (4, 1000 * MS),
        (10_000, 1000 * MS),
        (1e308, 1000 * MS),
        (math.inf, 1000 * MS),
        (math.nan, 1000 * MS),
        (-1, 100 * MS),
    ],
    ids=lambda value: f"{value:.3g}" if isinstance(value, float) else str(value)[:12],
)
def test_backoff_for_attempt(n, expected):
    backoff = Backoff(factor=2, min=100 * MS, max=1000 * MS)
    assert backoff.for_attempt(n) == expected
    assert backoff.attempt == 0


def test_backoff_for_attempt_is_quick_for_whole_numbers():
    """`2 ** n` with a whole factor and a huge whole `n` would build that number first, and never come back."""
    program = "from workqueue import Backoff; b = Backoff(factor=2); print(b.for_attempt(10**400) == b.max)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=5, check=True)
    assert done.stdout == "True\n"


@pytest.mark.parametrize(("shortest", "longest"), [(5 * MS, 5 * MS), (6 * MS, 5 * MS), (NONE, NONE)])
def test_backoff_for_attempt_gives_max_where_min_is_not_below_it(shortest, longest):
    for n in (0, 3, math.inf, math.nan):
        assert Backoff(min=shortest, max=longest).for_attempt(n) == longest


def test_backoff_for_attempt_with_jitter_stays_between_min_and_the_plain_delay():
    backoff = Backoff(factor=2, jitter=True, min=100 * MS, max=1000 * MS)
    plain = Backoff(factor=2, min=100 * MS, max=1000 * MS)
    for n in range(4):
        drawn = {backoff.for_attempt(n) for _ in range(50)}
        assert all(100 * MS <= delay <= plain.for_attempt(n) for delay in drawn)
        assert len(drawn) > 1 or n == 0


def test_backoff_for_attempt_is_the_same_from_many_threads():
    backoff = Backoff(factor=2, min=MS, max=timedelta(hours=1))
    attempts = [n % 20 for n in range(2_000)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(backoff.for_attempt, attempts)) == [MS * 2**n for n in attempts]
    assert backoff.attempt == 0


def test_backoff_attempt_and_reset():
    backoff = Backoff(min=MS, max=timedelta(hours=1))
    assert backoff.attempt == 0
    first = backoff.duration()
    backoff.duration()
    assert backoff.attempt == 2
    backoff.reset()
    assert backoff.attempt == 0
    assert backoff.duration() == first
