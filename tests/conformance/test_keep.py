"""What is kept of jobs that are over: completed jobs beside the others, and no more than is to be kept."""

from __future__ import annotations

from datetime import timedelta

import pytest
from workqueue.errors import JobNotFound, LeaseLost
from workqueue.job import Claim, Job, JobStatus, Lane, Size, Terms
from workqueue.lifecycle import Returned
from workqueue.retention import Keep
from workqueue.store.contract import Outlook, Standing, Store
from workqueue.store.paging import Changed, Find

from support import (
    QUEUE,
    SECOND,
    TICK,
    a_failed_job,
    again,
    all_jobs,
    apply,
    claim_all,
    claim_one,
    completed,
    everything,
    ids,
    lost,
    new_job,
    push,
    raised,
    turn,
    verdict,
)

COMPLETED = JobStatus.COMPLETED
LARGE = b"y" * 3000


def a_completed_job(store: Store, **changes: object) -> int:
    """A job that completed and is kept."""
    job_id = push(store, **changes)
    assert apply(store, completed(claim_one(store, queue=str(changes.get("queue", QUEUE))), stays=True)) == []
    return job_id


def statuses(store: Store) -> dict[int, JobStatus]:
    return {job.id: job.status for job in all_jobs(store)}


# completed jobs that are kept


@pytest.mark.parametrize("since", ["tried again", "claimed again"])
def test_a_verdict_that_is_refused_keeps_nothing(store, since):
    push(store)
    runner = store.enlist(QUEUE, "tests")
    stale = claim_one(store, runner)
    apply(store, again(stale))
    if since == "claimed again":
        claim_one(store, runner)
    before = everything(store)
    assert apply(store, completed(stale, stays=True)) == [stale]
    assert everything(store) == before


@pytest.mark.parametrize("data", [b"", b"{}", LARGE])
def test_a_completed_job_that_is_kept_says_when_and_by_whom(store, clock, data):
    job_id = push(store, data=data, priority=3, delay=SECOND)
    clock.advance(SECOND * 2)
    claim = claim_one(store, store.enlist(QUEUE, "host:7"))
    clock.advance(SECOND * 5)
    apply(store, completed(claim, stays=True))
    now = clock.now()
    assert store.get(job_id) == Job(
        id=job_id,
        name="task",
        data=data,
        status=COMPLETED,
        priority=3,
        run_at=now - SECOND * 6,
        pushed_at=now - SECOND * 7,
        claimed_at=now - SECOND * 5,
        settled_at=now,
        attempt=1,
        runner="host:7",
        backoff=claim.job.backoff,
    )
    assert store.get(job_id).duration == SECOND * 5
    assert all_jobs(store) == [store.get(job_id)]


def test_a_completed_job_leaves_if_it_is_not_to_be_kept(store):
    job_id = push(store)
    apply(store, completed(claim_one(store)))
    with pytest.raises(JobNotFound):
        store.get(job_id)


def test_its_history_and_counts_stay_with_it_and_its_last_error_does_not(store):
    job_id = push(store, data=LARGE)
    apply(store, lost(claim_one(store)))
    apply(store, again(claim_one(store, alone=True)))
    apply(store, completed(claim_one(store, alone=True), stays=True))
    job = store.get(job_id)
    assert (job.status, job.attempt, job.retry_count, job.lost, job.message) == (COMPLETED, 3, 1, 1, "")
    assert [attempt.outcome for attempt in store.history(job_id)] == ["lost", "raised"]
    assert store.change(Find(), "delete") == Changed(1, None)
    assert store.history(job_id) == []


def test_its_terms_stay_with_it_and_hold_nothing_any_more(store):
    terms = Terms(key="k", limit=Lane("one", most=1), order="o")
    job_id = a_completed_job(store, terms=terms)
    assert store.get(job_id).terms == terms
    other = push(store, terms=terms)
    assert other != job_id
    assert ids(claim_all(store)) == [other]


def test_what_follows_a_completed_job_comes_and_its_batch_counts_it(store):
    batch = store.batches.open(QUEUE)
    first, second = store.push(
        [new_job(terms=Terms(followed=True, batch=batch)), new_job(terms=Terms(follows=-1, into="x"), data=b"{}")]
    )
    store.batches.seal(batch)
    apply(store, verdict(claim_one(store), Returned(b"5", SECOND), stays=True))
    assert store.batches.get(batch).is_done
    assert [claim.job.data for claim in claim_all(store)] == [b'{"x":5}']
    assert statuses(store) == {first: COMPLETED, second: JobStatus.RUNNING}


def test_a_transaction_completes_and_keeps(store):
    kept, left = push(store), push(store)
    first, second = claim_all(store)
    with store.transaction(first, stays=True):
        pass
    with store.transaction(second):
        pass
    assert statuses(store) == {kept: COMPLETED}
    assert left


def test_a_transaction_that_raises_keeps_nothing(store):
    job_id = push(store)
    with pytest.raises(ZeroDivisionError), store.transaction(claim_one(store), stays=True):
        raise ZeroDivisionError
    assert statuses(store) == {job_id: JobStatus.RUNNING}


def test_a_late_verdict_keeps_nothing(store):
    job_id, other = push(store), push(store)
    late, fine = claim_all(store)
    apply(store, again(late))
    assert apply(store, completed(late, stays=True), completed(fine, stays=True)) == [late]
    assert statuses(store) == {job_id: JobStatus.RETRYING, other: COMPLETED}
    with pytest.raises(LeaseLost), store.transaction(late, stays=True):
        pass
    assert apply(store, completed(fine, stays=True)) == [fine]


def test_many_are_settled_at_once_whatever_becomes_of_each(store):
    runner = store.enlist(QUEUE, "tests")
    pushed = store.push([new_job(data=LARGE if number % 2 else b"1") for number in range(12)])
    apply(store, *(again(claim) for claim in claim_all(store, runner)[:4]))
    claims = sorted(claim_all(store, runner) + store_held(store, runner, pushed[4:]), key=lambda claim: claim.job.id)
    last = push(store)
    settlements = [completed(claim, stays=claim.job.id % 3 > 0) for claim in claims[:-1]] + [raised(claims[-1])]
    taken = turn(store, settlements, runner)
    assert taken.refused == []
    assert ids(taken.claims) == [last]
    left = {job: COMPLETED for job in pushed[:-1] if job % 3}
    assert statuses(store) == left | {pushed[-1]: JobStatus.FAILED, last: JobStatus.RUNNING}


def store_held(store: Store, runner: int, jobs: list[int]) -> list[Claim]:
    return [Claim(store.get(job), runner, timedelta(0), 0) for job in jobs]


def test_the_outlook_of_a_completed_job_is_that_it_completed(store):
    plain = a_completed_job(store)
    giving = push(store)
    apply(store, verdict(claim_one(store), Returned(b"5", SECOND), stays=True))
    assert store.outlook([plain, giving]) == {
        plain: Outlook(status=COMPLETED),
        giving: Outlook(status=COMPLETED, result=b"5"),
    }


def test_a_completed_job_is_not_changed_any_more(store):
    job_id = a_completed_job(store)
    before = store.get(job_id)
    assert not store.cancel(job_id)
    assert not store.edit(job_id, b"5")
    assert store.restore(QUEUE, [job_id]) == store.restore(QUEUE, None) == 0
    assert store.change(Find(), "restore") == store.change(Find(), "cancel") == Changed(0, None)
    assert store.get(job_id) == before


def test_completed_jobs_are_cleaned_by_queue(store):
    mine, other = a_completed_job(store, data=LARGE), a_completed_job(store, queue="other")
    failed = a_failed_job(store)
    assert store.clean(QUEUE, JobStatus.FAILED) == store.clean(QUEUE, COMPLETED) == 1
    assert statuses(store) == {other: COMPLETED}
    assert mine != failed


def test_completed_jobs_count_as_nothing_that_waits(store):
    a_completed_job(store)
    assert store.size(QUEUE) == Size(waiting=0, failed=0)
    assert store.idle(QUEUE)
    assert claim_all(store) == []
    [standing] = store.overview().queues
    assert standing == Standing(queue=QUEUE, completed=1)


def test_a_queue_of_which_completed_jobs_are_kept_is_among_the_queues(store):
    a_completed_job(store, queue="b")
    a_completed_job(store, queue="a")
    push(store, queue="c")
    assert [queue.queue for queue in store.overview().queues] == ["a", "b", "c"]


# what is more than is to be kept


def surplus(store: Store, what: str, keep: Keep, *, queue: str = QUEUE, limit: int = 500) -> list[int]:
    """Prune; give how many in each step."""
    mark = store.surplus.find(queue, what, keep)
    if mark is None:
        return []
    steps: list[int] = []
    while count := store.surplus.prune(queue, what, mark, limit):
        steps.append(count)
    assert store.surplus.find(queue, what, keep) is None
    return steps


MAKERS = {"completed": a_completed_job, "failed": a_failed_job}


@pytest.fixture(params=MAKERS)
def what(request: pytest.FixtureRequest) -> str:
    return request.param


def some(store: Store, clock, what: str, count: int = 5, **changes: object) -> list[int]:
    """Jobs that ended one a second; the last just now."""
    made: list[int] = []
    for _ in range(count):
        clock.advance(SECOND)
        made.append(MAKERS[what](store, **changes))
    return made


def test_jobs_go_that_are_older_than_is_to_be_kept(store, clock, what):
    made = some(store, clock, what)
    assert surplus(store, what, Keep(age=SECOND * 5)) == []
    assert surplus(store, what, Keep(age=SECOND * 2)) == [3]
    assert list(statuses(store)) == made[3:]
    clock.advance(SECOND)
    assert surplus(store, what, Keep(age=SECOND * 2)) == [1]


def test_jobs_go_that_are_more_than_is_to_be_kept_the_oldest_first(store, clock, what):
    made = some(store, clock, what)
    assert surplus(store, what, Keep(count=5)) == []
    assert surplus(store, what, Keep(count=2)) == [3]
    assert list(statuses(store)) == made[3:]


def test_an_age_and_a_count_hold_together(store, clock, what):
    made = some(store, clock, what)
    assert surplus(store, what, Keep(age=SECOND * 3, count=4)) == [2]
    assert surplus(store, what, Keep(age=SECOND * 3, count=1)) == [2]
    assert list(statuses(store)) == made[4:]


def test_it_is_when_a_job_ended_that_counts_and_not_when_it_was_pushed(store, clock, what):
    early = push(store)
    claim = claim_one(store)
    others = some(store, clock, what, 2)
    clock.advance(SECOND)
    apply(store, completed(claim, stays=True) if what == "completed" else raised(claim))
    assert surplus(store, what, Keep(count=1)) == [2]
    assert list(statuses(store)) == [early]
    assert others


def test_of_jobs_that_ended_at_one_instant_those_pushed_first_go_first(store, what):
    made = [MAKERS[what](store) for _ in range(4)]
    assert surplus(store, what, Keep(count=3)) == [1]
    assert list(statuses(store)) == made[1:]


def test_they_go_in_steps_no_larger_than_the_limit(store, clock, what):
    some(store, clock, what)
    assert surplus(store, what, Keep(count=1), limit=3) == [3, 1]


def test_steps_are_smaller_where_the_data_are_large(store, engine, clock, what):
    some(store, clock, what, 3, data=b"z" * 3_000_000)
    clock.advance(SECOND)
    assert surplus(store, what, Keep(age=SECOND)) == ([3] if engine == "memory" else [1, 1, 1])


def test_those_of_another_queue_or_status_stay(store, clock, what):
    there = some(store, clock, what, 2, queue="other")
    others = [push(store), push(store)]
    store.cancel(others[0])
    other = a_failed_job(store) if what == "completed" else a_completed_job(store)
    some(store, clock, what, 2)
    clock.advance(SECOND)
    assert surplus(store, what, Keep(age=SECOND)) == [2]
    left = statuses(store)
    assert {*there, other, others[0]} <= set(left)
    assert surplus(store, what, Keep(age=SECOND, count=1), queue="other") == [2]


def test_what_hangs_on_pruned_jobs_goes_with_them(store, clock, what):
    terms = Terms(key="k", order="o")
    [job] = some(store, clock, what, 1, data=LARGE, terms=terms)
    clock.advance(SECOND)
    assert surplus(store, what, Keep(age=SECOND)) == [1]
    assert store.history(job) == all_jobs(store) == []  # and check(), at the end of each test


def test_a_job_that_was_restored_since_is_not_pruned(store, clock):
    some(store, clock, "failed", 2)
    clock.advance(SECOND)
    mark = store.surplus.find(QUEUE, "failed", Keep(age=SECOND))
    assert mark is not None
    assert store.restore(QUEUE, None) == 2
    clock.advance(SECOND)
    apply(store, raised(claim_one(store)))
    assert store.surplus.prune(QUEUE, "failed", mark, 500) == 0
    assert len(all_jobs(store)) == 2


# results


def give(store: Store, keep: timedelta, *, counted: bool, queue: str = QUEUE) -> int:
    job_id = push(store, queue=queue)
    apply(store, verdict(claim_one(store, queue=queue), Returned(b"1", keep, counted)))
    return job_id


def kept_results(store: Store, jobs: list[int]) -> list[int]:
    return [job for job, outlook in store.outlook(jobs).items() if outlook.result is not None]


def test_results_that_are_counted_go_beyond_their_number_those_first_that_end_first(store, clock):
    hour = timedelta(hours=1)
    uncounted, other = give(store, SECOND * 9, counted=False), give(store, SECOND * 9, counted=True, queue="other")
    long = give(store, hour, counted=True)
    counted = [give(store, hour / 2, counted=True) for _ in range(4)]
    everything = [uncounted, other, long, *counted]
    assert surplus(store, "results", Keep(count=5)) == []
    assert surplus(store, "results", Keep(count=3), limit=1) == [1, 1]
    assert kept_results(store, everything) == [uncounted, other, long, *counted[2:]]


def test_results_have_an_age_of_their_own(store, clock):
    job = give(store, SECOND * 2, counted=True)
    clock.advance(SECOND)
    assert surplus(store, "results", Keep(age=TICK)) == []
    clock.advance(SECOND)
    store.sweep(QUEUE, 500)
    assert kept_results(store, [job]) == []
