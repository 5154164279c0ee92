"""Storing new jobs: one statement for each run of jobs that differ in their data alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias, cast

import msgspec

from workqueue.job import NewJob
from workqueue.store.clock import later, micros
from workqueue.store.sqlite.schema import SQL

Columns: TypeAlias = dict[str, object]
Pushing: TypeAlias = tuple[
    Callable[[sqlite3.Connection, int], list[int]], Callable[[sqlite3.Connection, list[int]], bool]
]
"""What `Database.write` takes: the work, and whether it is in the file after a commit of unknown fate."""
INLINE: Final = 1024  # bytes of data that stand in the job's own row


def insert(connection: sqlite3.Connection, now: int, backoff: int, batch: Sequence[NewJob]) -> range:
    """Store a batch of alike jobs; give their ids."""
    head = batch[0]
    run_at = now if head.delay is None else later(now, head.delay)
    if head.run_at is not None:
        run_at = micros(head.run_at)
    columns: Columns = {
        "queue": head.queue,
        "name": head.name,
        "priority": head.priority,
        "position": run_at if head.timing else 0,
        "run_at": run_at,
        "now": now,
        "ready": int(run_at <= now),
        "backoff": backoff,
    }
    if len(batch) == 1:
        return _insert_one(connection, columns, head.data)
    return _insert_many(connection, columns, [job.data for job in batch])


def _insert_one(connection: sqlite3.Connection, columns: Columns, data: bytes) -> range:
    columns["data"] = data if len(data) <= INLINE else None
    job = cast("int", connection.execute(SQL["push_one"], columns).lastrowid)
    if len(data) > INLINE:
        connection.execute(SQL["push_one_large"], {"job": job, "data": data})
    return range(job, job + 1)


def _insert_many(connection: sqlite3.Connection, columns: Columns, batch: Sequence[bytes]) -> range:
    """Hand the data over as one blob, cut up by the statement."""
    rows: list[tuple[int, int]] = []
    offset = 1
    for data in batch:
        rows.append((offset, len(data)))
        offset += len(data)
    blob = b"".join([*batch, b"\0"])  # SQLite's substr of an empty blob is NULL
    cut: Columns = {"rows": msgspec.json.encode(rows).decode(), "blob": blob, "inline": INLINE}
    last = cast("int", connection.execute(SQL["push"], columns | cut).lastrowid)
    first = last - len(batch) + 1
    if any(len(data) > INLINE for data in batch):
        connection.execute(SQL["push_large"], cut | {"first": first})
    return range(first, last + 1)


def alike(jobs: Sequence[NewJob]) -> Iterator[Sequence[NewJob]]:
    """Cut `jobs` where anything but the data changes: each piece is one statement."""
    start = 0
    for index in range(1, len(jobs) + 1):
        if index == len(jobs) or not _same_head(jobs[start], jobs[index]):
            yield jobs[start:index]
            start = index


def _same_head(a: NewJob, b: NewJob) -> bool:
    return (
        a.name == b.name
        and a.queue == b.queue
        and a.run_at == b.run_at
        and a.delay == b.delay
        and a.priority == b.priority
        and a.timing == b.timing
        and (a.backoff is b.backoff or a.backoff == b.backoff)
    )
