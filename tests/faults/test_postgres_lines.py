"""PostgreSQL over lines that break, or fall silent: nothing is lost or done twice, and it goes on by itself."""

from __future__ import annotations

import errno
import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import NoReturn
from urllib.parse import urlsplit

import psycopg
import pytest
from prove.connections.cases import CASES
from prove.connections.sweep import Line, every_cut
from prove.postgres.protocol import Side
from prove.postgres.proxy import Deed, Fault, Proxy
from workqueue import Queue
from workqueue.errors import StoreUnavailable
from workqueue.job import Lane, Terms
from workqueue.store.postgres import connection, database, listener, runners, silence
from workqueue.store.postgres.address import Address
from workqueue.store.postgres.connection import Connection
from workqueue.store.postgres.engine import PostgresStore
from workqueue.store.postgres.listener import RunnerBell

from postgres_fixtures import ENLISTS, rows
from support import LEASE, QUEUE, apply, claim_all, claim_one, completed, ids, push, turn, until

_CUTS = 9  # of each case that strike; `python -m prove run` makes thousands
PATIENCE = 60


@pytest.fixture
def proxy(postgres: str) -> Iterator[Proxy]:
    with Proxy(postgres) as proxy:
        yield proxy
        proxy.heal()


@pytest.fixture
def store(proxy: Proxy) -> Iterator[PostgresStore]:
    store = PostgresStore(proxy.url)
    yield store
    proxy.heal()
    store.close()


@pytest.mark.parametrize("case", CASES)
def test_a_line_may_break_at_any_byte(postgres, case):
    with Line(postgres) as line:
        cuts, played = every_cut(line, case), 0
        # Not all that is said is said each time: on a busy machine the notifier more often opens a line of its own.
        for cut in random.Random(1).sample(cuts, len(cuts)):
            line.cut(cut)
            played += 1
            if line.struck == _CUTS:
                break
        broken, counts = line.verdict()
    assert broken == []
    assert line.struck == min(_CUTS, len(cuts))
    assert counts["jobs acknowledged"] >= played


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("verb", ["push", "settle", "claim", "beat", "cancel"])
def test_a_line_that_falls_silent_is_given_up(store, proxy, monkeypatch, verb, side):
    monkeypatch.setattr(silence, "SILENCE", 0.2)
    monkeypatch.setattr(connection, "IDLE", 1)  # until then, what the silent session has locked is locked
    runner = store.enlist(QUEUE, "tests")
    first = push(store)
    claim = claim_one(store, runner)
    second = push(store)
    word = {"push": "INTO workqueue.pushes", "settle": "DELETE FROM", "claim": "AS MATERIALIZED", "beat": "FOR NO KEY"}
    armed = proxy.arm(Fault(side, Deed.SWALLOW, statement=word.get(verb, "commit").replace("workqueue", '"workqueue"')))
    match verb:
        case "push":
            third = push(store)
            assert store.size(QUEUE).waiting == 3
            assert third > second
        case "settle":
            assert apply(store, completed(claim)) == []
            assert store.size(QUEUE).waiting == 1
        case "claim":
            known = ids(claim_all(store, runner))
            known = known or ids(claim_all(store, runner))  # it was not done, and is to be done again
            assert known == [second]
        case "beat":
            assert store.beat(runner, LEASE).held == {first: 1}
        case "cancel":
            assert store.cancel(second)
    assert armed.struck


def test_silence_is_no_reason_while_the_server_works(store, monkeypatch):
    monkeypatch.setattr(silence, "SILENCE", 0.1)
    with store.transaction() as transaction:
        assert transaction.execute("SELECT 1 FROM pg_sleep(1.5)").fetchall() == [(1,)]


def test_a_server_that_tells_nobody_what_it_does_is_waited_for(proxy, postgres, monkeypatch):
    rows(postgres, f"ALTER DATABASE {urlsplit(postgres).path[1:]} SET track_activities = off")
    monkeypatch.setattr(silence, "SILENCE", 0.1)
    with closing(PostgresStore(proxy.url)) as store, store.transaction() as transaction:
        assert transaction.execute("SELECT 1 FROM pg_sleep(1.5)").fetchall() == [(1,)]


def test_a_server_that_has_no_connection_left_to_be_asked_by_is_waited_for(postgres, monkeypatch):
    monkeypatch.setattr(silence, "SILENCE", 0.1)
    role = "alone_in_" + urlsplit(postgres).path[1:]  # roles belong to the whole server
    PostgresStore(postgres).close()
    rows(postgres, f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1; GRANT USAGE ON SCHEMA workqueue TO {role};"
        f"GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA workqueue TO {role}")  # fmt: skip
    try:
        with closing(PostgresStore(postgres.replace("postgres@", f"{role}@"))) as store:
            with store.transaction() as transaction:
                assert transaction.execute("SELECT 1 FROM pg_sleep(1.5)").fetchall() == [(1,)]
    finally:
        rows(postgres, f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_who_vanishes_while_it_completes_its_job_keeps_it_locked_for_moments_only(store, proxy, postgres, monkeypatch):
    """Nobody tells the server that it is gone, in a transaction that was a handler's until then."""
    monkeypatch.setattr(silence, "SILENCE", 0.2)
    monkeypatch.setattr(connection, "IDLE", 1)
    push(store)
    claim = claim_one(store)
    rows(postgres, "UPDATE workqueue.jobs SET lease_until = 1")
    armed = proxy.arm(Fault(Side.FRONTEND, Deed.SWALLOW, statement='INTO "workqueue".pushes'))  # as it would commit
    with pytest.raises(StoreUnavailable), store.transaction(claim):
        pass
    assert armed.struck
    rescuer = PostgresStore(postgres)
    until(lambda: ids(rescuer.orphans(expired=True, limit=10)) == [claim.job.id])
    rescuer.close()


def test_a_rescuer_passes_by_what_another_has_locked(store, postgres):
    locked, free = push(store), push(store)
    claim_all(store)
    rows(postgres, "UPDATE workqueue.jobs SET lease_until = 1")
    with psycopg.connect(postgres) as another:
        another.execute("DELETE FROM workqueue.jobs WHERE id = %s", [locked])
        assert ids(store.orphans(expired=True, limit=1)) == [free]
        another.rollback()
    assert ids(store.orphans(expired=True, limit=10)) == [locked, free]


def test_who_waits_too_long_for_another_transaction_says_so(store, postgres, monkeypatch):
    monkeypatch.setattr(connection, "LOCKED", 0.05)
    monkeypatch.setattr(database, "PATIENCE", 0.1)
    job = push(store, terms=Terms(key="k"))
    with psycopg.connect(postgres) as another:
        another.execute("SELECT FROM workqueue.jobs WHERE id = %s FOR UPDATE", [job])
        with pytest.raises(StoreUnavailable, match=r"(?s)let go .* idle in a transaction"):
            store.cancel(job)
        another.rollback()
    assert store.cancel(job)


@contextmanager
def busy_gate(store: PostgresStore, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another transaction has the gate, and whoever wants it gives up at once."""
    with store._database.pool.lend() as ours:
        take = f"SELECT pg_advisory_xact_lock({ours.space}, 0)"
    with psycopg.connect(url) as another, monkeypatch.context() as hurried:
        hurried.setattr(connection, "LOCKED", 0.05)
        hurried.setattr(database, "PATIENCE", -1)
        another.execute(take)
        yield
        another.rollback()


@pytest.mark.parametrize("times", range(8))
def test_who_waited_too_long_can_go_on_over_the_same_line(store, postgres, monkeypatch, times):
    """The sixth time the driver takes a statement for prepared, though the server skipped it after an error."""

    def waits_too_long() -> None:
        with busy_gate(store, postgres, monkeypatch), pytest.raises(StoreUnavailable, match="let go"):
            store.pause(QUEUE, "task")

    waits_too_long()
    for _ in range(times):
        store.pause(QUEUE, "task")
    waits_too_long()
    store.pause(QUEUE, "task")


def test_what_a_turn_settled_is_told_though_its_claim_has_to_wait_too_long(store, postgres, monkeypatch):
    """Else the runner would settle again what has left, and take it for lost."""
    runner = store.enlist(QUEUE, "tests")
    push(store)
    claim = claim_one(store, runner)
    limited = push(store, terms=Terms(limit=Lane("lane", most=1)))
    with busy_gate(store, postgres, monkeypatch):
        found = turn(store, [completed(claim)], runner)
        with pytest.raises(StoreUnavailable, match="let go"):
            turn(store, [], runner)
    assert (found.claims, found.refused) == ([], [])
    assert ids(claim_all(store, runner)) == [limited]


def test_a_runner_whose_line_broke_is_tied_to_the_session_that_follows(store, postgres, monkeypatch):
    """Else who looks for the dead, and whose own line held, takes the job of a living one."""
    monkeypatch.setattr(runners, "_GRACE", 0.0)
    push(store)
    claim_all(store)
    [(first,)] = rows(postgres, "SELECT session_pid FROM workqueue.runners")
    rows(postgres, f"SELECT pg_terminate_backend({first})")
    until(lambda: rows(postgres, f"SELECT session_pid <> {first} FROM workqueue.runners") == [(True,)])
    rescuer = PostgresStore(postgres)
    assert ids(rescuer.orphans(expired=False, limit=10)) == []
    rescuer.close()


def test_a_session_that_ended_is_no_death_before_its_process_could_tell_of_another(store, postgres, monkeypatch):
    connects, may_connect = listener.connect, threading.Event()

    def connect(address: Address) -> Connection:
        assert may_connect.wait(PATIENCE)
        return connects(address)

    push(store)
    claim_all(store)
    [(first,)] = rows(postgres, "SELECT session_pid FROM workqueue.runners")
    with closing(PostgresStore(postgres)) as rescuer:
        monkeypatch.setattr(listener, "connect", connect)
        rows(postgres, f"SELECT pg_terminate_backend({first})")
        until(lambda: rows(postgres, f"SELECT FROM pg_stat_activity WHERE pid = {first}") == [])
        try:
            assert ids(rescuer.orphans(expired=False, limit=10)) == []
        finally:
            may_connect.set()


def test_what_a_runner_held_whose_session_ended_is_run_by_one_that_nobody_wakes(postgres):
    worker = Ran()
    with Queue(postgres) as near, psycopg.connect(postgres, autocommit=True) as killed:
        first = near.push("held", None)
        killed.execute(ENLISTS)
        killed.execute(_CLAIMED, [first])
        with Queue(postgres, worker, poll_rate=timedelta(seconds=0.2)):
            worker.wait_for(near.push("known", None))
            killed.close()
            worker.wait_for(first)


def test_whoever_listens_goes_on_when_no_descriptor_was_left(store, postgres, monkeypatch, caplog):
    """Else the process looks dead for good, and can no more be told so."""
    connects = listener.connect
    failed = threading.Event()

    def connect(address: Address) -> Connection:
        if failed.is_set():
            return connects(address)
        failed.set()
        raise OSError(errno.EMFILE, "Too many open files")

    store.enlist(QUEUE, "tests")
    [(first,)] = rows(postgres, "SELECT session_pid FROM workqueue.runners")
    monkeypatch.setattr(listener, "connect", connect)
    rows(postgres, f"SELECT pg_terminate_backend({first})")
    until(lambda: rows(postgres, f"SELECT session_pid <> {first} FROM workqueue.runners") == [(True,)])
    assert "listening at" in caplog.text
    assert "Too many open files" in caplog.text


def test_whoever_tells_of_pushes_goes_on_when_no_descriptor_was_left(store, postgres, monkeypatch, caplog):
    handle = store._database
    lend = handle.pool.lend
    failed = threading.Event()

    def lend_no_more() -> NoReturn:
        failed.set()
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(handle.pool, "lend", lend_no_more)
    handle.ring([QUEUE])
    assert failed.wait(PATIENCE)
    monkeypatch.setattr(handle.pool, "lend", lend)
    with psycopg.connect(postgres, autocommit=True) as other:
        other.execute("LISTEN workqueue")
        handle.ring([QUEUE])
        [told] = other.notifies(timeout=PATIENCE, stop_after=1)
    assert told.payload.endswith(f" {QUEUE}")
    assert "could not tell others of a push" in caplog.text


def test_what_is_claimed_for_a_runner_that_does_not_know_of_it_is_handed_back(postgres):
    """By a turn that it gave up, and that the server heard of late: its own beat must not keep the job for ever."""
    worker = Ran()
    often = timedelta(seconds=0.2)
    with Queue(postgres) as near, Queue(postgres, worker, poll_rate=often, lease=timedelta(seconds=2)):
        worker.wait_for(near.push("known", None))
        with near.transaction() as transaction:
            job = near.push("late", None)
            transaction.execute(_CLAIMED, [job])
        worker.wait_for(job)


_CLAIMED = """UPDATE workqueue.jobs SET status = 4, ready = NULL, attempt = 1, token = 1,
    runner = (SELECT max(id) FROM workqueue.runners), lease_until = pushed_at + 60000000 WHERE id = %s"""


def test_what_was_pushed_while_the_listener_was_away_is_begun_when_it_is_back(postgres, proxy, monkeypatch):
    patient, waits = threading.Event(), threading.Event()
    wait = RunnerBell.wait

    def wait_for_the_bell_alone(bell: RunnerBell, timeout: float) -> None:
        if patient.is_set():  # else it looks by itself before long
            waits.set()
            timeout = 10 * PATIENCE
        wait(bell, timeout)

    monkeypatch.setattr(RunnerBell, "wait", wait_for_the_bell_alone)
    worker = Ran()
    with Queue(postgres) as near, Queue(proxy.url, worker, poll_rate=timedelta(hours=1)):
        worker.wait_for(near.push("before", None))
        assert near.wait_idle(PATIENCE)
        patient.set()
        until(waits.is_set)
        proxy.refuse()
        proxy.strike(Deed.RESET)
        with psycopg.connect(postgres, autocommit=True) as session:
            [now] = session.execute("SELECT clock_timestamp()").fetchone()
            job = near.push("meanwhile", None)
            deadline = time.monotonic() + PATIENCE
            while not session.execute(_TOLD_SINCE, [now]).rowcount and time.monotonic() < deadline:
                time.sleep(0.01)
        proxy.heal()
        try:
            worker.wait_for(job)
        finally:
            patient.clear()


_TOLD_SINCE = "SELECT FROM pg_stat_activity WHERE query LIKE '%%pg_notify%%' AND state = 'idle' AND query_start > %s"


class Ran:
    """A worker that remembers what it ran."""

    def __init__(self) -> None:
        self.jobs: list[int] = []
        self._changed = threading.Condition()

    def do_work(self, ctx, job) -> None:
        with self._changed:
            self.jobs.append(job.id)
            self._changed.notify_all()

    def id(self) -> str:
        return "ran"

    def wait_for(self, *jobs: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: set(jobs) <= set(self.jobs), PATIENCE)
