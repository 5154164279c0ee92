"""enlist, retire, beat, held, orphans and bell: who works, what it holds, and how it is woken."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from workqueue.job import JobStatus
from workqueue.store.contract import Beat
from workqueue.store.paging import Find

from support import (
    LEASE,
    QUEUE,
    SECOND,
    TICK,
    a_failed_job,
    again,
    apply,
    claim_all,
    claim_one,
    completed,
    handed_back,
    ids,
    lost,
    new_job,
    push,
)

FOR_EVER = 1e6  # seconds; a test that waits so long is stopped by its time limit

# enlist and retire


def test_runners_never_share_an_id(store):
    seen = []
    for _ in range(3):
        seen.append(store.enlist(QUEUE, "same label"))
        store.retire(seen[-1])
        seen.append(store.enlist("other", "same label"))
    assert len(set(seen)) == len(seen)
    assert min(seen) >= 1


def test_a_runner_that_holds_nothing_leaves_nothing_behind(store):
    runner = store.enlist(QUEUE, "tests")
    push(store)
    apply(store, completed(claim_one(store, runner)))
    store.retire(runner)
    assert store.orphans(expired=True, limit=10) == []


def test_retiring_twice_is_harmless(store):
    runner = store.enlist(QUEUE, "tests")
    store.retire(runner)
    store.retire(runner)


# beat and held


def test_a_beat_names_what_the_runner_holds(store):
    runner, other = store.enlist(QUEUE, "a"), store.enlist(QUEUE, "b")
    first = push(store)
    apply(store, again(claim_one(store, runner)))
    second, third = push(store), push(store)
    claims = claim_all(store, runner, limit=2)
    claim_one(store, other)
    assert store.beat(runner, LEASE) == store.held(runner) == Beat({first: 2, second: 1}, frozenset())
    assert store.held(other) == Beat({third: 1}, frozenset())
    apply(store, completed(claims[0]))
    assert store.held(runner) == Beat({second: 1}, frozenset())


def test_a_beat_of_a_runner_without_jobs_is_empty(store):
    runner = store.enlist(QUEUE, "tests")
    assert store.beat(runner, LEASE) == store.held(runner) == Beat({}, frozenset())


def test_a_beat_names_the_jobs_that_a_person_wants_cancelled(store):
    runner = store.enlist(QUEUE, "tests")
    pushed = [push(store), push(store)]
    claim_all(store, runner)
    store.cancel(pushed[1])
    assert store.held(runner) == Beat(dict.fromkeys(pushed, 1), frozenset({pushed[1]}))
    assert store.beat(runner, LEASE).cancelled == {pushed[1]}


def test_a_beat_renews_every_lease_from_now(store, clock):
    runner = store.enlist(QUEUE, "tests")
    pushed = [push(store), push(store)]
    claim_all(store, runner)
    clock.advance(LEASE)
    store.beat(runner, LEASE)
    clock.advance(LEASE)
    assert store.orphans(expired=True, limit=10) == []
    clock.advance(TICK)
    assert ids(store.orphans(expired=True, limit=10)) == pushed


def test_a_beat_renews_no_lease_of_another(store, clock):
    runner, other = store.enlist(QUEUE, "a"), store.enlist(QUEUE, "b")
    push(store)
    abandoned = push(store)
    claim_one(store, runner)
    claim_one(store, other)
    clock.advance(LEASE + TICK)
    store.beat(runner, LEASE)
    assert ids(store.orphans(expired=True, limit=10)) == [abandoned]


def test_looking_at_what_is_held_renews_nothing(store, clock):
    runner = store.enlist(QUEUE, "tests")
    push(store)
    claim_one(store, runner)
    clock.advance(LEASE + TICK)
    store.held(runner)
    assert len(store.orphans(expired=True, limit=10)) == 1


# orphans


def test_jobs_of_a_living_runner_are_no_orphans(store):
    runner = store.enlist(QUEUE, "tests")
    push(store)
    claim_one(store, runner)
    assert store.orphans(expired=False, limit=10) == store.orphans(expired=True, limit=10) == []


def test_jobs_of_a_retired_runner_are_orphans_at_once(store):
    runner, other = store.enlist(QUEUE, "a"), store.enlist(QUEUE, "b")
    job_id = push(store)
    push(store)
    claim = claim_one(store, runner)
    claim_one(store, other)
    store.retire(runner)
    [orphan] = store.orphans(expired=False, limit=10)
    assert (orphan.job.id, orphan.runner, orphan.lease_until) == (job_id, runner, claim.lease_until)
    assert orphan.job == store.get(job_id)


def test_an_ended_lease_makes_an_orphan_only_where_that_is_asked_for(store, clock):
    push(store)
    claim_one(store)
    clock.advance(LEASE + TICK)
    assert store.orphans(expired=False, limit=10) == []
    assert len(store.orphans(expired=True, limit=10)) == 1


def test_only_running_jobs_are_orphans(store, clock):
    runner = store.enlist(QUEUE, "tests")
    store.push([new_job() for _ in range(5)])
    claims = claim_all(store, runner, limit=4)
    apply(store, completed(claims[0]), again(claims[1]), handed_back(claims[2]))
    a_failed_job(store, queue="other")
    store.retire(runner)
    clock.advance(LEASE * 9)
    assert ids(store.orphans(expired=True, limit=10)) == ids(claims[3:])


def test_no_more_orphans_than_the_limit_come_the_oldest_first(store):
    runner = store.enlist(QUEUE, "tests")
    pushed = store.push([new_job(priority=number) for number in range(5)])
    claim_all(store, runner)
    store.retire(runner)
    assert ids(store.orphans(expired=False, limit=2)) == pushed[:2]


def test_orphans_of_every_queue_are_found(store):
    for queue in ("a", "b"):
        runner = store.enlist(queue, "tests")
        push(store, queue=queue)
        claim_one(store, runner, queue=queue)
        store.retire(runner)
    assert [claim.job.queue for claim in store.orphans(expired=False, limit=10)] == ["a", "b"]


def test_an_orphan_carries_its_age_and_can_be_settled_as_lost(store, clock):
    runner = store.enlist(QUEUE, "tests")
    job_id = push(store)
    claim_one(store, runner)
    store.retire(runner)
    clock.advance(SECOND * 3)
    [orphan] = store.orphans(expired=False, limit=10)
    assert orphan.age == SECOND * 3
    assert apply(store, lost(orphan)) == []
    assert (store.get(job_id).status, store.get(job_id).lost) == (JobStatus.RETRYING, 1)
    assert store.orphans(expired=False, limit=10) == []


def test_a_clock_that_steps_back_makes_no_orphans(store, clock):
    push(store)
    claim_one(store)
    clock.advance(-timedelta(days=1))
    assert store.orphans(expired=True, limit=10) == []


# bells: `wait` for ever returns only when rung; `wait(0)` never waits


def rings(store, act, *, queue: str = QUEUE) -> bool:
    """Say whether `act` rings the bell of a runner of `queue`."""
    bell = store.bell(store.enlist(queue, "listener"))
    rung: list[str] = []
    bell.ring = lambda: rung.append("!")
    act()
    return bool(rung)


def test_a_ring_before_the_wait_is_not_lost(store):
    bell = store.bell(store.enlist(QUEUE, "tests"))
    bell.ring()
    bell.wait(FOR_EVER)


def test_many_rings_before_the_wait_are_one(store):
    bell = store.bell(store.enlist(QUEUE, "tests"))
    for _ in range(1000):
        bell.ring()
    bell.wait(FOR_EVER)
    bell.wait(0)


@pytest.mark.parametrize("timeout", [0, -1, 0.001])
def test_a_wait_ends_with_its_timeout(store, timeout):
    store.bell(store.enlist(QUEUE, "tests")).wait(timeout)


def test_a_bell_is_the_same_each_time_it_is_asked_for(store):
    runner = store.enlist(QUEUE, "tests")
    store.bell(runner).ring()
    store.bell(runner).wait(FOR_EVER)


def test_a_ring_from_another_thread_wakes_the_waiter(store):
    bell = store.bell(store.enlist(QUEUE, "tests"))
    about_to_wait = threading.Event()

    def sleeper() -> None:
        about_to_wait.set()
        bell.wait(FOR_EVER)

    with ThreadPoolExecutor(1) as pool:
        asleep = pool.submit(sleeper)
        assert about_to_wait.wait(30)
        bell.ring()
        asleep.result(30)


def test_every_ring_of_a_dialogue_between_two_threads_arrives(store):
    here = store.bell(store.enlist(QUEUE, "here"))
    there = store.bell(store.enlist("other", "there"))

    def echo() -> None:
        for _ in range(200):
            there.wait(FOR_EVER)
            here.ring()

    with ThreadPoolExecutor(1) as pool:
        echoing = pool.submit(echo)
        for _ in range(200):
            there.ring()
            here.wait(FOR_EVER)
        echoing.result(30)


def test_a_push_from_another_thread_wakes_the_waiter(store):
    bell = store.bell(store.enlist(QUEUE, "tests"))
    about_to_wait = threading.Event()

    def sleeper() -> None:
        about_to_wait.set()
        bell.wait(FOR_EVER)

    with ThreadPoolExecutor(1) as pool:
        asleep = pool.submit(sleeper)
        assert about_to_wait.wait(30)
        push(store)
        asleep.result(30)


def test_a_push_rings_before_the_wait_too(store):
    bell = store.bell(store.enlist(QUEUE, "tests"))
    push(store)
    bell.wait(FOR_EVER)


def test_a_push_rings_all_the_runners_of_its_queues_and_no_others(store):
    assert rings(store, lambda: push(store))
    assert rings(store, lambda: store.push([new_job(queue="other"), new_job()]))
    assert rings(store, lambda: store.push([new_job(queue="other"), new_job()]), queue="other")
    assert not rings(store, lambda: push(store), queue="other")


def test_a_push_of_a_job_for_later_rings_for_the_runner_must_sleep_shorter(store):
    assert rings(store, lambda: push(store, delay=SECOND))


def test_a_cancel_rings(store):
    job_id = push(store)
    claim_one(store)
    assert rings(store, lambda: store.cancel(job_id))
    waiting = push(store)
    assert rings(store, lambda: store.cancel(waiting))
    assert not rings(store, lambda: store.cancel(push(store)), queue="other")


def test_a_restore_rings(store):
    job_id = a_failed_job(store)
    assert rings(store, lambda: store.restore(QUEUE, None))
    apply(store, again(claim_one(store)))
    store.cancel(job_id)
    assert rings(store, lambda: store.restore(QUEUE, [job_id]))


def test_a_change_rings_where_there_is_something_to_do_for_it(store):
    failed = a_failed_job(store)
    assert rings(store, lambda: store.change(Find(status=JobStatus.FAILED), "restore"))
    assert rings(store, lambda: store.change(Find(), "cancel"))
    assert not rings(store, lambda: store.change(Find(queue=QUEUE), "restore"), queue="other")
    assert rings(store, lambda: store.change(Find(queue=QUEUE), "cancel"))
    assert not rings(store, lambda: store.change(Find(), "delete"))
    assert all(job.id != failed for job in store.find(Find()).jobs)


@pytest.mark.parametrize("settled", [again, handed_back, lost])
def test_a_verdict_that_makes_a_job_wait_again_rings(store, settled):
    push(store)
    claim = claim_one(store)
    assert rings(store, lambda: apply(store, settled(claim)))


def test_a_transaction_rings_at_its_commit_and_not_before(store):
    bell = store.bell(store.enlist(QUEUE, "listener"))
    rung: list[str] = []
    bell.ring = lambda: rung.append("!")
    with store.transaction():
        push(store)
        assert rung == []
    assert rung


def test_a_transaction_that_is_rolled_back_does_not_ring_then_or_later(store):
    def fails() -> None:
        with pytest.raises(ZeroDivisionError), store.transaction():
            push(store)
            raise ZeroDivisionError

    assert not rings(store, fails)
    assert not rings(store, lambda: push(store, queue="other"))


def test_a_retired_runner_is_not_rung(store):
    runner = store.enlist(QUEUE, "tests")
    store.retire(runner)
    push(store)


# all at once


def test_threads_that_push_and_claim_at_once_lose_and_double_nothing(store):
    pushers, claimers, each = 3, 3, 40
    pushed: list[int] = []
    claimed: list[int] = []
    all_pushed = threading.Event()

    def push_some(_: int) -> None:
        for number in range(0, each, 4):
            pushed.extend(store.push([new_job(data=b"%d" % number) for _ in range(4)]))

    def claim_some(number: int) -> None:
        runner = store.enlist(QUEUE, f"claimer {number}")
        done = []
        while True:
            is_last = all_pushed.is_set()
            claims = claim_all(store, runner, limit=5)
            claimed.extend(ids(claims))
            assert apply(store, *map(completed, claims)) == []
            done += claims
            if is_last and not claims:
                break
        store.retire(runner)

    with ThreadPoolExecutor(pushers + claimers) as pool:
        claiming = [pool.submit(claim_some, number) for number in range(claimers)]
        for pushing in [pool.submit(push_some, number) for number in range(pushers)]:
            pushing.result(60)
        all_pushed.set()
        for result in claiming:
            result.result(60)
    assert len(pushed) == pushers * each
    assert sorted(claimed) == sorted(pushed)
    assert store.size(QUEUE).waiting == 0


def test_of_many_threads_that_settle_one_claim_one_succeeds(store):
    push(store)
    claim = claim_one(store)
    with ThreadPoolExecutor(4) as pool:
        refused = list(pool.map(lambda _: apply(store, again(claim)), range(8)))
    assert sorted(map(len, refused)) == [0] + [1] * 7
    assert store.get(claim.job.id).retry_count == 1
