"""The life of a job as data: the legal moves, and what one attempt's outcome means.

Pure. The delays given here are durations; the store turns them into instants, because all who share a store must
agree on the time. `docs/lifecycle.md` is drawn from MOVES.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final, TypeAlias, assert_never

import msgspec

from workqueue.job import Claim, Job, JobStatus

MOVES: Final[Mapping[JobStatus, frozenset[JobStatus]]] = {
    JobStatus.PENDING: frozenset({JobStatus.RUNNING, JobStatus.CANCELLED}),
    JobStatus.RETRYING: frozenset({JobStatus.RUNNING, JobStatus.CANCELLED}),
    JobStatus.RUNNING: frozenset(
        {JobStatus.COMPLETED, JobStatus.RETRYING, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.PENDING}
    ),
    JobStatus.COMPLETED: frozenset(),
    JobStatus.FAILED: frozenset({JobStatus.PENDING}),  # a person restores it
    JobStatus.CANCELLED: frozenset({JobStatus.PENDING}),
}
WAITING: Final = frozenset({JobStatus.PENDING, JobStatus.RETRYING})
FINAL: Final = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})

MAX_LOST: Final = 3
SECOND_LOSS_PAUSE: Final = timedelta(seconds=10)


class Returned(msgspec.Struct, frozen=True):
    """The handler came back: the job is done.

    result: what it gave, as JSON, where somebody wants it. keep: how long to keep that. counted: no longer than it is
    among the newest of its queue, if fewer are kept.
    """

    result: bytes | None = None
    keep: timedelta = timedelta(0)
    counted: bool = False


class Raised(msgspec.Struct, frozen=True):
    """The handler raised. recoverable: it asked for another try; delay: and named when."""

    error: str
    traceback: str
    duration: timedelta
    recoverable: bool = False
    delay: timedelta | None = None


class Cancelled(msgspec.Struct, frozen=True):
    """The handler gave up because a person had cancelled the job."""

    reason: str
    duration: timedelta


class Postponed(msgspec.Struct, frozen=True):
    """The job is put off, and that counts nowhere: it asked to be, or nobody here knows its name.

    reason: becomes the job's message, if it is not empty.
    """

    delay: timedelta
    reason: str = ""


class HandedBack(msgspec.Struct, frozen=True):
    """The runner stops and gives the job back; it counts nowhere."""


class Lost(msgspec.Struct, frozen=True):
    """The runner died, or was frozen past its lease, with the job in hand."""

    reason: str


Outcome: TypeAlias = Returned | Raised | Cancelled | Postponed | HandedBack | Lost


class Settlement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one finished attempt makes of its job; the store applies it if the claim still holds.

    delay: a waiting job is due so long from now; None: when it was. keep: False drops the row of a job that failed.
    stays: a job that completed is kept, among those that did. result: goes to those who wait for it, and is kept for
    `keep_result`; counted: see `Returned`. outcome, error, traceback and duration go into
    the job's history unless `outcome` is empty. A waiting verdict for a job whose cancellation was asked ends as
    CANCELLED.
    """

    claim: Claim
    to: JobStatus
    delay: timedelta | None = None
    failures: int = 0
    losses: int = 0
    keep: bool = True
    stays: bool = False
    result: bytes | None = None
    keep_result: timedelta = timedelta(0)
    counted: bool = False
    outcome: str = ""
    error: str = ""
    traceback: str = ""
    duration: timedelta = timedelta(0)


def settle(claim: Claim, outcome: Outcome, *, age: timedelta, archive: bool = True, stays: bool = False) -> Settlement:
    """Say what one finished attempt means for its job.

    age: from the job's push to now, by the store's clock. archive: keep jobs that fail for good. stays: keep jobs that
    complete.
    """
    job = claim.job
    match outcome:
        case Returned():
            return completion(claim, outcome, stays=stays)
        case Postponed(delay, reason):
            return Settlement(claim=claim, to=_waiting(job), delay=delay, error=reason)
        case HandedBack():
            return Settlement(claim=claim, to=_waiting(job))
        case Cancelled(reason, duration):
            return Settlement(claim=claim, to=JobStatus.CANCELLED, outcome="cancelled", error=reason, duration=duration)
        case Raised(error, traceback, duration, recoverable, delay):
            to, wait = JobStatus.FAILED, timedelta(0)
            if recoverable:
                wait = job.backoff.for_attempt(job.retry_count) if delay is None else delay
                to = JobStatus.FAILED if _used_up(job, age + wait) else JobStatus.RETRYING
            return Settlement(
                claim=claim,
                to=to,
                delay=wait,
                failures=1,
                keep=archive or to is not JobStatus.FAILED,
                outcome="raised",
                error=error,
                traceback=traceback,
                duration=duration,
            )
        case Lost(reason):
            losses = job.lost + 1
            to = JobStatus.FAILED if losses >= MAX_LOST else JobStatus.RETRYING
            return Settlement(
                claim=claim,
                to=to,
                delay=SECOND_LOSS_PAUSE if losses > 1 else timedelta(0),
                losses=1,
                keep=archive or to is not JobStatus.FAILED,
                outcome="lost",
                error=f"{reason} (loss {losses} of {MAX_LOST})",
            )
    assert_never(outcome)


def completion(claim: Claim, returned: Returned, *, stays: bool = False) -> Settlement:
    """Say what it means that the handler came back."""
    return Settlement(
        claim=claim,
        to=JobStatus.COMPLETED,
        stays=stays,
        result=returned.result,
        keep_result=returned.keep,
        counted=returned.counted,
    )


def handing_back(job: Job, runner: int = 0) -> Settlement:
    """Say that a job which runs waits again, by whom nobody has it in hand. runner: whose it is in the store."""
    return settle(Claim(job, runner, timedelta(0), 0), HandedBack(), age=timedelta(0))


def _waiting(job: Job) -> JobStatus:
    return JobStatus.RETRYING if job.retry_count or job.lost else JobStatus.PENDING


def _used_up(job: Job, age_at_retry: timedelta) -> bool:
    limit, expiration = job.backoff.limit, job.backoff.expiration
    return (limit is not None and job.retry_count + 1 >= limit) or (
        expiration is not None and age_at_retry > expiration
    )
