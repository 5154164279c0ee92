"""turn, as far as it claims: what is due, in which order, how much, and what it says of the rest."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from workqueue.job import JobStatus
from workqueue.store.contract import Want
from workqueue.store.paging import Find

from support import (
    LEASE,
    QUEUE,
    SECOND,
    TICK,
    a_suspect,
    again,
    apply,
    claim_all,
    claim_one,
    handed_back,
    ids,
    lost,
    new_job,
    push,
    turn,
)

# order


def test_jobs_come_first_in_first_out(store):
    pushed = [push(store) for _ in range(5)]
    assert ids(claim_all(store)) == pushed


def test_a_higher_priority_comes_first_and_equals_stay_in_turn(store):
    pushed = [push(store, priority=priority) for priority in (0, 5, -5, 5, 0)]
    assert ids(claim_all(store)) == [pushed[index] for index in (1, 3, 0, 4, 2)]


def test_in_a_queue_by_turn_run_at_does_not_order_what_is_due(store, clock):
    late = push(store, run_at=clock.now() - SECOND)
    early = push(store, run_at=clock.now() - SECOND * 9)
    delayed = push(store, delay=SECOND)
    clock.advance(SECOND)
    fresh = push(store)
    assert ids(claim_all(store)) == [late, early, delayed, fresh]


def test_with_timing_the_earliest_run_at_comes_first_and_then_the_id(store, clock):
    steps = [3, 1, 2, 1]
    pushed = [push(store, timing=True, delay=SECOND * step) for step in steps]
    past = push(store, timing=True, run_at=clock.now() - SECOND)
    clock.advance(SECOND * 3)
    assert ids(claim_all(store)) == [past, pushed[1], pushed[3], pushed[2], pushed[0]]


def test_priority_comes_before_timing_but_not_before_the_time(store, clock):
    early = [push(store, timing=True), push(store, timing=True)]
    urgent = push(store, timing=True, delay=SECOND, priority=1)
    assert ids(claim_all(store, limit=1)) == early[:1]
    clock.advance(SECOND)
    assert ids(claim_all(store)) == [urgent, early[1]]


def test_priority_timing_and_turn_mix_in_one_queue(store, clock):
    a = push(store, timing=True, delay=SECOND)
    b = push(store)
    c = push(store, timing=True, run_at=clock.now(), priority=1)
    d = push(store, priority=1)
    e = push(store, timing=True, run_at=clock.now())
    f = push(store, priority=-1)
    clock.advance(SECOND)
    assert ids(claim_all(store)) == [d, c, b, e, a, f]


def test_promotion_does_not_bring_a_due_job_before_a_better_one(store, clock):
    low = push(store)
    high = push(store, priority=1, delay=SECOND)
    clock.advance(SECOND)
    assert [claim_one(store).job.id, claim_one(store).job.id] == [high, low]


# due


def test_a_job_is_claimed_from_the_very_instant_of_its_run_at(store, clock):
    job_id = push(store, delay=SECOND)
    clock.advance(SECOND - TICK)
    assert claim_all(store) == []
    clock.advance(TICK)
    assert ids(claim_all(store)) == [job_id]


def test_a_job_with_run_at_now_or_before_is_due_at_once(store, clock):
    pushed = [push(store, run_at=clock.now()), push(store, run_at=clock.now() - timedelta(days=1))]
    assert ids(claim_all(store)) == pushed


def test_future_jobs_do_not_stand_in_the_way_of_due_ones(store):
    store.push([new_job(priority=9, delay=SECOND) for _ in range(20)])
    due = push(store, priority=-9)
    assert ids(claim_all(store, limit=5)) == [due]


def test_a_job_that_was_due_when_pushed_stays_due_when_the_clock_steps_back(store, clock):
    job_id = push(store)
    clock.advance(-timedelta(days=1))
    assert ids(claim_all(store)) == [job_id]


def test_a_job_that_has_become_due_stays_due_when_the_clock_steps_back(store, clock):
    first = push(store, priority=1)
    later = push(store, delay=SECOND)
    clock.advance(SECOND)
    assert ids(claim_all(store, limit=1)) == [first]  # and the other was seen to be due
    clock.advance(-SECOND * 10)
    assert ids(claim_all(store)) == [later]


def test_a_job_that_nobody_saw_become_due_waits_again_when_the_clock_steps_back(store, clock):
    job_id = push(store, delay=SECOND)
    clock.advance(SECOND * 5)
    clock.advance(-SECOND * 5)
    assert claim_all(store) == []
    clock.advance(SECOND)
    assert ids(claim_all(store)) == [job_id]


# how much


def test_no_more_than_the_limit_is_claimed(store):
    pushed = [push(store) for _ in range(5)]
    runner = store.enlist(QUEUE, "tests")
    assert ids(claim_all(store, runner, limit=2)) == pushed[:2]
    assert ids(claim_all(store, runner, limit=2)) == pushed[2:4]
    assert ids(claim_all(store, runner, limit=2)) == pushed[4:]
    assert ids(claim_all(store, runner, limit=2)) == []


def test_a_job_is_claimed_by_one_runner_only(store):
    push(store)
    assert len(claim_all(store)) + len(claim_all(store)) == 1


def test_queues_in_one_store_stand_apart(store):
    here, there = push(store, queue="here"), push(store, queue="there", priority=9)
    assert ids(claim_all(store, queue="here")) == [here]
    assert claim_all(store, queue="nowhere") == []
    assert ids(claim_all(store, queue="there")) == [there]


# what a claim is


def test_a_claim_marks_the_job_as_running_and_raises_its_attempt(store):
    job_id = push(store)
    claim = claim_one(store)
    assert (claim.job.id, claim.job.status, claim.job.attempt) == (job_id, JobStatus.RUNNING, 1)
    stored = store.get(job_id)
    assert (stored.status, stored.attempt) == (JobStatus.RUNNING, 1)
    assert stored == msgspec.structs.replace(claim.job, runner="tests")


def test_the_attempt_rises_at_every_claim_whatever_ended_the_last(store):
    push(store)
    for settled in (again, handed_back, lost):
        claim = claim_one(store)
        apply(store, settled(claim))
    assert claim_one(store, alone=True).job.attempt == 4


def test_each_running_job_goes_by_its_own_runner(store, clock):
    store.introduce(store.enlist(QUEUE, "host:0"), LEASE * 5, None)
    running = {push(store): label for label in ("host:1", "host:2", "host:3")}
    for job, label in running.items():
        runner = store.enlist(QUEUE, label)
        store.introduce(runner, LEASE, None)
        assert claim_one(store, runner).job.id == job
    for jobs in ([store.get(job) for job in running], store.find(Find()).jobs):
        assert {job.id: job.runner for job in jobs} == running
        assert {job.claimed_at for job in jobs} == {clock.now()}


def test_since_when_a_job_runs_is_known_however_often_its_lease_is_renewed(store, clock):
    runner = store.enlist(QUEUE, "tests")
    store.introduce(runner, LEASE, None)
    job_id = push(store)
    clock.advance(SECOND)
    since = clock.now()
    claim = claim_one(store, runner)
    assert claim.job.claimed_at is None
    for pause in (SECOND, SECOND * 15, SECOND * 15):
        assert store.get(job_id).claimed_at == store.find(Find()).jobs[0].claimed_at == since
        clock.advance(pause)
        store.beat(runner, LEASE)
    for settled in (again, handed_back):
        apply(store, settled(claim))
        assert store.get(job_id).claimed_at is None
        clock.advance(SECOND)
        claim = claim_one(store, runner)
        assert store.get(job_id).claimed_at == clock.now()
    assert store.check() == []


@pytest.mark.parametrize("first", ["beat", "introduction"])
def test_since_when_a_job_runs_for_a_runner_that_did_not_say_how_long_its_leases_are(store, clock, first):
    runner = store.enlist(QUEUE, "tests")
    job_id, since = push(store), clock.now()
    claim_one(store, runner)
    assert store.get(job_id).claimed_at is None
    for word in ("beat", "introduction") if first == "beat" else ("introduction", "beat"):
        clock.advance(SECOND)
        if word == "beat":
            store.beat(runner, LEASE)
        else:
            store.introduce(runner, LEASE, None)
        assert store.get(job_id).claimed_at == since


def test_a_claim_names_its_runner_lease_and_age(store, clock):
    push(store)
    clock.advance(SECOND * 7)
    runner = store.enlist(QUEUE, "tests")
    claim = claim_one(store, runner)
    assert claim.runner == runner
    assert claim.age == SECOND * 7
    clock.advance(LEASE)
    assert store.orphans(expired=True, limit=10) == []
    clock.advance(TICK)
    [orphan] = store.orphans(expired=True, limit=10)
    assert orphan.lease_until == claim.lease_until


def test_the_age_counts_from_the_push_through_all_attempts(store, clock):
    push(store)
    apply(store, again(claim_one(store), SECOND))
    clock.advance(SECOND)
    assert claim_one(store).age == SECOND


def test_claiming_moves_nothing_but_what_it_says(store):
    job_id = push(store, priority=2, name="n", data=b"d")
    before = store.get(job_id)
    claim_one(store)
    after = store.get(job_id)
    assert (after.run_at, after.pushed_at, after.priority, after.data) == (
        before.run_at,
        before.pushed_at,
        before.priority,
        before.data,
    )


def test_the_claimed_job_does_not_carry_the_last_error(store):
    push(store)
    apply(store, again(claim_one(store)))
    claim = claim_one(store)
    assert claim.job.message == ""
    assert store.get(claim.job.id).message == "RecoverableWorkerError: later"


# suspects


def test_a_job_that_was_lost_comes_only_to_those_who_want_it_alone(store):
    suspect = a_suspect(store, priority=9)
    plain = push(store)
    found = turn(store, [])
    assert ids(found.claims) == [plain]
    assert found.suspects
    assert ids(claim_all(store, alone=True)) == [suspect]


def test_alone_never_gives_a_job_that_was_not_lost(store):
    push(store)
    assert claim_all(store, alone=True) == []


def test_suspects_come_one_at_a_time_and_best_first(store):
    first = push(store)
    urgent = push(store, priority=1)
    apply(store, *map(lost, claim_all(store)))
    found = turn(store, [], alone=True)
    assert ids(found.claims) == [urgent]
    assert found.suspects
    found = turn(store, [], alone=True)
    assert ids(found.claims) == [first]
    assert not found.suspects


def test_a_suspect_that_is_not_due_yet_is_not_spoken_of(store, clock):
    a_suspect(store)
    apply(store, lost(claim_one(store, alone=True)))
    assert not turn(store, []).suspects
    clock.advance(timedelta(seconds=10))
    assert turn(store, []).suspects


def test_a_suspect_of_another_queue_is_not_spoken_of(store):
    a_suspect(store)
    assert not turn(store, [], queue="other").suspects


def test_a_suspect_that_fails_by_itself_stays_a_suspect(store):
    a_suspect(store)
    apply(store, again(claim_one(store, alone=True)))
    assert claim_all(store) == []
    assert claim_one(store, alone=True).job.lost == 1


# what is to come


def test_next_due_is_the_time_until_the_earliest_job_that_is_not_due(store):
    push(store, delay=SECOND * 9)
    push(store, delay=SECOND * 3, priority=-5)
    push(store, queue="other", delay=SECOND)
    assert turn(store, []).next_due == SECOND * 3


@pytest.mark.parametrize("pushed", [0, 3])
def test_next_due_is_none_when_nothing_is_to_become_due(store, pushed):
    store.push([new_job() for _ in range(pushed)])
    assert turn(store, [], limit=1).next_due is None


def test_next_due_counts_retries_and_suspects(store):
    push(store)
    runner = store.enlist(QUEUE, "tests")
    assert turn(store, [again(claim_one(store, runner), SECOND * 5)], runner).next_due == SECOND * 5


def test_next_due_forgets_cancelled_jobs(store):
    store.cancel(push(store, delay=SECOND))
    push(store, delay=SECOND * 2)
    assert turn(store, []).next_due == SECOND * 2


def test_next_due_follows_a_clock_that_steps_back(store, clock):
    push(store, delay=SECOND)
    clock.advance(-timedelta(hours=1))
    assert turn(store, []).next_due == timedelta(hours=1) + SECOND


def test_a_turn_that_wants_nothing_claims_nothing(store):
    push(store)
    found = store.turn([], None)
    assert (found.claims, found.refused, found.suspects, found.next_due) == ([], [], False, None)
    assert store.find(Find()).jobs[0].status is JobStatus.PENDING


def test_large_jobs_are_all_claimed_sooner_or_later(store):
    pushed = store.push([new_job(data=bytes([number]) * (1024 * 1024)) for number in range(3)])
    runner = store.enlist(QUEUE, "tests")
    found = []
    while claims := store.turn([], Want(QUEUE, runner, LEASE, 10)).claims:
        found += claims
    assert ids(found) == pushed
    assert [set(claim.job.data) for claim in found] == [{0}, {1}, {2}]
