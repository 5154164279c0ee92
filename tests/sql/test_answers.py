"""What single statements answer, where the verbs that use them would not show the difference, or not at once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from prove.clock import FakeClock
from workqueue.figures import Counted
from workqueue.job import JobStatus, Lane, Terms
from workqueue.lifecycle import Returned
from workqueue.store.clock import EPOCH, instant, micros
from workqueue.store.ledger import MINUTES_STAY
from workqueue.store.paging import Find
from workqueue.store.relational.ledger import ends
from workqueue.store.sqlite.engine import SqliteStore
from workqueue.store.sqlite.schema import SQL

from support import (
    QUEUE,
    SECOND,
    a_failed_job,
    again,
    apply,
    claim_all,
    claim_one,
    completed,
    new_job,
    push,
    raised,
    settled_at_once,
    verdict,
)

WEEK = timedelta(days=7)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "q.db", clock=clock)
    yield store
    store.close()


@pytest.fixture
def connection(store: SqliteStore) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(store.path, isolation_level=None)
    yield connection
    connection.close()


def found(connection: sqlite3.Connection, statement: str, **row: object) -> list[int]:
    answer: list[int] = json.loads(connection.execute(SQL[statement], row).fetchone()[0])
    return answer


def test_what_runs_takes_no_place_among_those_of_a_batch_that_wait(store, connection):
    batch = store.batches.open(QUEUE)
    waiting = push(store, terms=Terms(batch=batch))
    push(store, terms=Terms(batch=batch), priority=1)
    claim_one(store)
    assert found(connection, "batch_waiting", batch=batch, limit=1) == [waiting]


def test_what_runs_takes_no_place_among_those_past_their_time(store, connection, clock):
    push(store, expires=SECOND)
    claim_one(store)
    waiting = push(store, expires=SECOND)
    clock.advance(SECOND)
    assert found(connection, "expiring", queue=QUEUE, now=clock(), limit=1) == [waiting]


def test_plain_jobs_are_not_restored_one_by_one(store, connection):
    plain, special = push(store), push(store, terms=Terms(order="o"))
    apply(store, *map(raised, claim_all(store)))
    assert found(connection, "special_failed", queue=QUEUE) == [special]
    assert found(connection, "special_restorable", queue=QUEUE, ids=json.dumps([plain, special])) == [special]


def test_starts_that_are_out_of_sight_are_forgotten_and_so_are_those_of_a_clock_that_was_set_back(
    store, connection, clock
):
    slow = Terms(rate=Lane("slow", starts=1, per=SECOND))
    for step in (SECOND, -SECOND * 9, SECOND):
        push(store, terms=slow)
        claim_all(store)
        clock.advance(step)
    push(store, terms=slow)
    claim_all(store)
    assert connection.execute("SELECT count(*) FROM starts").fetchone() == (1,)


def test_the_last_id_is_that_of_jobs(store, connection):
    for _ in range(2):
        push(store)
    runner = store.enlist(QUEUE, "tests")
    assert store.batches.open(QUEUE) == runner == 1
    push(store, priority=1)
    apply(store, completed(claim_one(store, runner), stays=True))
    connection.execute("BEGIN")
    rows = connection.execute("SELECT name, seq FROM sqlite_sequence ORDER BY name = 'jobs'").fetchall()
    connection.execute("DELETE FROM sqlite_sequence")
    connection.executemany("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", rows)
    connection.execute("COMMIT")
    assert connection.execute(SQL["last_id"]).fetchone() == (3,)
    assert store.check() == []
    push(store)
    assert connection.execute(SQL["pushed"], {"last": 4, "queue": QUEUE, "at": 0}).fetchone() == (0, 1, 1)


def test_ids_that_another_store_gave_out_are_noted_once_for_each_table(store, connection):
    store.enlist(QUEUE, "tests")
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'jobs'")
    for last in (10, 5):
        for table, ids in (("job", last), ("batch", 2 * last)):
            connection.execute(SQL[f"continue_{table}_ids"], {"last": ids})
            connection.execute(SQL[f"raise_{table}_ids"], {"last": ids})
    given_out = connection.execute("SELECT name, seq FROM sqlite_sequence ORDER BY name").fetchall()
    assert given_out == [("batches", 20), ("jobs", 10), ("runners", 1)]
    assert connection.execute(SQL["last_ids"]).fetchone() == (10, 20)


def test_a_job_can_be_cancelled_until_it_is_settled(store, connection):
    waiting, settled = push(store), push(store)
    assert store.cancel(settled)
    asked = [connection.execute(SQL["cancellable"], {"id": job}).fetchone()[0] for job in (waiting, settled, 9)]
    assert asked == [1, 0, 0]


@pytest.mark.parametrize(
    "damage",
    [
        "SET status = 1 WHERE status = 0",
        "SET ready = NULL WHERE status = 0",
        "SET ready = 1 WHERE status = 4",
        "SET ready = 2 WHERE status = 0",
        "SET runner = NULL WHERE status = 4",
        "SET runner = 1 WHERE status = 0",
        "SET lease_until = NULL WHERE status = 4",
        "SET lease_until = 1 WHERE status = 0",
        "SET settled_at = NULL WHERE status = 3",
        "SET settled_at = 1 WHERE status = 0",
        "SET claimed_at = 1 WHERE status = 0",
        "SET attempt = 0 WHERE status = 4",
        "SET retry_count = 0 WHERE status = 2",
    ],
)
def test_a_row_that_breaks_a_rule_of_the_schema_is_a_broken_file(store, connection, damage):
    a_failed_job(store)
    settled_at_once(store, lambda claim: again(claim, SECOND))
    push(store)
    claim_one(store)
    push(store)
    assert connection.execute(SQL["check_rows"]).fetchone() == (0,)
    connection.execute("PRAGMA ignore_check_constraints = on")
    assert connection.execute(f"UPDATE jobs {damage}").rowcount == 1
    assert connection.execute(SQL["check_rows"]).fetchone() == (1,)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("UPDATE jobs SET special = 0 WHERE id = 1", (0, 1, 0, 0, 0, 0)),
        ("DELETE FROM terms WHERE job = 1", (1, 0, 0, 0, 0, 0)),
        ("UPDATE terms SET runs = 0 WHERE job = 1", (0, 0, 1, 0, 0, 0)),
        ("UPDATE terms SET is_open = 0 WHERE job = 1", (0, 0, 0, 1, 0, 0)),
        ("UPDATE terms SET kept_by = 1 WHERE job = 1", (0, 0, 0, 0, 1, 0)),
        ("UPDATE terms SET kept_by = NULL WHERE job = 2", (0, 0, 0, 0, 1, 0)),
        ("UPDATE terms SET follows = NULL WHERE follows > 0", (0, 0, 0, 0, 0, 1)),
        ("UPDATE terms SET follows_batch = NULL WHERE follows_batch > 0", (0, 0, 0, 0, 0, 1)),
    ],
)
def test_each_kind_of_damage_to_terms_is_told_from_the_others(store, connection, damage, expected):
    for _ in range(2):
        push(store, terms=Terms(limit=Lane("one", most=1)))
    store.push([new_job(terms=Terms(followed=True), delay=SECOND), new_job(terms=Terms(follows=-1))])
    push(store, terms=Terms(follows_batch=store.batches.open(QUEUE)))
    push(store)
    assert len(claim_all(store)) == 2
    assert connection.execute(SQL["check_terms"]).fetchone() == (0,) * 6
    connection.execute(damage)
    assert connection.execute(SQL["check_terms"]).fetchone() == expected


# the next ids


def completed_jobs(store: SqliteStore) -> None:
    for queue in (QUEUE, "other"):
        apply(store, *(completed(claim, stays=True) for claim in claim_all(store, queue=queue)))


def cancelled_jobs(store: SqliteStore) -> None:
    assert store.change(Find(), "cancel").count == 8


def waiting_jobs(store: SqliteStore) -> None:
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
    store, connection, statement, made, row, expected, up
):
    one, another = Terms(batch=store.batches.open(QUEUE)), Terms(batch=store.batches.open(QUEUE))
    ours = new_job(terms=one)
    store.push([ours, ours, new_job(queue="other"), new_job(terms=another), ours, ours, ours, ours])
    made(store)
    for most in (2, 9):
        which = {"up": up, "after": 1, "before": 8, "most": most, **row}
        assert found(connection, statement, **which) == (expected if up else expected[::-1])[:most]


def test_what_runs_elsewhere_is_not_under_way_here(store, connection):
    push(store, queue="other")
    claim_one(store, queue="other")
    here = push(store)
    claim_one(store)
    assert found(connection, "open_ids", queue=QUEUE, most=9) == [here]


def test_what_completed_while_it_was_looked_for_is_not_meant(store, connection):
    job = push(store)
    apply(store, completed(claim_one(store), stays=True))
    row = {"ids": json.dumps([job]), "queue": None, "name": None, "text": None}
    asked = {status: found(connection, "matching", statuses=json.dumps([status]), **row) for status in JobStatus}
    assert {status for status, jobs in asked.items() if jobs} == {JobStatus.COMPLETED}


def test_only_what_waits_for_its_time_is_due_sooner(store, connection, clock):
    waits, is_over, due = push(store, delay=SECOND), push(store, delay=SECOND), push(store)
    assert store.cancel(is_over)
    row = {"ids": json.dumps([waits, is_over, due]), "now": clock()}
    assert connection.execute(SQL["hasten"], row).fetchall() == [(waits,)]


def test_the_terms_of_what_waits_for_its_time_are_due_sooner_and_no_others(store, connection, clock):
    late = new_job(terms=Terms(order="o", followed=True), delay=SECOND)
    store.push([late, new_job(terms=Terms(follows=-1))])
    clock.advance(SECOND)
    push(store, terms=Terms(order="o"), delay=SECOND)
    before = connection.execute("SELECT later_until FROM terms ORDER BY job").fetchall()
    connection.execute(SQL["hasten_terms"], {"ids": "[1, 2, 3]", "now": clock() + 1})
    after = connection.execute("SELECT later_until FROM terms ORDER BY job").fetchall()
    assert after == [*before[:2], (clock() + 1,)]
    assert before[0] < (clock() + 1,) < before[2] < before[1]


def test_what_runs_or_is_due_is_neither_over_nor_waits_for_its_time(store, connection, clock):
    runs = push(store)
    claim_one(store)
    is_over, late = push(store), push(store, delay=SECOND)
    assert store.cancel(is_over)
    due, follows = store.push([new_job(terms=Terms(followed=True)), new_job(terms=Terms(follows=-1), delay=SECOND)])
    asked = [
        connection.execute(SQL["not_due"], {"id": job, "now": now}).fetchone()[0]
        for now in (clock(), clock() + micros(SECOND))
        for job in (runs, due, late, is_over, follows)
    ]
    assert asked == [0, 0, 1, 1, 1] + [0, 0, 0, 1, 0]


def test_only_what_is_over_is_deleted(store, connection):
    waits, is_over = push(store), push(store)
    assert store.cancel(is_over)
    assert connection.execute(SQL["delete_settled"], {"ids": json.dumps([waits, is_over])}).fetchall() == [(is_over,)]


@pytest.mark.parametrize("statement", ["old_completed", "old_failed"])
def test_what_is_old_is_told_of_with_its_own_size(store, connection, clock, statement):
    sizes = [[push(store, data=b"1" * size), size] for size in (9_000, 20, 7_000, 8_000)]
    is_kept = statement == "old_completed"
    apply(store, *(completed(claim, stays=True) if is_kept else raised(claim) for claim in claim_all(store)))
    row = {"queue": QUEUE, "at": clock(), "last": 3, "limit": 9}
    assert json.loads(connection.execute(SQL[statement], row).fetchone()[0]) == sizes[:3]
    assert json.loads(connection.execute(SQL[statement], row | {"at": clock() - 1}).fetchone()[0]) == []


def test_what_was_restored_since_it_was_found_to_be_old_is_kept(store, connection, clock):
    old, restored, failed_again, cancelled = (a_failed_job(store) for _ in range(4))
    looked_at = clock()
    assert store.restore(QUEUE, [cancelled]) == 1
    assert store.cancel(cancelled)
    clock.advance(SECOND)
    assert store.restore(QUEUE, [failed_again]) == 1
    apply(store, raised(claim_one(store)))
    assert store.restore(QUEUE, [restored]) == 1
    row = {"ids": json.dumps([old, restored, failed_again, cancelled]), "at": looked_at}
    assert connection.execute(SQL["prune_failed"], row).fetchall() == [(old,)]


# what there is to sweep


def wants_sweeping(connection: sqlite3.Connection, clock: FakeClock) -> bool:
    row = {"queue": QUEUE, "now": clock(), "before": clock() - micros(WEEK), **ends(clock())}
    return bool(connection.execute(SQL["wants_sweeping"], row).fetchone()[0])


def expiring(store: SqliteStore) -> None:
    push(store, expires=SECOND)


def kept_result(store: SqliteStore) -> None:
    push(store)
    apply(store, verdict(claim_one(store), Returned(b"1", SECOND)))


def window(store: SqliteStore) -> None:
    push(store, terms=Terms(key="k"), unique_for=SECOND)


def test_figures_are_forgotten_by_the_hour_and_of_one_long_forgotten_some_at_a_time(store, connection, clock):
    clock.advance(timedelta(hours=1) - (instant(clock()) - EPOCH) % timedelta(hours=1))
    for _ in range(3):
        store.ledger.add(QUEUE, {"task": Counted(completed=1)})
        clock.advance(timedelta(minutes=300))
    clock.advance(MINUTES_STAY - timedelta(minutes=900))
    assert not wants_sweeping(connection, clock)
    clock.advance(timedelta(minutes=59))
    assert not wants_sweeping(connection, clock)
    clock.advance(timedelta(days=1))
    store.sweep(QUEUE, 10)
    assert wants_sweeping(connection, clock)  # the third is 600 minutes after the first
    store.sweep(QUEUE, 10)
    assert not wants_sweeping(connection, clock)
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
def test_each_kind_of_damage_to_figures_is_told(store, connection, damage, expected):
    store.ledger.add(QUEUE, {"task": Counted(completed=1, wait_buckets=(0, 1), run_buckets=(1,)), "other": Counted()})
    assert connection.execute(SQL["check_figures"]).fetchone() == (0, 0)
    connection.execute(damage)
    assert connection.execute(SQL["check_figures"]).fetchone() == expected
    assert len(store.check()) == 1


@pytest.mark.parametrize("made", [expiring, kept_result, window])
def test_there_is_something_to_sweep_once_its_time_is_over(store, connection, clock, made):
    made(store)
    assert not wants_sweeping(connection, clock)
    clock.advance(SECOND)
    assert wants_sweeping(connection, clock)
    store.sweep(QUEUE, 10)
    assert not wants_sweeping(connection, clock)


def elsewhere(store: SqliteStore) -> None:
    push(store, expires=SECOND, queue="b")


def running(store: SqliteStore) -> None:
    push(store, expires=SECOND)
    claim_one(store)


def cancelled(store: SqliteStore) -> None:
    assert store.cancel(push(store, expires=SECOND))


def paused(store: SqliteStore) -> None:
    store.pause(QUEUE, "task")
    push(store)
    assert claim_all(store) == []


def paused_elsewhere(store: SqliteStore) -> None:
    store.pause("b", "task")
    push(store, queue="b")
    assert claim_all(store, queue="b") == []


def limited(store: SqliteStore) -> None:
    for _ in range(2):
        push(store, terms=Terms(limit=Lane("one", most=1)))
    assert len(claim_all(store)) == 1


def progressing(store: SqliteStore) -> None:
    runner = store.enlist(QUEUE, "tests")
    job = push(store)
    claim_one(store, runner)
    store.note_progress(runner, {job: b"1"})


def rated(store: SqliteStore) -> None:
    for _ in range(2):
        push(store, terms=Terms(rate=Lane("slow", starts=1, per=timedelta(hours=1))))
    assert len(claim_all(store)) == 1


def open_batch(store: SqliteStore) -> None:
    store.batches.open(QUEUE)


@pytest.mark.parametrize(
    "made", [elsewhere, running, cancelled, paused, paused_elsewhere, limited, rated, progressing, open_batch]
)
def test_there_is_nothing_to_sweep(store, connection, clock, made):
    made(store)
    clock.advance(SECOND)
    assert not wants_sweeping(connection, clock)


def done_batch(store: SqliteStore, connection: sqlite3.Connection) -> None:
    del connection
    store.batches.seal(store.batches.open(QUEUE))


def progress_of_a_job_that_is_gone(store: SqliteStore, connection: sqlite3.Connection) -> None:
    del connection
    progressing(store)
    [claim] = store.orphans(expired=True, limit=9) or [None]
    assert claim is None
    runner = store.enlist(QUEUE, "tests")
    job = push(store)
    claim = claim_one(store, runner)
    store.note_progress(runner, {job: b"1"})
    apply(store, completed(claim))


def half_resumed(store: SqliteStore, connection: sqlite3.Connection) -> None:
    """Whoever resumed the name died in between."""
    paused(store)
    paused_elsewhere(store)
    store.pause(QUEUE, "other")
    push(store, name="other")
    assert claim_all(store) == []
    connection.execute("DELETE FROM pauses WHERE queue = ? AND name = 'task'", (QUEUE,))


@pytest.mark.parametrize("made", [done_batch, progress_of_a_job_that_is_gone, half_resumed])
def test_there_is_something_to_sweep_and_after_it_nothing(store, connection, clock, made):
    made(store, connection)
    clock.advance(WEEK)
    assert wants_sweeping(connection, clock)
    store.sweep(QUEUE, 10)
    assert not wants_sweeping(connection, clock)


def test_a_lane_that_a_clock_closed_which_was_set_back_since_is_swept(store, connection, clock):
    clock.advance(WEEK)
    rated(store)
    clock.advance(-WEEK)
    assert wants_sweeping(connection, clock)
    store.sweep(QUEUE, 10)
    assert not wants_sweeping(connection, clock)


@pytest.mark.parametrize("ahead", ["due", "kept back", "tried again", "runs", "later"])
def test_what_is_ahead_of_a_job_of_its_order_is_due_or_under_way(store, connection, clock, ahead):
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
    if ahead == "later":
        connection.execute("UPDATE terms SET later_until = NULL")  # as between two steps of a claim
    job = push(store, terms=ordered)
    found_ahead = connection.execute(SQL["ahead"], {"queue": QUEUE, "lane": "o", "job": job}).fetchall()
    assert [job for job, _ in found_ahead] == ([] if ahead == "later" else [first])


def test_what_was_half_resumed_is_let_go_by_a_sweep(store, connection):
    half_resumed(store, connection)
    store.sweep(QUEUE, 10)
    assert [claim.job.name for claim in claim_all(store)] == ["task"]
    assert claim_all(store, queue="b") == []
    assert store.paused("b") == ["task"]


def test_a_sweep_leaves_the_progress_of_jobs_that_are_there(store, connection, clock):
    progressing(store)
    progress_of_a_job_that_is_gone(store, connection)
    store.sweep(QUEUE, 10)
    assert connection.execute("SELECT job FROM progress ORDER BY job").fetchall() == [(1,), (2,)]


def test_progress_among_that_of_very_many_jobs_is_swept_before_long(store, connection, clock):
    row = {"far": clock()}
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) INSERT INTO jobs (queue, name,"
        " status, ready, priority, position, run_at, pushed_at, backoff, data)"
        " SELECT 'default', 'task', 0, 1, 0, 0, :far, :far, 1, x'7b7d' FROM n",
        row,
    )
    connection.execute("INSERT INTO progress (job, data) SELECT id, x'31' FROM jobs")
    connection.execute("DELETE FROM jobs WHERE id % 100 = 7")
    looks = 0
    while connection.execute("SELECT 1 FROM progress WHERE job % 100 = 7").fetchone():
        store.sweep(QUEUE, 10)
        clock.advance(SECOND * 10)
        looks += 1
    assert 1 < looks < 100
