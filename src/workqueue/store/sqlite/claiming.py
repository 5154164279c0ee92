"""Claiming: the best of what is due and may start, leased to a runner; and what is to come after it."""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec

from workqueue.backoff import Backoff
from workqueue.job import Claim, Lane
from workqueue.store.clock import instant, micros
from workqueue.store.contract import Want
from workqueue.store.gate import Gate, Kept
from workqueue.store.sqlite import terms
from workqueue.store.sqlite.line import Horizon, Line, horizon, lease, look
from workqueue.store.sqlite.schema import SQL

_PROMOTE: Final = 5000  # rows in one transaction
_WHOLE_QUEUE: Final = ""
_EXPIRED: Final = "expired before it could run"


def claim(
    connection: sqlite3.Connection, now: int, want: Want, backoffs: dict[int, Backoff]
) -> tuple[list[Claim], Horizon] | None:
    """Lease what is wanted to the runner, and say what else there is.

    Gives None when so much has become due that one transaction should not move it all: commit, and come again; the best
    of what is due can only be known once all of it stands in line. backoffs: the stored rules by id, added to as they
    are met.
    """
    limit = 1 if want.alone else want.limit
    line = look(connection, want, limit)
    if _WHOLE_QUEUE in line.paused:
        return [], Horizon()
    if line.ahead.is_due(now):
        if _promote(connection, now, want) == _PROMOTE:
            return None
        terms.open_lanes(connection, now, want.queue, _PROMOTE)
        line = look(connection, want, limit)
    if line.paused or any(row.special for row in line.rows):
        return _Gated(connection, now, want, line.paused).claim(line, limit, backoffs)
    claims = lease(connection, now, want, line, backoffs=backoffs)
    return claims, horizon(connection, want.queue) if want.alone and claims else line.ahead


def _promote(connection: sqlite3.Connection, now: int, want: Want) -> int:
    """Make what has become due claimable, up to a limit; give how many."""
    return connection.execute(SQL["promote"], {"queue": want.queue, "now": now, "limit": _PROMOTE}).rowcount


class _Gated:
    """A claim among jobs of which some may not start: those are taken out of the line, and others come up."""

    def __init__(self, connection: sqlite3.Connection, now: int, want: Want, paused: list[str]) -> None:
        self._connection = connection
        self._now = now
        self._want = want
        self._gate = Gate(_Facts(connection, want.queue, now), instant(now), paused)

    def claim(self, line: Line, limit: int, backoffs: dict[int, Backoff]) -> tuple[list[Claim], Horizon]:
        claims: list[Claim] = []
        moved = 0
        while line.rows:
            known = {one.job: one.terms for one in terms.of(self._connection, [r.id for r in line.rows if r.special])}
            expired = [row.id for row in line.rows if self._gate.is_expired(known.get(row.id))]
            for job in expired:
                terms.cancel_waiting(self._connection, self._now, job, _EXPIRED)
            judged = {
                row.id: self._gate.judge(row.id, row.name, known.get(row.id))
                for row in line.rows
                if row.id not in expired
            }
            kept = {job: by for job, by in judged.items() if by is not None}
            if kept:
                terms.keep_back(self._connection, kept)
            new = lease(
                self._connection, self._now, self._want, line, backoffs=backoffs, asked=known, kept={*kept, *expired}
            )
            claims += new
            terms.start(self._connection, [claim.job.id for claim in new if claim.job.terms is not None])
            self._let_others_come()
            moved += len(kept) + len(expired)
            if len(new) < len(judged) - len(kept) or len(claims) >= limit or not (kept or expired) or moved > _PROMOTE:
                break
            line = look(self._connection, self._want, limit - len(claims))
        self._write_down(claims)
        return self._in_order(claims), horizon(self._connection, self._want.queue)

    def _in_order(self, claims: list[Claim]) -> list[Claim]:
        """Sort them: who was let go while others were claimed may be better than those."""
        by_id = {claim.job.id: claim for claim in claims}
        ids = {"ids": msgspec.json.encode(list(by_id)).decode()}
        found = self._connection.execute(SQL["in_order"], ids).fetchone()[0]
        return [by_id[job] for job in msgspec.json.decode(found, type=list[int])]

    def _let_others_come(self) -> None:
        """Where a lane has room, because who was let go is kept back by something else, the next of it may come."""
        for lane in self._gate.limits.values():
            room = self._gate.room(lane)
            if room > 0:
                terms.let_go(self._connection, self._want.queue, Kept.BY_LIMIT, lane.name, room)

    def _write_down(self, claims: list[Claim]) -> None:
        """Count the starts, and close the lanes that keep jobs back until they have room again."""
        starts = [claim.job.terms.rate.name for claim in claims if claim.job.terms and claim.job.terms.rate]
        row = {"queue": self._want.queue, "now": self._now}
        if starts:
            lanes = {"lanes": msgspec.json.encode(starts).decode()}
            self._connection.execute(SQL["add_starts"], row | lanes)
        for lane in self._gate.rates.values():
            since = self._now - micros(lane.per)
            self._connection.execute(SQL["forget_starts"], row | {"lane": lane.name, "since": since})
            self._close(lane, since)

    def _close(self, lane: Lane, since: int) -> None:
        most = lane.starts or 0
        row = {"queue": self._want.queue, "lane": lane.name}
        found = self._connection.execute(SQL["nth_start"], row | {"since": since, "before": most - 1}).fetchone()
        opens_at = self._now if found is None else found[0] + micros(lane.per)
        self._connection.execute(SQL["close_lane"], row | {"most": most, "opens_at": opens_at})


class _Facts:
    """See `gate.Facts`."""

    def __init__(self, connection: sqlite3.Connection, queue: str, now: int) -> None:
        self._connection = connection
        self._queue = queue
        self._now = now

    def running(self, lane: str) -> int:
        return self._ask("limit_runs", lane=lane)

    def started(self, lane: Lane) -> int:
        return self._ask("count_starts", lane=lane.name, since=self._now - micros(lane.per))

    def is_behind(self, order: str, job: int) -> bool:
        return bool(self._ask("is_behind", lane=order, job=job))

    def _ask(self, statement: str, **row: object) -> int:
        return int(self._connection.execute(SQL[statement], row | {"queue": self._queue}).fetchone()[0])
