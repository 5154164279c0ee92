"""Looking into a queue's file: jobs as records, and invariants as sentences."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from typing import Final

import msgspec

from workqueue.backoff import Backoff
from workqueue.job import Attempt, Job, JobStatus
from workqueue.store.clock import instant
from workqueue.store.contract import Find
from workqueue.store.sqlite.schema import SQL

_SENTENCES: Final = (
    "jobs have no data, neither in their row nor in payloads",
    "payloads belong to no job",
    "attempts belong to no job",
    "jobs name a backoff that is not stored",
    "attempts are later than their job's own count",
    "jobs have an id that was never given out",
)


def get(connection: sqlite3.Connection, job_id: int) -> Job | None:
    """Give one job, or None."""
    cursor = connection.execute(SQL["get"], {"id": job_id})
    row = cursor.fetchone()
    cursor.close()
    return None if row is None else _job(_names(cursor), row)


def find(connection: sqlite3.Connection, which: Find) -> list[Job]:
    """Give the jobs that `which` describes."""
    cursor = connection.execute(
        SQL["find"],
        {
            "queue": which.queue,
            "status": None if which.status is None else int(which.status),
            "name": which.name,
            "after": which.after,
            "limit": which.limit,
        },
    )
    names = [column[0] for column in cursor.description]
    return [_job(names, row) for row in cursor.fetchall()]


def history(connection: sqlite3.Connection, job_id: int) -> list[Attempt]:
    """Give the kept attempts of a job, oldest first."""
    return [
        Attempt(attempt, runner, instant(started_at), timedelta(microseconds=duration), outcome, error, traceback)
        for attempt, runner, started_at, duration, outcome, error, traceback in connection.execute(
            SQL["history"], {"id": job_id}
        ).fetchall()
    ]


def broken_invariants(connection: sqlite3.Connection) -> list[str]:
    """Give what SQLite finds wrong with the file, and what we find wrong with its rows."""
    found = [f"SQLite: {line}" for (line,) in connection.execute("PRAGMA integrity_check").fetchall() if line != "ok"]
    counts = connection.execute(SQL["check_payloads"]).fetchone()
    found += [f"{count} {sentence}" for count, sentence in zip(counts, _SENTENCES, strict=True) if count]
    odd = connection.execute(SQL["check_rows"]).fetchone()[0]
    if odd:
        found.append(f"{odd} jobs have columns that do not fit their status")
    return found


def _names(cursor: sqlite3.Cursor) -> list[str]:
    return [column[0] for column in cursor.description]


def _job(names: list[str], row: tuple[object, ...]) -> Job:
    stored = msgspec.convert(dict(zip(names, row, strict=True)), _Stored)
    return Job(
        id=stored.id,
        queue=stored.queue,
        name=stored.name,
        data=stored.payload,
        status=JobStatus(stored.status),
        priority=stored.priority,
        run_at=instant(stored.run_at),
        pushed_at=instant(stored.pushed_at),
        settled_at=None if stored.settled_at is None else instant(stored.settled_at),
        attempt=stored.attempt,
        retry_count=stored.retry_count,
        lost=stored.lost,
        cancel_requested=bool(stored.cancel_requested),
        message=stored.message,
        backoff=msgspec.json.decode(stored.rule, type=Backoff),
    )


class _Stored(msgspec.Struct):
    id: int
    queue: str
    name: str
    status: int
    priority: int
    run_at: int
    pushed_at: int
    settled_at: int | None
    attempt: int
    retry_count: int
    lost: int
    cancel_requested: int
    message: str
    payload: bytes
    rule: str
