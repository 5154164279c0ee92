"""get, find, history, cancel, restore, clean, size, idle and now: what people see and do."""

from __future__ import annotations

from datetime import UTC, timedelta

import pytest
from workqueue.errors import JobNotFound
from workqueue.job import JobStatus, Lane, Size, Terms
from workqueue.lifecycle import SECOND_LOSS_PAUSE
from workqueue.store.contract import TaskStanding
from workqueue.store.paging import Find

from support import (
    LEASE,
    QUEUE,
    SECOND,
    a_failed_job,
    a_suspect,
    again,
    apply,
    claim_all,
    claim_one,
    completed,
    everything,
    handed_back,
    ids,
    lost,
    new_job,
    push,
    raised,
    turn,
)

# get and find


@pytest.mark.parametrize("job_id", [-1, 0, 1, 999])
def test_a_job_that_was_never_pushed_is_not_found(store, job_id):
    with pytest.raises(JobNotFound) as caught:
        store.get(job_id)
    assert caught.value.job_id == job_id


def test_jobs_are_listed_by_id_upwards(store):
    pushed = store.push([new_job(priority=priority) for priority in (1, 9, 5)])
    assert [job.id for job in store.find(Find()).jobs] == pushed


def test_a_listing_ends_at_its_limit_and_goes_on_after_an_id(store):
    pushed = store.push([new_job() for _ in range(5)])
    assert [job.id for job in store.find(Find(limit=2)).jobs] == pushed[:2]
    assert [job.id for job in store.find(Find(limit=2, after=pushed[1])).jobs] == pushed[2:4]
    assert store.find(Find(after=pushed[-1])).jobs == []
    assert store.find(Find(limit=0)).jobs == []


def test_a_listing_can_be_of_one_queue_name_and_status(store):
    a = push(store, queue="a", name="x")
    b = push(store, queue="b", name="x")
    c = push(store, queue="a", name="y")
    store.cancel(c)

    def found(**which: object) -> list[int]:
        return [job.id for job in store.find(Find(**which)).jobs]

    assert found() == [a, b, c]
    assert found(queue="a") == [a, c]
    assert found(name="x") == [a, b]
    assert found(status=JobStatus.PENDING) == [a, b]
    assert found(status=JobStatus.CANCELLED) == [c]
    assert found(queue="a", name="y", status=JobStatus.CANCELLED) == [c]
    assert found(queue="a", name="y", status=JobStatus.PENDING) == found(queue="") == found(name="X") == []
    assert found(status=JobStatus.COMPLETED) == []


def test_what_is_listed_is_what_get_gives(store):
    failed, suspect = a_failed_job(store), a_suspect(store, data=b"x" * 3000)
    assert store.find(Find()).jobs == [store.get(failed), store.get(suspect)]


def test_the_history_of_a_job_without_failures_or_that_never_was_is_empty(store):
    assert store.history(push(store)) == store.history(99) == []


# cancel


def test_cancelling_a_waiting_job_ends_it(store, clock):
    job_id = push(store)
    assert store.cancel(job_id)
    job = store.get(job_id)
    assert (job.status, job.settled_at, job.message) == (JobStatus.CANCELLED, clock.now(), "cancelled")
    assert not job.cancel_requested
    assert claim_all(store) == []
    assert store.size(QUEUE) == Size(waiting=0, failed=0)


@pytest.mark.parametrize("kind", ["future", "retrying", "suspect"])
def test_whatever_waits_can_be_cancelled(store, clock, kind):
    if kind == "future":
        job_id = push(store, delay=SECOND)
    elif kind == "suspect":
        job_id = a_suspect(store)
    else:
        job_id = push(store)
        apply(store, again(claim_one(store), SECOND))
    assert store.cancel(job_id)
    clock.advance(SECOND)
    assert claim_all(store) == claim_all(store, alone=True) == []
    assert store.get(job_id).status is JobStatus.CANCELLED


def test_cancelling_a_running_job_asks_its_runner(store):
    job_id = push(store)
    claim = claim_one(store)
    assert store.cancel(job_id)
    assert store.cancel(job_id)
    job = store.get(job_id)
    assert (job.status, job.cancel_requested, job.settled_at) == (JobStatus.RUNNING, True, None)
    assert store.held(claim.runner).cancelled == {job_id}


def test_a_settled_job_cannot_be_cancelled(store):
    failed, cancelled = a_failed_job(store), push(store)
    store.cancel(cancelled)
    before = everything(store)
    assert not store.cancel(failed)
    assert not store.cancel(cancelled)
    assert everything(store) == before


def test_cancelling_a_job_that_is_not_there_says_so(store):
    job_id = push(store)
    apply(store, completed(claim_one(store)))
    for missing in (job_id, 99):
        with pytest.raises(JobNotFound) as caught:
            store.cancel(missing)
        assert caught.value.job_id == missing


# restore


def test_restored_jobs_start_afresh(store, clock):
    job_id = push(store, priority=4)
    apply(store, lost(claim_one(store)))
    apply(store, raised(claim_one(store, alone=True)))
    clock.advance(SECOND * 5)
    assert store.restore(QUEUE, None) == 1
    job = store.get(job_id)
    assert (job.status, job.retry_count, job.lost) == (JobStatus.PENDING, 0, 0)
    assert (job.message, job.settled_at, job.cancel_requested) == ("", None, False)
    assert (job.run_at, job.pushed_at, job.priority) == (clock.now(), clock.now() - SECOND * 5, 4)
    assert job.attempt == 2
    claim = claim_one(store)
    assert (claim.job.id, claim.job.attempt) == (job_id, 3)


def test_a_job_that_was_lost_three_times_is_nobody_to_avoid_once_restored(store, clock):
    a_suspect(store)
    apply(store, lost(claim_one(store, alone=True)))
    clock.advance(SECOND_LOSS_PAUSE)
    apply(store, lost(claim_one(store, alone=True)))
    store.restore(QUEUE, None)
    assert claim_one(store).job.lost == 0


def test_restoring_all_takes_failed_jobs_of_the_queue_only(store):
    mine, other, cancelled = a_failed_job(store), a_failed_job(store, queue="other"), push(store)
    store.cancel(cancelled)
    waiting = push(store)
    assert store.restore(QUEUE, None) == 1
    assert [store.get(job_id).status for job_id in (mine, other, cancelled, waiting)] == [
        JobStatus.PENDING,
        JobStatus.FAILED,
        JobStatus.CANCELLED,
        JobStatus.PENDING,
    ]
    assert store.restore(QUEUE, None) == 0


def test_restoring_these_takes_failed_and_cancelled_ones_of_the_queue(store):
    failed, left, other = a_failed_job(store), a_failed_job(store), a_failed_job(store, queue="other")
    cancelled, waiting = push(store), push(store)
    store.cancel(cancelled)
    assert store.restore(QUEUE, [failed, cancelled, other, waiting, 99, failed]) == 2
    assert ids(claim_all(store)) == [failed, cancelled, waiting]
    assert store.get(left).status is JobStatus.FAILED
    assert store.get(other).status is JobStatus.FAILED


@pytest.mark.parametrize("job_ids", [[], (), set()])
def test_restoring_none_restores_none(store, job_ids):
    a_failed_job(store)
    assert store.restore(QUEUE, job_ids) == 0


def test_a_running_job_is_not_restored(store):
    job_id = push(store)
    claim = claim_one(store)
    assert store.restore(QUEUE, [job_id]) == 0
    assert apply(store, completed(claim)) == []


def test_a_restored_job_keeps_its_turn(store):
    restored, waiting = a_failed_job(store), push(store)
    store.restore(QUEUE, None)
    assert ids(claim_all(store)) == [restored, waiting]


def test_with_timing_a_restored_job_stands_by_its_new_run_at(store, clock):
    restored = a_failed_job(store, timing=True)
    clock.advance(SECOND)
    waiting = push(store, timing=True)
    clock.advance(SECOND)
    store.restore(QUEUE, None)
    assert ids(claim_all(store)) == [waiting, restored]


def test_a_job_cancelled_before_it_was_due_is_due_once_restored(store, clock):
    job_id = push(store, delay=timedelta(days=1))
    store.cancel(job_id)
    store.restore(QUEUE, [job_id])
    clock.advance(-SECOND)
    assert ids(claim_all(store)) == [job_id]


def test_a_verdict_from_before_the_restore_is_refused(store):
    push(store)
    claim = claim_one(store)
    apply(store, raised(claim))
    store.restore(QUEUE, None)
    again_running = claim_one(store)
    assert apply(store, completed(claim)) == [claim]
    assert apply(store, completed(again_running)) == []


# clean


def test_cleaning_deletes_what_has_this_status_in_this_queue(store):
    failed, other = a_failed_job(store, data=b"x" * 3000), a_failed_job(store, queue="other")
    cancelled, waiting = push(store), push(store)
    store.cancel(cancelled)
    assert store.clean(QUEUE, JobStatus.FAILED) == 1
    assert [job.id for job in store.find(Find()).jobs] == [other, cancelled, waiting]
    assert store.history(failed) == []
    assert store.clean(QUEUE, JobStatus.FAILED) == 0
    assert store.clean(QUEUE, JobStatus.CANCELLED) == 1
    assert [job.id for job in store.find(Find()).jobs] == [other, waiting]


@pytest.mark.parametrize("status", [JobStatus.PENDING, JobStatus.RETRYING, JobStatus.RUNNING, JobStatus.COMPLETED])
def test_cleaning_never_takes_a_job_that_is_not_settled(store, status):
    push(store)
    push(store)
    apply(store, again(claim_one(store), SECOND))
    claim_one(store)
    push(store)
    before = everything(store)
    assert store.clean(QUEUE, status) == 0
    assert everything(store) == before


# size and idle


def test_the_size_counts_what_waits_and_runs_and_what_failed(store, clock):
    assert store.size(QUEUE) == Size(waiting=0, failed=0)
    a_failed_job(store)
    a_suspect(store)
    push(store)
    apply(store, again(claim_one(store), SECOND))
    push(store)
    claim_one(store)
    push(store)
    push(store, delay=SECOND)
    store.cancel(push(store))
    push(store, queue="other")
    assert store.size(QUEUE) == Size(waiting=5, failed=1)
    assert store.size("other") == Size(waiting=1, failed=0)
    clock.advance(SECOND)
    assert store.size(QUEUE) == Size(waiting=5, failed=1)


def test_an_empty_queue_is_idle(store):
    push(store, queue="other")
    assert store.idle(QUEUE)


def test_a_queue_with_a_job_that_is_due_or_runs_is_not_idle(store):
    push(store)
    assert not store.idle(QUEUE)
    claim = claim_one(store)
    assert not store.idle(QUEUE)
    apply(store, completed(claim))
    assert store.idle(QUEUE)


def test_a_queue_with_jobs_for_later_only_is_idle_until_they_are_due(store, clock):
    push(store, delay=SECOND)
    assert store.idle(QUEUE)
    clock.advance(SECOND)
    assert not store.idle(QUEUE)


def test_a_queue_whose_job_waits_for_another_try_is_not_idle(store):
    push(store)
    apply(store, again(claim_one(store), SECOND))
    assert not store.idle(QUEUE)


def test_a_queue_with_a_suspect_is_not_idle(store):
    a_suspect(store)
    assert not store.idle(QUEUE)


@pytest.mark.parametrize("kind", ["due", "due later", "retrying", "running", "suspect"])
def test_what_another_queue_does_keeps_none_from_being_idle(store, clock, kind):
    if kind == "suspect":
        a_suspect(store, queue="other")
    else:
        push(store, queue="other", delay=SECOND if kind == "due later" else None)
    if kind == "retrying":
        apply(store, again(claim_one(store, queue="other"), LEASE))
    elif kind == "running":
        claim_one(store, queue="other")
    clock.advance(2 * SECOND)
    assert store.idle(QUEUE)
    assert not store.idle("other")


def test_a_queue_with_settled_jobs_only_is_idle(store):
    a_failed_job(store)
    store.cancel(push(store))
    assert store.idle(QUEUE)


def test_a_job_handed_back_while_the_clock_stepped_back_keeps_the_queue_from_being_idle(store, clock):
    push(store)
    claim = claim_one(store)
    clock.advance(-SECOND)
    apply(store, handed_back(claim))
    assert not store.idle(QUEUE)


# task_standings


def test_jobs_are_counted_by_queue_and_name(store, clock):
    a_failed_job(store, name="b")
    a_suspect(store, name="b")
    store.cancel(push(store, name="b"))
    store.push([new_job(terms=Terms(followed=True)), new_job(name="b", terms=Terms(follows=-1))])
    push(store, name="b", delay=SECOND)
    push(store, name="b", delay=LEASE)
    push(store, queue="a", name="b")
    push(store, queue="z", name="kept")
    apply(store, completed(claim_one(store, queue="z"), stays=True))
    claim_one(store, queue="a")
    clock.advance(SECOND)
    assert store.task_standings(100) == [
        TaskStanding(queue="a", name="b", running=1),
        TaskStanding(queue=QUEUE, name="b", due=2, later=2, failed=1, cancelled=1),
        TaskStanding(queue=QUEUE, name="task", due=1),
    ]
    whole = {standing.queue: standing for standing in store.overview().queues}
    assert (whole[QUEUE].due, whole[QUEUE].later) == (3, 2)


def test_what_is_kept_back_is_due_and_what_follows_is_not(store):
    for _ in range(2):
        push(store, terms=Terms(limit=Lane("one", most=1)))
    assert len(claim_all(store)) == 1
    store.push([new_job(terms=Terms(followed=True)), new_job(terms=Terms(follows=-1))])
    [standing] = store.overview().queues
    assert (standing.due, standing.later, standing.running) == (2, 1, 1)


def test_no_more_jobs_are_counted_than_were_asked_for_the_newest(store):
    push(store, name="old")
    store.push([new_job(name="new")] * 3)
    assert store.task_standings(3) == [TaskStanding(queue=QUEUE, name="new", due=3)]
    assert sum(one.jobs for one in store.task_standings(5)) == 4
    assert store.task_standings(0) == []


# now


def test_the_stores_time_is_that_of_its_clock_in_utc(store, clock):
    assert store.now() == clock.now()
    assert store.now().tzinfo is UTC
    clock.advance(-LEASE)
    assert store.now() == clock.now()


def test_a_clock_that_jumps_loses_nothing(store, clock):
    runner = store.enlist(QUEUE, "tests")
    for step in (timedelta(days=400), -timedelta(days=800), timedelta(0)):
        job_id = push(store)
        [claim] = claim_all(store, runner)
        clock.advance(step)
        assert store.held(runner).held == {job_id: 1}
        assert turn(store, [completed(claim)], runner).refused == []
