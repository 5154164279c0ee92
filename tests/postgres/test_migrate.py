"""`workqueue migrate`: the tables made and brought up to date by a role that may, and used by one that may not."""

from __future__ import annotations

import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from click.testing import CliRunner
from workqueue import Queue, SchemaOutdated, StoreError
from workqueue.cli import group
from workqueue.store import open_store
from workqueue.store.postgres import schema
from workqueue.store.postgres.address import parse
from workqueue.store.postgres.connection import Connection, connect
from workqueue.store.postgres.statements import VERSION, migrations


def run(*arguments):
    return CliRunner().invoke(group, [str(a) for a in arguments], prog_name="workqueue")


@pytest.fixture
def role(postgres: str) -> Iterator[str]:
    """A role that may log in and nothing else, with a name that must be quoted."""
    name = f'plain "{secrets.token_hex(4)}"'
    quoted = psycopg.sql.Identifier(name)
    with psycopg.connect(postgres, autocommit=True) as session:
        session.execute(psycopg.sql.SQL("CREATE ROLE {} LOGIN").format(quoted))
    yield name
    with psycopg.connect(postgres, autocommit=True) as session:
        session.execute(psycopg.sql.SQL("DROP OWNED BY {}").format(quoted))
        session.execute(psycopg.sql.SQL("DROP ROLE {}").format(quoted))


def as_role(url: str, role: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{quote(role)}@{parts.netloc.rpartition('@')[2]}").geturl()


def old(url: str, version: int = 1) -> None:
    """Make the tables as an earlier program did."""
    with closing(connect(parse(url))) as connection:
        connection.execute('CREATE SCHEMA "workqueue"')
        for script in migrations("workqueue", 0)[:version]:
            connection.execute(script)
        connection.ask("add_meta", {"version": version, "made_by": "an earlier one"})


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read"])
def test_two_who_come_first_at_once_make_the_tables_once(postgres, monkeypatch, isolation):
    """The second one had looked before, and what a session knows of names need not be fresh after it waited."""
    name = urlsplit(postgres).path[1:]
    with psycopg.connect(postgres, autocommit=True) as session:
        session.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = '{isolation}'".encode())
    address = parse(postgres)
    made, goes_on = threading.Event(), threading.Event()
    ask = Connection.ask

    def ask_slowly(connection: Connection, statement: str, *row: object) -> object:
        if statement == "commit" and connection is first:
            made.set()
            assert goes_on.wait(30)
        return ask(connection, statement, *row)

    monkeypatch.setattr(Connection, "ask", ask_slowly)
    with closing(connect(address)) as first, closing(connect(address)) as second, ThreadPoolExecutor(2) as threads:
        assert schema.version(second, "workqueue") == 0
        making = threads.submit(schema.migrate, first, "workqueue", "here")
        assert made.wait(30)
        coming = threads.submit(schema.migrate, second, "workqueue", "here")
        with psycopg.connect(postgres, autocommit=True) as session:
            while not session.execute(_WAITING, [second.info.backend_pid]).rowcount and not coming.done():
                time.sleep(0.01)
        goes_on.set()
        assert (making.result(30), coming.result(30)) == (0, VERSION)


_PUSHED_BEFORE_HEADERS = """
INSERT INTO workqueue.jobs (queue, name, priority, position, run_at, pushed_at, ready, backoff, data)
VALUES ('q', 'n', 0, 0, 0, 0, 1, 1, '{}')"""
_WAITING = "SELECT FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"


def test_the_tables_are_made_and_made_once(postgres):
    first, second = run("migrate", postgres), run("migrate", postgres)
    assert (first.exit_code, second.exit_code) == (0, 0), first.output
    assert f"made, with version {VERSION}" in first.output
    assert f"has version {VERSION} already" in second.output
    with Queue(postgres) as queue:
        assert queue.push("n") == 1


def test_tables_of_an_earlier_version_are_brought_up_to_date_while_a_worker_works(postgres):
    old(postgres)
    with pytest.raises(StoreError, match="workqueue migrate"):
        Queue(postgres)
    with closing(connect(parse(postgres))) as worker:  # an earlier program, in the middle of its work
        worker.ask("add_backoff", {"rule": "{}"})
        assert f"from version 1 to {VERSION}" in run("migrate", postgres).output
        pushed = {"now": None, "queue": "q", "name": "n", "priority": 0, "timing": False, "run_at": None, "delay": 0}
        worker.ask("push", {**pushed, "end": 2**62, "backoff": 1, "token": 1, "data": [b"{}"], "headers": []})
        worker.execute(_PUSHED_BEFORE_HEADERS)
    with closing(open_store(postgres)) as store:
        assert store.size("q").waiting == 2
        assert dict(store.get(2).headers) == {}
        assert store.check() == []


def test_of_many_that_migrate_at_once_each_succeeds_and_one_does_it(postgres):
    old(postgres)
    command = [sys.executable, "-m", "workqueue", "migrate", postgres]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate(timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [0] * 4
    assert all(f"to {VERSION}" in line or "already" in line for line in said)


def test_a_role_without_rights_is_told_who_is_needed(postgres, role):
    result = run("migrate", as_role(postgres, role))
    assert result.exit_code == 3
    assert "expected a role that may make or change the schema" in result.output


def test_a_role_that_may_not_change_tables_does_all_the_rest(postgres, role):
    result = run("migrate", postgres, "--grant", role)
    assert result.exit_code == 0, result.output
    assert "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES" in result.output
    url = as_role(postgres, role)
    with psycopg.connect(url) as session, pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute("CREATE TABLE workqueue.another (id int)")

    with Queue(url) as queue:

        @queue.task(
            limit=1,
            rate="1000/second",
            ordered_by="n",
            key_by="n",
            unique_for=timedelta(hours=1),
            keep_results=timedelta(hours=1),
            retry_on=KeyError,
        )
        def limited(n: int) -> int:
            if n == 2:
                raise ValueError(n)
            return n

        @queue.task(every=timedelta(days=1))
        def daily() -> None: ...

        with queue.batch() as batch:
            batch.add(limited.s(1))
        later = queue.push_after("later", None, 3600)
        failing, handle = limited.push(2), limited.push(3)
        queue.pause("other")
        queue.resume("other")
        queue.start()
        assert handle.result(timeout=30) == 3
        assert batch.wait(30)
        assert queue.cancel(later)
        with queue.transaction() as transaction:
            assert transaction.execute("SELECT 1").fetchone() == (1,)
        while not queue.history(failing.id):
            queue.wait_idle(1)
        queue.stop()
        assert queue.restore_failed_jobs() == 1
        assert queue.check() == []
    for command in (["status"], ["jobs"], ["check"], ["push", "n", "1"], ["clean", "--status", "cancelled", "--yes"]):
        result = run(command[0], url, *command[1:])
        assert result.exit_code == 0, result.output


def test_a_role_to_grant_that_is_not_there_is_named(postgres):
    result = run("migrate", postgres, "--grant", "no'bo\"dy")
    assert result.exit_code == 2 and "expected --grant to name a role" in result.output


def test_what_only_looks_makes_no_tables(postgres):
    for command in ("status", "jobs", "check"):
        result = run(command, postgres)
        assert result.exit_code == 3 and "expected the tables of workqueue" in result.output
    with closing(connect(parse(postgres))) as connection:
        assert schema.version(connection, "workqueue") == 0


def test_newer_tables_that_admit_this_program_are_worked_on_and_others_refused(postgres):
    run("migrate", postgres)
    with Queue(postgres) as running:
        running.push("before")
        with psycopg.connect(postgres, autocommit=True) as session:
            session.execute("UPDATE workqueue.meta SET version = 99")
            with Queue(postgres) as queue:
                queue.push("beside")
            assert run("migrate", postgres).output.endswith("has version 99 already\n")
            session.execute("UPDATE workqueue.meta SET oldest = 99")
        for again in range(2):
            with pytest.raises(SchemaOutdated, match="upgrade this program"):
                parse_and_open(postgres, again)
        running._store._database.pool.forget()
        with pytest.raises(SchemaOutdated):
            running.push("on a new one")
    assert run("status", postgres).exit_code == 3


def parse_and_open(url: str, again: int) -> None:
    Queue(f"{url}&application_name=other{again}" if "?" in url else f"{url}?application_name=other{again}")


def test_a_file_needs_no_migration(tmp_path):
    result = run("migrate", tmp_path / "jobs.db")
    assert result.exit_code == 2 and "when it is opened" in result.output
