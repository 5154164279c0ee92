"""What some jobs ask for beyond their turn: keys, limits, rates, orders, expiry, pauses, chains and batches."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest
from workqueue.errors import BatchNotFound, DuplicateJob, InvalidOption, JobNotFound, UsageError
from workqueue.job import Claim, JobStatus, Lane, NewJob, Terms
from workqueue.lifecycle import Postponed, Returned
from workqueue.store.contract import Store

from support import (
    QUEUE,
    SECOND,
    TICK,
    again,
    apply,
    claim_all,
    claim_one,
    completed,
    gave_up,
    handed_back,
    ids,
    lost,
    new_job,
    push,
    raised,
    turn,
    verdict,
)

HOUR = timedelta(hours=1)
TWO = Terms(limit=Lane("two", most=2))
SLOW = Terms(rate=Lane("slow", starts=2, per=SECOND * 10))
ORDER = Terms(order="o")
KEY = Terms(key="k")
ORDERED_KEY = Terms(key="k", order="o")

# keys


def test_a_key_is_taken_while_its_job_waits_and_runs_and_free_after(store):
    first = push(store, terms=KEY)
    assert push(store, terms=KEY) == first
    claim = claim_one(store)
    assert push(store, terms=KEY) == first
    assert apply(store, again(claim)) == []
    assert push(store, terms=KEY) == first
    assert apply(store, completed(claim_one(store))) == []
    assert push(store, terms=KEY) > first


@pytest.mark.parametrize("key", ["a\\u0000b", "\\", "\\\\u0000", '"', "\x1f\x7f", "é\u2192\U0001f600"])
def test_a_key_may_be_any_text(store, key):
    job = push(store, terms=Terms(key=key, order=key))
    assert push(store, terms=Terms(key=key)) == job
    assert store.get(job).terms == Terms(key=key, order=key)


def test_a_key_belongs_to_its_queue_and_name(store):
    assert len({push(store, terms=KEY), push(store, terms=KEY, name="other"), push(store, terms=KEY, queue="b")}) == 3


@pytest.mark.parametrize("settled", [raised, gave_up])
def test_a_job_that_ended_badly_frees_its_key(store, settled):
    first = push(store, terms=KEY)
    apply(store, settled(claim_one(store)))
    second = push(store, terms=KEY)
    assert second != first
    assert store.restore(QUEUE, [first]) == 0  # another has the key by now
    assert store.cancel(second)
    assert store.restore(QUEUE, [first]) == 1


@pytest.mark.parametrize("elsewhere", [{"queue": "b"}, {"name": "other"}])
def test_a_restored_job_takes_its_key_again_though_it_is_taken_elsewhere(store, elsewhere):
    first = push(store, terms=KEY)
    apply(store, raised(claim_one(store)))
    push(store, terms=KEY, **elsewhere)
    assert store.restore(QUEUE, [first]) == 1
    assert push(store, terms=KEY) == first


def test_a_window_keeps_a_key_taken_after_its_job_has_ended(store, clock):
    first = push(store, terms=KEY, unique_for=SECOND * 10)
    apply(store, completed(claim_one(store)))
    assert push(store, terms=KEY) == first
    clock.advance(SECOND * 10)
    assert push(store, terms=KEY) > first


def test_a_window_begins_anew_with_the_next_job_that_gets_the_key(store, clock):
    for _ in range(2):
        job = push(store, terms=KEY, unique_for=SECOND * 10)
        apply(store, completed(claim_one(store)))
        assert push(store, terms=KEY) == job
        clock.advance(SECOND * 10)


@pytest.mark.parametrize("on_conflict", ["keep", "replace", "error"])
def test_a_job_that_waits_past_its_time_has_its_key_no_more(store, clock, on_conflict):
    first = push(store, terms=ORDERED_KEY, expires=SECOND)
    clock.advance(SECOND - TICK)
    assert push(store, terms=KEY) == first
    clock.advance(TICK)
    second = push(store, terms=ORDERED_KEY, on_conflict=on_conflict)
    assert (store.get(first).status, store.get(first).message) == (JobStatus.CANCELLED, "expired before it could run")
    assert ids(claim_all(store)) == [second]


def test_a_job_that_runs_past_its_time_keeps_its_key(store, clock):
    first = push(store, terms=KEY, expires=SECOND)
    claim_one(store)
    clock.advance(SECOND)
    assert push(store, terms=KEY) == first


def test_a_clock_that_is_set_back_stretches_no_window(store, clock):
    first = push(store, terms=KEY, unique_for=SECOND * 10)
    apply(store, completed(claim_one(store)))
    clock.advance(-HOUR)
    store.sweep(QUEUE, 10)
    clock.advance(SECOND * 10 - TICK)
    assert push(store, terms=KEY) == first
    clock.advance(TICK)
    assert push(store, terms=KEY) > first


def test_a_conflict_may_be_an_error_and_then_nothing_of_the_push_is_stored(store):
    first = push(store, terms=KEY)
    with pytest.raises(DuplicateJob, match=f"but job {first} does") as caught:
        store.push([new_job(), new_job(terms=KEY, on_conflict="error")])
    assert (caught.value.key, caught.value.job_id) == ("k", first)
    assert store.size(QUEUE).waiting == 1


def test_a_conflict_inside_a_transaction_leaves_nothing_of_its_push(store):
    push(store, terms=KEY)
    with store.transaction():
        with pytest.raises(DuplicateJob):
            store.push([new_job(), new_job(terms=KEY, on_conflict="error")])
        push(store)
    assert store.size(QUEUE).waiting == 2


def test_a_waiting_job_is_replaced_and_a_running_one_is_kept(store):
    first = push(store, terms=KEY)
    second = push(store, terms=KEY, on_conflict="replace")
    assert second > first
    assert store.get(first).status is JobStatus.CANCELLED
    assert ids(claim_all(store)) == [second]
    assert push(store, terms=KEY, on_conflict="replace") == second


NUL = "a\0b"


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("key", Terms(key=NUL)),
        ("limit", Terms(limit=Lane(NUL, most=1))),
        ("rate", Terms(rate=Lane(NUL, starts=1, per=SECOND))),
        ("order", Terms(order=NUL)),
    ],
)
def test_a_key_or_a_lane_with_nul_is_refused_and_nothing_of_its_push_is_stored(store, name, terms):
    with pytest.raises(InvalidOption, match=rf"expected {name} to be text without NUL, got: 'a\\x00b'") as caught:
        store.push([new_job(), new_job(terms=terms)])
    assert (caught.value.name, caught.value.value) == (name, NUL)
    assert store.size(QUEUE).waiting == 0


# limits


def test_no_more_of_a_lane_run_than_its_limit_and_it_is_in_nobodys_way(store):
    limited = [push(store, terms=TWO) for _ in range(5)]
    plain = push(store)
    claims = claim_all(store)
    assert ids(claims) == [*limited[:2], plain]
    assert claim_all(store) == []
    apply(store, completed(claims[0]))
    assert ids(claim_all(store)) == [limited[2]]


@pytest.mark.parametrize("settled", [completed, raised, again, gave_up, handed_back, lost])
def test_however_a_job_of_a_lane_stops_another_comes(store, settled):
    first, second = (push(store, terms=Terms(limit=Lane("one", most=1)), priority=priority) for priority in (0, -1))
    claim = claim_one(store)
    assert claim.job.id == first
    apply(store, settled(claim))
    if settled in (again, handed_back):
        assert store.cancel(first)
    assert ids(claim_all(store)) == [second]  # one that was lost waits to run alone, and holds no slot


def test_the_best_of_a_full_lane_comes_next(store):
    one = Terms(limit=Lane("one", most=1))
    push(store, terms=one)
    low, high = push(store, terms=one), push(store, terms=one, priority=9)
    claim = claim_all(store, limit=5)
    assert ids(claim) == [high]
    apply(store, *map(completed, claim))
    claim = claim_all(store, limit=5)
    apply(store, *map(completed, claim))
    assert ids(claim_all(store)) == [low]


def test_completing_in_a_transaction_frees_a_slot(store):
    one = Terms(limit=Lane("one", most=1))
    push(store, terms=one)
    second = push(store, terms=one)
    [claim] = claim_all(store)
    with store.transaction(claim):
        pass
    assert ids(claim_all(store)) == [second]


def test_what_a_limit_lets_start_may_be_kept_back_by_an_order_and_then_the_next_comes(store):
    lane = Lane("one", most=1)
    push(store, terms=ORDER)
    [head] = claim_all(store)
    push(store, terms=Terms(limit=lane, order="o"))
    free = push(store, terms=Terms(limit=lane))
    assert ids(claim_all(store)) == [free]
    assert head.job.status is JobStatus.RUNNING


def test_the_next_of_a_lane_comes_where_the_one_let_start_is_paused(store):
    one = Terms(limit=Lane("one", most=1))
    push(store, terms=one)
    [claim] = claim_all(store)
    push(store, terms=one, name="paused")
    free = push(store, terms=one)
    assert claim_all(store) == []
    store.pause(QUEUE, "paused")
    apply(store, completed(claim))
    assert ids(claim_all(store)) == [free]


def test_in_a_queue_by_time_the_next_of_a_lane_is_the_earliest_as_it_is_by_now(store, clock):
    one = Terms(limit=Lane("one", most=1))
    first, second = (push(store, terms=one, timing=True) for _ in range(2))
    for _ in range(2):
        [claim] = claim_all(store)
        apply(store, again(claim, SECOND * (9 if claim.job.id == first else 5)))
    push(store, terms=one, timing=True, priority=1)
    [claim] = claim_all(store)
    clock.advance(SECOND * 10)
    assert claim_all(store) == []
    apply(store, completed(claim))
    assert ids(claim_all(store)) == [second]


# rates


def test_no_more_start_within_a_time_than_the_rate_and_the_store_says_when(store, clock):
    pushed = [push(store, terms=SLOW) for _ in range(5)]
    first = turn(store, [])
    assert ids(first.claims) == pushed[:2]
    assert first.next_due == SECOND * 10
    clock.advance(SECOND * 10 - timedelta(microseconds=1))
    assert claim_all(store) == []
    clock.advance(timedelta(microseconds=1))
    assert ids(claim_all(store)) == pushed[2:4]


def test_a_rate_counts_starts_and_not_ends(store):
    for _ in range(3):
        push(store, terms=SLOW)
    apply(store, *map(completed, claim_all(store)))
    assert claim_all(store) == []


def test_a_clock_that_is_set_back_keeps_no_lane_closed(store, clock):
    first, second = (push(store, terms=Terms(rate=Lane("one", starts=1, per=SECOND))) for _ in range(2))
    assert ids(claim_all(store)) == [first]
    clock.advance(-HOUR)
    store.sweep(QUEUE, 10)
    again = turn(store, [])  # it meets the start that is to come yet, and forgets it
    assert (again.claims, again.next_due) == ([], timedelta(0))
    assert ids(claim_all(store)) == [second]


# orders


def test_an_order_is_kept_while_its_head_runs_and_while_it_waits_for_another_try(store, clock):
    first, second, third = (push(store, terms=ORDER) for _ in range(3))
    [claim] = claim_all(store)
    assert claim.job.id == first
    apply(store, again(claim, SECOND))
    assert claim_all(store) == []
    clock.advance(SECOND)
    [claim] = claim_all(store)
    assert claim.job.id == first
    apply(store, raised(claim))
    [claim] = claim_all(store)
    assert claim.job.id == second
    apply(store, completed(claim))
    assert ids(claim_all(store)) == [third]


def test_a_cancelled_head_lets_the_next_of_its_order_come(store):
    first, second = push(store, terms=ORDER), push(store, terms=ORDER)
    claim_all(store, queue="other")
    [claim] = claim_all(store)
    assert claim.job.id == first
    apply(store, handed_back(claim))
    assert store.cancel(first)
    assert ids(claim_all(store)) == [second]


@pytest.mark.parametrize("settled", [again, handed_back, lost])
def test_an_earlier_job_of_an_order_comes_when_a_later_one_that_ran_before_it_stops(store, clock, settled):
    first = push(store, terms=ORDER, delay=SECOND)
    second = push(store, terms=ORDER)
    claim = claim_one(store)
    assert claim.job.id == second
    clock.advance(SECOND)
    assert claim_all(store) == []  # kept back, for the later one runs
    apply(store, settled(claim))
    [claim] = claim_all(store)
    assert claim.job.id == first
    apply(store, completed(claim))
    assert ids(claim_all(store, alone=settled is lost)) == [second]


# expiry, pauses, putting off


def test_a_job_past_its_time_is_cancelled_and_not_run(store, clock):
    late, swept = push(store, expires=SECOND), push(store, expires=SECOND, queue="b")
    clock.advance(SECOND)
    assert claim_all(store) == []
    assert store.sweep("b", 10) == 1
    assert {store.get(job).status for job in (late, swept)} == {JobStatus.CANCELLED}
    assert "expired" in store.get(late).message


def test_a_pause_holds_a_name_or_the_queue_until_it_is_resumed(store):
    paused, other = push(store, name="p"), push(store)
    store.pause(QUEUE, "p")
    assert ids(claim_all(store)) == [other]
    store.pause(QUEUE, None)
    push(store)
    assert claim_all(store) == []
    assert store.paused(QUEUE) == [None, "p"]
    store.resume(QUEUE, None)
    assert paused not in ids(claim_all(store))
    store.resume(QUEUE, "p")
    assert ids(claim_all(store)) == [paused]


def test_a_job_that_is_put_off_counts_nothing_and_says_why(store, clock):
    job = push(store)
    apply(store, verdict(claim_one(store), Postponed(SECOND, "not known here")))
    found = store.get(job)
    assert (found.status, found.retry_count, found.message) == (JobStatus.PENDING, 0, "not known here")
    assert claim_all(store) == []
    clock.advance(SECOND)
    assert claim_one(store).job.attempt == 2


# chains and batches


def follow(store, **terms: object) -> tuple[int, int]:
    first, second = store.push(
        [
            new_job(terms=Terms(followed=True)),
            new_job(terms=Terms(follows=-1, into="of", **terms), data=b'{"a":1}'),  # type: ignore[arg-type]
        ]
    )
    return first, second


def test_a_result_goes_into_the_data_of_what_follows(store):
    first, second = follow(store)
    [claim] = claim_all(store)
    assert claim.job.id == first
    apply(store, verdict(claim, Returned(b"[7]")))
    [claim] = claim_all(store)
    assert (claim.job.id, claim.job.decode()) == (second, {"a": 1, "of": [7]})


def test_what_follows_a_job_that_failed_is_cancelled(store):
    first, second = follow(store)
    apply(store, raised(claim_one(store)))
    assert store.get(second).status is JobStatus.CANCELLED
    assert f"job {first}" in store.get(second).message


@pytest.mark.parametrize("data", [b"[1,2]", b"no JSON"])
def test_what_was_edited_so_that_it_cannot_take_a_result_is_cancelled_and_says_so(store, data):
    into = {"follows": -1, "into": "of"}
    first, second, third = store.push(
        [
            new_job(terms=Terms(followed=True)),
            new_job(terms=Terms(followed=True, **into)),  # type: ignore[arg-type]
            new_job(terms=Terms(**into)),  # type: ignore[arg-type]
        ]
    )
    assert store.edit(second, data)
    assert apply(store, verdict(claim_one(store), Returned(b"7"))) == []
    assert [store.get(job).status for job in (second, third)] == [JobStatus.CANCELLED] * 2
    assert store.get(second).data == data
    assert "expected an object and a value for its member 'of' as JSON" in store.get(second).message
    assert store.get(third).message == f"job {second}, which it follows, is cancelled"
    with pytest.raises(JobNotFound):
        store.get(first)


def in_a_chain(count: int, *, expires: timedelta | None = None, batch: int | None = None) -> list[NewJob]:
    """The first of them may expire."""
    first = new_job(terms=Terms(followed=True, batch=batch), expires=expires)
    middle = new_job(terms=Terms(followed=True, follows=-1, batch=batch))
    return [first, *[middle] * (count - 2), new_job(terms=Terms(follows=-1, batch=batch))]


@pytest.fixture
def little_depth() -> Iterator[int]:
    """How deep calls may go from here."""
    before, depth = sys.getrecursionlimit(), 250
    sys.setrecursionlimit(len(inspect.stack(0)) + depth)
    yield depth
    sys.setrecursionlimit(before)


@pytest.mark.parametrize("fails", [True, False])
def test_a_chain_longer_than_the_stack_ends_with_its_first_job(store, clock, fails, little_depth):
    batch = store.batches.open(QUEUE)
    _, *rest = store.push(in_a_chain(2 * little_depth, expires=SECOND, batch=batch))
    store.batches.seal(batch)
    if fails:
        assert apply(store, raised(claim_one(store))) == []
    else:
        clock.advance(SECOND)
        assert claim_all(store) == []
    assert store.size(QUEUE).waiting == 0
    assert store.get(rest[-1]).message == f"job {rest[-2]}, which it follows, is cancelled"
    standing = store.batches.get(batch)
    assert (standing.is_done, standing.failed, standing.completed) == (True, int(fails), 0)


def test_a_batch_counts_its_jobs_and_calls_what_follows_once_all_have_ended(store):
    batch = store.batches.open(QUEUE)
    for _ in range(2):
        push(store, terms=Terms(batch=batch))
    then = push(store, terms=Terms(follows_batch=batch))
    claims = claim_all(store)
    assert len(claims) == 2
    apply(store, completed(claims[0]), raised(claims[1]))
    assert claim_all(store) == []  # more jobs may come
    store.batches.seal(batch)
    standing = store.batches.get(batch)
    assert (standing.total, standing.completed, standing.failed, standing.is_done) == (2, 1, 1, True)
    assert ids(claim_all(store)) == [then]
    with pytest.raises(UsageError, match="sealed"):
        push(store, terms=Terms(batch=batch))


def test_batches_are_listed_newest_first_a_page_at_a_time(store):
    assert store.batches.newest(10) == []
    first, second, third = (store.batches.open(queue) for queue in (QUEUE, "other", QUEUE))
    push(store, terms=Terms(batch=second), queue="other")
    store.batches.seal(second)
    found = store.batches.newest(2)
    assert [standing.id for standing in found] == [third, second]
    assert found[1] == store.batches.get(second)
    assert [standing.id for standing in store.batches.newest(2, before=second)] == [first]
    assert store.batches.newest(2, before=first) == []


def test_a_batch_is_sealed_together_with_its_last_jobs(store):
    batch = store.batches.open(QUEUE)
    first = push(store, terms=Terms(batch=batch))
    last, then = store.batches.seal(
        batch, [new_job(terms=Terms(batch=batch)), new_job(terms=Terms(follows_batch=batch))]
    )
    claims = claim_all(store)
    assert ids(claims) == [first, last]
    assert store.batches.get(batch).total == 2
    apply(store, *map(completed, claims))
    assert ids(claim_all(store)) == [then]


def test_what_follows_a_batch_that_had_ended_before_it_was_sealed_comes_at_once(store):
    batch = store.batches.open(QUEUE)
    push(store, terms=Terms(batch=batch))
    assert store.batches.cancel(batch) == 1
    then = [store.batches.seal(batch, [new_job(terms=Terms(follows_batch=batch))])[0] for _ in range(2)]
    assert ids(claim_all(store)) == then


def test_a_batch_stays_open_when_its_last_jobs_cannot_be_stored(store):
    push(store, terms=KEY)
    batch = store.batches.open(QUEUE)
    with pytest.raises(DuplicateJob):
        store.batches.seal(batch, [new_job(terms=Terms(batch=batch)), new_job(terms=KEY, on_conflict="error")])
    standing = store.batches.get(batch)
    assert (standing.sealed, standing.total) == (False, 0)
    store.batches.seal(batch)
    assert store.batches.get(batch).is_done


def test_cancelling_a_batch_cancels_what_waits_and_asks_what_runs(store):
    batch = store.batches.open(QUEUE)
    running, waiting = (push(store, terms=Terms(batch=batch)) for _ in range(2))
    claim_one(store)
    assert store.batches.cancel(batch) == 2
    assert store.get(waiting).status is JobStatus.CANCELLED
    assert store.get(running).cancel_requested
    with pytest.raises(BatchNotFound):
        store.batches.get(batch + 1)


def test_cancelling_a_batch_asks_what_is_claimed_while_that_goes_on(store, monkeypatch):
    monkeypatch.setattr("workqueue.store.relational.batches._STEP", 2)
    batch = store.batches.open(QUEUE)
    pushed = [push(store, terms=Terms(batch=batch)) for _ in range(9)]
    runner = store.enlist(QUEUE, "tests")
    claimed = claiming_between_writes(store, runner, monkeypatch)
    assert store.batches.cancel(batch) == len(pushed)
    assert store.held(runner).cancelled == set(ids(claimed))
    assert store.size(QUEUE).waiting == len(claimed)


def claiming_between_writes(store: Store, runner: int, monkeypatch: pytest.MonkeyPatch) -> list[Claim]:
    """Give what will be claimed: one job after each transaction of another; nothing, where a verb has but one."""
    claimed: list[Claim] = []
    database = getattr(store, "_database", None)
    if database is None:
        return claimed
    write, busy = database.write, False

    def claiming(*args, **options):
        nonlocal busy
        answer = write(*args, **options)
        if not busy:
            busy = True
            claimed.extend(claim_all(store, runner, limit=1))
            busy = False
        return answer

    monkeypatch.setattr(database, "write", claiming)
    return claimed


def test_cancelling_a_batch_whose_jobs_follow_one_another_counts_each(store, monkeypatch):
    monkeypatch.setattr("workqueue.store.relational.batches._STEP", 2)
    batch = store.batches.open(QUEUE)
    pushed = store.push(in_a_chain(5, batch=batch))
    assert store.batches.cancel(batch) == 5
    assert {store.get(job).message for job in pushed} == {"cancelled with its batch"}
    assert store.batches.get(batch).cancelled == 5


# results, progress, edits


def test_a_result_is_kept_for_its_time(store, clock):
    job = push(store)
    apply(store, verdict(claim_one(store), Returned(b"1", SECOND)))
    found = store.outlook([job, job + 1])
    assert found.keys() == {job}
    assert (found[job].status, found[job].result) == (JobStatus.COMPLETED, b"1")
    clock.advance(SECOND)
    store.sweep(QUEUE, 10)
    assert store.outlook([job])[job].status is None


def test_a_job_that_a_transaction_completes_gives_its_result(store):
    first, second = follow(store)
    claim = claim_one(store)
    done = Returned()
    with store.transaction(claim, returned=lambda: done):
        done = Returned(b"7", timedelta(hours=1))
    assert store.outlook([first])[first].result == b"7"
    assert store.get(second).decode() == {"a": 1, "of": 7}


def test_progress_is_told_by_who_holds_the_job_and_nobody_else(store):
    job = push(store)
    runner = store.enlist(QUEUE, "tests")
    claim_one(store, runner)
    store.note_progress(runner + 1, {job: b"1"})
    assert store.outlook([job])[job].progress is None
    store.note_progress(runner, {job: b"2"})
    assert store.outlook([job])[job].progress == b"2"


@pytest.mark.parametrize("data", [b"{}", b"x" * 5000])
def test_data_can_be_edited_while_a_job_does_not_run(store, data):
    job = push(store, data=b"y" * 3000)
    assert store.edit(job, data)
    [claim] = claim_all(store)
    assert claim.job.data == data
    assert not store.edit(job, b"z")
    apply(store, raised(claim))
    assert store.edit(job, b"z")
    assert store.get(job).data == b"z"


@pytest.mark.parametrize("data", [b"{}", b"x" * 5000])
def test_data_can_be_edited_only_while_they_are_what_was_seen(store, data):
    job = push(store, data=data)
    assert not store.edit(job, b"1", was=b"other")
    assert not store.edit(job, b"1", was=b"")
    assert store.get(job).data == data
    assert store.edit(job, b"2", was=data)
    assert not store.edit(job, b"3", was=data)
    assert store.get(job).data == b"2"
