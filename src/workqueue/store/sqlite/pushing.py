"""Storing new jobs: one statement for each run of jobs that differ in their data alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Final, NamedTuple, TypeAlias, cast

import msgspec

from workqueue.job import NewJob
from workqueue.store.clock import later, micros
from workqueue.store.sqlite import terms
from workqueue.store.sqlite.schema import SQL
from workqueue.store.sqlite.terms import INLINE

Columns: TypeAlias = dict[str, object]
Pushing: TypeAlias = tuple[
    Callable[[sqlite3.Connection, int], list[int]], Callable[[sqlite3.Connection, list[int]], bool]
]
"""What `Database.write` takes: the work, and whether it is in the file after a commit of unknown fate."""
_FOLLOWING: Final = 3  # as `ready`


class Stored(NamedTuple):
    """The jobs of a push: what its caller is told, and those that were stored for it, with their queues."""

    ids: list[int]
    new: list[tuple[int, str]]


def store(connection: sqlite3.Connection, now: int, batches: Sequence[tuple[int, Sequence[NewJob]]]) -> Stored:
    """Store batches of alike jobs, each with its backoff: all, or none when it raises, inside a guest's block too."""
    stored = Stored([], [])
    with _all_or_none(connection) if any(is_special(batch[0]) for _, batch in batches) else nullcontext():
        for backoff, batch in batches:
            if is_special(batch[0]):
                _insert_special(connection, now, backoff, batch, stored)
            else:
                ids = _insert(connection, now, backoff, batch)
                stored.ids.extend(ids)
                stored.new.append((ids[-1], batch[-1].queue))
    return stored


@contextmanager
def _all_or_none(connection: sqlite3.Connection) -> Generator[None]:
    connection.execute(SQL["begin_push"])
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # a full disk has rolled back all of it
            connection.execute(SQL["undo_push"])
            connection.execute(SQL["end_push"])
        raise
    connection.execute(SQL["end_push"])


def is_special(job: NewJob) -> bool:
    """Say whether it asks for more than its turn."""
    return job.terms is not None or job.expires is not None


def _insert_special(
    connection: sqlite3.Connection, now: int, backoff: int, batch: Sequence[NewJob], stored: Stored
) -> None:
    holder = terms.holder(connection, batch[0], now)  # one with a key is a batch of its own
    if holder is not None:
        stored.ids.append(holder)
        return
    before = stored.ids[-1] if stored.ids else None
    asked = [terms.resolved(job, now, before) for job in batch]
    follows = asked[0].follows is not None or asked[0].follows_batch is not None
    ids = _insert(connection, now, backoff, batch, special=1, ready=_FOLLOWING if follows else None)
    terms.add(connection, batch[0], now, dict(zip(ids, zip(batch, asked, strict=True), strict=True)))
    stored.ids.extend(ids)
    stored.new.append((ids[-1], batch[-1].queue))


def _insert(
    connection: sqlite3.Connection,
    now: int,
    backoff: int,
    batch: Sequence[NewJob],
    *,
    special: int = 0,
    ready: int | None = None,
) -> range:
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
        "ready": int(run_at <= now) if ready is None else ready,
        "special": special,
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
    if is_special(a) or is_special(b):
        return _same_special(a, b)
    return _same_place(a, b)


def _same_special(a: NewJob, b: NewJob) -> bool:
    """Say so of those whose terms may differ; not of what must be looked at by itself: a key, or one that follows."""
    return (
        a.terms is not None
        and b.terms is not None
        and a.expires == b.expires
        and all(one.key is None and one.follows is None and one.follows_batch is None for one in (a.terms, b.terms))
        and _same_place(a, b)
    )


def _same_place(a: NewJob, b: NewJob) -> bool:
    return (
        a.name == b.name
        and a.queue == b.queue
        and a.run_at == b.run_at
        and a.delay == b.delay
        and a.priority == b.priority
        and a.timing == b.timing
        and (a.backoff is b.backoff or a.backoff == b.backoff)
    )
