"""What single statements of the SQLite engine answer, and no other engine has."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from prove.clock import FakeClock
from workqueue.job import Terms
from workqueue.store.sqlite.engine import SqliteStore
from workqueue.store.sqlite.schema import SQL

from support import (
    BROKEN_ROWS,
    QUEUE,
    SECOND,
    apply,
    claim_one,
    completed,
    new_job,
    one_job_of_each_status,
    push,
)


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "q.db", clock=clock)
    yield store
    store.close()


@pytest.fixture
def connection(store: SqliteStore) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
        yield connection


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


@pytest.mark.parametrize("damage", BROKEN_ROWS)
def test_a_row_that_breaks_a_rule_of_the_schema_is_a_broken_file(store, connection, damage):
    one_job_of_each_status(store)
    assert connection.execute(SQL["check_rows"]).fetchone() == (0,)
    connection.execute("PRAGMA ignore_check_constraints = on")
    assert connection.execute(f"UPDATE jobs {damage}").rowcount == 1
    assert connection.execute(SQL["check_rows"]).fetchone() == (1,)


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
