"""Hold-ups: what another transaction keeps from being settled, left out of a turn until it lets go.

It is waited for once, as long as for any lock. From then on it is asked after beforehand, which waits for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec
from psycopg import errors

from workqueue.errors import StoreUnavailable
from workqueue.lifecycle import Settlement
from workqueue.logs import Log
from workqueue.store.contract import Turn, Want
from workqueue.store.postgres.connection import Connection
from workqueue.store.postgres.database import Database

log = Log("workqueue.store")

TakeTurn: TypeAlias = Callable[[Sequence[Settlement], Want | None], Turn]


class HoldUps:
    """database: gives this process's own, or raises QueueClosed."""

    def __init__(self, database: Callable[[], Database]) -> None:
        self._database = database
        self._known: set[tuple[int, int]] = set()  # by job and attempt

    def turn_without(self, take: TakeTurn, settlements: Sequence[Settlement], want: Want | None) -> Turn:
        """Take a turn with what is not held up; what is comes back in it.

        Raises StoreUnavailable where all of it begins to be held up.
        """
        known = [one for one in settlements if _name(one) in self._known] if self._known else []
        held_up = self._ask(known)
        self._known.difference_update(_name(one) for one in known if _name(one) not in held_up)
        while True:
            free = [one for one in settlements if _name(one) not in held_up] if held_up else settlements
            try:
                turn = take(free, want)
            except StoreUnavailable as error:
                more = self._ask(free) if isinstance(error.__cause__, errors.LockNotAvailable) else None
                if not more:
                    raise
                self._known |= more
                held_up |= more
                if want is None and len(more) == len(settlements):
                    raise
                log.warning("%s; %d jobs that have ended are settled once they do, the others now", error, len(more))
                continue
            if not held_up:
                return turn
            return msgspec.structs.replace(turn, held_up=[s.claim for s in settlements if _name(s) in held_up])

    def _ask(self, settlements: Sequence[Settlement]) -> set[tuple[int, int]]:
        """Give those of them that another transaction holds up at this moment."""
        if not settlements:
            return set()

        def work(connection: Connection) -> set[int]:
            row = {"ids": [settlement.claim.job.id for settlement in settlements]}
            locked = {job for (job,) in connection.ask("locked", row).fetchall()}
            if not connection.one("gate_is_open", {"space": connection.space})[0]:
                locked |= {one.claim.job.id for one in settlements if one.claim.job.terms is not None}
            return locked

        locked = self._database().read(work)
        return {_name(settlement) for settlement in settlements if settlement.claim.job.id in locked}


def _name(settlement: Settlement) -> tuple[int, int]:
    return settlement.claim.job.id, settlement.claim.job.attempt
