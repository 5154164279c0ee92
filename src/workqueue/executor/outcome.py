"""From what a handler did to an Outcome, and what that makes of its job.

The one place where what users raise and return becomes a value.
"""

from __future__ import annotations

import inspect
import os
import time
import traceback
from datetime import timedelta
from types import TracebackType
from typing import Final

from workqueue.context import Context, Policy
from workqueue.control import Cancel, RecoverableWorkerError, Snooze
from workqueue.duration import as_duration
from workqueue.errors import InvalidOption, StoreUnavailable, UsageError
from workqueue.lifecycle import Cancelled, Outcome, Postponed, Raised, Returned, Settlement, settle

_PUT_OFF: Final = timedelta(seconds=5)
_ERROR_LIMIT: Final = 1_000  # characters
_TRACEBACK_LIMIT: Final = 64 * 1024
_RETURNED: Final = Returned()
_OF_WRAPPERS: Final = (
    "declare it `async def`, or what decorates it, with an `await` inside (or mark that by "
    "inspect.markcoroutinefunction, from Python 3.12 on)"
)
_PACKAGE: Final = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")


def of_result(context: Context, result: object) -> Outcome:
    """Say what it means that the handler of `context` came back with `result`. Never raises.

    Executors need not ask for a None that nobody wants to encode (`context.give`).
    """
    # No policy is asked: the handler has done its work, which another try would do again, and mend no result.
    try:
        if left := _left_undone(context, result):
            return _of_error(context, left, None)
        return _RETURNED if context.give is None else context.give(result)
    except BaseException as error:  # noqa: BLE001 - encoding runs code of the user's
        return _of_error(context, error, None)


def of_exception(context: Context, error: BaseException) -> Outcome:
    """Say what `error`, raised by the handler of `context`, means. Never raises."""
    return _of_error(context, error, context.policy)


def not_started(error: BaseException) -> Snooze:
    """Give what puts a job off that nothing runs just now, as there is no thread or process for it: no fault of its."""
    return Snooze(_PUT_OFF, f"what is to run it could not be started: {describe(error)}")


def verdict(context: Context, outcome: Outcome, *, archive: bool) -> Settlement:
    """Say what the outcome makes of the job of `context`. archive: keep jobs that fail for good."""
    age, stays = context.claim.age, context.stays
    if isinstance(outcome, Raised):  # nothing else asks how old the job is
        age += timedelta(seconds=time.monotonic() - context.claimed_at)
    try:
        return settle(context.claim, outcome, age=age, archive=archive, stays=stays)
    except Exception as error:  # noqa: BLE001 - the handler may have made nonsense of its job's backoff
        return settle(context.claim, of_exception(context, error), age=age, archive=archive, stays=stays)


def _of_error(context: Context, error: BaseException, policy: Policy | None) -> Outcome:
    seen = context.observed
    if seen is not None and seen.exception is None:
        seen.exception = error
    try:
        return _outcome(context, error, policy)
    except BaseException as worse:  # noqa: BLE001 - each attribute of an exception may be code of the handler's
        said = f"{type(error).__name__}: <it cannot be described: {type(worse).__name__}>"
        return Raised(said, "", timedelta(0))


def _outcome(context: Context, error: BaseException, policy: Policy | None) -> Outcome:
    duration = timedelta(seconds=max(0.0, time.monotonic() - context.started_at))
    said = describe(error)
    # A store that is away for a while is no fault of the job: it is tried again like a recoverable error.
    recoverable = isinstance(error, RecoverableWorkerError | StoreUnavailable)
    delay: timedelta | None = None
    if isinstance(error, RecoverableWorkerError | Snooze):
        try:
            # A subclass may have skipped our __init__, and anybody may have set the attribute since.
            asked = getattr(error, "delay", None)
            if asked is not None or isinstance(error, Snooze):
                delay = as_duration(asked, "delay")
        except InvalidOption as worse:
            return Raised(describe(worse), _traceback(error), duration)
    if isinstance(error, Snooze):
        return Postponed(delay or timedelta(0), _shortened(str(getattr(error, "reason", ""))))
    if isinstance(error, Cancel):
        return Cancelled(_shortened(str(getattr(error, "reason", ""))), duration)
    if context.cancel_requested and not isinstance(error, RecoverableWorkerError):
        return Cancelled(f"cancelled while running: {said}", duration)
    if policy is not None and not recoverable and isinstance(error, Exception):
        try:
            again = policy(error)
            if again is not None:
                delay = None if again.delay is None else as_duration(again.delay, "delay")
                recoverable = True
        except BaseException as worse:  # noqa: BLE001 - the policy is code of the user's
            half = _ERROR_LIMIT // 2 - 20
            said = f"{_shortened(said, half)}; its retry policy raised {_shortened(describe(worse), half)}"
            return Raised(said, _traceback(error, worse), duration)
    return Raised(said, _traceback(error), duration, recoverable, delay)


def describe(error: BaseException) -> str:
    """Give `Type: message` in at most 1,000 characters, whatever the exception's own methods do."""
    try:
        said = str(error)
    except BaseException as worse:  # noqa: BLE001 - a handler's __str__ may raise anything, and must not end the runner
        said = f"<its __str__ raised {type(worse).__name__}>"
    return _shortened(f"{type(error).__name__}: {said}" if said else type(error).__name__)


def _shortened(line: str, limit: int = _ERROR_LIMIT) -> str:
    return _storable(line if len(line) <= limit else f"{line[: limit - 1]}…")


def _traceback(*errors: BaseException) -> str:
    try:
        text = "\n".join("".join(traceback.format_exception(type(error), error, _of_user(error))) for error in errors)
    except BaseException as worse:  # noqa: BLE001 - see above
        text = f"<the traceback cannot be printed: {type(worse).__name__}>"
    if len(text) > _TRACEBACK_LIMIT:
        half = _TRACEBACK_LIMIT // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"
    return _storable(text)


def _of_user(error: BaseException) -> TracebackType | None:
    """Give its traceback from the first code on that is not ours: how we came to call it helps nobody."""
    raised_in = error.__traceback__
    step = raised_in
    while step is not None and step.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        step = step.tb_next
    return raised_in if step is None else step


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")


def _left_undone(context: Context, result: object) -> UsageError | None:
    """Give the error of a handler that returned its work instead of doing it."""
    task = context.task
    if inspect.isawaitable(result):
        close = getattr(result, "close", None)
        if close is not None:
            close()
        what = "an awaitable; declare it `async def`" if task is None else f"an awaitable; {_OF_WRAPPERS}"
    elif inspect.isgenerator(result) or inspect.isasyncgen(result):
        what = "a generator, which nobody runs"
    else:
        return None
    handler = "do_work" if task is None else f"task {task!r}"
    return UsageError(f"expected {handler} to return when done, but it returned {what}")
