"""What people can do from the monitor: what is asked before, done by the verbs of `Queue`, and said after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from workqueue.duration import times
from workqueue.errors import JobNotFound
from workqueue.job import JobStatus
from workqueue.monitor.panels import Subject
from workqueue.steering import Steering


class Deed(NamedTuple):
    """One thing to do. question: as of the subject; do: gives what came of it, as a sentence."""

    question: Callable[[Subject], str]
    do: Callable[[Steering, Subject], str]


def _retry(hand: Steering, subject: Subject) -> str:
    if subject.job is not None:
        done = hand.retry(subject.job)
        return f"{subject} is due now" if done else _left(hand, subject.job)
    done = sum(hand.retry_jobs(status=status, name=subject.name) for status in (JobStatus.RETRYING, JobStatus.FAILED))
    return f"{times(done, 'job')} of {subject} are due now" if done else f"nothing of {subject} failed or is retrying"


def _restore(hand: Steering, subject: Subject) -> str:
    if subject.job is not None:
        done = hand.restore(subject.job)
        return f"{subject} waits again, with fresh counters" if done else _left(hand, subject.job)
    done = hand.restore_jobs(name=subject.name)
    return f"restored {times(done, 'job')} of {subject}" if done else f"nothing of {subject} has failed"


def _cancel(hand: Steering, subject: Subject) -> str:
    if subject.job is None:
        done = hand.cancel_jobs(name=subject.name)
        return f"cancelled {times(done, 'job')} of {subject}" if done else f"nothing of {subject} waits or runs"
    try:
        runs = hand.get(subject.job).status is JobStatus.RUNNING
        done = hand.cancel(subject.job)
    except JobNotFound:
        return f"job {subject.job} has left meanwhile"
    if not done:
        return _left(hand, subject.job)
    return f"{subject} runs; its handler is told" if runs else f"cancelled {subject}"


def _left(hand: Steering, job_id: int) -> str:
    """Say why a job was left as it is."""
    try:
        status = hand.get(job_id).status
    except JobNotFound:
        return f"job {job_id} has left meanwhile"
    words = {JobStatus.RUNNING: "runs", JobStatus.COMPLETED: "has completed", JobStatus.PENDING: "waits already"}
    return f"job {job_id} is left as it is: it {words.get(status, f'is {status}')}"


def _paused(subject: Subject) -> Subject:
    """Give what a pause is of: the queue, or the jobs of a name; never one job."""
    return Subject(subject.queue, subject.name)


def _pause(hand: Steering, subject: Subject) -> str:
    hand.pause(subject.name)
    return f"paused {_paused(subject)}; p resumes it"


def _resume(hand: Steering, subject: Subject) -> str:
    hand.resume(subject.name)
    return f"resumed {_paused(subject)}"


def _asks_to_pause(subject: Subject) -> str:
    return f"Pause {_paused(subject)}? What runs goes on."


def _asks_to_resume(subject: Subject) -> str:
    return f"Resume {_paused(subject)}?"


def _asks(verb: str, whole: str, what: str) -> Callable[[Subject], str]:
    """Make the question. whole: the verb where all that match are meant."""

    def question(subject: Subject) -> str:
        return f"{verb} {subject}?" if subject.job is not None else f"{whole} of {subject}?{what}"

    return question


RETRY: Final = Deed(_asks("Retry", "Retry all that failed or is retrying", ""), _retry)
RESTORE: Final = Deed(_asks("Restore", "Restore all that failed", " Their counters start anew."), _restore)
CANCEL: Final = Deed(_asks("Cancel", "Cancel ALL that waits or runs", ""), _cancel)
PAUSE: Final = Deed(_asks_to_pause, _pause)
RESUME: Final = Deed(_asks_to_resume, _resume)
