"""What single statements answer, where the verbs that use them would not show the difference, or not at once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest
from prove.clock import FakeClock
from workqueue.figures import Counted
from workqueue.job import JobStatus, Lane, Terms
from workqueue.lifecycle import Returned
from workqueue.store.clock import EPOCH, instant, micros
from workqueue.store.contract import Store
from workqueue.store.ledger import MINUTES_STAY
from workqueue.store.paging import Find
from workqueue.store.postgres import address
from workqueue.store.postgres.connection import connect
from workqueue.store.relational.ledger import ends
from workqueue.store.sqlite.schema import SQL

from postgres_fixtures import VERSIONS, Servers
from support import (
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
    open_engine,
    push,
    raised,
    verdict,
)

Rows = list[tuple[Any, ...]]
WEEK = timedelta(days=7)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["sqlite", f"postgres {VERSIONS[-1]}"])
def place(request: pytest.FixtureRequest, postgres_servers: Servers) -> Iterator[str]:
    """What `open_engine` opens."""
    with postgres_servers.place(request.param) as place:
        yield place


@pytest.fixture
def store(place: str, tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    store = open_engine(place, clock, tmp_path)
    yield store
    store.close()


@pytest.fixture
def base(store: Store, place: str, tmp_path: Path) -> Iterator[Base]:
    """The tables of `store`."""
    with closing(Server(place) if "://" in place else File(tmp_path / "q.db")) as base:
        yield base


class Base(Protocol):
    """What single statements are asked of, by name, or in words that both engines know."""

    def ask(self, statement: str, **row: object) -> Rows: ...
    def execute(self, sql: str) -> Rows: ...
    def close(self) -> None: ...


class File:
    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self.close = self._connection.close

    def ask(self, statement: str, **row: object) -> Rows:
        return self._connection.execute(SQL[statement], row).fetchall()

    def execute(self, sql: str) -> Rows:
        return self._connection.execute(sql).fetchall()


class Server:
    def __init__(self, url: str) -> None:
        self._connection = connect(address.parse(url))
        self._connection.execute("SET search_path = workqueue")
        self.close = self._connection.close

    def ask(self, statement: str, **row: object) -> Rows:
        return _rows(self._connection.ask(statement, row))

    def execute(self, sql: str) -> Rows:
        return _rows(self._connection.execute(sql.encode()))


def _rows(cursor: psycopg.Cursor[tuple[Any, ...]]) -> Rows:
    return cursor.fetchall() if cursor.description else []


def found(base: Base, statement: str, **row: object) -> list[int]:
    answer: list[int] = json.loads(base.ask(statement, **row)[0][0])
    return answer


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
    assert found(base, "special_failed", queue=QUEUE) == [special]
    assert found(base, "special_restorable", queue=QUEUE, ids=json.dumps([plain, special])) == [special]


def test_starts_that_are_out_of_sight_are_forgotten_and_so_are_those_of_a_clock_that_was_set_back(store, base, clock):
    slow = Terms(rate=Lane("slow", starts=1, per=SECOND))
    for step in (SECOND, -SECOND * 9, SECOND):
        push(store, terms=slow)
        claim_all(store)
        clock.advance(step)
    push(store, terms=slow)
    claim_all(store)
    assert base.execute("SELECT count(*) FROM starts") == [(1,)]


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
    assert len(claim_all(store)) == 2
    assert base.ask("check_terms") == [(0,) * 6]
    base.execute(damage)
    assert base.ask("check_terms") == [expected]


# the next ids


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


# what there is to sweep


def test_a_lane_is_held_by_those_of_its_queue_that_run(store, base):
    for queue, lane in (("a", "one"), ("b", "one"), ("a", "other"), ("a", "one")):
        push(store, queue=queue, terms=Terms(limit=Lane(lane, most=1)))
    for queue in ("a", "b"):
        claim_all(store, queue=queue)
    assert found(base, "limit_holders", queue="a", lane="one", limit=9) == [1]


def test_a_slot_stands_for_one_schedule_at_one_time(base):
    base.execute(f"INSERT INTO schedules (queue, name, spec, next_at) VALUES ('{QUEUE}', 's', '', 5)")
    asked = [(QUEUE, "s", 5), ("other", "s", 5), (QUEUE, "other", 5), (QUEUE, "s", 6)]
    stands = [base.ask("slot_stands", queue=queue, name=name, seen=at)[0][0] for queue, name, at in asked]
    assert stands == [1, 0, 0, 0]


def test_totals_are_forgotten_by_themselves(store, base, clock):
    store.ledger.add(QUEUE, {"task": Counted(completed=1)})
    base.ask("forget_totals", before=clock())
    base.ask("forget_totals", before=clock() + 1)
    assert {span for (span,) in base.execute("SELECT span FROM figures")} == {1, 60}


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


def test_batches_are_forgotten_so_many_at_a_time(store, base, clock):
    store.batches.open(QUEUE)
    for _ in range(3):
        store.batches.seal(store.batches.open(QUEUE))
    base.ask("forget_batches", before=clock(), limit=2)
    assert base.execute("SELECT count(*) FROM batches") == [(2,)]


def test_the_progress_of_others_is_not_told(store, base):
    progressing(store)
    progressing(store)
    assert [job for job, _ in base.ask("outlook_progress", ids="[2]")] == [2]


def test_a_queue_is_idle_whatever_another_has_to_do(store, base, clock):
    a_suspect(store, queue="b")
    for _ in range(2):
        push(store, queue="b", terms=Terms(limit=Lane("one", most=1)))
    assert len(claim_all(store, queue="b")) == 1
    push(store, queue="b")
    apply(store, again(claim_one(store, queue="b"), SECOND))
    push(store, queue="b", delay=SECOND)
    push(store, queue="b")
    asked = [base.ask("idle", queue=queue, now=clock() + micros(SECOND))[0][0] for queue in (QUEUE, "b")]
    assert asked == [1, 0]


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


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("UPDATE figures SET lost = -1 WHERE span = 1 AND name = 'task'", (1, 0)),
        ("UPDATE figures SET run_buckets = '[2]' WHERE span = 1 AND name = 'task'", (1, 0)),
        ("UPDATE figures SET completed = 0 WHERE span = 0 AND name = 'task'", (0, 1)),
        ("UPDATE figures SET completed = 9 WHERE span = 60 AND name = 'task'", (0, 1)),
    ],
)
def test_each_kind_of_damage_to_figures_is_told(store, base, damage, expected):
    store.ledger.add(QUEUE, {"task": Counted(completed=1, wait_buckets=(0, 1), run_buckets=(1,)), "other": Counted()})
    assert base.ask("check_figures") == [(0, 0)]
    base.execute(damage)
    assert base.ask("check_figures") == [expected]
    assert len(store.check()) == 1


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
    apply(store, completed(claim))
    assert base.ask("ahead", queue=QUEUE, lane="o", job=first) == []


def test_what_was_half_resumed_is_let_go_by_a_sweep(store, base):
    half_resumed(store, base)
    store.sweep(QUEUE, 10)
    assert [claim.job.name for claim in claim_all(store)] == ["task"]
    assert claim_all(store, queue="b") == []
    assert store.paused("b") == ["task"]


def test_a_sweep_leaves_the_progress_of_jobs_that_are_there(store, base, clock):
    progressing(store)
    progress_of_a_job_that_is_gone(store, base)
    store.sweep(QUEUE, 10)
    assert base.execute("SELECT job FROM progress ORDER BY job") == [(1,), (2,)]
