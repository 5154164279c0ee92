"""Claiming among jobs of which some may not start: those are taken out of the line, and others come up."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol, TypeVar

import msgspec

from workqueue.job import Claim, Lane, Terms
from workqueue.store.clock import instant, micros
from workqueue.store.gate import Gate, Kept
from workqueue.store.relational import terms
from workqueue.store.relational.session import Session

MOST_MOVED: Final = 5000  # rows taken out of the line, or let into it, in one transaction


class Standing(Protocol):
    """A job that stands in line."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def special(self) -> int: ...


class Line(Protocol):
    """The front of a queue, best first."""

    @property
    def rows(self) -> Sequence[Standing]: ...


LineT = TypeVar("LineT", bound=Line)


class Front(Protocol[LineT]):
    """The engine's part of a claim."""

    def look(self, limit: int) -> LineT:
        """Give the first of the line, up to `limit`."""
        ...

    def lease(self, line: LineT, asked: Mapping[int, Terms], kept: Collection[int]) -> list[Claim]:
        """Claim those of the line that are not in `kept`; fewer, where their data would be too much for one claim.

        asked: the terms of special jobs.
        """
        ...


class Gating:
    """One claim of a queue, inside a write transaction. paused: the names of jobs that are not to start."""

    def __init__(self, session: Session, now: int, queue: str, paused: Collection[str]) -> None:
        self._session = session
        self._now = now
        self._queue = queue
        self._gate = Gate(_Facts(session, queue, now), instant(now), paused)

    def claim(self, front: Front[LineT], line: LineT, limit: int) -> list[Claim]:
        """Claim up to `limit` from the front, of which `line` was seen already."""
        claims: list[Claim] = []
        moved = 0
        while line.rows:
            known = {one.job: one.terms for one in terms.of(self._session, [r.id for r in line.rows if r.special])}
            expired = [row.id for row in line.rows if self._gate.is_expired(known.get(row.id))]
            for job in expired:
                terms.expire(self._session, self._now, job)
            judged = {
                row.id: self._gate.judge(row.id, row.name, known.get(row.id))
                for row in line.rows
                if row.id not in expired
            }
            kept = {job: by for job, by in judged.items() if by is not None}
            if kept:
                terms.keep_back(self._session, kept)
            new = front.lease(line, known, {*kept, *expired})
            claims += new
            terms.start(self._session, [claim.job.id for claim in new if claim.job.terms is not None])
            self._let_others_come()
            moved += len(kept) + len(expired)
            if (
                len(new) < len(judged) - len(kept)
                or len(claims) >= limit
                or not (kept or expired)
                or moved > MOST_MOVED
            ):
                break
            line = front.look(limit - len(claims))
        self._write_down(claims)
        return self._in_order(claims)

    def _in_order(self, claims: list[Claim]) -> list[Claim]:
        """Sort them: who was let go while others were claimed may be better than those."""
        by_id = {claim.job.id: claim for claim in claims}
        ids = {"ids": msgspec.json.encode(list(by_id)).decode()}
        found = self._session.ask("in_order", ids).fetchone()[0]
        return [by_id[job] for job in msgspec.json.decode(found, type=list[int])]

    def _let_others_come(self) -> None:
        """Where a lane has room, because who was let go is kept back by something else, the next of it may come."""
        for lane in self._gate.limits.values():
            room = self._gate.room(lane)
            if room > 0:
                terms.let_go(self._session, self._queue, Kept.BY_LIMIT, lane.name, room)

    def _write_down(self, claims: list[Claim]) -> None:
        """Count the starts, and close the lanes that keep jobs back until they have room again."""
        starts = [claim.job.terms.rate.name for claim in claims if claim.job.terms and claim.job.terms.rate]
        row = {"queue": self._queue, "now": self._now}
        if starts:
            lanes = {"lanes": msgspec.json.encode(starts).decode()}
            self._session.ask("add_starts", row | lanes)
        for lane in self._gate.rates.values():
            since = self._now - micros(lane.per)
            self._session.ask("forget_starts", row | {"lane": lane.name, "since": since})
            self._close(lane)

    def _close(self, lane: Lane) -> None:
        most = lane.starts or 0
        row = {"queue": self._queue, "lane": lane.name}
        found = self._session.ask("nth_start", row | {"before": most - 1}).fetchone()
        opens_at = self._now if found is None else found[0] + micros(lane.per)
        self._session.ask("close_lane", row | {"most": most, "opens_at": opens_at, "now": self._now})


class _Facts:
    """See `gate.Facts`."""

    def __init__(self, session: Session, queue: str, now: int) -> None:
        self._session = session
        self._queue = queue
        self._now = now

    def running(self, lane: str) -> int:
        return self._ask("limit_runs", lane=lane)

    def started(self, lane: Lane) -> int:
        return self._ask("count_starts", lane=lane.name, since=self._now - micros(lane.per))

    def is_behind(self, order: str, job: int) -> bool:
        return bool(self._ask("is_behind", lane=order, job=job))

    def _ask(self, statement: str, **row: object) -> int:
        return int(self._session.ask(statement, row | {"queue": self._queue}).fetchone()[0])
