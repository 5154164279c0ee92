"""From what a handler did to an Outcome: the one place where what users raise becomes a value."""

from __future__ import annotations

import time
import traceback
from datetime import timedelta
from typing import Final

from workqueue.context import Context
from workqueue.control import RecoverableWorkerError
from workqueue.duration import as_duration
from workqueue.errors import InvalidOption, StoreUnavailable
from workqueue.lifecycle import Cancelled, Outcome, Raised

_ERROR_LIMIT: Final = 1_000  # characters
_TRACEBACK_LIMIT: Final = 64 * 1024


def of_exception(context: Context, error: BaseException) -> Outcome:
    """Say what `error`, raised by the handler of `context`, means. Never raises."""
    try:
        return _outcome(context, error)
    except BaseException as worse:  # noqa: BLE001 - each attribute of an exception may be code of the handler's
        said = f"{type(error).__name__}: <it cannot be described: {type(worse).__name__}>"
        return Raised(said, "", timedelta(0))


def _outcome(context: Context, error: BaseException) -> Outcome:
    duration = timedelta(seconds=max(0.0, time.monotonic() - context.started_at))
    said = describe(error)
    if context.cancel_requested and not isinstance(error, RecoverableWorkerError):
        return Cancelled(f"cancelled while running: {said}", duration)
    # A store that is away for a while is no fault of the job: it is tried again like a recoverable error.
    recoverable = isinstance(error, RecoverableWorkerError | StoreUnavailable)
    delay: timedelta | None = None
    if isinstance(error, RecoverableWorkerError):
        try:
            # A subclass may have skipped our __init__, and anybody may have set the attribute since.
            asked = getattr(error, "delay", None)
            delay = None if asked is None else as_duration(asked, "delay")
        except InvalidOption as worse:
            recoverable, said = False, describe(worse)
    return Raised(said, _traceback(error), duration, recoverable, delay)


def describe(error: BaseException) -> str:
    """Give `Type: message` in at most 1,000 characters, whatever the exception's own methods do."""
    try:
        said = str(error)
    except BaseException as worse:  # noqa: BLE001 - a handler's __str__ may raise anything, and must not end the runner
        said = f"<its __str__ raised {type(worse).__name__}>"
    line = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return _storable(line if len(line) <= _ERROR_LIMIT else f"{line[: _ERROR_LIMIT - 1]}…")


def _traceback(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException as worse:  # noqa: BLE001 - see above
        text = f"<the traceback cannot be printed: {type(worse).__name__}>"
    if len(text) > _TRACEBACK_LIMIT:
        half = _TRACEBACK_LIMIT // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"
    return _storable(text)


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")
