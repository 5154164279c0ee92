"""PostgreSQL: servers that restart, crash, refuse and time out, and workers that die: all goes on by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from urllib.parse import urlsplit

import psycopg
import pytest
from prove.postgres.harm import end_sessions, restart
from prove.postgres.proxy import Proxy
from workqueue import Queue, runner
from workqueue.errors import StoreUnavailable
from workqueue.job import Lane, Terms
from workqueue.store.postgres import connection, database
from workqueue.store.postgres.engine import PostgresStore

from postgres_fixtures import rows
from support import QUEUE, apply, claim_all, completed, ids, new_job, turn, until

OFTEN = timedelta(seconds=0.2)
PATIENCE = 60
_SOME_SESSION = (
    "SELECT min(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)
_WORKER = """
import os, sys, time
from datetime import timedelta
from workqueue import Queue, runner
class Worker:
    def do_work(self, ctx, job):
        if job.name == "forks" and os.fork() == 0:
            time.sleep(3600)
        print(job.id, flush=True)
        time.sleep(3600)
    def id(self): return "sleeps"
Queue(sys.argv[1], Worker(), lease=timedelta(seconds=float(sys.argv[2])), poll_rate=timedelta(seconds=0.2))
time.sleep(3600)
"""


class Runs:
    """A worker that counts, and holds its jobs while it is told to."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.goes_on = threading.Event()
        self.goes_on.set()
        self._changed = threading.Condition()

    def do_work(self, ctx, job) -> None:
        with self._changed:
            self.counts[job.id] += 1
            self._changed.notify_all()
        self.goes_on.wait(PATIENCE)

    def id(self) -> str:
        return "runs"

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.counts) >= count, PATIENCE)


def empty(url: str) -> bool:
    return rows(url, "SELECT count(*) FROM workqueue.jobs") == [(0,)]


def named(url: str, name: str) -> str:
    """Give the same place by another address, which has connections of its own."""
    return url + ("&" if "?" in url else "?") + f"application_name={name}"


@contextmanager
def two_workers(url: str, runs: Runs, **options: object) -> Iterator[Queue]:
    with Queue(named(url, "one"), runs, poll_rate=OFTEN, **options) as one:
        with Queue(named(url, "two"), runs, poll_rate=OFTEN, **options):
            yield one


def harm(server, url: str, how: str) -> None:
    if how == "terminate":
        end_sessions(url)
    else:
        restart(server, how)


@pytest.mark.parametrize("how", ["fast", "immediate", "kill", "terminate"])
def test_workers_go_on_after_the_server_went_away(postgres_server, postgres, how):
    runs = Runs()
    with two_workers(postgres, runs, batch_size=5) as queue:
        pushed: list[int] = []
        for times in range(3):
            pushed += [queue.push("job", n) for n in range(100)]
            runs.wait_for(100 * times + 30)
            harm(postgres_server, postgres, how)
        until(lambda: empty(postgres))
    assert sorted(runs.counts) == sorted(pushed)
    assert sum(runs.counts.values()) == len(pushed), "nobody died, so nothing is run twice"


@pytest.mark.parametrize("how", ["fast", "immediate", "kill", "terminate"])
def test_a_long_job_is_run_once_whatever_becomes_of_the_server(postgres_server, postgres, how):
    runs = Runs()
    runs.goes_on.clear()
    with two_workers(postgres, runs) as queue:
        queue.push("long", None)
        runs.wait_for(1)
        harm(postgres_server, postgres, how)
        # The one with the long job may claim one ahead; the other worker takes the other, and looks for orphans.
        others = queue.push_many("other", range(2))
        runs.wait_for(2)
        looks_until = time.monotonic() + 4
        until(lambda: time.monotonic() > looks_until)
        runs.goes_on.set()
        until(lambda: empty(postgres))
    assert set(runs.counts.values()) == {1}
    assert set(others) < runs.counts.keys()


def test_a_crash_in_the_server_makes_nobody_look_dead(postgres_server, postgres):
    """It ends all sessions, and says nowhere that it did; a runner that is slow to come back is no dead one."""
    long, others = Runs(), Runs()
    long.goes_on.clear()
    with Proxy(postgres) as proxy, Queue(postgres) as near, Queue(proxy.url, long, poll_rate=OFTEN):
        job = near.push("long", None)
        long.wait_for(1)
        with Queue(named(postgres, "quick"), others, poll_rate=OFTEN):
            proxy.refuse()
            [[victim]] = rows(postgres, _SOME_SESSION)
            os.kill(victim, signal.SIGKILL)
            looks_until = time.monotonic() + 4
            until(lambda: time.monotonic() > looks_until)
            near.push("other", None)
            others.wait_for(1)
            proxy.heal()
            long.goes_on.set()
            until(lambda: empty(postgres))
    assert long.counts == {job: 1}
    assert job not in others.counts


@pytest.mark.parametrize(
    "setting", ["default_transaction_read_only = on", "statement_timeout = 1", "lock_timeout = 1",
                "idle_in_transaction_session_timeout = 1", "default_transaction_isolation = 'serializable'"],
)  # fmt: skip
def test_workers_go_on_after_settings_that_let_little_through(postgres, setting, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 1.0)
    monkeypatch.setattr(database, "_FATE_PATIENCE", 1.0)
    runs = Runs()
    name = urlsplit(postgres).path[1:]
    with two_workers(postgres, runs) as queue:
        queue.push("before", None)
        runs.wait_for(1)
        rows(postgres, f"ALTER DATABASE {name} SET {setting}")
        end_sessions(postgres)
        pushed = 0
        for n in range(5):
            try:
                queue.push("meanwhile", n)
                pushed += 1
            except StoreUnavailable:
                break
        rows(postgres, f"ALTER DATABASE {name} RESET ALL")
        end_sessions(postgres)
        queue.push("after", None)
        runs.wait_for(pushed + 2)
        until(lambda: empty(postgres))


def test_a_role_may_lose_its_rights_and_get_them_back(postgres):
    role = "worker_of_" + urlsplit(postgres).path[1:]  # roles belong to the whole server
    runs = Runs()
    with Queue(postgres) as near:
        rows(postgres, f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA workqueue TO {role};"
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA workqueue TO {role}")  # fmt: skip
        try:
            with Queue(postgres.replace("postgres@", f"{role}@"), runs, poll_rate=OFTEN) as weak:
                weak.push("before", None)
                runs.wait_for(1)
                rows(postgres, f"REVOKE INSERT, UPDATE ON workqueue.jobs FROM {role}")
                with pytest.raises(StoreUnavailable, match="rights"):
                    weak.push("refused", None)
                near.push("meanwhile", None)
                rows(postgres, f"GRANT INSERT, UPDATE ON workqueue.jobs TO {role}")
                runs.wait_for(2)
                until(lambda: empty(postgres))
        finally:
            rows(postgres, f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_ids_may_be_larger_than_an_int(postgres):
    runs = Runs()
    with Queue(postgres, runs, poll_rate=OFTEN) as queue:
        rows(postgres, "ALTER TABLE workqueue.jobs ALTER id RESTART 2147483646;"
            "ALTER TABLE workqueue.runners ALTER id RESTART 9007199254740993")  # fmt: skip
        with two_workers(postgres, runs):
            jobs = [queue.push("job", n) for n in range(20)]
            until(lambda: empty(postgres))
    assert set(jobs) == set(runs.counts)
    assert max(jobs) > 2**31


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_those_who_meet_over_the_same_jobs_do_each_once(postgres, isolation):
    name = urlsplit(postgres).path[1:]
    PostgresStore(postgres).close()
    rows(postgres, f"ALTER DATABASE {name} SET default_transaction_isolation = '{isolation}'")
    stores = [PostgresStore(named(postgres, f"s{n}")) for n in range(4)]
    stores[0].push([new_job() for _ in range(300)])

    def work(store: PostgresStore) -> list[int]:
        runner = store.enlist(QUEUE, "tests")
        done: list[int] = []
        claims = claim_all(store, runner, limit=7)
        while claims:
            done += [claim.job.id for claim in claims]
            found = turn(store, [completed(claim) for claim in reversed(claims)], runner, limit=7)
            assert found.refused == []
            claims = found.claims or claim_all(store, runner, limit=7)
        return done

    with ThreadPoolExecutor(4) as pool:
        done = [job for jobs in pool.map(work, stores) for job in jobs]
    assert len(done) == len(set(done)) == 300
    for store in stores:
        store.close()


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(connection, "LOCKED", 0.05)
    monkeypatch.setattr(database, "PATIENCE", 0.0)


def test_a_job_that_a_transaction_has_locked_holds_up_no_other(postgres, hurried, caplog):
    runs = Runs()
    runs.goes_on.clear()
    with Queue(postgres, runs, poll_rate=OFTEN) as queue:
        locked = queue.push("locked", None)
        runs.wait_for(1)
        with psycopg.connect(postgres) as other:
            other.execute("SELECT 1 FROM workqueue.jobs WHERE id = %s FOR UPDATE", [locked])
            runs.goes_on.set()
            others = queue.push_many("other", range(20))
            until(lambda: rows(postgres, "SELECT id FROM workqueue.jobs") == [(locked,)])
            other.rollback()
        until(lambda: empty(postgres))
    assert runs.counts == Counter([locked, *others])
    assert "settled too late" not in caplog.text


def test_what_is_held_up_to_the_end_is_told(postgres, hurried, monkeypatch, caplog):
    monkeypatch.setattr(runner, "_LAST_TRIES", timedelta(0))
    runs = Runs()
    runs.goes_on.clear()
    with psycopg.connect(postgres) as other:
        with Queue(postgres, runs, poll_rate=OFTEN) as queue:
            locked = queue.push("locked", None)
            runs.wait_for(1)
            other.execute("SELECT 1 FROM workqueue.jobs WHERE id = %s FOR UPDATE", [locked])
            runs.goes_on.set()
            until(lambda: "jobs that have ended" in caplog.text or "let go within moments" in caplog.text)
        other.rollback()
    assert "1 outcomes could not be stored and will be run again: another transaction holds them up" in caplog.text


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_who_waited_for_the_gate_sees_what_was_done_before_it(postgres, isolation):
    """Else a job that is kept back behind the last one of its lane, while that ends, is let go by nobody."""
    PostgresStore(postgres).close()
    rows(postgres, f"ALTER DATABASE {urlsplit(postgres).path[1:]} SET default_transaction_isolation = '{isolation}'")
    claims, settles = PostgresStore(postgres), PostgresStore(named(postgres, "settles"))
    with claims._database.pool.lend() as connection:
        take_the_gate = f"SELECT pg_advisory_xact_lock({connection.space}, 0)"
    first, second = claims.push([new_job(terms=Terms(limit=Lane("lane", 1))) for _ in range(2)])
    [claim] = claim_all(settles, limit=1)
    with ThreadPoolExecutor(2) as pool:
        with psycopg.connect(postgres) as gate:
            gate.execute(take_the_gate)
            found = pool.submit(claim_all, claims)
            until(lambda: rows(postgres, _WAITING) == [(1,)])
            refused = pool.submit(apply, settles, completed(claim))
            until(lambda: rows(postgres, _WAITING) == [(2,)])
        assert (claim.job.id, found.result(PATIENCE), refused.result(PATIENCE)) == (first, [], [])
    assert ids(claim_all(claims)) == [second]
    for store in (claims, settles):
        store.close()


_WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@contextmanager
def sleeping_worker(url: str, lease: float) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _WORKER, url, str(lease)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # what it has forked, too
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_the_jobs_of_a_killed_or_frozen_process_are_run_by_another(postgres, how, record_property):
    _taken_over(postgres, how, lease=3600 if how == signal.SIGKILL else 3)


def test_what_a_killed_process_had_forked_does_not_keep_it_alive(postgres):
    """A child has the parent's sockets too: by those the server would take the parent for alive."""
    _taken_over(postgres, signal.SIGKILL, lease=3600, name="forks")


def test_behind_a_pooler_the_lease_tells_of_a_death(pgbouncer):
    _taken_over(pgbouncer.url, signal.SIGKILL, lease=3)


def _taken_over(url: str, how: int, *, lease: float, name: str = "long") -> None:
    runs = Runs()
    with Queue(url) as queue, sleeping_worker(url, lease) as process:
        job = queue.push(name, None)
        assert process.stdout is not None
        assert process.stdout.readline() == f"{job}\n"
        os.kill(process.pid, how)
        with Queue(named(url, "other"), runs, poll_rate=OFTEN, lease=timedelta(seconds=lease)):
            runs.wait_for(1)
    assert runs.counts == {job: 1}
