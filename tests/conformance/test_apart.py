"""What belongs to one queue, name, lane, order, batch or job concerns no other."""

from __future__ import annotations

from datetime import timedelta

import pytest
from workqueue.backoff import Backoff
from workqueue.errors import BatchNotFound, JobNotFound
from workqueue.job import JobStatus, Lane, Terms
from workqueue.lifecycle import Postponed, Returned
from workqueue.store.contract import Standing

from support import (
    QUEUE,
    SECOND,
    a_suspect,
    apply,
    claim_all,
    claim_one,
    completed,
    handed_back,
    ids,
    new_job,
    push,
    raised,
    turn,
    verdict,
)

KEY = Terms(key="k")
ORDER = Terms(order="o")
DAY = timedelta(days=1)


def one(name: str = "one") -> Terms:
    return Terms(limit=Lane(name, most=1))


def slow(name: str = "slow", seconds: int = 10) -> Terms:
    return Terms(rate=Lane(name, starts=1, per=SECOND * seconds))


# keys

OTHERS = [{"queue": "b"}, {"name": "other"}, {"terms": Terms(key="another")}]


def test_two_keys_are_two_keys(store):
    assert push(store, terms=KEY) != push(store, terms=Terms(key="another"))


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_a_window_keeps_no_other_key_taken(store, other):
    push(store, terms=KEY, unique_for=SECOND)
    apply(store, completed(claim_one(store)))
    changed = {"terms": KEY} | other
    assert push(store, **changed) != push(store, terms=KEY)


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_replacing_a_job_frees_no_other_key(store, other):
    changed = {"terms": KEY} | other
    kept = push(store, unique_for=SECOND, **changed)
    apply(store, completed(claim_one(store, queue=str(other.get("queue", QUEUE)))))
    first = push(store, terms=KEY, unique_for=SECOND)
    assert push(store, terms=KEY, on_conflict="replace") > first
    assert push(store, **changed) == kept


# limits


@pytest.mark.parametrize("other", [{"queue": "b"}, {"terms": one("two")}], ids=str)
def test_what_runs_elsewhere_takes_no_slot_of_a_lane(store, other):
    changed = {"terms": one()} | other
    push(store, **changed)
    claim_one(store, queue=str(other.get("queue", QUEUE)))
    job = push(store, terms=one())
    assert ids(claim_all(store)) == [job]


@pytest.mark.parametrize("other", [{"queue": "b"}, {"terms": one("two")}], ids=str)
def test_the_end_of_a_job_lets_one_of_its_own_lane_come_though_there_are_better_ones(store, other):
    changed = {"terms": one(), "priority": 9} | other
    queue = str(other.get("queue", QUEUE))
    push(store, **changed)
    claim_one(store, queue=queue)
    push(store, terms=one())
    [claim] = claim_all(store)
    push(store, **changed)
    job = push(store, terms=one())
    assert claim_all(store) == claim_all(store, queue=queue) == []
    apply(store, completed(claim))
    assert ids(claim_all(store)) == [job]


def test_a_slot_that_is_given_back_is_one(store):
    two = Terms(limit=Lane("two", most=2))
    for _ in range(4):
        push(store, terms=two)
    [first, _] = claim_all(store)
    apply(store, handed_back(first))
    assert len(claim_all(store)) == 1


# rates


@pytest.mark.parametrize("other", [{"queue": "b"}, {"terms": slow("other")}], ids=str)
def test_starts_elsewhere_are_not_counted(store, other, clock):
    changed = {"terms": slow()} | other
    push(store, **changed)
    claim_one(store, queue=str(other.get("queue", QUEUE)))
    clock.advance(SECOND * 3)
    first, second = (push(store, terms=slow()) for _ in range(2))
    given = turn(store, [])
    assert ids(given.claims) == [first]
    assert given.next_due == SECOND * 10
    clock.advance(SECOND * 7)
    assert claim_all(store) == []
    clock.advance(SECOND * 3)
    assert ids(claim_all(store)) == [second]


@pytest.mark.parametrize("other", [{"queue": "b"}, {"terms": slow("other")}], ids=str)
def test_a_claim_forgets_no_starts_but_those_of_its_lane_that_are_out_of_sight(store, other, clock):
    changed = {"terms": slow(seconds=1)} | other
    queue = str(other.get("queue", QUEUE))
    push(store, terms=slow(seconds=60))
    claim_one(store)
    clock.advance(SECOND * 30)
    if queue == QUEUE:
        changed["terms"] = slow("other", seconds=1)
    push(store, **changed)
    claim_one(store, queue=queue)
    push(store, terms=slow(seconds=60))
    assert claim_all(store) == []


@pytest.mark.parametrize(
    "beside",
    [{"terms": slow(), "queue": "b"}, {"terms": slow("other", 60)}, {"terms": slow(), "delay": SECOND * 60}],
    ids=["in another queue", "of another lane", "for later"],
)
def test_a_lane_that_keeps_nothing_back_is_not_looked_at_again(store, beside, clock):
    at = str(beside.get("queue", QUEUE))
    if "delay" not in beside:
        push(store, **beside)
        claim_one(store, queue=at)
    push(store, **beside)
    assert claim_all(store, queue=at) == []
    push(store, terms=slow())
    given = turn(store, [])
    assert len(given.claims) == 1
    assert given.next_due == (None if at == "b" else SECOND * 60)
    second = push(store, terms=slow())
    assert turn(store, []).next_due == SECOND * 10
    clock.advance(SECOND * 10)
    given = turn(store, [])
    assert ids(given.claims) == [second]
    assert given.next_due == (None if at == "b" else SECOND * 50)


@pytest.mark.parametrize("other", [{"queue": "b"}, {"terms": slow("other", 20)}], ids=str)
def test_the_opening_of_a_lane_opens_no_other_and_closes_none_for_ever(store, other, clock):
    changed = {"terms": slow(seconds=20), "priority": 9} | other
    queue = str(other.get("queue", QUEUE))
    lanes = ({"terms": slow()}, changed)
    for lane in lanes:
        push(store, **lane)
    runners = [claim_all(store), claim_all(store, queue=queue)]
    assert sum(map(len, runners)) == 2
    first, second = (push(store, **lane) for lane in lanes)
    assert claim_all(store) == claim_all(store, queue=queue) == []
    clock.advance(SECOND * 10)
    given = turn(store, [])
    assert ids(given.claims) == [first]
    assert turn(store, [], queue=queue).next_due == SECOND * 10
    clock.advance(SECOND * 10)
    assert ids(claim_all(store, queue=queue)) == [second]


def test_a_lane_is_looked_at_again_when_the_one_that_was_let_go_ends_without_a_claim(store, clock):
    for _ in range(3):
        push(store, terms=slow())
    assert len(claim_all(store)) == 1
    _, second, third = range(1, 4)
    clock.advance(SECOND * 10)
    better = push(store, priority=9)
    assert claim_one(store).job.id == better  # the lane opened, and its second job stands in line
    assert store.cancel(second)
    clock.advance(SECOND)
    assert ids(claim_all(store)) == [third]


# orders


@pytest.mark.parametrize("other", [{"queue": "b"}, {"terms": Terms(order="other")}], ids=str)
@pytest.mark.parametrize("is_later", [False, True], ids=["an earlier one", "a later one"])
def test_what_runs_of_another_order_is_in_nobodys_way(store, other, is_later):
    changed = {"terms": ORDER} | other
    queue = str(other.get("queue", QUEUE))
    if is_later:
        job = push(store, terms=ORDER, delay=SECOND)
        push(store, **changed)
        claim_one(store, queue=queue)
        assert store.cancel(job)
        assert store.restore(QUEUE, [job]) == 1
    else:
        push(store, **changed)
        claim_one(store, queue=queue)
        job = push(store, terms=ORDER)
    assert ids(claim_all(store)) == [job]


def test_an_earlier_job_goes_before_a_better_one_of_its_order(store):
    first, second = push(store, terms=ORDER), push(store, terms=ORDER, priority=9)
    [claim] = claim_all(store)
    assert claim.job.id == first
    apply(store, completed(claim))
    assert ids(claim_all(store)) == [second]


def test_an_earlier_job_that_is_put_off_holds_its_order_up_only_once_it_is_due(store, clock):
    first, second, third = (push(store, terms=ORDER) for _ in range(3))
    apply(store, verdict(claim_one(store), Postponed(SECOND, "not yet")))
    [claim] = claim_all(store)
    assert claim.job.id == second
    clock.advance(SECOND)
    apply(store, completed(claim))
    assert ids(claim_all(store)) == [first]
    assert store.get(third).status is JobStatus.PENDING


def test_an_earlier_job_that_is_paused_holds_its_order_up(store):
    first, second = push(store, terms=ORDER, name="p"), push(store, terms=ORDER)
    store.pause(QUEUE, "p")
    assert claim_all(store) == []
    store.resume(QUEUE, "p")
    [claim] = claim_all(store)
    assert claim.job.id == first
    apply(store, completed(claim))
    assert ids(claim_all(store)) == [second]


@pytest.mark.parametrize("other", [{"queue": "b"}, {"terms": Terms(order="other")}], ids=str)
def test_the_end_of_a_job_lets_the_next_of_its_own_order_come(store, other):
    changed = {"terms": ORDER} | other
    queue = str(other.get("queue", QUEUE))
    push(store, **changed)
    claim_one(store, queue=queue)
    push(store, **changed)
    push(store, terms=ORDER)
    [claim] = claim_all(store)
    job = push(store, terms=ORDER)
    assert claim_all(store) == claim_all(store, queue=queue) == []
    apply(store, completed(claim))
    assert ids(claim_all(store)) == [job]


def test_the_end_of_a_job_does_not_let_one_for_later_come(store, clock):
    later = push(store, terms=ORDER, delay=SECOND * 60)
    push(store, terms=ORDER)
    [claim] = claim_all(store)
    third = push(store, terms=ORDER)
    assert claim_all(store) == []
    apply(store, completed(claim))
    assert ids(claim_all(store)) == [third]
    clock.advance(SECOND * 60)
    assert claim_all(store) == []  # the third runs
    assert later == 1


def test_many_that_were_for_later_stand_before_a_better_one_once_they_are_due(store, clock):
    later = [push(store, terms=ORDER, delay=SECOND) for _ in range(3)]
    best = push(store, terms=ORDER, priority=9, delay=SECOND * 2)
    clock.advance(SECOND * 2)
    for job in [*later, best]:
        [claim] = claim_all(store)
        assert claim.job.id == job
        apply(store, completed(claim))


# pauses


def test_a_resumed_name_brings_neither_others_nor_what_is_for_later(store):
    for changed in ({"name": "p"}, {"name": "q"}, {"name": "p", "queue": "b"}):
        store.pause(str(changed.get("queue", QUEUE)), str(changed["name"]))
        push(store, **changed)
    push(store, name="p", terms=ORDER, delay=SECOND)
    assert claim_all(store) == claim_all(store, queue="b") == []
    store.resume(QUEUE, "p")
    [claim] = claim_all(store)
    assert claim.job.name == "p"
    assert claim_all(store, queue="b") == []
    assert store.paused(QUEUE) == ["q"]
    assert store.paused("b") == ["p"]


def test_a_pause_is_to_be_seen_before_there_are_jobs(store):
    store.pause("b", None)
    store.pause("a", "task")
    store.pause("a", "other")
    assert store.overview().queues == [Standing(queue="a"), Standing(queue="b")]
    push(store, queue="a")
    store.resume("b", None)
    assert store.overview().queues == [Standing(queue="a", pending=1, oldest_due=store.now())]


@pytest.mark.parametrize("name", [None, "task"])
def test_a_pause_elsewhere_stops_nothing_here(store, name):
    store.pause("b", name)
    job = push(store)
    assert ids(turn(store, []).claims) == [job]
    suspect = a_suspect(store)
    assert ids(claim_all(store, alone=True)) == [suspect]


# chains and batches


def chain(store, number: int) -> tuple[int, int]:
    first, second = store.push(
        [
            new_job(terms=Terms(followed=True)),
            new_job(terms=Terms(follows=-1, into="of"), data=f'{{"number":{number}}}'.encode()),
        ]
    )
    return first, second


def test_the_end_of_a_job_calls_what_follows_it_and_nothing_else(store):
    (first, second), (third, fourth) = chain(store, 1), chain(store, 2)
    claims = {claim.job.id: claim for claim in claim_all(store)}
    apply(store, verdict(claims[third], Returned(b"7")))
    [claim] = claim_all(store)
    assert (claim.job.id, claim.job.decode()) == (fourth, {"number": 2, "of": 7})
    assert store.get(second).decode() == {"number": 1}
    apply(store, raised(claims[first]))
    assert store.get(second).status is JobStatus.CANCELLED
    assert store.get(fourth).status is JobStatus.RUNNING


def test_what_follows_and_was_cancelled_stays_as_it_was(store):
    _, second = chain(store, 1)
    assert store.cancel(second)
    apply(store, verdict(claim_one(store), Returned(b"7")))
    found = store.get(second)
    assert (found.status, found.message, found.decode()) == (JobStatus.CANCELLED, "cancelled", {"number": 1})


def members(store, count: int = 1) -> tuple[int, list[int], int]:
    """Open a batch with so many jobs, and one that follows it."""
    batch = store.batches.open(QUEUE)
    jobs = [push(store, terms=Terms(batch=batch)) for _ in range(count)]
    return batch, jobs, push(store, terms=Terms(follows_batch=batch))


def test_two_batches_are_counted_sealed_and_followed_each_by_itself(store):
    batch, [job], then = members(store)
    other, [another], _ = members(store)
    store.batches.seal(batch)
    claims = {claim.job.id: claim for claim in claim_all(store)}
    assert claims.keys() == {job, another}
    apply(store, completed(claims[job]))
    assert ids(claim_all(store)) == [then]
    standing = store.batches.get(other)
    assert (standing.sealed, standing.total, standing.completed) == (False, 1, 0)
    assert push(store, terms=Terms(batch=other))


def test_what_follows_a_sealed_batch_waits_for_its_last_job(store):
    batch, [job], then = members(store)
    store.batches.seal(batch)
    [claim] = claim_all(store)
    assert claim.job.id == job
    assert claim_all(store) == []
    apply(store, completed(claim))
    assert ids(claim_all(store)) == [then]


def test_what_followed_a_batch_and_was_cancelled_is_not_called(store):
    batch, _, then = members(store)
    store.batches.seal(batch)
    [claim] = claim_all(store)
    assert store.cancel(then)
    apply(store, completed(claim))
    assert store.get(then).status is JobStatus.CANCELLED
    assert claim_all(store) == []


def test_cancelling_a_batch_concerns_no_other_and_twice_is_once(store):
    batch, running, _ = members(store)
    other, others, _ = members(store)
    claims = claim_all(store)
    waiting, more = (push(store, terms=Terms(batch=each)) for each in (batch, other))
    assert store.batches.cancel(batch) == 2
    assert store.batches.cancel(batch) == 0
    assert [store.get(job).cancel_requested for job in (*running, *others)] == [True, False]
    assert [store.get(job).status for job in (waiting, more)] == [JobStatus.CANCELLED, JobStatus.PENDING]
    assert len(claims) == 2


def test_restoring_a_job_is_counted_in_its_own_batch(store):
    batches = [members(store) for _ in range(3)]
    apply(store, *map(raised, claim_all(store)))
    assert store.restore(QUEUE, batches[1][1]) == 1
    assert [store.batches.get(batch).failed for batch, _, _ in batches] == [1, 0, 1]


def test_a_cancelled_job_that_is_restored_is_counted_as_that_whatever_others_are(store):
    failed = push(store)
    apply(store, raised(claim_one(store)))
    batch, [job], _ = members(store)
    assert store.cancel(job)
    assert store.batches.get(batch).cancelled == 1
    assert store.restore(QUEUE, [job]) == 1
    assert (store.batches.get(batch).cancelled, store.batches.get(batch).failed) == (0, 0)
    assert store.get(failed).status is JobStatus.FAILED
    with pytest.raises(JobNotFound):
        store.edit(99, b"{}")


def test_a_batch_that_is_sealed_again_is_forgotten_no_later(store, clock):
    batch, _, _ = members(store, 0)
    open_still = store.batches.open(QUEUE)
    store.batches.seal(batch)
    clock.advance(DAY * 6)
    store.batches.seal(batch)
    young = store.batches.open(QUEUE)
    store.batches.seal(young)
    store.sweep(QUEUE, 10)
    assert store.batches.get(batch).is_done
    clock.advance(DAY)
    store.sweep(QUEUE, 10)
    with pytest.raises(BatchNotFound):
        store.batches.get(batch)
    assert store.batches.get(young).is_done
    assert not store.batches.get(open_still).is_done


# restoring


def test_restoring_all_brings_the_failed_jobs_of_the_queue_with_terms_and_without(store):
    failed = [push(store), push(store, terms=one()), push(store, terms=one("b"), queue="b")]
    apply(store, *map(raised, [*claim_all(store), *claim_all(store, queue="b")]))
    cancelled, plain = push(store, terms=ORDER), push(store)
    assert store.cancel(cancelled)
    assert store.cancel(plain)
    assert store.restore(QUEUE, None) == 2
    assert sorted(ids(claim_all(store))) == failed[:2]
    assert store.get(failed[2]).status is JobStatus.FAILED
    assert {store.get(job).status for job in (cancelled, plain)} == {JobStatus.CANCELLED}


def test_restoring_some_brings_those_and_only_if_they_ended_in_this_queue(store):
    job, other, elsewhere = (
        push(store, terms=one("x")),
        push(store, terms=one("y")),
        push(store, terms=one(), queue="b"),
    )
    apply(store, *map(raised, [*claim_all(store), *claim_all(store, queue="b")]))
    push(store, terms=one("z"))
    [running] = claim_all(store)
    waiting = push(store, terms=one("z"))
    assert store.restore(QUEUE, [job, running.job.id, waiting, elsewhere]) == 1
    assert ids(claim_all(store)) == [job]
    assert store.get(other).status is JobStatus.FAILED


# rules, runners, figures


def test_each_job_keeps_its_own_rule(store):
    rules = [Backoff(limit=limit) for limit in (3, 5)]
    for rule in rules:
        push(store, backoff=rule)
    assert [claim.job.backoff.limit for claim in claim_all(store)] == [3, 5]


def test_a_runner_that_retires_takes_no_other_along(store):
    first, second = (store.enlist(QUEUE, "tests") for _ in range(2))
    store.retire(first)
    assert [runner.id for runner in store.overview().runners] == [second]
    store.retire(second)


def test_a_job_that_runs_or_was_cancelled_is_neither_due_nor_for_later(store):
    suspect = a_suspect(store)
    [claim] = claim_all(store, alone=True)
    assert claim.job.id == suspect
    assert store.cancel(push(store, delay=SECOND * 60))
    [standing] = store.overview().queues
    found = standing.pending, standing.oldest_due, standing.later, standing.running, standing.cancelled
    assert found == (0, None, 0, 1, 1)


# results, progress, edits, sweeping


def test_each_outlook_is_of_its_own_job(store):
    first, second = push(store), push(store)
    runner = store.enlist(QUEUE, "tests")
    claims = {claim.job.id: claim for claim in claim_all(store, runner)}
    store.note_progress(runner, {first: b"1"})
    store.note_progress(runner, {second: b"2"})
    assert {job: found.progress for job, found in store.outlook([first]).items()} == {first: b"1"}
    assert {job: found.progress for job, found in store.outlook([second]).items()} == {second: b"2"}
    apply(store, verdict(claims[first], Returned(b"[1]", SECOND)), verdict(claims[second], Returned(b"[2]", SECOND)))
    assert {job: found.result for job, found in store.outlook([second]).items()} == {second: b"[2]"}


@pytest.mark.parametrize("data", [b"{}", b"x" * 5000])
def test_an_edit_changes_one_job(store, data):
    small, large, job = push(store, data=b"small"), push(store, data=b"y" * 3000), push(store)
    assert store.edit(job, data)
    assert [store.get(each).data for each in (small, large, job)] == [b"small", b"y" * 3000, data]


def test_a_sweep_ends_what_is_past_its_time_in_its_queue_and_does_not_run(store, clock):
    runs = push(store, expires=SECOND)
    claim = claim_one(store)
    past, elsewhere, young = (
        push(store, expires=SECOND),
        push(store, expires=SECOND, queue="b"),
        push(store, expires=SECOND * 2),
    )
    clock.advance(SECOND)
    assert store.sweep(QUEUE, 10) == 1
    statuses = {job: store.get(job).status for job in (runs, past, elsewhere, young)}
    pending = dict.fromkeys((elsewhere, young), JobStatus.PENDING)
    assert statuses == {runs: JobStatus.RUNNING, past: JobStatus.CANCELLED} | pending
    apply(store, completed(claim))


def test_a_sweep_forgets_what_was_kept_for_long_enough_and_nothing_else(store, clock):
    short, long = push(store), push(store)
    runner = store.enlist(QUEUE, "tests")
    claims = claim_all(store, runner)
    store.note_progress(runner, {short: b"1", long: b"2"})
    apply(store, *(verdict(claim, Returned(b"1", SECOND * each)) for claim, each in zip(claims, (1, 9), strict=True)))
    failed = push(store)
    claim = claim_one(store, runner)
    store.note_progress(runner, {failed: b"3"})
    apply(store, raised(claim))
    windows = [push(store, terms=Terms(key=f"{each}"), unique_for=SECOND * each) for each in (1, 9)]
    apply(store, *map(completed, claim_all(store)))
    clock.advance(SECOND)
    store.sweep(QUEUE, 10)
    found = store.outlook([short, long, failed])
    assert [found[job].status for job in (short, long)] == [None, JobStatus.COMPLETED]
    assert found[failed].progress == b"3"
    assert [push(store, terms=Terms(key=f"{each}")) == job for each, job in zip((1, 9), windows, strict=True)] == [
        False,
        True,
    ]


def test_a_sweep_forgets_all_that_is_over_however_few_jobs_it_may_end(store, clock):
    jobs = [push(store) for _ in range(5)]
    apply(store, *(verdict(claim, Returned(b"1", SECOND)) for claim in claim_all(store)))
    clock.advance(SECOND)
    store.sweep(QUEUE, 1)
    assert {found.status for found in store.outlook(jobs).values()} == {None}
