"""Traces and metrics by OpenTelemetry: `Queue(…, observers=[otel.Telemetry()])`. Extra: `otel`. See docs/traces.md.

The names are those of OpenTelemetry's conventions for messaging; what they have no word for begins with `workqueue.`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final, TypeAlias

from workqueue.control import Cancel, Snooze
from workqueue.errors import RaisedInChild, UsageError
from workqueue.job import Job
from workqueue.observer import Push, Run

try:
    from opentelemetry import context, metrics, propagate, trace
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind, StatusCode, TracerProvider
except ImportError as error:
    raise UsageError(
        f"expected {error.name} for traces, but it is not installed; say pip install '.[otel]' in a clone of workqueue"
    ) from error

Attributes: TypeAlias = dict[str, str | int | bool]

_SCOPE: Final = "workqueue"
_BULK: Final = "workqueue-bulk"  # the header of jobs that were pushed together: their attempts link to the push
# Bounds of buckets, by the conventions.
_SECONDS: Final = (*(bound / 1000 for bound in (5, 10, 25, 50, 75, 100, 250, 500, 750)), 1.0, 2.5, 5.0, 7.5, 10.0)


class Telemetry:
    """An observer that makes a span of each push and of each attempt, and counts and times both.

    An attempt's span is a child of the span that pushed the job alone; of jobs that were pushed together, each attempt
    begins a trace of its own, with a link to that push. Baggage goes along in either case. Context is carried by the
    propagators that are set globally (traceparent, tracestate and baggage, if nothing else is said). An attempt's span
    is the current one while the handler runs. An isolated handler's is made by the process that claimed it, and covers
    the wait for a child; it is current in the child too, for spans that the child's own SDK makes.

    tracer_provider, meter_provider: the global ones, if not given.
    """

    in_child: str | None = "workqueue.otel:carried"

    def __init__(
        self, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        self._tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
        meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
        self._sent = meter.create_counter(
            "messaging.client.sent.messages", "{message}", "Jobs that were pushed, or could not be."
        )
        self._consumed = meter.create_counter(
            "messaging.client.consumed.messages", "{message}", "Jobs that were given to a handler."
        )
        self._attempts = meter.create_counter(
            "workqueue.attempts", "{attempt}", "Attempts that ended, by what became of their jobs."
        )
        self._pushed = meter.create_histogram(
            "messaging.client.operation.duration",
            "s",
            "How long a push took.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._processed = meter.create_histogram(
            "messaging.process.duration",
            "s",
            "How long a handler took.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )

    @contextmanager
    def pushing(self, push: Push) -> Generator[None]:
        names = {job.name for job in push.jobs}
        task = push.jobs[0].name if len(names) == 1 else None
        about = _about("send", push.queue, task)
        more: Attributes = {"messaging.message.body.size": sum(len(job.data) for job in push.jobs)}
        if push.is_bulk:
            more["messaging.batch.message_count"] = len(push.jobs)
        began = time.monotonic()
        with self._tracer.start_as_current_span(
            f"send {push.queue if task is None else task}",
            kind=SpanKind.PRODUCER,
            attributes=about | more,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            carried: dict[str, str] = {}
            propagate.inject(carried)
            for name, value in carried.items():
                push.carry(name, value)
            if carried and push.is_bulk:
                push.carry(_BULK, "1")
            try:
                yield
            except BaseException as error:
                about |= _failed(span, error)
                raise
            finally:
                self._pushed.record(time.monotonic() - began, about)
                self._sent.add(len(push.jobs), about)
            if len(push.ids) == 1:
                span.set_attribute("messaging.message.id", str(push.ids[0]))

    @contextmanager
    def running(self, run: Run) -> Generator[None]:
        job = run.job
        about = _about("process", job.queue, job.name)
        pushed = propagate.extract(job.headers, Context())
        links: list[Link] = []
        if _BULK in job.headers:
            origin = trace.get_current_span(pushed).get_span_context()
            links = [Link(origin)] if origin.is_valid else []
            pushed = trace.set_span_in_context(INVALID_SPAN, pushed)
        began = time.monotonic()
        span = self._tracer.start_span(
            f"process {job.name}", pushed, SpanKind.CONSUMER, about | _of_attempt(run), links=links
        )
        token = context.attach(trace.set_span_in_context(span, pushed))
        try:
            if run.is_isolated:
                carried: dict[str, str] = {}
                propagate.inject(carried)
                for name, value in carried.items():
                    run.carry(name, value)
            yield
        except BaseException as error:
            about |= _failed(span, error)
            raise
        finally:
            context.detach(token)
            span.end()
            self._processed.record(time.monotonic() - began, about)
            self._consumed.add(1, about)

    def ended(self, run: Run) -> None:
        about = {"messaging.destination.name": run.job.queue, "workqueue.task": run.job.name}
        self._attempts.add(1, about | {"workqueue.outcome": str(run.to)})


@contextmanager
def carried(job: Job) -> Generator[None]:
    """Let the context that a job carries be the current one: around an isolated handler, in its child."""
    token = context.attach(propagate.extract(job.headers, Context()))
    try:
        yield
    finally:
        context.detach(token)


def _about(operation: str, queue: str, task: str | None) -> Attributes:
    """Give the attributes that spans and metrics share."""
    about: Attributes = {
        "messaging.system": _SCOPE,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
    }
    return about if task is None else about | {"workqueue.task": task}


def _of_attempt(run: Run) -> Attributes:
    job = run.job
    about: Attributes = {
        "messaging.message.id": str(job.id),
        "messaging.message.body.size": len(job.data),
        "workqueue.attempt": job.attempt,
        "workqueue.retry_count": job.retry_count,
        "workqueue.lost": job.lost,
    }
    return about | {"workqueue.isolated": True} if run.is_isolated else about


def _failed(span: Span, error: BaseException) -> Mapping[str, str]:
    """Note an error in a span; give what metrics say of it. What a handler asks for, and an interruption, are none."""
    if isinstance(error, Snooze | Cancel | asyncio.CancelledError):
        span.set_attribute("workqueue.control", type(error).__name__)
        return {}
    if isinstance(error, RaisedInChild):
        kind = error.kind
        said = {"exception.type": kind, "exception.message": error.said, "exception.stacktrace": error.traceback}
        span.add_event("exception", said)
    else:
        kind = type(error).__qualname__
        span.record_exception(error)
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR, str(error))
    return {"error.type": kind}
