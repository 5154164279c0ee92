"""Settling claims: the compare-and-set of the fence, for a batch at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from workqueue.job import Claim, JobStatus
from workqueue.lifecycle import FINAL, Settlement
from workqueue.store.clock import later, micros
from workqueue.store.relational import terms
from workqueue.store.relational.session import Session

_KEPT_ATTEMPTS: Final = 100
_encode = msgspec.json.encode


class SomeRefusedError(Exception):
    """A batch of settlements met one whose claim had been taken back; the transaction must be rolled back."""


def refused(settlements: Sequence[Settlement], accepted: Iterable[tuple[int, int]]) -> list[Claim]:
    """Give the claims that were not accepted. accepted: by job and attempt; of several alike, one was."""
    left = {*accepted}
    claims: list[Claim] = []
    for settlement in settlements:
        job = settlement.claim.job
        if (job.id, job.attempt) in left:
            left.remove((job.id, job.attempt))
        else:
            claims.append(settlement.claim)
    return claims


def settle_each(session: Session, now: int, settlements: Sequence[Settlement]) -> list[Claim]:
    """Apply the settlements one at a time; give the claims of those that were refused."""
    refused: list[Claim] = []
    for settlement in settlements:
        try:
            settle_all(session, now, [settlement])
        except SomeRefusedError:
            refused.append(settlement.claim)
    return refused


def complete(session: Session, now: int, done: Sequence[Settlement]) -> None:
    """Let the jobs of these settlements leave, or go where those that completed are kept.

    Raises SomeRefusedError when not all of their claims hold.
    """
    by_claim: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    staying: defaultdict[tuple[int, int], dict[int, int]] = defaultdict(dict)
    for settlement in done:
        job, runner = settlement.claim.job, settlement.claim.runner
        by_claim[job.attempt, runner].append(job.id)
        if settlement.stays:
            staying[job.attempt, runner][job.id] = claimed_at(settlement.claim)
    for (attempt, runner), rows in staying.items():
        row = {"rows": _encode(list(rows.items())).decode(), "attempt": attempt, "runner": runner, "now": now}
        session.ask("keep_completed", row)
    for (attempt, runner), ids in by_claim.items():
        row = {"ids": _encode(ids).decode(), "attempt": attempt, "runner": runner}
        if session.ask("complete", row).rowcount != len(ids):
            raise SomeRefusedError
    for settlement in done:
        if settlement.keep_result and settlement.result is not None:
            job = settlement.claim.job
            until = later(now, settlement.keep_result)
            queue = job.queue if settlement.counted else None
            session.ask("keep_result", {"job": job.id, "result": settlement.result, "until": until, "queue": queue})
    special = {s.claim.job.id: (JobStatus.COMPLETED, s.result) for s in done if s.claim.job.terms is not None}
    if special:
        terms.end(session, now, special)


def claimed_at(claim: Claim) -> int:
    """Give when the claim was made, by the store's clock."""
    return micros(claim.job.pushed_at + claim.age)


def settle_all(session: Session, now: int, settlements: Sequence[Settlement]) -> None:
    """Apply the settlements, a statement for each kind. Raises SomeRefusedError when not all of their claims hold."""
    done = [s for s in settlements if s.to is JobStatus.COMPLETED]
    complete(session, now, done)
    if len(done) == len(settlements):
        return
    others = [s for s in settlements if s.to is not JobStatus.COMPLETED]
    rows = [
        (
            s.claim.job.id,
            s.claim.job.attempt,
            s.claim.lease_until if s.losses else None,
            s.to,
            None if s.delay is None else later(now, s.delay),
            s.failures,
            s.losses,
            s.error,
            s.claim.runner,
        )
        for s in others
    ]
    if session.ask("settle", {"rows": _encode(rows).decode(), "now": now}).rowcount != len(rows):
        raise SomeRefusedError
    history = [
        (
            s.claim.job.id,
            s.claim.job.attempt,
            s.claim.runner,
            claimed_at(s.claim),
            micros(s.duration),
            s.outcome,
            s.error,
            s.traceback,
        )
        for s in others
        if s.outcome and s.keep
    ]
    if history:
        session.ask("add_history", {"rows": _encode(history).decode()})
    for s in others:
        if s.claim.job.attempt > _KEPT_ATTEMPTS:
            session.ask("cap_history", {"job": s.claim.job.id, "keep": _KEPT_ATTEMPTS})
    special = [s.claim.job.id for s in others if s.claim.job.terms is not None]
    came_to = _statuses(session, special) if special else {}
    dropped = [s.claim.job.id for s in others if not s.keep]
    if dropped:
        session.ask("drop_failed", {"ids": _encode(dropped).decode()})
    ended = {job: (status, None) for job, status in came_to.items() if status in FINAL}
    if ended:
        terms.end(session, now, ended)
    if len(ended) < len(came_to):
        terms.stop(session, [job for job in came_to if job not in ended])


def _statuses(session: Session, jobs: Sequence[int]) -> dict[int, JobStatus]:
    """Say what became of them: a person may have cancelled one meanwhile."""
    answer = session.ask("outlook_jobs", {"ids": _encode(jobs).decode()}).fetchone()[0]
    return {job: JobStatus(status) for job, status, _ in msgspec.json.decode(answer, type=list[tuple[int, int, str]])}
