"""Errors and performance by Sentry: `Queue(…, observers=[sentry.Reports()])`. Extra: `sentry`. See docs/traces.md.

`sentry_sdk.init(…)` stays the program's; without it nothing is sent. What jobs hold is sent only where that allows it,
by `send_default_pii` or, where the SDK has it, `data_collection={"queues": …}`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast
from weakref import WeakKeyDictionary

from workqueue.control import Cancel, Snooze
from workqueue.errors import RaisedInChild, UsageError
from workqueue.job import Job, JobStatus
from workqueue.observer import Push, Run

try:
    import sentry_sdk
    from sentry_sdk.scope import use_isolation_scope
    from sentry_sdk.utils import event_from_exception
except ImportError as error:
    raise UsageError(
        f"expected {error.name} for error reports, but it is not installed; say "
        "pip install '.[sentry]' in a clone of workqueue"
    ) from error

if TYPE_CHECKING:
    from sentry_sdk._types import Event, Hint
    from sentry_sdk.scope import Scope
    from sentry_sdk.tracing import Span

_Frames: TypeAlias = dict[Literal["frames"], list[dict[str, object]]]
_Exception: TypeAlias = dict[Literal["stacktrace"], _Frames | None]
_NO_FRAMES: Final[_Frames] = {"frames": []}
_ORIGIN: Final = "auto.queue.workqueue"
_MECHANISM: Final = {"type": "workqueue", "handled": False}
_FRAME: Final = re.compile(r'^  File "(?P<file>[^"\n]+)", line (?P<line>\d+), in (?P<function>.+)$', re.MULTILINE)


class Reports:
    """An observer that reports the errors of jobs to Sentry, and each push and attempt as its performance.

    A job's error is reported once, when it failed for good, as of Celery's and RQ's tasks. retried: also the errors of
    attempts that are followed by another one. A job whose process died is reported by nobody: it has no attempt that
    ended; the one that fails for that reason stands in the archive.
    """

    in_child: str | None = "workqueue.sentry:carried"

    def __init__(self, *, retried: bool = False) -> None:
        self._retried = retried
        self._scopes: WeakKeyDictionary[Run, tuple[Scope, dict[str, object]]] = WeakKeyDictionary()

    @contextmanager
    def pushing(self, push: Push) -> Generator[None]:
        if sentry_sdk.get_current_span() is None:  # nothing that it could be part of
            _carry_trace(push)
            yield
            return
        names = {job.name for job in push.jobs}
        name = push.jobs[0].name if len(names) == 1 else push.queue
        with sentry_sdk.start_span(op="queue.publish", name=name, origin=_ORIGIN) as span:
            _describe(span, push.queue, sum(len(job.data) for job in push.jobs))
            _carry_trace(push)
            yield
            if len(push.ids) == 1:
                span.set_data("messaging.message.id", str(push.ids[0]))
            else:
                span.set_data("messaging.batch.message_count", len(push.jobs))

    @contextmanager
    def running(self, run: Run) -> Generator[None]:
        job = run.job
        with sentry_sdk.isolation_scope() as scope:
            scope.clear_breadcrumbs()
            _set_job(scope, job)
            transaction = sentry_sdk.continue_trace(
                dict(job.headers), op="queue.process", name=job.name, source="task", origin=_ORIGIN
            )
            sampling = {"workqueue_job": {"task": job.name, "queue": job.queue, "attempt": job.attempt}}
            with sentry_sdk.start_transaction(transaction, custom_sampling_context=sampling) as span:
                _describe(span, job.queue, len(job.data))
                span.set_data("messaging.message.id", str(job.id))
                span.set_data("messaging.message.receive.latency", run.age.total_seconds() * 1000)
                span.set_data("messaging.message.retry.count", job.retry_count)
                self._scopes[run] = (scope, span.get_trace_context())
                if run.is_isolated:
                    _carry_trace(run)
                try:
                    yield
                except (Snooze, Cancel, asyncio.CancelledError):  # not raised again: the SDK would take it for an error
                    span.set_status("aborted")
                except BaseException:
                    span.set_status("internal_error")
                    raise
                else:
                    span.set_status("ok")

    def ended(self, run: Run) -> None:
        seen = self._scopes.pop(run, None)
        error = run.exception
        if seen is not None and error is not None and run.failed and (run.to is JobStatus.FAILED or self._retried):
            scope, trace = seen
            with use_isolation_scope(scope):
                event, hint = _event(error)
                event["contexts"] = {"trace": trace}
                sentry_sdk.capture_event(event, hint=hint)


@contextmanager
def carried(job: Job) -> Generator[None]:
    """Let what the child of an isolated job sends be of its trace, and say which job it is."""
    with sentry_sdk.isolation_scope() as scope:
        scope.clear_breadcrumbs()
        scope.generate_propagation_context(dict(job.headers))
        _set_job(scope, job)
        yield


def _carry_trace(what: Push | Run) -> None:
    for header, value in sentry_sdk.get_current_scope().iter_trace_propagation_headers():
        what.carry(header, value)


def _describe(span: Span, queue: str, size: int) -> None:
    span.set_data("messaging.system", "workqueue")
    span.set_data("messaging.destination.name", queue)
    span.set_data("messaging.message.body.size", size)


def _set_job(scope: Scope, job: Job) -> None:
    scope.set_transaction_name(job.name, source="task")
    scope.set_tag("workqueue.task", job.name)
    scope.set_tag("workqueue.queue", job.queue)
    about: dict[str, object] = {
        "job_id": job.id,
        "task": job.name,
        "queue": job.queue,
        "attempt": job.attempt,
        "retry_count": job.retry_count,
        "lost": job.lost,
    }
    if _may_send_data():
        about["data"] = job.data.decode("utf-8", "backslashreplace")
    scope.set_context("workqueue", about)


def _may_send_data() -> bool:
    """Say whether what jobs hold may be sent; later versions of the SDK ask that for queues alone."""
    client = sentry_sdk.get_client()
    asked: object = client.options.get("data_collection")
    if isinstance(asked, dict) and "queues" in asked:
        return bool(cast("dict[str, object]", asked)["queues"])
    return client.should_send_default_pii()


def _event(error: BaseException) -> tuple[Event, Hint]:
    if isinstance(error, RaisedInChild):
        return _event_of_child(error), {}
    event, hint = event_from_exception(error, client_options=sentry_sdk.get_client().options, mechanism=_MECHANISM)
    for exception in cast("list[_Exception]", event.get("exception", {}).get("values", [])):
        for frame in (exception.get("stacktrace") or _NO_FRAMES)["frames"]:
            if str(frame.get("module")).partition(".")[0] == "workqueue":  # ours: their variables hold what jobs hold
                frame.pop("vars", None)
                frame["in_app"] = False
    return event, hint


def _event_of_child(error: RaisedInChild) -> Event:
    """Give the event of what stayed in a child, put together from its words."""
    frames: list[dict[str, str | int]] = []
    for found in _FRAME.finditer(error.traceback):
        path = found["file"]
        frames.append({"filename": path, "abs_path": path, "lineno": int(found["line"]), "function": found["function"]})
    exception: dict[str, object] = {
        "type": error.kind,
        "value": error.said,
        "mechanism": _MECHANISM,
        "stacktrace": {"frames": frames},
    }
    return {"level": "error", "exception": {"values": [exception]}}
