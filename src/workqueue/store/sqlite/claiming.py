"""Claiming: the best of what is due, marked and built into records; and what is to come after it."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from typing import Final

import msgspec

from workqueue.backoff import Backoff
from workqueue.job import Claim, Job, JobStatus
from workqueue.store.clock import instant, micros, span
from workqueue.store.contract import Turn, Want
from workqueue.store.sqlite.schema import SQL

_CLAIM_BYTES: Final = 32 * 1024 * 1024  # of large data in one claim, so that a batch of big jobs fits into memory
_PROMOTE: Final = 5000  # rows in one transaction
_encode = msgspec.json.encode


class _Row(msgspec.Struct, array_like=True, gc=False):
    """A row of the `claim` statements."""

    id: int
    name: str
    attempt: int
    retry_count: int
    lost: int
    priority: int
    run_at: int
    pushed_at: int
    backoff: int
    size: int | None


_rows = msgspec.json.Decoder(list[_Row])
_sizes = msgspec.json.Decoder(list[int])
_rules = msgspec.json.Decoder(list[tuple[int, Backoff]])


class Horizon(msgspec.Struct, frozen=True):
    """What stands in a queue without being claimed."""

    ready: bool
    suspects: bool
    next_run_at: int | None

    def turn(self, claims: list[Claim], refused: list[Claim], now: int) -> Turn:
        due = None if self.next_run_at is None else timedelta(microseconds=max(0, self.next_run_at - now))
        return Turn(claims, refused, self.suspects, due)


def horizon(connection: sqlite3.Connection, want: Want | None) -> Horizon:
    """Look ahead in the wanted queue."""
    if want is None:
        return Horizon(ready=False, suspects=False, next_run_at=None)
    ready, suspects, next_run_at = connection.execute(SQL["horizon"], {"queue": want.queue}).fetchone()
    return Horizon(ready=bool(ready), suspects=bool(suspects), next_run_at=next_run_at)


def promote(connection: sqlite3.Connection, now: int, want: Want) -> bool:
    """Make what has become due claimable; say whether there may be more of it than one transaction should move."""
    row = {"queue": want.queue, "now": now, "limit": _PROMOTE}
    return connection.execute(SQL["promote"], row).rowcount == _PROMOTE


def claim(connection: sqlite3.Connection, now: int, want: Want, backoffs: dict[int, Backoff]) -> list[Claim]:
    """Lease what is wanted to the runner. backoffs: the stored rules by id, added to as they are met."""
    statement = SQL["claim_alone"] if want.alone else SQL["claim"]
    found = {"queue": want.queue, "limit": 1 if want.alone else want.limit}
    rows_json, blob = connection.execute(statement, found).fetchone()
    rows = _rows.decode(rows_json)
    if not rows:
        return []
    rows, large = _large(connection, rows)
    lease_until = now + micros(want.lease)
    columns = {
        "ids": _encode([row.id for row in rows]).decode(),
        "runner": want.runner,
        "lease_until": lease_until,
    }
    connection.execute(SQL["claimed"], columns)
    rules: dict[int, Backoff] = {}  # a handler that changes its job's rule shall not spoil those of later claims
    claims: list[Claim] = []
    offset = 0
    for row in rows:
        if row.size is None:
            data = large[row.id]
        else:
            data = blob[offset : offset + row.size]
            offset += row.size
        rule = rules.get(row.backoff)
        if rule is None:
            rule = rules[row.backoff] = _backoff(connection, row.backoff, backoffs).copy()
        job = Job(
            id=row.id,
            queue=want.queue,
            name=row.name,
            data=data,
            status=JobStatus.RUNNING,
            priority=row.priority,
            run_at=instant(row.run_at),
            pushed_at=instant(row.pushed_at),
            attempt=row.attempt,
            retry_count=row.retry_count,
            lost=row.lost,
            backoff=rule,
        )
        claims.append(Claim(job, want.runner, span(now - row.pushed_at), lease_until))
    return claims


def _large(connection: sqlite3.Connection, rows: list[_Row]) -> tuple[list[_Row], dict[int, bytes]]:
    """Fetch the data that stand in `payloads`; give fewer rows when they would be too much for one claim."""
    ids = [row.id for row in rows if row.size is None]
    if not ids:
        return rows, {}
    answer = connection.execute(SQL["large_sizes"], {"ids": _encode(ids).decode()}).fetchone()[0]
    sizes = dict(zip(ids, _sizes.decode(answer), strict=True))
    total = 0
    for index, row in enumerate(rows):
        total += sizes.get(row.id, 0)
        if total > _CLAIM_BYTES and index:
            rows = rows[:index]
            break
    return rows, {
        row.id: connection.execute(SQL["large"], {"id": row.id}).fetchone()[0] for row in rows if row.size is None
    }


def _backoff(connection: sqlite3.Connection, backoff: int, backoffs: dict[int, Backoff]) -> Backoff:
    found = backoffs.get(backoff)
    if found is None:
        backoffs.update(_rules.decode(connection.execute(SQL["backoff_rules"]).fetchone()[0]))
        found = backoffs[backoff]
    return found
