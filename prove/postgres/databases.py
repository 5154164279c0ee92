"""An empty database for each test, and a look at what it left there."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from workqueue.store import open_store

# Whatever a test told the server or the database.
AS_IF_NOTHING_WERE_SET: Final = "-c default_transaction_read_only=off -c statement_timeout=0 -c lock_timeout=0"
_PATIENCE = 5.0  # seconds, for sessions whose client has just gone


class Databases:
    """Lends databases of one server, and empties them when they come back: a tenth of the time that making one takes.

    maintenance: the URL of a database to ask for them, as a role that may create databases.
    """

    def __init__(self, maintenance: str) -> None:
        self._maintenance = maintenance
        self._free: list[str] = []
        self._free_with_tables: list[str] = []
        self._made: list[str] = []
        self._begin_anew: dict[str, sql.Composable] = {}  # for those with tables: what makes them as new

    @contextmanager
    def lend(self) -> Iterator[str]:
        """Lend the URL of an empty database. Raises AssertionError at the end when sessions were left open there."""
        name = self._free.pop() if self._free else self._make()
        try:
            yield _in(self._maintenance, name)
        finally:
            left = self._empty(name)
            self._free.append(name)
        assert not left, f"expected all sessions of the database to have ended, got: {left}"

    @contextmanager
    def lend_with_tables(self) -> Iterator[str]:
        """Lend the URL of a database in which a store was opened and nothing done yet; a test must not change tables.

        Raises AssertionError as `lend` does. It costs a tenth of making the tables.
        """
        name = self._free_with_tables.pop() if self._free_with_tables else self._make()
        url = _in(self._maintenance, name)
        if name not in self._begin_anew:
            open_store(url).close()
            with self._session(name) as session:
                self._begin_anew[name] = _how_to_begin_anew(session)
        try:
            yield url
        finally:
            with self._session(name) as session:
                left = sessions(session)
                session.execute(_END_SESSIONS)
                session.execute(self._begin_anew[name])
                has_more = session.execute(_MORE).fetchone() != (0,)
            if has_more:  # the application's own
                del self._begin_anew[name]
                self._empty(name)
            (self._free if has_more else self._free_with_tables).append(name)
        assert not left, f"expected all sessions of the database to have ended, got: {left}"

    def close(self) -> None:
        with self._session() as session:
            for name in self._made:
                session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _make(self) -> str:
        name = f"workqueue_test_{secrets.token_hex(6)}"
        with self._session() as session:
            session.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        self._made.append(name)
        return name

    def _empty(self, name: str) -> list[str]:
        with self._session(name) as session:
            left = sessions(session)
            session.execute(_END_SESSIONS)
            session.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(sql.Identifier(name)))
            schemas = [schema for (schema,) in session.execute(_SCHEMAS)]
            if schemas:
                names = sql.SQL(", ").join(map(sql.Identifier, schemas))
                session.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(names))
            session.execute("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
            session.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
        return left

    def _session(self, database: str | None = None) -> psycopg.Connection:
        url = self._maintenance if database is None else _in(self._maintenance, database)
        return psycopg.connect(url, autocommit=True, options=AS_IF_NOTHING_WERE_SET)


_TABLES: Final = "SELECT relname FROM pg_class WHERE relnamespace = 'workqueue'::regnamespace AND relkind = 'r'"
_SEQUENCES: Final = "SELECT sequencename FROM pg_sequences WHERE schemaname = 'workqueue'"
_MORE: Final = """
    SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace)
         + (SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace)
         + (SELECT count(*) FROM pg_namespace WHERE nspname !~ '^pg_'
               AND nspname NOT IN ('information_schema', 'public', 'workqueue'))
"""
_SESSIONS: Final = (
    "SELECT application_name || ': ' || left(query, 80) FROM pg_stat_activity"
    " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)
_END_SESSIONS: Final = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
    " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)
_SCHEMAS: Final = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"


def sessions(session: psycopg.Connection) -> list[str]:
    """Say which other sessions there are; one whose client has gone needs a moment to end."""
    deadline = time.monotonic() + _PATIENCE
    while (found := [said for (said,) in session.execute(_SESSIONS)]) and time.monotonic() < deadline:
        time.sleep(0.002)
    return found


def _how_to_begin_anew(session: psycopg.Connection) -> sql.Composable:
    """Give the statements after which the tables have the rows that they have now, and ids begin at 1."""
    steps: list[sql.Composable] = [sql.SQL("SET session_replication_role = replica")]  # a store that was moved refuses
    for (name,) in session.execute(_TABLES).fetchall():
        table = sql.Identifier("workqueue", name)
        steps.append(sql.SQL("DELETE FROM {}").format(table))
        rows = session.execute(sql.SQL("SELECT * FROM {}").format(table)).fetchall()
        steps += [
            sql.SQL("INSERT INTO {} VALUES ({})").format(table, sql.SQL(", ").join(map(sql.Literal, row)))
            for row in rows
        ]
    for (name,) in session.execute(_SEQUENCES).fetchall():
        steps.append(sql.SQL("ALTER SEQUENCE {} RESTART").format(sql.Identifier("workqueue", name)))
    return sql.SQL("; ").join(steps)


def _in(url: str, database: str) -> str:
    return urlsplit(url)._replace(path=f"/{database}").geturl()
