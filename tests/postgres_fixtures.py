"""Fixtures for tests that need PostgreSQL, and the line that says so when there is none.

One server for each version and pytest process, started by the first test that asks. `WORKQUEUE_TEST_POSTGRES` names
another, by the URL of a database and of a role that may create databases; a test that ends its server starts ours.
`WORKQUEUE_TEST_SERVERS` has servers that somebody has started already, in JSON: such URLs by version.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from prove.postgres import PostgresServer, versions

if TYPE_CHECKING:
    from prove.postgres.databases import Databases
    from prove.postgres.pgbouncer import PgBouncer

GIVEN = os.environ.get("WORKQUEUE_TEST_POSTGRES")
STARTED: Mapping[str, str] = json.loads(os.environ.get("WORKQUEUE_TEST_SERVERS", "{}"))
NOT_TESTED = "NOT TESTED: "

# What to parametrise `postgres_version` with, to run a test on each.
VERSIONS = versions() or ("none",)

# A runner of the session that says it: it is dead to others once that has ended.
ENLISTS = """
    INSERT INTO workqueue.runners (queue, label, started_at, session_pid, session_start)
    SELECT 'default', 'killed', 1, pid, (extract(epoch FROM backend_start) * 1000000)::bigint
      FROM pg_stat_activity WHERE pid = pg_backend_pid()
"""


def missing(what: str) -> NoReturn:
    """Skip a test for want of a program, in a way that the summary repeats; in CI, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(NOT_TESTED + what)


def need_pgbouncer() -> None:
    from prove.postgres.pgbouncer import found

    if found() is None:
        missing("PgBouncer: apt-get install pgbouncer, or `make programs` as root")


def rows(url: str, statement: str) -> list[tuple[object, ...]]:
    """Give what one statement gives, whatever a test has set for the database."""
    import psycopg
    from prove.postgres.databases import AS_IF_NOTHING_WERE_SET

    with psycopg.connect(url, autocommit=True, options=AS_IF_NOTHING_WERE_SET) as session:
        cursor = session.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


class Servers:
    """The servers of a pytest process by version; the databases of each by its URL, and its pooler."""

    def __init__(self) -> None:
        self._servers: dict[str, PostgresServer] = {}
        self._databases: dict[str, Databases] = {}
        self._poolers: dict[str, PgBouncer] = {}

    def server(self, version: str) -> PostgresServer:
        """Give our server of that version, running whatever the last test did to it."""
        if version == "none":
            missing("PostgreSQL: install requirements/test.txt, or postgresql, or set WORKQUEUE_TEST_POSTGRES to a URL")
        if version not in self._servers:
            self._servers[version] = PostgresServer(version)
        server = self._servers[version]
        if not server.running:
            server.start()
        return server

    @contextmanager
    def database(self, version: str, *, with_tables: bool = False) -> Iterator[str]:
        """Lend the URL of an empty database of a server of that version, or of that one with the URL `version`.

        with_tables: a store was opened there before; the test must not change its tables.
        """
        from prove.postgres.databases import Databases

        url = self._url(version)
        databases = self._databases.setdefault(url, Databases(url))
        with databases.lend_with_tables() if with_tables else databases.lend() as lent:
            yield lent
            for server in self._servers.values():
                if server.dsn() == url and not server.running:
                    server.start()

    @contextmanager
    def pooled(self, version: str) -> Iterator[str]:
        """Lend the URL of such a database with tables, behind PgBouncer in transaction mode."""
        need_pgbouncer()
        from prove.postgres.pgbouncer import PgBouncer

        if version not in self._poolers:
            self._poolers[version] = PgBouncer(self._url(version)).__enter__()
        with self.database(version, with_tables=True) as url, self._poolers[version].lend(url) as pooled:
            yield pooled

    @contextmanager
    def place(self, engine: str) -> Iterator[str]:
        """Lend what `support.open_engine` opens for that name: itself, or the URL of a database with tables.

        engine: memory, sqlite, "postgres VERSION", or that and "pooled".
        """
        ours: AbstractContextManager[str]
        match engine.split():
            case ["postgres", version]:
                ours = self.database(version, with_tables=True)
            case ["postgres", version, "pooled"]:
                ours = self.pooled(version)
            case _:
                ours = nullcontext(engine)
        with ours as place:
            yield place

    def _url(self, version: str) -> str:
        return version if "://" in version else STARTED.get(version) or self.server(version).dsn()

    def close(self) -> None:
        for pooler in self._poolers.values():
            pooler.close()
        ours = {server.dsn() for server in self._servers.values()}
        for url, databases in self._databases.items():
            if url not in ours:
                databases.close()
        for server in self._servers.values():
            server.close()


@pytest.fixture(scope="session")
def postgres_servers() -> Iterator[Servers]:
    servers = Servers()
    yield servers
    servers.close()


@pytest.fixture
def postgres_version() -> str:
    return VERSIONS[-1]


@pytest.fixture
def postgres_server(postgres_servers: Servers, postgres_version: str) -> PostgresServer:
    """A server that the test may stop, restart and kill."""
    return postgres_servers.server(postgres_version)


@pytest.fixture
def postgres(request: pytest.FixtureRequest, postgres_servers: Servers, postgres_version: str) -> Iterator[str]:
    """The URL of an empty database: of `postgres_server` where a test asks for that too."""
    ours = "postgres_server" in request.fixturenames
    server = postgres_servers.server(postgres_version).dsn() if ours else GIVEN or postgres_version
    with postgres_servers.database(server) as url:
        yield url


@pytest.fixture
def pgbouncer(postgres: str) -> Iterator[PgBouncer]:
    """PgBouncer in transaction mode before the database of `postgres`."""
    need_pgbouncer()
    from prove.postgres.pgbouncer import PgBouncer

    with PgBouncer(postgres) as pooler:
        yield pooler


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [report.longrepr for report in terminalreporter.stats.get("skipped", ())]
    reasons = [report[2].removeprefix("Skipped: ") for report in reports if isinstance(report, tuple)]
    for what in sorted({reason for reason in reasons if reason.startswith(NOT_TESTED)}):
        terminalreporter.write_line(f"{what} ({reasons.count(what)} tests)", red=True, bold=True)
