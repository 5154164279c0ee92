"""What a handler may raise, and its retry policy answer, to say how its job goes on."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from workqueue.duration import as_duration
from workqueue.errors import WorkqueueError


class RecoverableWorkerError(WorkqueueError):
    """Raised by a worker: this attempt failed, try the job again after its backoff.

    delay: wait this long (a timedelta, or seconds) and not as the backoff says. Raises InvalidOption as `as_duration`.
    """

    def __init__(self, message: str = "", delay: timedelta | float | None = None) -> None:
        super().__init__(message)
        self.delay = None if delay is None else as_duration(delay, "delay")


class Snooze(WorkqueueError):
    """Raised by a worker: run this job again after `delay` (a timedelta, or seconds). It counts nowhere.

    reason: becomes the job's message, if it is not empty.
    """

    def __init__(self, delay: timedelta | float, reason: str = "") -> None:
        super().__init__(f"snoozed for {delay}")
        self.delay = as_duration(delay, "delay")
        self.reason = reason


class Cancel(WorkqueueError):
    """Raised by a worker: this job is not to be done any more; it ends as cancelled, for this reason."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class Retry(msgspec.Struct, frozen=True):
    """A retry policy's answer: try the job again, after `delay`, or else after its backoff."""

    delay: timedelta | None = None
