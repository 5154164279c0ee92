"""Settling in memory: one settlement applied to its row, or refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import msgspec

from workqueue.job import Attempt, Claim, JobStatus
from workqueue.lifecycle import WAITING, Settlement
from workqueue.store.clock import instant, later, micros
from workqueue.store.memory.rows import Row, Rows

_KEPT_ATTEMPTS: Final = 100
_NOW: Final = timedelta(0)


def held(rows: Rows, claim: Claim) -> Row | None:
    """Give the row that still runs as this claim's attempt."""
    row = rows.get(claim.job.id)
    return row if row is not None and row.runs() and row.job.attempt == claim.job.attempt else None


def settle(rows: Rows, settlement: Settlement, *, label: str, now: int) -> Row | None:
    """Apply it if its claim still holds; give the row as it is then, None when it was refused.

    label: of the runner that made the attempt.
    """
    claim = settlement.claim
    row = held(rows, claim)
    if row is None or (settlement.losses and row.lease_until != claim.lease_until):
        return None
    if settlement.to is JobStatus.COMPLETED:
        return _complete(rows, row, settlement, now)
    if settlement.to is JobStatus.FAILED and not settlement.keep:
        rows.remove(row)
        return row
    job = rows.change(row).job
    waits = settlement.to in WAITING and not job.cancel_requested
    delay = settlement.delay
    run_at = micros(job.run_at) if delay is None else later(now, delay)
    row.job = msgspec.structs.replace(
        job,
        status=JobStatus.CANCELLED if settlement.to in WAITING and job.cancel_requested else settlement.to,
        run_at=instant(run_at),
        settled_at=None if waits else instant(now),
        retry_count=job.retry_count + settlement.failures,
        lost=job.lost + settlement.losses,
        message=settlement.error or job.message,
        cancel_requested=False,
        claimed_at=None,
        runner="",
    )
    row.ready = waits and (delay is None or delay <= _NOW)
    if row.position and delay is not None:
        row.position = run_at
    if settlement.outcome:
        row.history = [*row.history, _attempt(settlement, label)][-_KEPT_ATTEMPTS:]
    row.runner = row.lease_until = 0
    return row


def _complete(rows: Rows, row: Row, settlement: Settlement, now: int) -> Row:
    if not settlement.stays:
        rows.remove(row)
        return row
    claim = settlement.claim
    row = rows.change(row)
    row.job = msgspec.structs.replace(
        row.job,
        status=JobStatus.COMPLETED,
        claimed_at=claim.job.pushed_at + claim.age,
        settled_at=instant(now),
        message="",
        cancel_requested=False,
    )
    row.position = row.runner = row.lease_until = 0
    return row


def _attempt(settlement: Settlement, label: str) -> Attempt:
    job = settlement.claim.job
    return Attempt(
        job.attempt,
        label,
        job.pushed_at + settlement.claim.age,
        settlement.duration,
        settlement.outcome,
        settlement.error,
        settlement.traceback,
    )
