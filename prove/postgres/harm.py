"""What a server does to those who use it: it ends their sessions, and it goes away and comes back."""

from __future__ import annotations

import random
from typing import Final

import psycopg

from prove.postgres.server import PostgresServer

WAYS: Final = ("fast", "immediate", "kill")  # to go away
_SESSIONS: Final = (
    "SELECT pid FROM pg_stat_activity"
    " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)
_WHATEVER_IS_SET: Final = "-c default_transaction_read_only=off -c statement_timeout=0 -c lock_timeout=0"
_END: Final = "SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS ended (pid)"


def end_sessions(url: str, draw: random.Random | None = None) -> int:
    """End the sessions of the database, but our own: all, or with `draw` some of them; give how many those were."""
    with psycopg.connect(url, autocommit=True, options=_WHATEVER_IS_SET) as session:
        found = sorted(pid for (pid,) in session.execute(_SESSIONS))
        if draw is not None and found:
            found = draw.sample(found, draw.randint(1, len(found)))
        session.execute(_END, [found])
    return len(found)


def stop(server: PostgresServer, how: str) -> None:
    """Let the server end: `fast` it says goodbye, `immediate` it must recover, `kill` it does not even hear of it."""
    if how == "kill":
        server.kill()
    else:
        server.stop(how)


def restart(server: PostgresServer, how: str) -> None:
    stop(server, how)
    server.start()
