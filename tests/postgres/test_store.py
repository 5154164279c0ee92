"""What the PostgreSQL engine does that no other needs to: the conformance suite tells the rest."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from urllib.parse import urlsplit

import psycopg
import pytest
from prove.clock import FakeClock
from prove.postgres.harm import end_sessions
from psycopg.conninfo import conninfo_to_dict
from workqueue.backoff import Backoff
from workqueue.errors import StoreUnavailable, UnsuitableFile, UsageError
from workqueue.job import JobStatus, Terms
from workqueue.store import open_store
from workqueue.store.clock import system_clock
from workqueue.store.contract import Turn
from workqueue.store.paging import Find
from workqueue.store.postgres import connection, database, engine
from workqueue.store.postgres.address import Address, parse
from workqueue.store.postgres.connection import connect
from workqueue.store.postgres.engine import PostgresStore
from workqueue.store.postgres.listener import Session

from postgres_fixtures import rows
from support import QUEUE, apply, claim_all, claim_one, completed, ids, new_job, push, raised, turn


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(postgres: str, clock: FakeClock) -> Iterator[PostgresStore]:
    store = PostgresStore(postgres, clock=clock)
    yield store
    assert store.check() == []
    store.close()


def test_what_was_pushed_is_remembered_for_a_while_and_not_for_ever(store, postgres, clock):
    push(store)
    assert len(rows(postgres, "SELECT 1 FROM workqueue.pushes")) == 1
    clock.advance(timedelta(minutes=59))
    store.sweep(QUEUE, 10)
    assert len(rows(postgres, "SELECT 1 FROM workqueue.pushes")) == 1
    clock.advance(timedelta(minutes=2))
    store._forget_at = 0.0
    store.sweep(QUEUE, 10)
    assert rows(postgres, "SELECT 1 FROM workqueue.pushes") == []


def test_two_schemas_of_a_database_are_two_stores(store, postgres, clock):
    separator = "&" if "?" in postgres else "?"
    other = PostgresStore(f"{postgres}{separator}schema=other_jobs", clock=clock)
    push(other)
    assert (store.size(QUEUE).waiting, other.size(QUEUE).waiting) == (0, 1)
    assert other.check() == []
    other.close()


def test_the_time_is_the_servers_whatever_ours_is(postgres, monkeypatch):
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 7 * 3600 * 10**9)
    store = open_store(postgres)
    [before] = rows(postgres, "SELECT clock_timestamp()")
    now = store.now()
    [after] = rows(postgres, "SELECT clock_timestamp()")
    assert before[0] <= now <= after[0]
    push(store, delay=timedelta(hours=1))
    assert claim_all(store) == []
    store.close()


def test_who_meets_a_push_of_the_same_key_waits_for_it_and_finds_its_job(postgres):
    first, second = open_store(postgres), open_store(f"{postgres}&application_name=second")
    key = Terms(key="k")
    with ThreadPoolExecutor(1) as thread:
        with first.transaction():
            job = push(first, terms=key)
            pushing = thread.submit(push, second, terms=key)
            deadline = time.monotonic() + 30
            while rows(postgres, _WAITING) == [(0,)] and time.monotonic() < deadline:
                time.sleep(0.01)
        assert pushing.result(30) == job
    first.close()
    second.close()


@pytest.fixture
def hurried(store, monkeypatch):
    monkeypatch.setattr(connection, "LOCKED", 0.02)
    monkeypatch.setattr(database, "PATIENCE", 0.0)
    store._database.pool.forget()


@pytest.fixture
def gate_held(store, postgres, hurried):
    """As an application's transaction does that has replaced a key."""
    with closing(connect(parse(postgres))) as other:
        other.ask("begin")
        other.gate()
        yield
        other.roll_back()


def test_what_a_runner_does_beside_its_jobs_waits_for_no_gate(store, postgres, clock, gate_held):
    runner = store.enlist(QUEUE, "tests")
    job = push(store)
    [claim] = claim_all(store, runner)
    store.introduce(runner, timedelta(minutes=1), ["task"])
    store.note_progress(runner, {claim.job.id: b"1"})
    rows(postgres, "INSERT INTO workqueue.results (job, result, until) VALUES (1, '1', 1)")
    store.sweep(QUEUE, 10)
    assert rows(postgres, "SELECT knows FROM workqueue.runners") == [('["task"]',)]
    assert store.outlook([job])[job].progress == b"1"
    assert rows(postgres, "SELECT 1 FROM workqueue.results") == []


def test_one_statement_too_waits_for_a_lock_for_moments_only(store, postgres, hurried):
    push(store)
    [claim] = claim_all(store)
    with psycopg.connect(postgres) as other:
        other.execute("SELECT 1 FROM workqueue.jobs FOR UPDATE")
        with pytest.raises(StoreUnavailable, match="let go within moments"):
            apply(store, completed(claim))
        assert store.turn([completed(claim)], None).held_up == [claim]  # it is known now
        other.rollback()
    assert store.turn([completed(claim)], None) == Turn([], [], False, None)
    assert apply(store, completed(claim)) == [claim]


def test_a_job_that_is_locked_keeps_no_other_from_being_settled_and_claimed(store, postgres, hurried, caplog):
    runner = store.enlist(QUEUE, "tests")
    jobs = [push(store) for _ in range(4)]
    locked, failed, plain = claim_all(store, runner, limit=3)
    settlements = [completed(locked), raised(failed), completed(plain)]
    with psycopg.connect(postgres) as other:
        other.execute("SELECT 1 FROM workqueue.jobs WHERE id = %s FOR UPDATE", [locked.job.id])
        found = turn(store, settlements, runner)
        assert (found.refused, found.held_up, ids(found.claims)) == ([], [locked], jobs[3:])
        assert store.get(failed.job.id).status is JobStatus.FAILED
        other.rollback()
    assert "1 jobs that have ended are settled once they do" in caplog.text
    assert turn(store, settlements[:1], runner) == Turn([], [], False, None)


def test_what_waits_for_the_gate_is_held_up_and_what_need_not_is_settled(store, postgres, hurried):
    runner = store.enlist(QUEUE, "tests")
    push(store, terms=Terms(order="o"))
    push(store)
    special, plain = claim_all(store, runner)
    with closing(connect(parse(postgres))) as other:
        other.ask("begin")
        other.gate()
        assert store.turn([completed(special), completed(plain)], None).held_up == [special]
        other.roll_back()
    assert store.turn([completed(special)], None).held_up == []
    assert store.size(QUEUE).waiting == 0


def test_a_guest_waits_as_long_as_the_server_says(store, postgres):
    rows(postgres, f"ALTER DATABASE {urlsplit(postgres).path[1:]} SET lock_timeout = '7s'")
    store._database.pool.forget()
    with store.transaction() as transaction:
        assert transaction.execute("SHOW lock_timeout").fetchone() == ("7s",)


def test_ending_what_is_past_its_time_waits_for_the_gate(store, clock, gate_held):
    job = push(store, terms=Terms(order="o"), expires=timedelta(seconds=1))
    clock.advance(timedelta(seconds=2))
    with pytest.raises(StoreUnavailable, match="let go within moments"):
        store.sweep(QUEUE, 10)
    assert store.get(job).status is JobStatus.PENDING


@pytest.fixture
def refusals(monkeypatch):
    """Errors with which the next connections are refused; the list loses each that was met."""
    left = [psycopg.OperationalError("refused") for _ in range(2)]
    real = connection.connect

    def connect(at: Address) -> connection.Connection:
        if left:
            raise left.pop()
        return real(at)

    monkeypatch.setattr(connection, "connect", connect)
    return left


def test_a_server_that_starts_is_waited_for_when_a_store_is_opened(postgres, refusals, monkeypatch):
    monkeypatch.setattr(database, "is_starting", lambda _address, _error: True)
    open_store(postgres).close()
    assert refusals == []


def test_another_refusal_is_told_at_once_when_a_store_is_opened(postgres, refusals):
    with pytest.raises(StoreUnavailable, match="got: refused"):
        open_store(postgres)
    assert len(refusals) == 1


def test_a_forked_child_waits_for_the_server_as_its_parent_does(postgres, refusals):
    """It has to open anew what was open."""
    database.Database(parse(postgres), system_clock, anew=True).close()
    assert refusals == []


REFUSES = """
import socket, sys
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    heard, _ = server.accept()
    with heard:
        heard.recv(1024)
        said = b"SFATAL\\0VFATAL\\0C%s\\0Mno\\0\\0" % sys.argv[1].encode()
        heard.sendall(b"E" + (len(said) + 4).to_bytes(4, "big") + said)
"""


@pytest.mark.parametrize(("state", "starts"), [("57P03", True), ("28P01", False)])
def test_a_server_says_that_it_starts(state, starts):
    with subprocess.Popen([sys.executable, "-c", REFUSES, state], stdout=subprocess.PIPE, text=True) as server:
        at = parse(f"postgresql://u@127.0.0.1:{server.stdout.readline().strip()}/x?sslmode=disable&gssencmode=disable")
        assert connection.is_starting(at, psycopg.OperationalError("refused")) == starts


def test_a_server_that_is_up_or_not_there_or_silent_does_not_start(postgres):
    refused = psycopg.OperationalError("refused")
    assert not connection.is_starting(parse(postgres), refused)
    assert not connection.is_starting(parse("postgresql://u@127.0.0.1:1/x"), refused)
    assert not connection.is_starting(parse(postgres), psycopg.errors.ConnectionTimeout("silent"))


def test_nobody_waits_for_a_server_that_another_thread_opens(postgres):
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(1) as thread:
        opening = thread.submit(open_store, f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/x?sslmode=disable")
        heard, _ = silent.accept()
        open_store(postgres).close()
        assert not opening.done()
        silent.close()
        heard.close()
        assert isinstance(opening.exception(), StoreUnavailable)


def test_threads_that_open_a_place_at_once_share_it(postgres):
    together = threading.Barrier(4)

    def open_at_once() -> PostgresStore:
        together.wait()
        return PostgresStore(postgres)

    with ThreadPoolExecutor(4) as threads:
        stores = [opening.result() for opening in [threads.submit(open_at_once) for _ in range(4)]]
    assert len({store._database for store in stores}) == 1
    for store in stores:
        push(store)
        store.close()


_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'second'"


def test_the_password_is_shown_nowhere():
    address = parse("postgresql://me:secret@db.example:5433/app?sslmode=require&schema=jobs")
    assert address.shown == "postgresql://me@db.example:5433/app?schema=jobs"
    assert address.url == "postgresql://me:secret@db.example:5433/app?sslmode=require"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@h/db?password=a+b",
        "postgresql://u:p+q@h/d+b?options=-c%20a%3D1+2&sslrootcert=/home/u/c++/root.crt",
        "postgresql://?host=/tmp&dbname=x",
        "postgresql:///db?host=/tmp",
        "postgresql://",
        "postgresql://u@h:1,k:2/db",
        "postgresql://u@[::1]:5/db",
        "postgresql://u:p%2Bq@%2Ftmp%2Fx/db",
        "postgresql://u@/db?host=/tmp/a,/tmp/b&port=1,2",
    ],
)
def test_a_url_says_what_libpq_reads_in_it(url):
    at = parse(url)
    assert conninfo_to_dict(at.url) == conninfo_to_dict(url)
    schema = parse(url + ("&" if "?" in url else "?") + "schema=jobs")
    assert (schema.url, schema.schema) == (at.url, "jobs")


@pytest.mark.parametrize("url", ["postgresql://u@h/db?password=%E9", "postgresql://u@h/db?password=%zz"])
def test_a_url_that_cannot_be_decoded_is_refused_without_its_text(url):
    with pytest.raises(UnsuitableFile, match="got one that cannot be read") as refused:
        parse(url)
    assert "password=%" not in str(refused.value)


@pytest.mark.parametrize("schema", ["", "a-b", '"', "1a", "x" * 49, "a;DROP", "a.b", "a'", "é", "pg\x00"])
def test_a_schema_has_a_plain_name(schema):
    with pytest.raises(UnsuitableFile, match="name of up to 48 letters"):
        parse(f"postgresql:///app?schema={schema}")


def test_a_name_with_nul_is_refused_and_nothing_is_stored(store):
    with pytest.raises(UsageError, match="without NUL"):
        store.push([new_job(), new_job(name="a\0b")])
    assert store.size(QUEUE).waiting == 0


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_keep_all_text_is_refused(postgres_server, encoding):
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as session:
        session.execute(f"CREATE DATABASE other TEMPLATE template0 ENCODING {encoding} LC_COLLATE 'C' LC_CTYPE 'C'")
        try:
            with pytest.raises(UnsuitableFile, match=f"encoding UTF8 at .*/other, got: {encoding}; make one"):
                open_store(postgres_server.dsn("other"))
        finally:
            session.execute("DROP DATABASE other WITH (FORCE)")


def test_data_are_kept_as_they_are_where_backslashes_are_escapes(store, postgres):
    rows(postgres, f"ALTER DATABASE {urlsplit(postgres).path[1:]} SET standard_conforming_strings = off")
    store._database.pool.forget()
    data = b'{"a": "\\n \xc3\xa9"}'
    jobs = [push(store, data=data), push(store, data=data, terms=Terms(key="k"))]
    assert [store.get(job).data for job in jobs] == [data, data]


def test_a_claim_is_no_larger_than_fits_into_memory_but_for_one_job(store, monkeypatch):
    monkeypatch.setattr(engine, "CLAIM_BYTES", 3000)
    jobs = store.push([new_job(data=b"x" * size) for size in (5000, 2000, 1000, 1, 2999, 0, 4000)])
    assert [ids(claim_all(store)) for _ in range(4)] == [jobs[:1], jobs[1:3], jobs[3:6], jobs[6:]]


def test_durability_is_the_servers_to_decide(postgres):
    with pytest.raises(UsageError, match="synchronous_commit"):
        open_store(postgres, durability="process")


SEVEN = Backoff(limit=7)


@pytest.mark.parametrize("terms", [None, Terms(key="k")])
def test_a_retry_rule_that_a_failover_lost_is_stored_again_by_the_next_push(store, postgres, terms):
    push(store, backoff=SEVEN)
    rows(postgres, "DELETE FROM workqueue.jobs; DELETE FROM workqueue.backoffs")
    end_sessions(postgres)
    assert store.get(push(store, backoff=SEVEN, terms=terms)).backoff == SEVEN


def test_a_retry_rule_that_is_known_by_a_session_of_before_is_read_again(store, postgres):
    push(store, backoff=SEVEN)
    assert claim_one(store).job.backoff == SEVEN
    rows(postgres, "UPDATE workqueue.backoffs SET rule = replace(rule, '7', '8')")
    end_sessions(postgres)
    push(store, backoff=SEVEN)
    rows(postgres, "UPDATE workqueue.jobs SET backoff = (SELECT min(id) FROM workqueue.backoffs)")
    assert claim_one(store).job.backoff == Backoff(limit=8)


def test_a_job_whose_retry_rule_is_lost_goes_by_the_default(store, postgres, caplog):
    jobs = [push(store, backoff=SEVEN) for _ in range(2)]
    [(rule,)] = rows(postgres, "DELETE FROM workqueue.backoffs RETURNING id")
    assert (
        [job.backoff for job in store.find(Find()).jobs] == [store.get(jobs[0]).backoff, Backoff()] == [Backoff()] * 2
    )
    claims = claim_all(store)
    assert ([claim.job.backoff for claim in claims], ids(claims)) == ([Backoff()] * 2, jobs)
    assert caplog.text.count(f"expected retry rule {rule} of a job to be stored") == 1
    assert apply(store, *(completed(claim) for claim in claims)) == []


def test_a_runner_is_tied_to_the_session_that_stands_once_it_is_enlisted(postgres, monkeypatch):
    """The one that was seen before may have ended meanwhile: by it the runner would look dead for good."""
    store = open_store(postgres)
    listener = store._database.listener
    session = listener.session

    def of_before(moved):
        found = session(moved)
        return Session(found.pid, found.start - 1)

    monkeypatch.setattr(listener, "session", of_before)
    store.enlist(QUEUE, "tests")
    now = session(lambda _session: None)
    assert rows(postgres, "SELECT session_pid, session_start FROM workqueue.runners") == [(now.pid, now.start)]
    store.close()
