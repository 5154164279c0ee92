"""turn, as far as it settles: the fence, and what each verdict makes of its job."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from workqueue.backoff import Backoff
from workqueue.errors import JobNotFound
from workqueue.job import JobStatus, Size, Terms
from workqueue.lifecycle import MAX_LOST, SECOND_LOSS_PAUSE, Settlement
from workqueue.store.paging import Find

from support import (
    LEASE,
    QUEUE,
    SECOND,
    TICK,
    a_failed_job,
    a_suspect,
    again,
    apply,
    claim_all,
    claim_one,
    completed,
    everything,
    gave_up,
    handed_back,
    ids,
    lost,
    new_job,
    push,
    raised,
    turn,
)

VERDICTS = [completed, raised, again, gave_up, handed_back, lost]

# completed


def test_a_completed_job_leaves_the_store_with_its_history(store):
    job_id = push(store, data=b"x" * 5000)
    apply(store, again(claim_one(store)))
    assert len(store.history(job_id)) == 1
    assert apply(store, completed(claim_one(store))) == []
    with pytest.raises(JobNotFound):
        store.get(job_id)
    assert everything(store) == []
    assert store.history(job_id) == []
    assert store.size(QUEUE) == Size(waiting=0, failed=0)


def test_a_batch_of_mixed_verdicts_is_settled_in_one_turn(store):
    pushed = store.push([new_job() for _ in VERDICTS])
    claims = claim_all(store)
    assert apply(store, *(settled(claim) for settled, claim in zip(VERDICTS, claims, strict=True))) == []
    statuses = {job.id: job.status for job, _ in everything(store)}
    assert statuses == dict(
        zip(
            pushed[1:],
            [JobStatus.FAILED, JobStatus.RETRYING, JobStatus.CANCELLED, JobStatus.PENDING, JobStatus.RETRYING],
            strict=True,
        )
    )


def test_jobs_on_different_attempts_complete_in_one_turn(store):
    push(store)
    apply(store, again(claim_one(store)))
    push(store)
    claims = claim_all(store)
    assert sorted(claim.job.attempt for claim in claims) == [1, 2]
    assert apply(store, *map(completed, claims)) == []
    assert everything(store) == []


def test_settling_and_claiming_go_in_one_turn(store):
    done, next_one = push(store), push(store)
    runner = store.enlist(QUEUE, "tests")
    first = claim_one(store, runner)
    found = turn(store, [completed(first)], runner, limit=1)
    assert (ids(found.claims), found.refused) == ([next_one], [])
    with pytest.raises(JobNotFound):
        store.get(done)


def test_a_job_settled_to_wait_can_be_claimed_in_the_same_turn(store):
    job_id = push(store)
    runner = store.enlist(QUEUE, "tests")
    found = turn(store, [again(claim_one(store, runner))], runner)
    assert [(claim.job.id, claim.job.attempt) for claim in found.claims] == [(job_id, 2)]


# the fence


@pytest.mark.parametrize("settled", VERDICTS)
@pytest.mark.parametrize("terms", [None, Terms(order="o")], ids=["plain", "with terms"])
def test_a_stale_verdict_is_refused_and_changes_nothing(store, settled, terms):
    push(store, terms=terms)
    runner = store.enlist(QUEUE, "tests")
    stale = claim_one(store, runner)
    apply(store, again(stale))
    claim_one(store, runner)
    before = everything(store)
    assert apply(store, settled(stale)) == [stale]
    assert everything(store) == before


def test_a_turn_that_claims_too_refuses_a_stale_completion(store):
    push(store)
    stale = claim_one(store)
    apply(store, again(stale))
    running = claim_one(store)
    waiting = push(store)
    found = turn(store, [completed(stale)])
    assert (ids(found.claims), found.refused) == ([waiting], [stale])
    assert apply(store, completed(running)) == []


@pytest.mark.parametrize("settled", VERDICTS)
def test_a_verdict_for_an_attempt_that_never_was_is_refused(store, settled):
    push(store)
    claim = claim_one(store)
    forged = msgspec.structs.replace(claim, job=msgspec.structs.replace(claim.job, attempt=2))
    before = everything(store)
    assert apply(store, settled(forged)) == [forged]
    assert everything(store) == before


@pytest.mark.parametrize("settled", VERDICTS)
@pytest.mark.parametrize("first", VERDICTS)
def test_a_claim_settles_once(store, first, settled):
    push(store)
    claim = claim_one(store)
    assert apply(store, first(claim)) == []
    before = everything(store)
    assert apply(store, settled(claim)) == [claim]
    assert everything(store) == before


@pytest.mark.parametrize("second", VERDICTS)
def test_of_two_verdicts_on_one_claim_in_one_turn_one_is_refused(store, second):
    push(store)
    claim = claim_one(store)
    assert apply(store, again(claim), second(claim)) == [claim]


@pytest.mark.parametrize("claims_too", [False, True])
def test_of_verdicts_on_one_job_in_one_turn_the_one_on_its_running_attempt_holds_and_once(store, claims_too):
    push(store)
    stale = claim_one(store)
    apply(store, again(stale))
    running = claim_one(store)
    verdicts = [completed(claim) for claim in (stale, running, running)]
    refused = turn(store, verdicts).refused if claims_too else apply(store, *verdicts)
    assert [claim.job.attempt for claim in refused] == [1, 2]
    assert everything(store) == []


def test_the_refused_do_not_keep_the_others_of_their_batch_from_settling(store):
    pushed = store.push([new_job() for _ in range(4)])
    claims = claim_all(store)
    apply(store, again(claims[1], SECOND), completed(claims[2]))
    assert apply(store, *map(completed, claims)) == [claims[1], claims[2]]
    assert [job.id for job, _ in everything(store)] == [pushed[1]]


def test_a_refused_verdict_does_not_keep_its_turn_from_claiming(store):
    push(store)
    runner = store.enlist(QUEUE, "tests")
    claim = claim_one(store, runner)
    apply(store, completed(claim))
    waiting = push(store)
    found = turn(store, [completed(claim)], runner)
    assert (ids(found.claims), found.refused) == ([waiting], [claim])


# retries


def test_a_retry_waits_for_its_delay(store, clock):
    job_id = push(store)
    apply(store, again(claim_one(store), SECOND * 30))
    job = store.get(job_id)
    assert (job.status, job.retry_count, job.run_at) == (JobStatus.RETRYING, 1, clock.now() + SECOND * 30)
    assert (job.message, job.settled_at) == ("RecoverableWorkerError: later", None)
    clock.advance(SECOND * 30 - TICK)
    assert claim_all(store) == []
    clock.advance(TICK)
    assert ids(claim_all(store)) == [job_id]


def test_the_delay_counts_from_the_settling_and_not_from_the_claim(store, clock):
    job_id = push(store)
    claim = claim_one(store)
    clock.advance(SECOND * 5)
    apply(store, again(claim, SECOND))
    assert store.get(job_id).run_at == clock.now() + SECOND


def test_a_retry_without_delay_is_due_at_once_and_stays_so(store, clock):
    job_id = push(store)
    apply(store, again(claim_one(store)))
    clock.advance(-timedelta(days=1))
    assert ids(claim_all(store)) == [job_id]


def test_a_retry_keeps_its_turn(store):
    first, second = push(store), push(store)
    apply(store, again(claim_one(store)))
    assert ids(claim_all(store)) == [first, second]


def test_with_timing_a_retry_stands_by_its_new_run_at(store, clock):
    retried = push(store, timing=True)
    apply(store, again(claim_one(store), SECOND * 2))
    between = push(store, timing=True, delay=SECOND)
    clock.advance(SECOND * 2)
    assert ids(claim_all(store)) == [between, retried]


def test_retry_counts_add_up_and_the_backoff_ends_them(store):
    job_id = push(store, backoff=Backoff(min=timedelta(0), max=timedelta(0), limit=3))
    for expected in (JobStatus.RETRYING, JobStatus.RETRYING, JobStatus.FAILED):
        apply(store, raised(claim_one(store), recoverable=True))
        assert store.get(job_id).status is expected
    assert store.get(job_id).retry_count == 3


def test_a_retry_beyond_the_end_of_the_calendar_waits_for_that_end(store, clock):
    """A verdict that the store cannot write would come back for ever, and stop its queue."""
    far, near = push(store), push(store)
    claims = claim_all(store)
    runner = store.enlist(QUEUE, "tests")
    found = turn(store, [again(claims[0], timedelta.max), again(claims[1])], runner)
    assert ids(found.claims) == [near]
    assert store.get(far).status is JobStatus.RETRYING
    assert store.get(far).run_at > clock.now() + timedelta(days=1_000_000)


# failed for good, cancelled


def test_a_failed_job_is_kept_with_its_reason(store, clock):
    job_id = push(store)
    claim = claim_one(store)
    clock.advance(SECOND)
    apply(store, raised(claim, "KeyError: 'x'"))
    job = store.get(job_id)
    assert (job.status, job.retry_count, job.message) == (JobStatus.FAILED, 1, "KeyError: 'x'")
    assert job.settled_at == clock.now()
    assert store.size(QUEUE) == Size(waiting=0, failed=1)
    assert claim_all(store) == claim_all(store, alone=True) == []


def test_without_an_archive_a_failed_job_leaves_with_its_history(store):
    job_id = push(store, data=b"x" * 5000)
    apply(store, again(claim_one(store)))
    assert apply(store, raised(claim_one(store), archive=False)) == []
    assert everything(store) == []
    assert store.history(job_id) == []


def test_without_an_archive_other_failed_jobs_are_kept(store):
    kept = a_failed_job(store)
    push(store)
    apply(store, raised(claim_one(store), archive=False))
    assert [job.id for job in store.find(Find()).jobs] == [kept]


def test_without_an_archive_a_retry_is_kept_all_the_same(store):
    job_id = push(store)
    apply(store, raised(claim_one(store), recoverable=True, delay=SECOND, archive=False))
    assert store.get(job_id).status is JobStatus.RETRYING


def test_only_a_failed_verdict_can_drop_its_job(store):
    job_id = push(store)
    apply(store, Settlement(claim=claim_one(store), to=JobStatus.PENDING, keep=False))
    assert store.get(job_id).status is JobStatus.PENDING


def test_a_job_whose_handler_gave_up_ends_cancelled_without_a_failure(store, clock):
    job_id = push(store)
    before = store.get(job_id)
    apply(store, gave_up(claim_one(store)))
    job = store.get(job_id)
    assert (job.status, job.retry_count, job.run_at) == (JobStatus.CANCELLED, 0, before.run_at)
    assert (job.settled_at, job.message) == (clock.now(), "cancelled while running")


@pytest.mark.parametrize("settled", [again, handed_back, lost])
def test_a_waiting_verdict_for_a_job_to_be_cancelled_ends_cancelled(store, clock, settled):
    job_id = push(store)
    claim = claim_one(store)
    store.cancel(job_id)
    assert apply(store, settled(claim)) == []
    job = store.get(job_id)
    assert (job.status, job.settled_at, job.cancel_requested) == (JobStatus.CANCELLED, clock.now(), False)
    assert claim_all(store) == claim_all(store, alone=True) == []


@pytest.mark.parametrize(("settled", "status"), [(raised, JobStatus.FAILED), (gave_up, JobStatus.CANCELLED)])
def test_a_final_verdict_for_a_job_to_be_cancelled_stands(store, settled, status):
    job_id = push(store)
    claim = claim_one(store)
    store.cancel(job_id)
    apply(store, settled(claim))
    assert (store.get(job_id).status, store.get(job_id).cancel_requested) == (status, False)


def test_a_job_to_be_cancelled_that_completed_first_is_completed(store):
    job_id = push(store)
    claim = claim_one(store)
    store.cancel(job_id)
    assert apply(store, completed(claim)) == []
    with pytest.raises(JobNotFound):
        store.get(job_id)


# handed back


def test_handing_back_counts_nowhere(store):
    job_id = push(store)
    before = store.get(job_id)
    apply(store, handed_back(claim_one(store)))
    assert store.get(job_id) == msgspec.structs.replace(before, attempt=1)
    assert store.history(job_id) == []


def test_handing_back_leaves_run_at_and_the_place_in_the_queue(store, clock):
    timed = push(store, timing=True, delay=SECOND)
    clock.advance(SECOND)
    claim = claim_one(store)
    clock.advance(SECOND * 5)
    other = push(store, timing=True, run_at=clock.now() - SECOND)
    apply(store, handed_back(claim))
    assert store.get(timed).run_at == claim.job.run_at
    assert ids(claim_all(store)) == [timed, other]


def test_what_was_handed_back_is_due_though_the_clock_stepped_back(store, clock):
    job_id = push(store)
    claim = claim_one(store)
    clock.advance(-timedelta(days=1))
    apply(store, handed_back(claim))
    assert ids(claim_all(store)) == [job_id]


def test_a_retrying_job_that_is_handed_back_keeps_its_count_and_error(store):
    job_id = push(store)
    apply(store, again(claim_one(store)))
    apply(store, handed_back(claim_one(store)))
    job = store.get(job_id)
    assert (job.status, job.retry_count, job.message) == (JobStatus.RETRYING, 1, "RecoverableWorkerError: later")


# lost


def test_the_first_loss_brings_the_job_back_at_once(store):
    job_id = a_suspect(store)
    job = store.get(job_id)
    assert (job.status, job.lost, job.retry_count) == (JobStatus.RETRYING, 1, 0)
    assert job.message == "runner ended (loss 1 of 3)"
    assert claim_one(store, alone=True).job.id == job_id


def test_the_second_loss_brings_it_back_after_a_pause(store, clock):
    job_id = a_suspect(store)
    apply(store, lost(claim_one(store, alone=True)))
    assert store.get(job_id).run_at == clock.now() + SECOND_LOSS_PAUSE
    assert claim_all(store, alone=True) == []
    clock.advance(SECOND_LOSS_PAUSE)
    assert claim_one(store, alone=True).job.lost == 2


@pytest.mark.parametrize("archive", [True, False])
def test_the_third_loss_fails_it(store, clock, archive):
    job_id = a_suspect(store)
    apply(store, lost(claim_one(store, alone=True)))
    clock.advance(SECOND_LOSS_PAUSE)
    assert apply(store, lost(claim_one(store, alone=True), archive=archive)) == []
    assert store.size(QUEUE) == Size(waiting=0, failed=int(archive))
    if archive:
        job = store.get(job_id)
        assert (job.status, job.lost, job.message) == (JobStatus.FAILED, MAX_LOST, "runner ended (loss 3 of 3)")


def test_a_lost_verdict_is_refused_when_the_lease_was_renewed_meanwhile(store, clock):
    job_id = push(store)
    runner = store.enlist(QUEUE, "slow")
    claim_one(store, runner)
    clock.advance(LEASE + TICK)
    [orphan] = store.orphans(expired=True, limit=10)
    store.beat(runner, LEASE)
    before = everything(store)
    assert apply(store, lost(orphan)) == [orphan]
    assert everything(store) == before
    assert store.get(job_id).status is JobStatus.RUNNING


def test_any_other_verdict_holds_though_the_lease_was_renewed(store, clock):
    push(store)
    runner = store.enlist(QUEUE, "slow")
    claim = claim_one(store, runner)
    clock.advance(SECOND)
    store.beat(runner, LEASE)
    assert apply(store, completed(claim)) == []


def test_of_two_rescuers_one_is_refused(store, clock):
    push(store)
    claim_one(store)
    clock.advance(LEASE + TICK)
    [one] = store.orphans(expired=True, limit=10)
    [other] = store.orphans(expired=True, limit=10)
    assert apply(store, lost(one)) == []
    assert apply(store, lost(other)) == [other]


# history


def test_each_attempt_that_did_not_complete_is_remembered(store, clock):
    job_id = push(store)
    runner = store.enlist(QUEUE, "host:1")
    claim = claim_one(store, runner)
    started = clock.now()
    clock.advance(SECOND * 4)
    apply(store, again(claim))
    apply(store, lost(claim_one(store, runner)))
    apply(store, gave_up(claim_one(store, runner, alone=True)))
    first, second, third = store.history(job_id)
    assert (first.attempt, first.outcome, first.error) == (1, "raised", "RecoverableWorkerError: later")
    assert (first.runner, first.started_at, first.duration) == ("host:1", started, SECOND)
    assert first.traceback == "a traceback"
    assert (second.attempt, second.outcome, second.error) == (2, "lost", "runner ended (loss 1 of 3)")
    assert (third.attempt, third.outcome, third.error) == (3, "cancelled", "cancelled while running")


def test_the_history_keeps_the_newest_hundred_attempts(store):
    job_id = push(store)
    runner = store.enlist(QUEUE, "tests")
    [claim] = claim_all(store, runner)
    for _ in range(104):
        [claim] = turn(store, [again(claim)], runner).claims
    assert [attempt.attempt for attempt in store.history(job_id)] == list(range(5, 105))


def test_the_history_names_the_runner_of_each_attempt(store):
    job_id = push(store)
    for label in ("first", "second"):
        [claim] = claim_all(store, store.enlist(QUEUE, label))
        apply(store, again(claim))
    assert [attempt.runner for attempt in store.history(job_id)] == ["first", "second"]


def test_long_histories_take_nothing_from_each_other(store):
    runner = store.enlist(QUEUE, "tests")
    short, *long = [push(store) for _ in range(3)]
    claims = claim_all(store, runner)
    apply(store, raised(claims.pop(0)))
    for _ in range(104):
        claims = turn(store, [again(claim) for claim in claims], runner).claims
    assert [len(store.history(job_id)) for job_id in (short, *long)] == [1, 100, 100]


def test_the_history_survives_a_restore(store):
    job_id = a_failed_job(store)
    store.restore(QUEUE, None)
    apply(store, raised(claim_one(store)))
    assert [attempt.attempt for attempt in store.history(job_id)] == [1, 2]


def test_errors_and_tracebacks_are_kept_letter_for_letter(store):
    job_id = push(store)
    error = "Größe 🐙 '\"[{"
    apply(store, raised(claim_one(store), error))
    assert store.get(job_id).message == store.history(job_id)[0].error == error
