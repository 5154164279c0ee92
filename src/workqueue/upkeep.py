"""What every runner does beside its jobs: it brings back those of dead and frozen runners. Safe twice: no leader.

And of its own those that it does not know of.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from workqueue.job import JobStatus
from workqueue.lifecycle import Lost, Settlement, handing_back, settle
from workqueue.logs import Log
from workqueue.store.contract import Store

log = Log("workqueue.upkeep")

_ORPHANS: Final = 500
_CLOCK_STEP: Final = timedelta(seconds=1)  # or a quarter of a shorter lease


class Upkeep:
    """One runner's share. Its verdicts are settled like any other; of two rescuers the fence lets one through.

    Leases are instants of the wall clock. When that clock steps, or the machine was suspended, or all that ran on it
    was stopped, living runners look late; so nobody is rescued for its lease until all had a lease's time to renew
    theirs. Free owner bytes need no such care.

    runner: whose upkeep it is. every: how long it is meant to be from one step to the next. knows: gives the names of
    the jobs that it can run, of which there may be more in time; None: it can run any.
    """

    def __init__(
        self,
        store: Store,
        runner: int,
        *,
        every: timedelta,
        lease: timedelta,
        archive: bool,
        knows: Callable[[], list[str]] | None = None,
    ) -> None:
        self._store = store
        self._runner = runner
        self._knows = knows
        self._introduced = False
        self._said: list[str] | None = None
        self._lease = lease
        self._clock_step = min(_CLOCK_STEP, lease / 4)
        self._longest_pause = every.total_seconds() + lease.total_seconds() / 4
        self._archive = archive
        self._wall, self._monotonic = store.now(), time.monotonic()
        self._quiet_until = self._monotonic + lease.total_seconds() / 4

    def step(self) -> list[Settlement]:
        """Give the verdicts on jobs whose runner is dead, or whose lease has ended."""
        self._introduce()
        judged = self._may_judge_leases()
        orphans = self._store.orphans(expired=judged, limit=_ORPHANS)
        if judged and not self._may_judge_leases():  # something happened after we had looked
            orphans = self._store.orphans(expired=False, limit=_ORPHANS)
        return [
            settle(claim, Lost(f"runner {claim.runner} ended or was frozen"), age=claim.age, archive=self._archive)
            for claim in orphans
            if claim.runner != self._runner
        ]

    def _introduce(self) -> None:
        """Tell people what the runner can run, when that has changed."""
        known = None if self._knows is None else self._knows()
        if not self._introduced or known != self._said:
            self._store.introduce(self._runner, self._lease, known)
            self._introduced, self._said = True, known

    def _may_judge_leases(self) -> bool:
        self._notice(self._store.now(), time.monotonic())
        return time.monotonic() >= self._quiet_until

    def _notice(self, wall: datetime, monotonic: float) -> None:
        """Notice a step of the clock, and a pause in which others may have stood still, too."""
        pause = monotonic - self._monotonic
        step = (wall - self._wall) - timedelta(seconds=pause)
        if abs(step) > self._clock_step:
            log.warning("the wall clock stepped by %s; leases are not judged for %s", step, self._lease)
            self._quiet_until = monotonic + self._lease.total_seconds()
        elif pause > self._longest_pause:
            log.warning("nothing ran here for %.1f s; leases are not judged for %s", pause, self._lease)
            self._quiet_until = monotonic + self._lease.total_seconds()
        self._wall, self._monotonic = wall, monotonic


def unknown(store: Store, runner: int, known: Mapping[int, int]) -> list[Settlement]:
    """Hand back what the store holds for a runner that does not have it: its own beat would keep it running for ever.

    known: the jobs that it has, each with its attempt.
    """
    held = store.held(runner).held
    jobs = [store.get(job_id) for job_id, attempt in held.items() if known.get(job_id) != attempt]
    return [
        handing_back(job, runner) for job in jobs if job.status is JobStatus.RUNNING and job.attempt == held[job.id]
    ]
