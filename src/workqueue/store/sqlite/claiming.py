"""Claiming: the best of what is due and may start, leased to a runner; and what is to come after it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from workqueue.job import Claim, Terms
from workqueue.store.contract import Want
from workqueue.store.relational import terms
from workqueue.store.relational.gating import MOST_MOVED, Gating
from workqueue.store.sqlite.connection import Connection
from workqueue.store.sqlite.line import Horizon, Line, horizon, lease, look
from workqueue.store.sqlite.rules import Rules
from workqueue.store.sqlite.schema import SQL

_WHOLE_QUEUE: Final = ""


def claim(connection: Connection, now: int, want: Want, rules: Rules) -> tuple[list[Claim], Horizon] | None:
    """Lease what is wanted to the runner, and say what else there is.

    Gives None when so much has become due that one transaction should not move it all: commit, and come again; the best
    of what is due can only be known once all of it stands in line.
    """
    limit = 1 if want.alone else want.limit
    line = look(connection, want, limit)
    if _WHOLE_QUEUE in line.paused:
        return [], Horizon()
    if line.ahead.is_due(now):
        if _promote(connection, now, want) == MOST_MOVED:
            return None
        terms.open_lanes(connection, now, want.queue, MOST_MOVED)
        line = look(connection, want, limit)
    if line.paused or any(row.special for row in line.rows):
        front = _Front(connection, now, want, rules)
        claims = Gating(connection, now, want.queue, line.paused).claim(front, line, limit)
        return claims, horizon(connection, want.queue)
    claims = lease(connection, now, want, line, rules=rules)
    return claims, horizon(connection, want.queue) if want.alone and claims else line.ahead


def _promote(connection: Connection, now: int, want: Want) -> int:
    """Make what has become due claimable, up to a limit; give how many."""
    row = {"queue": want.queue, "now": now}
    connection.execute(SQL["let_into_orders"], row)
    return connection.execute(SQL["promote"], row | {"limit": MOST_MOVED}).rowcount


class _Front:
    """See `relational.gating.Front`."""

    def __init__(self, connection: Connection, now: int, want: Want, rules: Rules) -> None:
        self._connection = connection
        self._now = now
        self._want = want
        self._rules = rules

    def look(self, limit: int) -> Line:
        return look(self._connection, self._want, limit)

    def lease(self, line: Line, asked: Mapping[int, Terms], kept: Collection[int]) -> list[Claim]:
        return lease(self._connection, self._now, self._want, line, rules=self._rules, asked=asked, kept=kept)
