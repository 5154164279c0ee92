"""What there is to sweep, and how much of it goes at once: by single statements, for the verbs try again soon."""

from __future__ import annotations

from datetime import timedelta

import pytest
from prove.clock import FakeClock
from tests.sql.base import Base
from workqueue.figures import Counted
from workqueue.job import Lane, Terms
from workqueue.lifecycle import Returned
from workqueue.store.clock import EPOCH, instant, micros
from workqueue.store.contract import Store
from workqueue.store.ledger import MINUTES_STAY
from workqueue.store.relational.ledger import ends

from support import (
    QUEUE,
    SECOND,
    apply,
    claim_all,
    claim_one,
    completed,
    push,
    verdict,
)

WEEK = timedelta(days=7)


def test_starts_that_are_out_of_sight_are_forgotten_and_so_are_those_of_a_clock_that_was_set_back(store, base, clock):
    slow = Terms(rate=Lane("slow", starts=1, per=SECOND))
    for step in (SECOND, -SECOND * 9, SECOND):
        push(store, terms=slow)
        claim_all(store)
        clock.advance(step)
    push(store, terms=slow)
    claim_all(store)
    assert base.execute("SELECT count(*) FROM starts") == [(1,)]


def test_totals_are_forgotten_by_themselves(store, base, clock):
    store.ledger.add(QUEUE, {"task": Counted(completed=1)})
    base.ask("forget_totals", before=clock())
    base.ask("forget_totals", before=clock() + 1)
    assert {span for (span,) in base.execute("SELECT span FROM figures")} == {1, 60}


def test_batches_are_forgotten_so_many_at_a_time(store, base, clock):
    store.batches.open(QUEUE)
    for _ in range(3):
        store.batches.seal(store.batches.open(QUEUE))
    base.ask("forget_batches", before=clock(), limit=2)
    assert base.execute("SELECT count(*) FROM batches") == [(2,)]


def test_the_starts_of_a_lane_are_told_and_forgotten_by_themselves(base):
    for queue, lane, at in (("a", "one", 1), ("a", "one", 5), ("a", "one", 9), ("b", "one", 20), ("a", "two", 30)):
        base.execute(f"INSERT INTO starts (queue, lane, at) VALUES ('{queue}', '{lane}', {at})")
    lane = {"queue": "a", "lane": "one"}
    assert base.ask("count_starts", **lane, since=1) == [(2,)]
    assert [base.ask("nth_start", **lane, before=before) for before in (0, 2, 3)] == [[(9,)], [(1,)], []]
    base.ask("forget_starts", **lane, since=1, now=5)
    assert base.execute("SELECT at FROM starts ORDER BY at") == [(5,), (20,), (30,)]


KEYS = [(queue, name, key) for queue in "ab" for name in "ab" for key in "ab"]


def take_keys(base: Base, *, until: int, taken_at: int) -> None:
    for queue, name, key in KEYS:
        base.execute(
            "INSERT INTO taken_keys (queue, name, key, job, until, taken_at)"
            f" VALUES ('{queue}', '{name}', '{key}', 1, {until}, {taken_at})"
        )


def test_keys_whose_time_is_over_are_forgotten_so_many_at_a_time(base):
    take_keys(base, until=5, taken_at=1)
    for now, left in ((4, 8), (5, 7), (6, 6)):
        base.ask("forget_keys", now=now, limit=1)
        assert base.execute("SELECT count(*) FROM taken_keys") == [(left,)]


def test_keys_taken_before_the_clock_was_set_back_begin_anew_so_many_at_a_time(base):
    take_keys(base, until=9, taken_at=7)
    for now, left in ((7, 8), (2, 7), (2, 6)):
        base.ask("restart_windows", now=now, limit=1)
        assert base.execute("SELECT count(*) FROM taken_keys WHERE until = 9 AND taken_at = 7") == [(left,)]
    assert base.execute("SELECT until, taken_at FROM taken_keys WHERE taken_at <> 7") == [(4, 2)] * 2


def wants_sweeping(base: Base, clock: FakeClock) -> bool:
    row = {"queue": QUEUE, "now": clock(), "before": clock() - micros(WEEK), **ends(clock())}
    return bool(base.ask("wants_sweeping", **row)[0][0])


def expiring(store: Store) -> None:
    push(store, expires=SECOND)


def kept_result(store: Store) -> None:
    push(store)
    apply(store, verdict(claim_one(store), Returned(b"1", SECOND)))


def window(store: Store) -> None:
    push(store, terms=Terms(key="k"), unique_for=SECOND)


def test_figures_are_forgotten_by_the_hour_and_of_one_long_forgotten_some_at_a_time(store, base, clock):
    clock.advance(timedelta(hours=1) - (instant(clock()) - EPOCH) % timedelta(hours=1))
    for _ in range(3):
        store.ledger.add(QUEUE, {"task": Counted(completed=1)})
        clock.advance(timedelta(minutes=300))
    clock.advance(MINUTES_STAY - timedelta(minutes=900))
    assert not wants_sweeping(base, clock)
    clock.advance(timedelta(minutes=59))
    assert not wants_sweeping(base, clock)
    clock.advance(timedelta(days=1))
    store.sweep(QUEUE, 10)
    assert wants_sweeping(base, clock)  # the third is 600 minutes after the first
    store.sweep(QUEUE, 10)
    assert not wants_sweeping(base, clock)
    assert store.ledger.totals()[QUEUE, "task"].completed == 3


@pytest.mark.parametrize("made", [expiring, kept_result, window])
def test_there_is_something_to_sweep_once_its_time_is_over(store, base, clock, made):
    made(store)
    assert not wants_sweeping(base, clock)
    clock.advance(SECOND)
    assert wants_sweeping(base, clock)
    store.sweep(QUEUE, 10)
    assert not wants_sweeping(base, clock)


def elsewhere(store: Store) -> None:
    push(store, expires=SECOND, queue="b")


def running(store: Store) -> None:
    push(store, expires=SECOND)
    claim_one(store)


def cancelled(store: Store) -> None:
    assert store.cancel(push(store, expires=SECOND))


def paused(store: Store) -> None:
    store.pause(QUEUE, "task")
    push(store)
    assert claim_all(store) == []


def paused_elsewhere(store: Store) -> None:
    store.pause("b", "task")
    push(store, queue="b")
    assert claim_all(store, queue="b") == []


def limited(store: Store) -> None:
    for _ in range(2):
        push(store, terms=Terms(limit=Lane("one", most=1)))
    assert len(claim_all(store)) == 1


def progressing(store: Store) -> None:
    runner = store.enlist(QUEUE, "tests")
    job = push(store)
    claim_one(store, runner)
    store.note_progress(runner, {job: b"1"})


def rated(store: Store) -> None:
    for _ in range(2):
        push(store, terms=Terms(rate=Lane("slow", starts=1, per=timedelta(hours=1))))
    assert len(claim_all(store)) == 1


def open_batch(store: Store) -> None:
    store.batches.open(QUEUE)


@pytest.mark.parametrize(
    "made", [elsewhere, running, cancelled, paused, paused_elsewhere, limited, rated, progressing, open_batch]
)
def test_there_is_nothing_to_sweep(store, base, clock, made):
    made(store)
    clock.advance(SECOND)
    assert not wants_sweeping(base, clock)


def done_batch(store: Store, base: Base) -> None:
    del base
    store.batches.seal(store.batches.open(QUEUE))


def progress_of_a_job_that_is_gone(store: Store, base: Base) -> None:
    del base
    progressing(store)
    [claim] = store.orphans(expired=True, limit=9) or [None]
    assert claim is None
    runner = store.enlist(QUEUE, "tests")
    job = push(store)
    claim = claim_one(store, runner)
    store.note_progress(runner, {job: b"1"})
    apply(store, completed(claim))


def half_resumed(store: Store, base: Base) -> None:
    """Whoever resumed the name died in between."""
    paused(store)
    paused_elsewhere(store)
    store.pause(QUEUE, "other")
    push(store, name="other")
    assert claim_all(store) == []
    base.execute(f"DELETE FROM pauses WHERE queue = '{QUEUE}' AND name = 'task'")


@pytest.mark.parametrize("made", [done_batch, progress_of_a_job_that_is_gone, half_resumed])
def test_there_is_something_to_sweep_and_after_it_nothing(store, base, clock, made):
    made(store, base)
    clock.advance(WEEK)
    assert wants_sweeping(base, clock)
    store.sweep(QUEUE, 10)
    assert not wants_sweeping(base, clock)


def test_a_lane_that_a_clock_closed_which_was_set_back_since_is_swept(store, base, clock):
    clock.advance(WEEK)
    rated(store)
    clock.advance(-WEEK)
    assert wants_sweeping(base, clock)
    store.sweep(QUEUE, 10)
    assert not wants_sweeping(base, clock)


def test_what_was_half_resumed_is_let_go_by_a_sweep(store, base):
    half_resumed(store, base)
    store.sweep(QUEUE, 10)
    assert [claim.job.name for claim in claim_all(store)] == ["task"]
    assert claim_all(store, queue="b") == []
    assert store.paused("b") == ["task"]


def test_what_was_half_resumed_elsewhere_is_swept_there(store, base, clock):
    paused_elsewhere(store)
    base.execute("DELETE FROM pauses")
    assert not wants_sweeping(base, clock)


def test_a_sweep_leaves_the_progress_of_jobs_that_are_there(store, base, clock):
    progressing(store)
    progress_of_a_job_that_is_gone(store, base)
    store.sweep(QUEUE, 10)
    assert base.execute("SELECT job FROM progress ORDER BY job") == [(1,), (2,)]
