"""What every runner does beside its jobs: it brings back those of dead and frozen runners. Safe twice: no leader."""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta
from typing import Final

from workqueue.lifecycle import Lost, Settlement, settle
from workqueue.store.contract import Store

log = logging.getLogger("workqueue.upkeep")

_ORPHANS: Final = 500
_CLOCK_STEP: Final = timedelta(seconds=1)


class Upkeep:
    """One runner's share. Its verdicts are settled like any other; of two rescuers the fence lets one through.

    Leases are instants of the wall clock. When that clock steps, or the machine was suspended, living runners look
    late; so nobody is rescued for its lease until all had a lease's time to renew theirs. Free owner bytes need no
    such care.
    """

    def __init__(self, store: Store, *, lease: timedelta, archive: bool) -> None:
        self._store = store
        self._lease = lease
        self._archive = archive
        self._wall, self._monotonic = store.now(), time.monotonic()
        self._quiet_until = self._monotonic + lease.total_seconds() / 4

    def step(self) -> list[Settlement]:
        """Give the verdicts on jobs whose runner is dead, or whose lease has ended."""
        self._notice_clock_steps(self._store.now(), time.monotonic())
        orphans = self._store.orphans(expired=time.monotonic() >= self._quiet_until, limit=_ORPHANS)
        return [
            settle(claim, Lost(f"runner {claim.runner} ended or was frozen"), age=claim.age, archive=self._archive)
            for claim in orphans
        ]

    def _notice_clock_steps(self, wall: datetime, monotonic: float) -> None:
        step = (wall - self._wall) - timedelta(seconds=monotonic - self._monotonic)
        if abs(step) > _CLOCK_STEP:
            log.warning("the wall clock stepped by %s; leases are not judged for %s", step, self._lease)
            self._quiet_until = monotonic + self._lease.total_seconds()
        self._wall, self._monotonic = wall, monotonic
