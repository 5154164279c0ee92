"""Logs: ours, which cannot end what they tell of; and what lets anybody's say which job they are about."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Protocol, TypeAlias

_Info: TypeAlias = (
    bool
    | tuple[type[BaseException], BaseException, TracebackType | None]
    | tuple[None, None, None]
    | BaseException
    | None
)
_FIELDS: Final = ("job_id", "task", "queue", "attempt")
_USUAL: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JobInHand(Protocol):
    """What is known of a job in every log about it; see `job.Job`."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def queue(self) -> str: ...
    @property
    def attempt(self) -> int: ...


class Running(Protocol):
    """See `context.Context`."""

    @property
    def job(self) -> JobInHand: ...
    def is_of(self, path: str, queue: str) -> bool: ...


running: Final[ContextVar[Running | None]] = ContextVar("workqueue_running", default=None)
"""What runs just here, in this thread or task."""


def fields(job: JobInHand) -> dict[str, object]:
    """Give what a log about a job carries beside its words, for `extra=`."""
    return {"job_id": job.id, "task": job.name, "queue": job.queue, "attempt": job.attempt}


class Log(logging.LoggerAdapter[logging.Logger]):
    """The logger of that name; what its handlers raise is dropped, for there is nowhere left to tell it.

    A handler's closed stderr or broken log handler is not the queue's fault.
    """

    def __init__(self, name: str) -> None:
        super().__init__(logging.getLogger(name))

    def process(self, msg: object, kwargs: MutableMapping[str, Any]) -> tuple[object, MutableMapping[str, Any]]:
        return msg, kwargs  # with the `extra` of the call, which the class above would drop

    def about(self, job: JobInHand, msg: str, *args: object) -> None:
        """Warn of what a job did, or what became of it; with its fields."""
        said = fields(job)
        self.warning(f"job %d %r, attempt %d: {msg}", job.id, job.name, job.attempt, *args, extra=said, stacklevel=2)

    def log(
        self,
        level: int,
        msg: object,
        *args: object,
        exc_info: _Info = None,
        stack_info: bool = False,
        stacklevel: int = 1,
        extra: Mapping[str, object] | None = None,
        **kwargs: object,
    ) -> None:
        with suppress(Exception):
            super().log(
                level,
                msg,
                *args,
                exc_info=exc_info,
                stack_info=stack_info,
                stacklevel=stacklevel + 1,  # the line that logs, and not this one
                extra=extra,
                **kwargs,
            )


class JobFilter(logging.Filter):
    """Lets every record through, and has it say in which job it was made: job_id, task, queue, attempt.

    Put it on a handler: `handler.addFilter(JobFilter())`. Outside of jobs they are None.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "job_id"):
            context = running.get()
            said = dict.fromkeys(_FIELDS) if context is None else fields(context.job)
            for name, value in said.items():
                setattr(record, name, value)
        return True


class JsonFormatter(logging.Formatter):
    """Gives each record as one line of JSON, in ASCII: whatever the data hold, it stays one line, and steers nothing.

    time (ISO 8601, UTC), level, logger, message; job_id, task, queue, attempt where a job runs (see `JobFilter`, which
    it does not need); exception, stack; and what else the log was given as `extra`. What JSON cannot carry stands there
    as Python writes it.
    """

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        JobFilter().filter(record)
        said |= {
            name: value
            for name, value in vars(record).items()
            if name not in _USUAL and name not in said and value is not None
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        elif record.exc_text:
            said["exception"] = record.exc_text
        if record.stack_info:
            said["stack"] = self.formatStack(record.stack_info)
        return _encode(said)


def _message(record: logging.LogRecord) -> str:
    """Give the message; where its arguments do not fit, all of it as it is, which is better than none."""
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - arguments may be anything, and do anything
        said = record.msg if isinstance(record.msg, str) else _shown(record.msg)
        return f"{said} {_shown(record.args)} ({type(error).__name__} in logging)"


def _encode(said: dict[str, object]) -> str:
    try:
        return json.dumps(said, default=_shown, allow_nan=False)
    except Exception:  # noqa: BLE001 - keys that are no text, what holds itself, a number of thousands of digits
        return json.dumps({name: value if _is_plain(value) else _shown(value) for name, value in said.items()})


def _is_plain(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, int) and value.bit_length() < 64)


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - as above
        return f"<its __repr__ raised {type(error).__name__}>"
