"""Policy: which errors of a task are worth another try, and after how long."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeAlias, cast

from workqueue.backoff import Backoff
from workqueue.control import Retry
from workqueue.duration import as_duration
from workqueue.errors import InvalidOption

Decide: TypeAlias = Callable[[Exception, int], timedelta | float | None]
"""The error and the number of the failure, from 1 → the delay until the next try; None: it failed for good."""

Errors: TypeAlias = type[Exception] | tuple[type[Exception], ...]


class Policy:
    """A task's rule of retries. Without one, only RecoverableWorkerError is tried again, as for any worker.

    retry: the backoff, or a function that decides each time. retry_on: these errors alone; no_retry_on: not these.
    Raises InvalidOption.
    """

    def __init__(
        self, retry: Backoff | Decide | None, *, retry_on: Errors | None = None, no_retry_on: Errors = ()
    ) -> None:
        is_rule = isinstance(retry, Backoff) or (callable(retry) and not isinstance(retry, type))
        if retry is not None and not is_rule:
            raise InvalidOption(
                f"expected retry to be a Backoff, or a function of the error and the attempt, got: {retry!r}; "
                "Backoff(limit=5) tries five times in all",
                name="retry",
                value=retry,
            )
        self.backoff = retry if isinstance(retry, Backoff) else None
        self._decide = None if retry is None or isinstance(retry, Backoff) else retry
        self._only = (Exception,) if retry_on is None else _checked(retry_on, "retry_on")
        self._never = _checked(no_retry_on, "no_retry_on")
        self.retries = retry is not None or retry_on is not None
        if self._never and not self.retries:
            raise InvalidOption(
                f"expected retry or retry_on beside no_retry_on, got: no_retry_on={no_retry_on!r} alone",
                name="no_retry_on",
                value=no_retry_on,
            )

    def judge(self, error: BaseException, failure: int) -> Retry | None:
        """Say whether to try again after this error. failure: its number, from 1."""
        if not self.retries or not isinstance(error, self._only) or isinstance(error, self._never):
            return None
        if self._decide is None:
            return Retry()
        delay = self._decide(error, failure)
        return None if delay is None else Retry(as_duration(delay, "the delay of a retry policy"))


def _checked(errors: object, name: str) -> tuple[type[Exception], ...]:
    kinds: tuple[object, ...] = cast("tuple[object, ...]", errors) if isinstance(errors, tuple) else (errors,)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise InvalidOption(
                f"expected {name} to be an exception class, or a tuple of them, got: {errors!r}",
                name=name,
                value=kinds,
            )
    return cast("tuple[type[Exception], ...]", tuple(kinds))
