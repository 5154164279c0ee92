"""The life of a job: the table of moves, and what each outcome makes of its job."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from workqueue.backoff import Backoff
from workqueue.job import Claim, Job, JobStatus
from workqueue.lifecycle import (
    FINAL,
    MAX_LOST,
    MOVES,
    SECOND_LOSS_PAUSE,
    WAITING,
    Cancelled,
    HandedBack,
    Lost,
    Postponed,
    Raised,
    Returned,
    Settlement,
    settle,
)

SECOND = timedelta(seconds=1)
ZERO = timedelta(0)
BACKOFF = Backoff(min=SECOND, max=SECOND * 60, factor=2)
OUTCOMES = [
    Returned(),
    Raised("E: x", "tb", SECOND),
    Raised("E: x", "tb", SECOND, recoverable=True),
    Raised("E: x", "tb", SECOND, recoverable=True, delay=SECOND * 7),
    Cancelled("gave up", SECOND),
    Postponed(SECOND * 3),
    Postponed(SECOND * 3, "nobody knows it"),
    HandedBack(),
    Lost("died"),
]


def claim(**changes: object) -> Claim:
    fields = {"id": 1, "name": "task", "data": b"", "status": JobStatus.RUNNING, "attempt": 1, "backoff": BACKOFF}
    return Claim(Job(**(fields | changes)), 1, ZERO, 0)


def verdict(outcome, *, age=ZERO, archive=True, **changes) -> Settlement:
    return settle(claim(**changes), outcome, age=age, archive=archive)


def recoverable(delay=None):
    return Raised("E: x", "tb", SECOND, recoverable=True, delay=delay)


# the table


def test_every_status_has_its_moves():
    assert set(MOVES) == set(JobStatus)


def test_the_table_is_the_one_of_the_docs():
    words = {str(before): sorted(map(str, after)) for before, after in MOVES.items()}
    assert words == {
        "pending": ["cancelled", "running"],
        "retrying": ["cancelled", "running"],
        "running": ["cancelled", "completed", "failed", "pending", "retrying"],
        "completed": [],
        "failed": ["pending"],
        "cancelled": ["pending"],
    }


def test_waiting_final_and_running_are_all_there_is():
    assert WAITING | FINAL | {JobStatus.RUNNING} == set(JobStatus)
    assert not WAITING & FINAL


def test_what_waits_can_be_claimed_and_nothing_else_can():
    assert {status for status, after in MOVES.items() if JobStatus.RUNNING in after} == WAITING


def test_nothing_comes_back_from_completed():
    assert MOVES[JobStatus.COMPLETED] == frozenset()


def test_every_status_can_be_reached():
    assert frozenset().union(*MOVES.values()) == set(JobStatus)


@pytest.mark.parametrize("outcome", OUTCOMES, ids=repr)
@pytest.mark.parametrize("changes", [{}, {"retry_count": 5}, {"lost": 1}, {"lost": 2}, {"lost": 9}], ids=repr)
@pytest.mark.parametrize("archive", [True, False])
def test_every_verdict_is_a_legal_move_of_a_running_job(outcome, changes, archive):
    settlement = verdict(outcome, archive=archive, **changes)
    assert settlement.to in MOVES[JobStatus.RUNNING]
    assert settlement.delay is None or settlement.delay >= ZERO
    assert settlement.delay is None or settlement.to is not JobStatus.COMPLETED
    assert settlement.failures + settlement.losses <= 1
    assert settlement.claim == claim(**changes)


@pytest.mark.parametrize("outcome", OUTCOMES, ids=repr)
def test_only_a_failed_job_is_ever_dropped(outcome):
    settlement = verdict(outcome, archive=False)
    assert settlement.keep is (settlement.to is not JobStatus.FAILED)
    assert verdict(outcome).keep


@pytest.mark.parametrize("outcome", OUTCOMES, ids=repr)
def test_a_verdict_is_pure(outcome):
    held = claim()
    before = msgspec.json.encode(held)
    assert settle(held, outcome, age=ZERO) == settle(held, outcome, age=ZERO)
    assert msgspec.json.encode(held) == before


def test_what_is_no_outcome_is_refused():
    with pytest.raises(AssertionError):
        settle(claim(), "done", age=ZERO)


# returned, cancelled, handed back


def test_returning_completes_the_job():
    assert verdict(Returned()) == Settlement(claim=claim(), to=JobStatus.COMPLETED)


def test_giving_up_after_a_cancel_ends_cancelled_and_is_remembered():
    settlement = verdict(Cancelled("gave up", SECOND))
    assert (settlement.to, settlement.failures, settlement.losses) == (JobStatus.CANCELLED, 0, 0)
    assert (settlement.outcome, settlement.error, settlement.duration) == ("cancelled", "gave up", SECOND)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, JobStatus.PENDING), ({"retry_count": 1}, JobStatus.RETRYING), ({"lost": 1}, JobStatus.RETRYING)],
    ids=["fresh", "failed before", "lost before"],
)
def test_handing_back_counts_nowhere_and_restores_what_was(changes, expected):
    assert verdict(HandedBack(), **changes) == Settlement(claim=claim(**changes), to=expected)


# raised


def test_an_exception_fails_the_job_at_once_with_its_reason():
    settlement = verdict(Raised("E: x", "tb", SECOND))
    assert (settlement.to, settlement.failures, settlement.losses) == (JobStatus.FAILED, 1, 0)
    assert (settlement.outcome, settlement.error, settlement.traceback) == ("raised", "E: x", "tb")
    assert settlement.duration == SECOND


@pytest.mark.parametrize(("retry_count", "seconds"), [(0, 1), (1, 2), (2, 4), (5, 32), (6, 60), (10_000, 60)])
def test_a_recoverable_error_is_tried_again_after_the_backoff(retry_count, seconds):
    settlement = verdict(recoverable(), retry_count=retry_count)
    assert (settlement.to, settlement.failures) == (JobStatus.RETRYING, 1)
    assert settlement.delay == SECOND * seconds


@pytest.mark.parametrize("delay", [ZERO, SECOND * 7, timedelta(days=400)])
def test_a_delay_of_its_own_goes_before_the_backoff(delay):
    assert verdict(recoverable(delay), retry_count=3).delay == delay


@pytest.mark.parametrize("counted_elsewhere", [{"attempt": 99}, {"lost": 2}])
def test_the_backoff_counts_failures_and_neither_attempts_nor_losses(counted_elsewhere):
    assert verdict(recoverable(), **counted_elsewhere).delay == SECOND


@pytest.mark.parametrize(
    ("limit", "retry_count", "expected"),
    [
        (1, 0, JobStatus.FAILED),
        (2, 0, JobStatus.RETRYING),
        (2, 1, JobStatus.FAILED),
        (3, 1, JobStatus.RETRYING),
        (3, 2, JobStatus.FAILED),
        (3, 7, JobStatus.FAILED),
        (None, 10_000, JobStatus.RETRYING),
    ],
)
def test_the_limit_is_of_attempts_in_all(limit, retry_count, expected):
    assert verdict(recoverable(), retry_count=retry_count, backoff=Backoff(limit=limit)).to is expected


@pytest.mark.parametrize(
    ("age", "delay", "expected"),
    [
        (ZERO, SECOND * 10, JobStatus.RETRYING),
        (ZERO, SECOND * 10 + timedelta(microseconds=1), JobStatus.FAILED),
        (SECOND * 4, SECOND * 6, JobStatus.RETRYING),
        (SECOND * 4, SECOND * 7, JobStatus.FAILED),
        (SECOND * 11, ZERO, JobStatus.FAILED),
        (-SECOND, SECOND * 11, JobStatus.RETRYING),
    ],
)
def test_no_retry_comes_later_than_the_expiration(age, delay, expected):
    backoff = Backoff(expiration=SECOND * 10)
    assert verdict(recoverable(delay), age=age, backoff=backoff).to is expected


def test_an_expiration_of_zero_allows_no_retry_that_waits():
    backoff = Backoff(min=SECOND, expiration=ZERO)
    assert verdict(recoverable(), backoff=backoff).to is JobStatus.FAILED


# lost


@pytest.mark.parametrize(
    ("lost", "expected", "delay"),
    [
        (0, JobStatus.RETRYING, ZERO),
        (1, JobStatus.RETRYING, SECOND_LOSS_PAUSE),
        (2, JobStatus.FAILED, SECOND_LOSS_PAUSE),
        (7, JobStatus.FAILED, SECOND_LOSS_PAUSE),
    ],
)
def test_losses_come_back_at_once_then_later_then_not_at_all(lost, expected, delay):
    settlement = verdict(Lost("died"), lost=lost)
    assert (settlement.to, settlement.delay, settlement.losses, settlement.failures) == (expected, delay, 1, 0)
    assert settlement.outcome == "lost"
    assert settlement.error == f"died (loss {lost + 1} of {MAX_LOST})"


def test_a_loss_asks_neither_the_limit_nor_the_expiration():
    backoff = Backoff(limit=1, expiration=ZERO)
    assert verdict(Lost("died"), age=SECOND, backoff=backoff, retry_count=4).to is JobStatus.RETRYING


def test_a_job_survives_two_losses_and_no_more():
    assert MAX_LOST == 3
