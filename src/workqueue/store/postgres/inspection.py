"""What server keeps the jobs, and what is to be known of it."""

from __future__ import annotations

from typing import Final

from workqueue.store.contract import Engine
from workqueue.store.postgres.connection import Connection

SENTENCES: Final = (
    "attempts belong to no job",
    "jobs name a backoff that is not stored",
    "attempts are later than their job's own count",
    "jobs have completed, and have not",
    "completed jobs name a backoff that is not stored",
    "attempts that did not complete are no earlier than the one that completed their job",
)
_SETTINGS: Final = (
    "synchronous_commit",
    "fsync",
    "full_page_writes",
    "synchronous_standby_names",
    "default_transaction_isolation",
    "autovacuum",
)


def engine(connection: Connection) -> Engine:
    """Say what keeps the jobs, with its settings as this connection has them."""
    settings = {name: str(connection.one("setting", {"name": name})[0]) for name in _SETTINGS}
    number = connection.info.server_version
    return Engine(
        name="PostgreSQL",
        version=f"{number // 10000}.{number % 10000}",
        settings=settings,
        notes=_notes(settings, pooled=connection.pooled),
    )


def _notes(settings: dict[str, str], *, pooled: bool) -> list[str]:
    notes: list[str] = []
    if settings.get("synchronous_commit") == "off":
        notes.append("synchronous_commit is off: a job that was pushed may be lost when the server's machine crashes")
    if settings.get("fsync") == "off":
        notes.append("fsync is off: a crash of the server's machine can damage the database")
    if settings.get("full_page_writes") == "off":
        notes.append("full_page_writes is off: after a crash, also of the server alone, the database may not recover")
    if not settings.get("synchronous_standby_names"):
        notes.append("no synchronous standby: a failover can lose the last commits")
    if pooled:
        notes.append("a pooler stands between: runners poll, and a runner's death is seen by its lease alone")
    return notes
