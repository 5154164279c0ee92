"""The line of a queue: the front of what may be claimed, seen in one look, and built into claims."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Final, NamedTuple

import msgspec

from workqueue.backoff import Backoff
from workqueue.job import NO_HEADERS, Claim, Job, JobStatus, Terms
from workqueue.store.clock import instant, micros, span
from workqueue.store.contract import Turn, Want
from workqueue.store.headers import read_headers
from workqueue.store.sqlite.connection import Connection
from workqueue.store.sqlite.rules import Rules
from workqueue.store.sqlite.schema import SQL

_CLAIM_BYTES: Final = 32 * 1024 * 1024  # of large data in one claim, so that a batch of big jobs fits into memory
_encode = msgspec.json.encode


class Row(msgspec.Struct, array_like=True, gc=False):
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
    special: int


_rows = msgspec.json.Decoder(list[Row])
_names = msgspec.json.Decoder(list[str])
_sizes = msgspec.json.Decoder(list[int])
_said = msgspec.json.Decoder(list[tuple[int, str]])
_NONE: Final = "[]"


class Horizon(msgspec.Struct, frozen=True):
    """What stands in a queue without being claimed. next_at: when a job for later, or a lane, is to be looked at."""

    ready: bool = False
    suspects: bool = False
    next_at: int | None = None

    def is_due(self, now: int) -> bool:
        """Say whether what waited for its time may come now, and was not let into line yet."""
        return self.next_at is not None and self.next_at <= now

    def turn(self, claims: list[Claim], refused: list[Claim], now: int) -> Turn:
        due = None if self.next_at is None else timedelta(microseconds=max(0, self.next_at - now))
        return Turn(claims, refused, self.suspects, due)


class Line(NamedTuple):
    """The front of a queue. blob: the data of its rows, one after another; ahead: what stands beside and behind.

    paused: the names of jobs that are not to start; the empty one means all. headers: of those that have some, by id.
    """

    rows: list[Row]
    blob: bytes
    ahead: Horizon
    paused: list[str]
    headers: Mapping[int, Mapping[str, str]] | None = None


def horizon(connection: Connection, queue: str) -> Horizon:
    """Look ahead in a queue; where all of it is paused, there is nothing."""
    ready, suspects, run_at, opens_at, paused = connection.execute(SQL["horizon"], {"queue": queue}).fetchone()
    if paused:
        return Horizon()
    return Horizon(ready=bool(ready), suspects=bool(suspects), next_at=_earliest(run_at, opens_at))


def look(connection: Connection, want: Want, limit: int) -> Line:
    """Give the first of the line, up to `limit`."""
    statement = SQL["claim_alone"] if want.alone else SQL["claim"]
    found = connection.execute(statement, {"queue": want.queue, "limit": limit}).fetchone()
    rows_json, blob, suspects, run_at, opens_at, paused, headers = found
    rows = _rows.decode(rows_json)
    ahead = Horizon(ready=bool(rows), suspects=bool(suspects), next_at=_earliest(run_at, opens_at))
    return Line(rows, blob, ahead, _names.decode(paused), _headers(headers))


def _headers(found: str) -> Mapping[int, Mapping[str, str]] | None:
    """Take apart what `claim` says of them; nearly always there are none."""
    return None if found == _NONE else {job: read_headers(said) for job, said in _said.decode(found)}


def _earliest(run_at: int | None, opens_at: int | None) -> int | None:
    if run_at is None or opens_at is None:
        return opens_at if run_at is None else run_at
    return min(run_at, opens_at)


def lease(
    connection: Connection,
    now: int,
    want: Want,
    line: Line,
    *,
    rules: Rules,
    asked: Mapping[int, Terms] | None = None,
    kept: Collection[int] = (),
) -> list[Claim]:
    """Mark what stands in front as claimed, and build the claims; fewer, where the data would be too much for one.

    asked: the terms of special jobs. kept: those that are not to be claimed.
    """
    rows = [row for row in line.rows if row.id not in kept] if kept else line.rows
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
    copies: dict[int, Backoff] = {}  # a handler that changes its job's rule shall not spoil those of later claims
    claims: list[Claim] = []
    data_of = _data(line, large) if kept else None
    offset = 0
    for row in rows:
        if data_of is not None:
            data = data_of[row.id]
        elif row.size is None:
            data = large[row.id]
        else:
            data = line.blob[offset : offset + row.size]
            offset += row.size
        rule = copies.get(row.backoff)
        if rule is None:
            rule = copies[row.backoff] = rules.get(connection, row.backoff).copy()
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
            terms=asked.get(row.id) if row.special and asked is not None else None,
            headers=NO_HEADERS if line.headers is None else line.headers.get(row.id, NO_HEADERS),
        )
        claims.append(Claim(job, want.runner, span(now - row.pushed_at), lease_until))
    return claims


def _data(line: Line, large: dict[int, bytes]) -> dict[int, bytes]:
    """Cut the data of all rows out of the blob, by id."""
    found = dict(large)
    offset = 0
    for row in line.rows:
        if row.size is not None:
            found[row.id] = line.blob[offset : offset + row.size]
            offset += row.size
    return found


def _large(connection: Connection, rows: list[Row]) -> tuple[list[Row], dict[int, bytes]]:
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
