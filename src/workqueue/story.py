"""The story of one job: what has happened to it, in order, and what comes next. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

import msgspec

from workqueue.duration import span
from workqueue.job import Attempt, Job, JobStatus

Tone: TypeAlias = Literal["plain", "good", "bad", "busy", "wait", "gone"]
_OUTCOMES: Final = {"raised": "failed", "lost": "was lost: its runner ended", "cancelled": "was cancelled"}


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened, or is to come. attempt: its number; details: what else is known, a line each."""

    title: str
    tone: Tone = "plain"
    at: datetime | None = None
    attempt: int | None = None
    took: timedelta | None = None
    runner: str = ""
    error: str = ""
    traceback: str = ""
    details: list[str] = []


def told(job: Job, attempts: Sequence[Attempt], now: datetime) -> list[Event]:
    """Tell the story of a job, oldest first."""
    return [_pushed(job), *_tried(job, attempts), _standing(job, now)]


def _pushed(job: Job) -> Event:
    details = [f"priority {job.priority}"] if job.priority else []
    terms = job.terms
    if terms is not None and terms.expires_at is not None:
        details.append(f"not to be run after {terms.expires_at:%Y-%m-%d %H:%M:%S} UTC")
    return Event(title="Pushed", at=job.pushed_at, details=details)


def _tried(job: Job, attempts: Sequence[Attempt]) -> Iterator[Event]:
    last = 0
    for attempt in attempts:
        yield from _unknown(last, attempt.attempt)
        last = attempt.attempt
        yield Event(
            title=f"Attempt {attempt.attempt} {_OUTCOMES.get(attempt.outcome, attempt.outcome)}",
            tone="bad" if attempt.outcome != "cancelled" else "gone",
            at=attempt.started_at,
            attempt=attempt.attempt,
            took=attempt.duration or None,
            runner=attempt.runner,
            error=attempt.error,
            traceback=attempt.traceback,
        )
    is_last_known = job.status in (JobStatus.RUNNING, JobStatus.COMPLETED)
    yield from _unknown(last, job.attempt if is_last_known else job.attempt + 1)


def _unknown(last: int, following: int) -> Iterator[Event]:
    """Say so where attempts are counted that nothing is known of."""
    missing = following - last - 1
    if missing > 0:
        which = f"Attempt {last + 1}" if missing == 1 else f"Attempts {last + 1} to {following - 1}"
        yield Event(title=f"{which} left no record", details=["handed back by a runner that stopped, or long ago"])


def _standing(job: Job, now: datetime) -> Event:
    match job.status:
        case JobStatus.RUNNING:
            details = [] if job.claimed_at is None else [f"for {span(max(now - job.claimed_at, timedelta(0)))}"]
            details += ["was asked to stop"] if job.cancel_requested else []
            return Event(
                title=f"Attempt {job.attempt} runs",
                tone="busy",
                at=job.claimed_at,
                runner=job.runner,
                details=details,
            )
        case JobStatus.COMPLETED:
            return Event(
                title=f"Attempt {job.attempt} completed",
                tone="good",
                at=job.claimed_at or job.settled_at,
                took=job.duration,
                runner=job.runner,
            )
        case JobStatus.FAILED:
            return Event(
                title="Failed for good", tone="bad", at=job.settled_at, details=["kept until it is restored or deleted"]
            )
        case JobStatus.CANCELLED:
            return Event(
                title="Cancelled", tone="gone", at=job.settled_at, details=[job.message] if job.message else []
            )
        case _:
            return _next(job, now)


def _next(job: Job, now: datetime) -> Event:
    terms = job.terms
    if terms is not None and terms.follows is not None:
        return Event(title=f"Waits for job {terms.follows}", tone="wait")
    if terms is not None and terms.follows_batch is not None:
        return Event(title=f"Waits for batch {terms.follows_batch}", tone="wait")
    what = "Next try" if job.attempt else "First try"
    if job.run_at > now:
        return Event(title=f"{what} in {span(job.run_at - now)}", tone="wait", at=job.run_at)
    return Event(
        title=f"{what} as soon as its turn comes",
        tone="wait",
        at=job.run_at,
        details=[f"due for {span(now - job.run_at)}"],
    )
