"""The pooler that tests put before a server: it is one, and in transaction mode."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from prove.postgres.pgbouncer import PgBouncer
from prove.postgres.proxy import Proxy

from postgres_fixtures import VERSIONS


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url, autocommit=True, prepare_threshold=None)


def ask(session: psycopg.Connection, query: str) -> object:
    [value] = session.execute(query).fetchone()
    return value


@pytest.mark.parametrize("postgres_version", VERSIONS)
def test_it_leads_to_the_same_database(postgres, pgbouncer):
    with connect(postgres) as direct, connect(pgbouncer.url) as pooled:
        direct.execute("CREATE TABLE kept (a int)")
        pooled.execute("INSERT INTO kept VALUES (%s)", [1])
        assert ask(pooled, "SELECT current_database()") == ask(direct, "SELECT current_database()")
        assert ask(direct, "SELECT a FROM kept") == 1


def test_sessions_are_shared_between_transactions(postgres):
    with PgBouncer(postgres, settings={"default_pool_size": "1"}) as pooler:
        with connect(pooler.url) as one, connect(pooler.url) as two:
            assert ask(one, "SELECT pg_backend_pid()") == ask(two, "SELECT pg_backend_pid()")
            one.execute("SET lock_timeout = '7s'")
            assert ask(two, "SHOW lock_timeout") == "7s", "what is set for a session is met by another client"
            with one.transaction():
                inside = ask(one, "SELECT txid_current()")
                assert ask(one, "SELECT txid_current()") == inside


def test_what_a_plain_one_refuses_is_refused(pgbouncer):
    with pytest.raises(psycopg.OperationalError, match="unsupported startup parameter: options"):
        connect(pgbouncer.url + "&options=-c%20lock_timeout%3D7s")


def test_it_can_be_killed_and_started_again(pgbouncer):
    with connect(pgbouncer.url) as session:
        pgbouncer.kill()
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    pgbouncer.start()
    with connect(pgbouncer.url) as session:
        assert ask(session, "SELECT 1") == 1


def test_a_line_can_stand_on_either_side_of_it(postgres, pgbouncer):
    with Proxy(pgbouncer.url) as before, connect(before.url) as session:
        assert ask(session, "SELECT 1") == 1
    with Proxy(postgres) as behind, PgBouncer(behind.url) as pooler, connect(pooler.url) as session:
        assert ask(session, "SELECT 1") == 1


def test_other_roles_may_come(postgres):
    role = "worker_of_" + urlsplit(postgres).path[1:]  # roles belong to the whole server
    with connect(postgres) as session, PgBouncer(postgres, users=(role,)) as pooler:
        session.execute(f"CREATE ROLE {role} LOGIN")
        try:
            with connect(pooler.url.replace("postgres@", f"{role}@")) as worker:
                assert ask(worker, "SELECT current_user") == role
        finally:
            pooler.kill()
            session.execute(f"DROP ROLE {role}")


def test_it_leaves_nothing_behind(postgres):
    with PgBouncer(postgres) as pooler:
        [folder] = [Path(word.removeprefix("host=")) for word in pooler.url.split("?")[1].split("&") if "host" in word]
        assert folder.exists()
    assert not folder.exists()


def test_one_that_cannot_start_says_why(postgres):
    with pytest.raises(RuntimeError, match="no_such_mode"):
        PgBouncer(postgres, settings={"pool_mode": "no_such_mode"}).__enter__()
