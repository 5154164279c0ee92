"""Claiming: most turns are one statement; what is due, special or paused in the way takes a transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import msgspec

from workqueue.backoff import Backoff
from workqueue.job import NO_HEADERS, Claim, Job, JobStatus, Terms
from workqueue.logs import Log
from workqueue.store.clock import instant, micros, span
from workqueue.store.contract import Turn, Want
from workqueue.store.headers import read_headers
from workqueue.store.postgres.connection import Connection
from workqueue.store.postgres.looking import Place
from workqueue.store.relational import terms
from workqueue.store.relational.gating import MOST_MOVED, Gating
from workqueue.store.relational.rules import by_id

log = Log("workqueue.store")

CLAIM_BYTES: Final = 32 * 1024 * 1024  # of data in one claim, so that a batch of big jobs fits into memory
_names = msgspec.json.Decoder(list[str])


class Row(NamedTuple):
    """A row of the statements that claim; `nothing` is of others."""

    id: int
    run_at: int
    priority: int
    position: int
    special: bool
    nothing: bool | None
    nothing_either: bool | None
    backoff: int
    attempt: int
    retry_count: int
    lost: int
    pushed_at: int
    name: str
    data: bytes
    headers: str | None


class Beside(NamedTuple):
    """The first row of `turn`: what there is beside the claims.

    took: microseconds, of the look at the front. accepted: jobs and attempts; None where all were.
    """

    now: int
    run_at: int | None
    opens_at: int | None
    suspects: bool
    paused: bool
    special: bool
    completed: int
    took: int
    accepted: list[list[int]] | None

    def is_in_the_way(self) -> bool:
        """Say whether what is due, special or paused kept the statement from claiming."""
        return self.paused or self.special or self.is_due()

    def is_due(self) -> bool:
        return any(at is not None and at <= self.now for at in (self.run_at, self.opens_at))

    def turn(self, claims: list[Claim], refused: list[Claim], head_in: float | None) -> Turn:
        """Give the turn. head_in: seconds until the head of the line is to be looked at, where it was not."""
        head_at = None if head_in is None else self.now + round(head_in * 1_000_000)
        return Turn(claims, refused, self.suspects, _until(self.now, self.run_at, self.opens_at, head_at))


def read_turn(rows: Sequence[tuple[Any, ...]]) -> tuple[Beside, list[Row]]:
    """Take the answer of `turn` apart; the jobs in their order."""
    beside: Beside | None = None
    found: list[Row] = []
    for row in rows:
        if row[0] is None:
            beside = Beside._make((*row[1:8], row[11], row[15]))
        else:
            found.append(Row(*row[:15]))
    if beside is None:
        raise LookupError("expected the row of a turn that stands beside its claims, got none")
    found.sort(key=place)
    return beside, found


def place(row: Row) -> Place:
    """Say where in the line of its queue a job stood."""
    return Place(-row.priority, row.position, row.id)


class Claims:
    """Builds claims of rows. Knows the stored retry rules by id, and learns those it meets.

    On each connection anew: one that was opened after a failover may lead to where the same ids are those of others.
    """

    def __init__(self) -> None:
        self._rules: WeakKeyDictionary[Connection, dict[int, Backoff]] = WeakKeyDictionary()

    def build(
        self,
        connection: Connection,
        want: Want,
        now: int,
        rows: Sequence[Row],
        *,
        lease_until: int,
        asked: Mapping[int, Terms] | None = None,
    ) -> list[Claim]:
        """Give the claims of rows as they are now: running."""
        rules: dict[int, Backoff] = {}  # a handler that changes its job's rule shall not spoil those of later claims
        claims: list[Claim] = []
        for row in rows:
            rule = rules.get(row.backoff)
            if rule is None:
                rule = rules[row.backoff] = self._rule(connection, row.backoff).copy()
            job = Job(
                id=row.id,
                queue=want.queue,
                name=row.name,
                data=row.data,
                status=JobStatus.RUNNING,
                priority=row.priority,
                run_at=instant(row.run_at),
                pushed_at=instant(row.pushed_at),
                attempt=row.attempt,
                retry_count=row.retry_count,
                lost=row.lost,
                backoff=rule,
                terms=asked.get(row.id) if row.special and asked is not None else None,
                headers=NO_HEADERS if row.headers is None else read_headers(row.headers),
            )
            claims.append(Claim(job, want.runner, span(now - row.pushed_at), lease_until))
        return claims

    def _rule(self, connection: Connection, backoff: int) -> Backoff:
        rules = self._rules.setdefault(connection, {})
        if backoff not in rules:
            rules.update(by_id(connection))
        found = rules.get(backoff)
        if found is None:
            log.warning(
                "expected retry rule %d of a job to be stored, but a failover or a restored backup has lost it; "
                "the default one is taken",
                backoff,
            )
            found = Backoff()
        return found


class Line(NamedTuple):
    """See `relational.gating.Line`."""

    rows: list[Row]


class Front:
    """See `relational.gating.Front`: the front of a queue, whose rows are locked for the transaction."""

    def __init__(self, connection: Connection, now: int, want: Want, token: int, claims: Claims) -> None:
        self._connection = connection
        self._now = now
        self._want = want
        self._token = token
        self._claims = claims

    def look(self, limit: int) -> Line:
        statement = "line_alone" if self._want.alone else "line"
        rows = self._connection.ask(statement, {"queue": self._want.queue, "limit": limit}).fetchall()
        return Line([Row(*row) for row in rows])

    def lease(self, line: Line, asked: Mapping[int, Terms], kept: Collection[int]) -> list[Claim]:
        rows = fitting([row for row in line.rows if row.id not in kept])
        if not rows:
            return []
        lease_until = self._now + micros(self._want.lease)
        row = {"runner": self._want.runner, "token": self._token, "lease_until": lease_until}
        self._connection.ask("claim", row | {"ids": [found.id for found in rows]})
        return self._claims.build(self._connection, self._want, self._now, rows, lease_until=lease_until, asked=asked)


def fitting(rows: list[Row]) -> list[Row]:
    """Give as many as fit into one claim, at least one."""
    total = 0
    for index, row in enumerate(rows):
        total += len(row.data)
        if total > CLAIM_BYTES and index:
            return rows[:index]
    return rows


def claim_gated(connection: Connection, now: int, want: Want, token: int, claims: Claims) -> Turn:
    """Claim inside a gated transaction, with all that is due let into line before."""
    pauses = connection.ask("pauses", {"queue": want.queue}).fetchone()
    paused = _names.decode(pauses[0]) if pauses else []
    if "" in paused:
        return Turn([], [], suspects=False, next_due=None)
    row = {"queue": want.queue, "now": now, "limit": MOST_MOVED}
    while connection.ask("promote", row).rowcount == MOST_MOVED:
        pass
    terms.open_lanes(connection, now, want.queue, MOST_MOVED)
    front = Front(connection, now, want, token, claims)
    limit = 1 if want.alone else want.limit
    found = Gating(connection, now, want.queue, paused).claim(front, front.look(limit), limit)
    return horizon(connection, now, want.queue, found)


def horizon(connection: Connection, now: int, queue: str, claims: list[Claim]) -> Turn:
    """Give the turn of these claims, with what is to come after it."""
    ahead = connection.one("horizon", {"queue": queue})
    return Turn(claims, [], bool(ahead[0]), _until(now, ahead[1], ahead[2]))


def _until(now: int, *instants: int | None) -> timedelta | None:
    """Give the time until the first of them; None where there is none."""
    known = [at for at in instants if at is not None]
    return timedelta(microseconds=max(0, min(known) - now)) if known else None
