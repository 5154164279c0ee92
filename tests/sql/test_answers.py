"""What single statements answer, where the verbs that use them would not show the difference, or not at once."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from tests.sql.base import File, Server, found
from workqueue.figures import Counted
from workqueue.job import JobStatus, Lane, Terms
from workqueue.lifecycle import Returned
from workqueue.store.clock import micros
from workqueue.store.contract import Store
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
    new_job,
    push,
    raised,
    verdict,
)

WEEK = timedelta(days=7)


def test_what_runs_takes_no_place_among_those_of_a_batch_that_wait(store, base):
    batch = store.batches.open(QUEUE)
    waiting = push(store, terms=Terms(batch=batch))
    push(store, terms=Terms(batch=batch), priority=1)
    claim_one(store)
    assert found(base, "batch_waiting", batch=batch, limit=1) == [waiting]


def test_what_is_due_elsewhere_takes_no_place_among_those_that_are_due_here(store, base, clock):
    push(store, queue="other", delay=SECOND)
    push(store, delay=SECOND * 2)
    base.ask("promote", queue=QUEUE, now=clock() + micros(SECOND * 2), limit=1)
    assert base.execute("SELECT queue FROM jobs WHERE ready = 1") == [(QUEUE,)]


def test_what_runs_takes_no_place_among_those_past_their_time(store, base, clock):
    push(store, expires=SECOND)
    claim_one(store)
    waiting = push(store, expires=SECOND)
    clock.advance(SECOND)
    assert found(base, "expiring", queue=QUEUE, now=clock(), limit=1) == [waiting]


def test_plain_jobs_are_not_restored_one_by_one(store, base):
    plain, special = push(store), push(store, terms=Terms(order="o"))
    apply(store, *map(raised, claim_all(store)))
    waiting = push(store, terms=Terms(order="o"))
    assert found(base, "special_failed", queue=QUEUE) == [special]
    assert found(base, "special_restorable", queue=QUEUE, ids=json.dumps([plain, special, waiting])) == [special]


def test_a_job_can_be_cancelled_until_it_is_settled(store, base):
    waiting, settled = push(store), push(store)
    assert store.cancel(settled)
    asked = [base.ask("cancellable", id=job)[0][0] for job in (waiting, settled, 9)]
    assert asked == [1, 0, 0]


def test_a_job_is_held_as_one_attempt_by_one_runner(store, base):
    job = push(store)
    runner = claim_one(store).runner
    asked = [(job, 1, runner), (job, 2, runner), (job, 1, runner + 1), (job + 1, 1, runner)]
    held = [base.ask("holds", id=job, attempt=attempt, runner=runner)[0][0] for job, attempt, runner in asked]
    assert held == [1, 0, 0, 0]


def test_a_job_that_waits_is_not_settled(store, base):
    waiting, settled = push(store), push(store)
    assert store.cancel(settled)
    assert [base.ask("settled", id=job)[0][0] for job in (waiting, settled, 9)] == [0, 1, 0]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("UPDATE jobs SET special = FALSE WHERE id = 1", (0, 1, 0, 0, 0, 0)),
        ("DELETE FROM terms WHERE job = 1", (1, 0, 0, 0, 0, 0)),
        ("UPDATE terms SET runs = FALSE WHERE job = 1", (0, 0, 1, 0, 0, 0)),
        ("UPDATE terms SET is_open = FALSE WHERE job = 1", (0, 0, 0, 1, 0, 0)),
        ("UPDATE terms SET kept_by = 1 WHERE job = 1", (0, 0, 0, 0, 1, 0)),
        ("UPDATE terms SET kept_by = NULL WHERE job = 2", (0, 0, 0, 0, 1, 0)),
        ("UPDATE terms SET follows = NULL WHERE follows > 0", (0, 0, 0, 0, 0, 1)),
        ("UPDATE terms SET follows_batch = NULL WHERE follows_batch > 0", (0, 0, 0, 0, 0, 1)),
    ],
)
def test_each_kind_of_damage_to_terms_is_told_from_the_others(store, base, damage, expected):
    for _ in range(2):
        push(store, terms=Terms(limit=Lane("one", most=1)))
    store.push([new_job(terms=Terms(followed=True), delay=SECOND), new_job(terms=Terms(follows=-1))])
    push(store, terms=Terms(follows_batch=store.batches.open(QUEUE)))
    push(store)
    runner = store.enlist(QUEUE, "tests")
    assert len(claim_all(store, runner)) == 2
    store.beat(runner, LEASE)
    assert base.ask("check_rows") == [(0,)]  # neither of a job that is kept back nor of one whose claim was noted
    assert base.ask("check_terms") == [(0,) * 6]
    base.execute(damage)
    assert base.ask("check_terms") == [expected]


def completed_jobs(store: Store) -> None:
    for queue in (QUEUE, "other"):
        apply(store, *(completed(claim, stays=True) for claim in claim_all(store, queue=queue)))


def cancelled_jobs(store: Store) -> None:
    assert store.change(Find(), "cancel").count == 8


def waiting_jobs(store: Store) -> None:
    pass


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize(
    ("statement", "made", "row", "expected"),
    [
        ("walk", waiting_jobs, {}, [2, 3, 4, 5, 6, 7]),
        ("walk_completed", completed_jobs, {}, [2, 3, 4, 5, 6, 7]),
        ("completed_ids", completed_jobs, {"queue": QUEUE}, [2, 4, 5, 6, 7]),
        ("batch_ids", waiting_jobs, {"batch": 1, "open": True}, [2, 5, 6, 7]),
        ("batch_ids", cancelled_jobs, {"batch": 1, "open": False}, [2, 5, 6, 7]),
        ("batch_ids", cancelled_jobs, {"batch": 1, "open": True}, []),
        ("batch_completed_ids", completed_jobs, {"batch": 1}, [2, 5, 6, 7]),
        ("settled_ids", cancelled_jobs, {"queue": QUEUE, "status": int(JobStatus.CANCELLED)}, [2, 4, 5, 6, 7]),
        ("settled_ids", cancelled_jobs, {"queue": QUEUE, "status": int(JobStatus.FAILED)}, []),
    ],
)
def test_the_next_ids_are_those_between_from_one_end_and_no_more_than_were_asked_for(
    store, base, statement, made, row, expected, up
):
    one, another = Terms(batch=store.batches.open(QUEUE)), Terms(batch=store.batches.open(QUEUE))
    ours = new_job(terms=one)
    store.push([ours, ours, new_job(queue="other"), new_job(terms=another), ours, ours, ours, ours])
    made(store)
    for most in (2, 9):
        which = {"up": up, "after": 1, "before": 8, "most": most, **row}
        assert found(base, statement, **which) == (expected if up else expected[::-1])[:most]


def test_what_runs_elsewhere_is_not_under_way_here(store, base):
    push(store, queue="other")
    claim_one(store, queue="other")
    here = push(store)
    claim_one(store)
    assert found(base, "open_ids", queue=QUEUE, most=9) == [here]


def test_what_completed_while_it_was_looked_for_is_not_meant(store, base):
    job = push(store)
    apply(store, completed(claim_one(store), stays=True))
    row = {"ids": json.dumps([job]), "queue": None, "name": None, "text": None}
    asked = {status: found(base, "matching", statuses=json.dumps([status]), **row) for status in JobStatus}
    assert {status for status, jobs in asked.items() if jobs} == {JobStatus.COMPLETED}


def test_only_what_waits_for_its_time_is_due_sooner(store, base, clock):
    waits, is_over, due = push(store, delay=SECOND), push(store, delay=SECOND), push(store)
    assert store.cancel(is_over)
    ids = [waits, is_over, due]
    assert base.ask("hasten", ids=ids if isinstance(base, Server) else json.dumps(ids), now=clock()) == [(waits,)]


def test_what_runs_or_is_due_is_neither_over_nor_waits_for_its_time(store, base, clock):
    runs = push(store)
    claim_one(store)
    is_over, late = push(store), push(store, delay=SECOND)
    assert store.cancel(is_over)
    due, follows = store.push([new_job(terms=Terms(followed=True)), new_job(terms=Terms(follows=-1), delay=SECOND)])
    asked = [
        base.ask("not_due", id=job, now=now)[0][0]
        for now in (clock(), clock() + micros(SECOND))
        for job in (runs, due, late, is_over, follows)
    ]
    assert asked == [0, 0, 1, 1, 1] + [0, 0, 0, 1, 0]


def test_only_what_is_over_is_deleted(store, base):
    waits, is_over = push(store), push(store)
    assert store.cancel(is_over)
    assert base.ask("delete_settled", ids=json.dumps([waits, is_over])) == [(is_over,)]


@pytest.mark.parametrize("statement", ["old_completed", "old_failed"])
def test_what_is_old_is_told_of_with_its_own_size(store, base, clock, statement):
    sizes = [[push(store, data=b"1" * size), size] for size in (9_000, 20, 7_000, 8_000)]
    is_kept = statement == "old_completed"
    apply(store, *(completed(claim, stays=True) if is_kept else raised(claim) for claim in claim_all(store)))
    row = {"queue": QUEUE, "at": clock(), "last": 3, "limit": 9}
    assert found(base, statement, **row) == sizes[:3]
    assert found(base, statement, **row | {"at": clock() - 1}) == []


@pytest.mark.parametrize("kind", ["completed", "failed", "result"])
def test_what_is_kept_elsewhere_is_neither_old_nor_counted_here(store, base, clock, kind):
    for queue in ("a", "z"):
        push(store, queue=queue)
        claim = claim_one(store, queue=queue)
        settlements = {
            "completed": completed(claim, stays=True),
            "failed": raised(claim),
            "result": verdict(claim, Returned(b"1", SECOND, counted=True)),
        }
        apply(store, settlements[kind])
    assert store.cancel(push(store, queue="m"))
    old = "old_results" if kind == "result" else f"old_{kind}"
    row = {"at": clock() + micros(WEEK), "last": 9, "limit": 9}
    assert [len(found(base, old, queue=queue, **row)) for queue in ("a", "m", "z")] == [1, 0, 1]
    assert [len(base.ask(f"nth_{kind}", queue=queue, count=0)) for queue in ("a", "m", "z")] == [1, 0, 1]


def test_what_was_restored_since_it_was_found_to_be_old_is_kept(store, base, clock):
    old, restored, failed_again, cancelled = (a_failed_job(store) for _ in range(4))
    looked_at = clock()
    assert store.restore(QUEUE, [cancelled]) == 1
    assert store.cancel(cancelled)
    clock.advance(SECOND)
    assert store.restore(QUEUE, [failed_again]) == 1
    apply(store, raised(claim_one(store)))
    assert store.restore(QUEUE, [restored]) == 1
    row = {"ids": json.dumps([old, restored, failed_again, cancelled]), "at": looked_at}
    assert base.ask("prune_failed", **row) == [(old,)]


def test_a_lane_is_held_by_those_of_its_queue_that_run(store, base):
    for queue, lane in (("a", "one"), ("b", "one"), ("a", "other"), ("a", "one")):
        push(store, queue=queue, terms=Terms(limit=Lane(lane, most=1)))
    for queue in ("a", "b"):
        claim_all(store, queue=queue)
    assert found(base, "limit_holders", queue="a", lane="one", limit=9) == [1]


def test_lanes_of_a_queue_open_once_it_is_time_and_the_first_of_them_first(base):
    for queue, lane, opens_at in (("a", "late", 6), ("a", "second", 5), ("a", "first", 4), ("b", "elsewhere", 3)):
        base.execute(
            f"INSERT INTO closed_lanes (queue, lane, most, opens_at) VALUES ('{queue}', '{lane}', 7, {opens_at})"
        )
    asked = [found(base, "opening_lanes", queue="a", now=now, limit=limit) for now, limit in ((5, 9), (5, 1), (3, 9))]
    assert asked == [[["first", 7], ["second", 7]], [["first", 7]], []]


def test_a_slot_stands_for_one_schedule_at_one_time(base):
    base.execute(f"INSERT INTO schedules (queue, name, spec, next_at) VALUES ('{QUEUE}', 's', '', 5)")
    asked = [(QUEUE, "s", 5), ("other", "s", 5), (QUEUE, "other", 5), (QUEUE, "s", 6)]
    stands = [base.ask("slot_stands", queue=queue, name=name, seen=at)[0][0] for queue, name, at in asked]
    assert stands == [1, 0, 0, 0]


def test_a_backlog_was_noted_for_a_minute_of_a_queue(base):
    for span, start, queue, name in ((1, 5, "a", ""), (60, 7, "b", ""), (1, 9, "c", "task")):
        base.execute(
            f"INSERT INTO figures (span, start, queue, name, noted_at) VALUES ({span}, {start}, '{queue}', '{name}', 1)"
        )
    asked = [("a", 5), ("b", 5), ("a", 6), ("b", 7), ("c", 9)]
    assert [base.ask("backlog_noted", queue=queue, start=start)[0][0] for queue, start in asked] == [1, 0, 0, 0, 0]


def test_queues_that_have_settled_jobs_are_told_once_each_and_no_others(store, base):
    for queue in ("b", "a", "d", "a", "c", "e"):
        job = push(store, queue=queue)
        if queue != "c":
            assert store.cancel(job)
    assert found(base, "settled_queues", most=9) == ["a", "b", "d", "e"]
    assert found(base, "settled_queues", most=2) == ["a", "b"]


def test_runners_are_told_with_what_each_of_them_runs(store, base):
    for count in (2, 0, 1):
        runner = store.enlist(QUEUE, "tests")
        for _ in range(count):
            push(store)
        claim_all(store, runner)
    push(store)
    assert [row[4] for row in found(base, "enlisted")] == [2, 0, 1]


def test_a_batch_is_done_by_itself(base):
    for _ in range(2):
        base.execute(f"INSERT INTO batches (queue, sealed) VALUES ('{QUEUE}', TRUE)")
    base.ask("batch_done", batch=1, now=5)
    assert base.execute("SELECT done_at FROM batches ORDER BY id") == [(5,), (None,)]


def test_the_progress_of_others_is_not_told(store, base):
    runner = store.enlist(QUEUE, "tests")
    jobs = [push(store), push(store)]
    claim_all(store, runner)
    store.note_progress(runner, dict.fromkeys(jobs, b"1"))
    assert [job for job, _ in base.ask("outlook_progress", ids="[2]")] == [2]


def test_a_queue_is_idle_and_has_no_backlog_whatever_another_has_to_do(store, base, clock):
    a_suspect(store, queue="b")
    for _ in range(2):
        push(store, queue="b", terms=Terms(limit=Lane("one", most=1)))
    assert len(claim_all(store, queue="b")) == 1
    push(store, queue="b")
    apply(store, again(claim_one(store, queue="b"), SECOND))
    push(store, queue="b", delay=SECOND)
    push(store, queue="b")
    asked = [{"queue": queue, "now": clock() + micros(SECOND)} for queue in (QUEUE, "b")]
    assert [base.ask("idle", **row)[0][0] for row in asked] == [1, 0]
    assert [base.ask("backlog", **row)[0][0] for row in asked] == [0, 5]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("SET lost = -1 WHERE span = 1", (1, 0)),
        ("SET run_buckets = '[2]' WHERE span = 1", (1, 0)),
        ("SET completed = 0 WHERE span = 0", (0, 1)),
        ("SET completed = 9 WHERE span = 60", (0, 1)),
    ],
)
def test_each_kind_of_damage_to_figures_is_told(store, base, damage, expected):
    figures = {"task": Counted(completed=1, wait_buckets=(0, 1), run_buckets=(1,)), "other": Counted()}
    store.ledger.add(QUEUE, figures)
    store.ledger.add("another", figures)
    assert base.ask("check_figures") == [(0, 0)]
    base.execute(f"UPDATE figures {damage} AND queue = '{QUEUE}' AND name = 'task'")
    assert base.ask("check_figures") == [expected]
    assert len(store.check()) == 1


@pytest.mark.parametrize("ahead", ["due", "kept back", "tried again", "runs", "later"])
def test_what_is_ahead_of_a_job_of_its_order_is_due_or_under_way(store, base, clock, ahead):
    ordered = Terms(order="o")
    if ahead == "kept back":
        store.pause(QUEUE, "paused")
    first = push(
        store,
        terms=ordered,
        name="paused" if ahead == "kept back" else "task",
        delay=SECOND if ahead == "later" else timedelta(0),
    )
    if ahead != "due":
        claims = claim_all(store)
    if ahead == "tried again":
        apply(store, again(claims[0], SECOND))
    if ahead == "later" and isinstance(base, File):
        base.execute("UPDATE terms SET later_until = NULL")  # as between two steps of a claim
    job = push(store, terms=ordered)
    found_ahead = base.ask("ahead", queue=QUEUE, lane="o", job=job)
    assert [job for job, _ in found_ahead] == ([] if ahead == "later" else [first])


def test_a_later_job_of_an_order_is_ahead_while_it_runs(store, base):
    ordered = Terms(order="o")
    push(store, terms=ordered, queue="elsewhere")
    first = push(store, terms=ordered, delay=SECOND)
    second, third = push(store, terms=ordered), push(store, terms=ordered)
    claim = claim_one(store)
    ahead = [base.ask("ahead", queue=QUEUE, lane="o", job=job) for job in (first, second, third)]
    assert ahead == [[(second, JobStatus.RUNNING)], [], [(second, JobStatus.RUNNING)]]
    behind = [base.ask("is_behind", queue=QUEUE, lane="o", job=job)[0][0] for job in (first, second, third)]
    assert behind == [1, 0, 1]
    apply(store, completed(claim))
    assert base.ask("ahead", queue=QUEUE, lane="o", job=first) == []
