"""A standby: a copy of a running server that follows it, and takes its place when it is promoted."""

from __future__ import annotations

import time
from typing import Final
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import make_conninfo

from prove.postgres.server import PostgresServer

NAME: Final = "standby"  # for synchronous_standby_names
_PATIENCE: Final = 30.0  # seconds


class Standby(PostgresServer):
    """See the module. line: the URL over which it follows; the primary's own where nothing is to come between them."""

    def __init__(self, primary: PostgresServer, line: str = "") -> None:
        self._primary = primary
        follows = make_conninfo(line or primary.dsn(), application_name=NAME)
        super().__init__(primary.version, settings={"primary_conninfo": follows, "wal_retrieve_retry_interval": "100"})

    def _make_data(self) -> None:
        primary = self._primary.dsn()
        self._place.run(
            self._binaries / "pg_basebackup", "-d", primary, "-D", self._data, "-c", "fast", "-X", "fetch", "--no-sync"
        )
        (self._data / "standby.signal").touch()

    def catch_up(self) -> None:
        """Return when it has all that the primary had when this was called."""
        with psycopg.connect(self._primary.dsn(), autocommit=True) as session:
            # The servers of tests commit before they write; one that does not takes what is before it along.
            session.execute("SET synchronous_commit = local")
            session.execute("SELECT pg_logical_emit_message(true, 'catch', 'up')")
            [until] = session.execute("SELECT pg_current_wal_flush_lsn()").fetchone() or ()
        with psycopg.connect(self.dsn(), autocommit=True) as session:
            deadline = time.monotonic() + _PATIENCE
            while session.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [until]).fetchone() != (True,):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"expected the standby to have {until} within {_PATIENCE:.0f} s")
                time.sleep(0.005)

    def promote(self) -> None:
        """Return when it takes writes."""
        with psycopg.connect(self.dsn(), autocommit=True) as session:
            session.execute("SELECT pg_promote(wait => true)")


def either(database: str, first: PostgresServer, second: PostgresServer) -> str:
    """Give the URL by which a client finds whichever of two servers takes writes. database: the URL of one's."""
    path = urlsplit(database).path
    hosts = ",".join(str(server.folder) for server in (first, second))
    return f"postgresql://postgres@{path}?host={hosts}&port={first.port}&target_session_attrs=read-write"
