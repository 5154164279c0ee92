"""Claiming: the best of what is due, marked and built into records; and what is to come after it."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from typing import Final, NamedTuple

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

    def is_due(self, now: int) -> bool:
        """Say whether a job that waited for its time may run now, and was not promoted yet."""
        return self.next_run_at is not None and self.next_run_at <= now

    def turn(self, claims: list[Claim], refused: list[Claim], now: int) -> Turn:
        due = None if self.next_run_at is None else timedelta(microseconds=max(0, self.next_run_at - now))
        return Turn(claims, refused, self.suspects, due)


class _Line(NamedTuple):
    """The front of a queue. blob: the data of its rows, one after another; ahead: what stands beside and behind."""

    rows: list[_Row]
    blob: bytes
    ahead: Horizon


def horizon(connection: sqlite3.Connection, want: Want) -> Horizon:
    """Look ahead in the wanted queue."""
    ready, suspects, next_run_at = connection.execute(SQL["horizon"], {"queue": want.queue}).fetchone()
    return Horizon(ready=bool(ready), suspects=bool(suspects), next_run_at=next_run_at)


def claim(
    connection: sqlite3.Connection, now: int, want: Want, backoffs: dict[int, Backoff]
) -> tuple[list[Claim], Horizon] | None:
    """Lease what is wanted to the runner, and say what else there is.

    Gives None when so much has become due that one transaction should not move it all: commit, and come again; the best
    of what is due can only be known once all of it stands in line. backoffs: the stored rules by id, added to as they
    are met.
    """
    line = _look(connection, want)
    if line.ahead.is_due(now):
        if _promote(connection, now, want) == _PROMOTE:
            return None
        line = _look(connection, want)
    claims = _lease(connection, now, want, line, backoffs)
    return claims, horizon(connection, want) if want.alone and claims else line.ahead


def _look(connection: sqlite3.Connection, want: Want) -> _Line:
    statement = SQL["claim_alone"] if want.alone else SQL["claim"]
    limit = 1 if want.alone else want.limit
    found = connection.execute(statement, {"queue": want.queue, "limit": limit}).fetchone()
    rows_json, blob, suspects, next_run_at = found
    rows = _rows.decode(rows_json)
    return _Line(rows, blob, Horizon(ready=bool(rows), suspects=bool(suspects), next_run_at=next_run_at))


def _promote(connection: sqlite3.Connection, now: int, want: Want) -> int:
    """Make what has become due claimable, up to a limit; give how many."""
    return connection.execute(SQL["promote"], {"queue": want.queue, "now": now, "limit": _PROMOTE}).rowcount


def _lease(
    connection: sqlite3.Connection, now: int, want: Want, line: _Line, backoffs: dict[int, Backoff]
) -> list[Claim]:
    """Mark what stands in front as claimed, and build the claims."""
    if not line.rows:
        return []
    rows, large = _large(connection, line.rows)
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
            data = line.blob[offset : offset + row.size]
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
