"""Bookkeeping: what is counted of jobs that ended, and when it is written."""

from __future__ import annotations

import logging
from collections import defaultdict
from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prove.clock import FakeClock
from workqueue import bookkeeping
from workqueue.bookkeeping import OTHERS, Bookkeeping
from workqueue.context import Context
from workqueue.errors import StoreUnavailable
from workqueue.figures import Counted, bucket_of, shortened
from workqueue.job import Claim, Job, JobStatus
from workqueue.lifecycle import (
    Cancelled,
    HandedBack,
    Lost,
    Outcome,
    Postponed,
    Raised,
    Returned,
    Settlement,
    settle,
)
from workqueue.store.clock import EPOCH, instant
from workqueue.store.memory.engine import MemoryStore

QUEUE = "default"
SECOND = timedelta(seconds=1)
ALL = (EPOCH, EPOCH + timedelta(days=365 * 1000))
PUSHED = 1_700_000_000_000_000
OUTCOMES = {
    "completed": Returned(),
    "failed": Raised("ValueError", "", SECOND),
    "retried": Raised("Later", "", SECOND, recoverable=True),
    "cancelled": Cancelled("cancelled", SECOND),
    "": Postponed(SECOND),
    "handed back": HandedBack(),
}


class Time:
    """What bookkeeping takes for the monotonic clock."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch) -> Time:
    time = Time()
    monkeypatch.setattr(bookkeeping, "time", time)
    return time


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(FakeClock())


@pytest.fixture
def books(store, time) -> Bookkeeping:
    return Bookkeeping(store, QUEUE)


def ended(
    outcome: Outcome,
    *,
    name: str = "task",
    delay: timedelta = timedelta(0),
    age: timedelta = SECOND,
    claimed: float = 0.0,
    waited: float = 0.0,
    ran: float = 0.0,
    job_id: int = 1,
) -> tuple[Context, Settlement]:
    """An attempt of a job. age: at the claim; delay: after which it was due; waited: from the claim to the start."""
    job = Job(
        id=job_id,
        name=name,
        data=b"{}",
        status=JobStatus.RUNNING,
        attempt=1,
        pushed_at=instant(PUSHED),
        run_at=instant(PUSHED) + delay,
    )
    context = Context(Claim(job, 1, age, 0), None, claimed)
    context.started_at = claimed + waited
    context.ended_at = context.started_at + ran
    return context, settle(context.claim, outcome, age=age)


def totals(store: MemoryStore) -> dict[str, Counted]:
    return {name: one for (_, name), one in store.ledger.totals(QUEUE).items()}


# what is counted


@pytest.mark.parametrize("kind", [kind for kind in OUTCOMES if kind in Counted.__struct_fields__])
def test_each_end_of_an_attempt_is_counted_as_what_it_is(books, store, kind):
    books.ended([ended(OUTCOMES[kind], ran=0.5)])
    books.close()
    [found] = totals(store).values()
    counts = {name: getattr(found, name) for name in ("completed", "failed", "retried", "cancelled", "lost")}
    assert counts == dict.fromkeys(counts, 0) | {kind: 1}
    assert (found.run_sum, found.run_max, sum(found.run_buckets)) == (SECOND / 2, SECOND / 2, 1)


@pytest.mark.parametrize("kind", ["", "handed back"])
def test_what_was_put_off_or_handed_back_counts_nowhere(books, store, kind):
    books.ended([ended(OUTCOMES[kind], ran=0.5), ended(Returned(), ran=0.25)])
    books.close()
    [found] = totals(store).values()
    assert (found.completed, found.retried, found.run_sum, sum(found.wait_buckets)) == (1, 0, SECOND / 4, 1)
    assert sum(found.run_buckets) == 1


def test_a_retry_of_what_a_person_has_cancelled_is_its_end(books, store):
    context, settlement = ended(OUTCOMES["retried"])
    context.cancel_requested = True
    books.ended([(context, settlement)])
    books.close()
    assert totals(store)["task"].cancelled == 1


def test_the_wait_is_from_when_it_was_due_to_the_start(books, store):
    books.ended([ended(Returned(), age=10 * SECOND, delay=4 * SECOND, waited=0.5)])
    books.close()
    found = totals(store)["task"]
    assert (found.wait_sum, found.wait_max, found.wait_buckets) == (6.5 * SECOND, 6.5 * SECOND, (0,) * 12 + (1,))


def test_a_wait_of_just_a_bound_is_in_the_bucket_that_ends_there_whatever_came_before_it(books, store):
    books.ended([ended(Returned(), age=timedelta(0), waited=wait) for wait in (0.002, 0.001, 0.0025, 0.0, 0.001)])
    books.close()
    assert totals(store)["task"].wait_buckets == (3, 2)


def test_those_that_were_due_together_and_claimed_one_after_another_waited_for_different_times(books, store):
    first, settlement = ended(Returned(), age=SECOND)
    second = Context(Claim(first.claim.job, 1, 4 * SECOND, 0), None, 0.0)
    books.ended([(first, settlement), (second, settlement)])
    books.close()
    assert (totals(store)["task"].wait_sum, totals(store)["task"].wait_max) == (5 * SECOND, 4 * SECOND)


def test_where_nobody_wants_figures_nothing_is_counted_and_nothing_looked_at(store, writes):
    books = Bookkeeping(store, QUEUE, counts=False)
    context, settlement = ended(Returned())
    books.ended([(context, settlement)])
    books.lost([settle(context.claim, Lost("gone"), age=SECOND)])
    books.step()
    books.close()
    assert writes.added == writes.looked == []


def test_no_job_starts_before_it_is_due_whatever_its_clock_says(books, store):
    books.ended([ended(Returned(), age=-SECOND)])
    books.close()
    assert totals(store)["task"].wait_sum == timedelta(0)


def test_what_was_refused_is_not_counted(books, store):
    mine, others = ended(Returned(), job_id=1), ended(OUTCOMES["retried"], job_id=2, ran=5)
    books.ended([mine, others], [others[0].claim])
    books.lost([others[1], mine[1]], [others[0].claim])
    books.close()
    assert totals(store) == {"task": msgspec_counted(completed=1, lost=1)}


def msgspec_counted(**counts: int) -> Counted:
    return Counted(wait_sum=SECOND, wait_max=SECOND, wait_buckets=(0,) * 9 + (1,), run_buckets=(1,), **counts)


def test_lost_attempts_are_counted_and_the_job_that_is_failed_for_it(books, store):
    context, _ = ended(Returned())
    claim = context.claim
    failed = settle(claim, Lost("gone"), age=SECOND)
    books.lost([failed, Settlement(claim=claim, to=JobStatus.FAILED, losses=1)])
    books.close()
    assert totals(store) == {"task": Counted(lost=2, failed=1)}


def test_what_a_rescuer_counts_is_counted_for_the_queue_of_the_job(books, store):
    context, done = ended(Returned())
    job = msgspec.structs.replace(context.claim.job, queue="other")
    claim = msgspec.structs.replace(context.claim, job=job)
    books.lost([settle(claim, Lost("gone"), age=SECOND)])
    books.ended([(context, done)])
    books.close()
    assert {key: (one.completed, one.lost) for key, one in store.ledger.totals().items()} == {
        (QUEUE, "task"): (1, 0),
        ("other", "task"): (0, 1),
    }


def test_a_runner_tells_so_many_names_apart(books, store):
    for number in range(510):
        books.ended([ended(Returned(), name=f"job {number}"), ended(Returned(), name="job 0")])
    books.close()
    books.ended([ended(Returned(), name="job 509"), ended(Returned(), name="job 499")])
    books.close()
    found = {name: one.completed for name, one in totals(store).items()}
    assert len(found) == 501
    assert (found["job 0"], found["job 499"], found[OTHERS]) == (511, 2, 11)


ATTEMPTS = st.tuples(
    st.sampled_from(sorted(OUTCOMES)),
    st.sampled_from("abc"),
    st.sampled_from([timedelta(0), SECOND, timedelta(days=2)]),  # delay
    st.sampled_from([timedelta(0), SECOND, 90 * SECOND, timedelta(days=3)]),  # age
    st.integers(0, 40_000).map(lambda n: n / 4096),  # sums of these are exact
    st.one_of(st.integers(0, 8), st.integers(0, 2**28)).map(lambda n: n / 4096),
)


@given(st.lists(st.lists(ATTEMPTS, max_size=12), max_size=4))
def test_they_are_counted_as_one_by_one(batches):
    store = MemoryStore(FakeClock())
    books = Bookkeeping(store, QUEUE)
    expected: defaultdict[str, list[tuple[str, float, float]]] = defaultdict(list)
    for batch in batches:
        done = [
            ended(OUTCOMES[kind], name=name, delay=delay, age=age, waited=waited, ran=ran)
            for kind, name, delay, age, waited, ran in batch
        ]
        books.ended(done)
        for (kind, name, delay, age, waited, ran), _ in zip(batch, done, strict=True):
            if kind in Counted.__struct_fields__:
                expected[name].append((kind, max(0.0, (age - delay).total_seconds()) + waited, ran))
    books.close()
    found = totals(store)
    for name, attempts in expected.items():
        one = found[name]
        waits, runs = [wait for _, wait, _ in attempts], [run for *_, run in attempts]
        kinds = [kind for kind, *_ in attempts]
        assert {kind: getattr(one, kind) for kind in set(kinds)} == {kind: kinds.count(kind) for kind in set(kinds)}
        for buckets, times in ((one.wait_buckets, waits), (one.run_buckets, runs)):
            exact = [0] * 20
            for seconds in times:
                exact[bucket_of(seconds)] += 1
            assert buckets == shortened(exact)
        assert one.wait_sum.total_seconds() == pytest.approx(sum(waits), abs=1e-5)
        assert one.run_sum.total_seconds() == pytest.approx(sum(runs), abs=1e-5)
        assert one.wait_max.total_seconds() == pytest.approx(max(waits), abs=1e-5)
        assert one.run_max.total_seconds() == pytest.approx(max(runs), abs=1e-5)


# when it is written


class Writes:
    """A ledger that only notes when it was asked what."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.added: list[tuple[float, dict[str, Counted]]] = []
        self.looked: list[float] = []
        self.away = False
        self.slow = 0.0

    def add(self, queue: str, counted: dict[str, Counted]) -> None:
        if self.away:
            raise StoreUnavailable("expected a store, got none", path="nowhere")
        self.added.append((self.time.now, counted))

    def note_backlog(self, queue: str) -> None:
        self.time.now += self.slow
        self.looked.append(self.time.now)


@pytest.fixture
def writes(time, store, books) -> Writes:
    writes = Writes(time)
    store.ledger = writes
    return writes


def test_it_is_written_every_few_seconds_while_something_ends_and_not_else(books, writes, time):
    for second in range(60):
        time.now = 1000.0 + second
        if second < 30:
            books.ended([ended(Returned())])
        books.step()
    assert sum(counted["task"].completed for _, counted in writes.added) == 30
    assert {later - earlier for (earlier, _), (later, _) in pairwise(writes.added)} == {5.0}
    assert writes.added[-1][0] == 1030.0
    books.close()
    assert len(writes.added) == 6


def test_while_the_store_is_away_figures_wait_and_that_is_said_once(books, writes, time, caplog):
    caplog.set_level(logging.WARNING)
    writes.away = True
    for second in range(0, 30, 5):
        time.now = 1006.0 + second
        books.ended([ended(Returned())])
        books.step()
    assert writes.added == []
    assert [record.getMessage() for record in caplog.records] == [
        "the figures of queue 'default' cannot be written; the jobs go on: expected a store, got none"
    ]
    writes.away = False
    time.now += 10
    books.step()
    assert [counted["task"].completed for _, counted in writes.added] == [6]
    writes.away = True
    books.ended([ended(Returned())])
    books.close()
    assert len(caplog.records) == 2


def test_a_bug_in_them_ends_no_runner_and_shows_its_traceback(books, writes, monkeypatch, caplog):
    monkeypatch.setattr(writes, "note_backlog", lambda queue: 1 / 0)
    books.step()
    assert caplog.records[0].exc_info[0] is ZeroDivisionError


def test_the_backlog_is_looked_at_twice_a_minute(books, writes, time):
    for second in range(120):
        time.now = 1000.0 + second
        books.step()
    assert writes.looked == [1000.0, 1030.0, 1060.0, 1090.0]


def test_a_backlog_that_takes_long_to_count_is_looked_at_more_rarely(books, writes, time):
    writes.slow = 2.0
    for second in range(0, 600, 10):
        time.now = 1000.0 + second
        books.step()
    assert writes.looked == [1002.0, 1202.0, 1402.0]
