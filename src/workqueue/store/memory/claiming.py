"""Claiming in memory: the best of what is due and may start, leased to a runner."""

from __future__ import annotations

import msgspec

from workqueue.job import Claim, Terms
from workqueue.store.clock import micros
from workqueue.store.contract import Want
from workqueue.store.gate import Gate, Kept
from workqueue.store.memory.keeping import Keeping
from workqueue.store.memory.rows import Row, Rows
from workqueue.store.memory.runners import Runner


def claim(rows: Rows, keeping: Keeping, want: Want, now: int, *, runner: Runner | None) -> list[Claim]:
    """Lease what is wanted to the runner, which is that of `want`, if it was ever enlisted."""
    label, its_lease = ("", None) if runner is None else (runner.label, runner.lease)
    _promote(rows, want.queue, now)
    keeping.open_lanes(want.queue, now)
    limit = 1 if want.alone else want.limit
    gate = keeping.gate(want.queue, now)
    claimed: list[Row] = []
    while best := _best(rows, want)[: limit - len(claimed)]:
        alive = [row for row in best if not (gate.is_expired(row.job.terms) and keeping.expire(row, now))]
        started = [row for row in alive if _may_start(rows, gate, row)]
        for row in started:
            rows.change(row).lease(want.runner, label, now + micros(want.lease))
            row.say_since(its_lease)
        claimed += started
        keeping.let_others_come(want.queue, gate)
    keeping.note_starts(want.queue, gate, claimed, now)
    claimed.sort(key=Row.order)
    # What is claimed to be run carries neither the last error along nor who runs it and since when, as in every engine.
    return [row.claim(msgspec.structs.replace(row.job, message="", runner="", claimed_at=None), now) for row in claimed]


def _promote(rows: Rows, queue: str, now: int) -> None:
    for row in rows.of(queue):
        if row.waits() and not row.ready and row.is_due(now):
            rows.change(row).ready = True


def _best(rows: Rows, want: Want) -> list[Row]:
    line = (row for row in rows.of(want.queue) if row.stands_in_line() and bool(row.job.lost) == want.alone)
    return sorted(line, key=Row.order)


def _may_start(rows: Rows, gate: Gate, row: Row) -> bool:
    kept: Kept | None = gate.judge(row.job.id, row.job.name, row.job.terms)
    if kept is not None:
        rows.change(row).kept = kept
        if row.job.terms is None:
            row.job = msgspec.structs.replace(row.job, terms=Terms())
    return kept is None
