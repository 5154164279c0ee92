"""What single statements of the PostgreSQL engine answer where its schema lets nothing of the kind happen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta

import psycopg
import pytest
from prove.clock import FakeClock
from workqueue.job import Lane, Terms
from workqueue.store.postgres import address
from workqueue.store.postgres.claiming import read_turn
from workqueue.store.postgres.connection import Connection, connect
from workqueue.store.postgres.engine import PostgresStore
from workqueue.store.postgres.looking import HEAD

from postgres_fixtures import VERSIONS, Servers, rows
from support import (
    BROKEN_ROWS,
    QUEUE,
    again,
    apply,
    claim_all,
    claim_one,
    completed,
    ids,
    new_job,
    one_job_of_each_status,
    push,
    raised,
    until,
)

A_TURN = {
    **{"now": None, "queue": QUEUE, "limit": 9, "most": 1000, "runner": 1, "token": 1, "lease": 1},
    **{"ids": [], "attempts": [], "runners": [], "count": 0},
    **dict(zip(("from_priority", "from_position", "from_id"), HEAD, strict=True)),
}
_A_KEY = (
    "INSERT INTO workqueue.taken_keys (queue, name, key, job, until, taken_at) VALUES ('default', 'task', 'k', 1, 2, 3)"
)
_WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
_JOBS_THAT_ARE_WAITED_FOR = """
    CREATE VIEW workqueue.jobs AS SELECT * FROM workqueue.all_jobs WHERE pg_advisory_xact_lock_shared(1) IS NOT NULL
"""
_RULES = "SELECT conname FROM pg_constraint WHERE conrelid = 'workqueue.jobs'::regclass AND contype = 'c'"


@pytest.fixture
def url(postgres_servers: Servers) -> Iterator[str]:
    with postgres_servers.database(VERSIONS[-1], with_tables=True) as url:
        yield url


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    with closing(PostgresStore(url, clock=FakeClock())) as store:
        yield store


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    """One whose transaction may break what it likes: it is rolled back."""
    with closing(connect(address.parse(url))) as connection, connection.transaction(force_rollback=True):
        yield connection


def test_what_a_claim_took_is_that_of_its_runner(store, connection):
    push(store)
    claim = claim_one(store)
    [(token,)] = connection.execute("SELECT token FROM workqueue.jobs").fetchall()
    for runner, found in ((claim.runner, 1), (claim.runner + 1, 0)):
        assert connection.ask("claimed_by", {"runner": runner, "token": token}).rowcount == found


def test_a_job_that_has_terms_is_not_written_again(store, connection):
    jobs = [push(store), push(store, terms=Terms(order="o"))]
    assert connection.ask("make_special", {"ids": json.dumps(jobs)}).rowcount == 1


def test_who_does_not_wait_for_others_is_not_called(store, connection):
    for _ in range(2):
        push(store, terms=Terms(limit=Lane("one", most=1)))
    assert ids(claim_all(store)) == [1]
    assert connection.ask("call_follower", {"job": 2, "now": 0}).rowcount == 0


def test_who_is_not_kept_back_is_not_let_go(store, connection):
    job = push(store)
    assert connection.ask("free_jobs", {"ids": json.dumps([job])}).rowcount == 0


def test_who_does_not_stand_in_line_is_not_kept_back(store, connection):
    job = push(store)
    assert store.cancel(job)
    assert connection.ask("kept_back", {"rows": json.dumps([[job, 2]])}).rowcount == 0


def test_the_terms_of_a_job_that_is_not_over_stay_as_they_are(store, connection):
    _, then = store.push([new_job(terms=Terms(followed=True)), new_job(terms=Terms(follows=-1))])
    assert connection.ask("reopen_terms", {"job": then}).rowcount == 0


def test_a_key_is_not_taken_from_whoever_took_it_since(connection):
    row = {"queue": QUEUE, "name": "task", "key": "k"}
    taken = [
        connection.ask("take_key", row | {"job": job, "now": now, "until": now + 10}).rowcount
        for job, now in ((1, 0), (2, 9), (3, 10))
    ]
    assert taken == [1, 0, 1]


def test_a_pause_elsewhere_is_not_in_the_way(store, connection):
    push(store)
    store.pause("other", "task")
    beside, claims = read_turn(connection.ask("turn", A_TURN).fetchall())
    assert not beside.is_in_the_way()
    assert len(claims) == 1


@pytest.mark.parametrize(
    ("statement", "made", "meanwhile"),
    [
        ("forget_keys", _A_KEY, "UPDATE workqueue.taken_keys SET until = 99"),
        ("restart_windows", _A_KEY, "UPDATE workqueue.taken_keys SET taken_at = 1"),
        (
            "forget_batches",
            "INSERT INTO workqueue.batches (queue, sealed, done_at) VALUES ('default', true, 2)",
            "UPDATE workqueue.batches SET done_at = NULL",
        ),
    ],
)
def test_what_changed_while_it_was_waited_for_is_judged_as_it_is(url, connection, statement, made, meanwhile):
    rows(url, made)
    with psycopg.connect(url) as other, ThreadPoolExecutor(1) as pool:
        other.execute(meanwhile.encode())
        done = pool.submit(connection.ask, statement, {"now": 2, "before": 2, "limit": 9})
        until(lambda: rows(url, _WAITS) == [(1,)])
        other.commit()
        assert done.result().rowcount == 0


def test_a_job_that_was_handed_back_while_the_dead_were_looked_for_is_no_orphan(postgres_servers):
    with (
        postgres_servers.database(VERSIONS[-1]) as url,
        closing(PostgresStore(url, clock=FakeClock())) as store,
        closing(connect(address.parse(url))) as connection,
        psycopg.connect(url) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        push(store)
        row = {"dead": [claim_one(store).runner], "expired_before": 0, "limit": 9}
        assert connection.ask("orphans", row).rowcount == 1
        rows(url, "ALTER TABLE workqueue.jobs RENAME TO all_jobs")
        rows(url, _JOBS_THAT_ARE_WAITED_FOR)
        other.execute("SELECT pg_advisory_xact_lock(1)")
        found = pool.submit(connection.ask, "orphans", row)
        until(lambda: rows(url, _WAITS) == [(1,)])
        other.execute("UPDATE workqueue.all_jobs SET status = 0, ready = 1, runner = NULL, lease_until = NULL")
        other.commit()
        assert found.result().rowcount == 0


def enlist_tied(connection: Connection, pid: int | None, start: int | None) -> None:
    """Put a runner on the list that lives for as long as a session of the server does."""
    connection.execute(
        "INSERT INTO workqueue.runners (queue, label, started_at, session_pid, session_start)"
        " VALUES ('default', 'tests', 1, %s, %s)",
        (pid, start),
    )


def test_a_runner_is_told_with_what_became_of_its_session(connection):
    pid, start = connection.one("session")
    tied_to_none, alive, given_out_again, gone = (None, None), (pid, start), (pid, start - 1), (2**31 - 1, start)
    for session in (tied_to_none, alive, given_out_again, gone):
        enlist_tied(connection, *session)
    found = connection.ask("sessions", {"ids": [1, 2, 3, 4]}).fetchall()
    assert [is_gone for _, _, _, is_gone, _ in sorted(found)] == [False, False, True, True]
    assert [runner for runner, *_ in connection.ask("sessions", {"ids": [2]})] == [2]


def test_a_session_of_which_a_role_may_not_see_more_is_taken_for_the_runners(connection, url):
    with psycopg.connect(url) as other:
        enlist_tied(connection, other.info.backend_pid, 1)
        connection.execute("CREATE ROLE plain")
        connection.execute("GRANT USAGE ON SCHEMA workqueue TO plain")
        connection.execute("GRANT SELECT ON workqueue.runners TO plain")
        is_gone = []
        for role in ("postgres", "plain"):
            connection.execute(f"SET LOCAL ROLE {role}".encode())
            is_gone.append(connection.one("sessions", {"ids": [1]})[3])
    assert is_gone == [True, False]


def test_a_schema_is_ours_when_it_has_our_table(connection):
    connection.execute("CREATE SCHEMA other CREATE TABLE jobs (id int)")
    assert [connection.one("has_schema", {"schema": name})[0] for name in ("workqueue", "other", "none")] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("UPDATE workqueue.attempts SET job = 9 WHERE job = 3", (1, 0, 0, 0, 0, 0)),
        ("UPDATE workqueue.jobs SET backoff = 99 WHERE id = 4", (0, 1, 0, 0, 0, 0)),
        ("UPDATE workqueue.attempts SET attempt = 2 WHERE job = 3", (0, 0, 1, 0, 0, 0)),
        ("UPDATE workqueue.completed SET id = 4 WHERE id = 2", (0, 0, 0, 1, 0, 0)),
        ("UPDATE workqueue.completed SET backoff = 99 WHERE id = 2", (0, 0, 0, 0, 1, 0)),
        ("UPDATE workqueue.attempts SET attempt = 2 WHERE job = 1", (0, 0, 0, 0, 0, 1)),
    ],
)
def test_each_kind_of_damage_to_jobs_is_told_from_the_others(store, connection, damage, expected):
    push(store)
    apply(store, again(claim_one(store), timedelta(0)))
    push(store)
    apply(store, *(completed(claim, stays=True) for claim in claim_all(store)))
    push(store)
    apply(store, raised(claim_one(store)))
    push(store)
    assert connection.one("check_jobs") == (0,) * 6
    assert connection.execute(damage.encode()).rowcount == 1
    assert connection.one("check_jobs") == expected


@pytest.mark.parametrize("damage", BROKEN_ROWS)
def test_a_row_that_breaks_a_rule_of_the_schema_is_told(store, connection, damage):
    one_job_of_each_status(store)
    assert connection.one("check_rows") == (0,)
    for (name,) in connection.execute(_RULES).fetchall():
        connection.execute(
            psycopg.sql.SQL("ALTER TABLE workqueue.jobs DROP CONSTRAINT {}").format(psycopg.sql.Identifier(name))
        )
    assert connection.execute(f"UPDATE workqueue.jobs {damage}".encode()).rowcount == 1
    assert connection.one("check_rows") == (1,)
