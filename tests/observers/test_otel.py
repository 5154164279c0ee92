"""workqueue.otel: spans, metrics, and the context that goes along with jobs; kept by the SDK's own exporters."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from looked_at import Notes
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from workqueue import Queue, RecoverableWorkerError, Snooze, otel
from workqueue.testing import drain
from workqueue.worker import Handling


@pytest.fixture
def sdk():
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    yield SimpleNamespace(
        tracers=tracers,
        tracer=tracers.get_tracer("app"),
        spans=lambda name: [span for span in exporter.get_finished_spans() if span.name == name],
        points=lambda: points(reader),
        telemetry=otel.Telemetry(tracers, meters),
    )
    tracers.shutdown()
    meters.shutdown()


def points(reader):
    """Give (metric, attributes without the common ones, count) of all."""
    common = ("messaging.system", "messaging.operation.name", "messaging.operation.type", "messaging.destination.name")
    return sorted(
        (
            metric.name,
            ",".join(f"{key}={value}" for key, value in sorted(point.attributes.items()) if key not in common),
            getattr(point, "count", None) or point.value,
        )
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    )


class Worker:
    def __init__(self, deed):
        self.do_work = deed

    def id(self):
        return "worker"


def run(sdk, deed, *pushes, seconds=10, **options):
    with Queue(":memory:", Worker(deed), observers=[sdk.telemetry], **options) as queue:
        for push in pushes:
            push(queue)
        assert queue.wait_idle(seconds)
        return queue


def test_an_attempt_is_a_child_of_the_push_which_is_one_of_what_pushed(sdk):
    with sdk.tracer.start_as_current_span("request") as request:
        run(sdk, lambda ctx, job: None, lambda queue: queue.push("mail.send", {"to": "a"}, priority=1))
    [send], [process] = sdk.spans("send mail.send"), sdk.spans("process mail.send")
    assert send.parent.span_id == request.get_span_context().span_id
    assert process.parent.span_id == send.context.span_id
    assert process.context.trace_id == request.get_span_context().trace_id
    assert (send.kind, process.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert (process.links, process.status.status_code) == ((), StatusCode.UNSET)
    assert dict(send.attributes) == {
        "messaging.system": "workqueue",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "default",
        "messaging.message.id": "1",
        "messaging.message.body.size": 10,
        "workqueue.task": "mail.send",
    }
    assert dict(process.attributes) == {
        "messaging.system": "workqueue",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "default",
        "messaging.message.id": "1",
        "messaging.message.body.size": 10,
        "workqueue.task": "mail.send",
        "workqueue.attempt": 1,
        "workqueue.retry_count": 0,
        "workqueue.lost": 0,
    }


def test_attempts_of_jobs_pushed_together_link_to_the_push(sdk):
    run(sdk, lambda ctx, job: None, lambda queue: queue.push_many("n", range(3)))
    [send] = sdk.spans("send n")
    processed = sdk.spans("process n")
    assert send.attributes["messaging.batch.message_count"] == 3
    assert "messaging.message.id" not in send.attributes
    assert [span.parent for span in processed] == [None] * 3
    assert [[link.context.span_id for link in span.links] for span in processed] == [[send.context.span_id]] * 3
    assert len({span.context.trace_id for span in (*processed, send)}) == 4


def test_a_push_of_several_tasks_is_named_after_its_queue(sdk):
    with Queue(":memory:", id="mail", observers=[sdk.telemetry]) as queue:
        one, other = queue.task(name="one")(lambda: None), queue.task(name="other")(lambda: None)
        with queue.batch() as batch:
            batch.add(one.s())
            batch.add(other.s())
    [send] = sdk.spans("send mail")
    assert "workqueue.task" not in send.attributes


@pytest.mark.parametrize("kind", ["thread", "loop"])
def test_the_span_is_current_while_the_handler_runs_and_not_afterwards(sdk, kind):
    seen = []

    def look():
        seen.append((trace.get_current_span().get_span_context().span_id, baggage.get_baggage("who")))

    def on_thread(ctx, job):
        look()

    async def on_loop(ctx, job):
        look()
        await asyncio.sleep(0)
        look()

    token = context.attach(baggage.set_baggage("who", "Anaïs, the 1st"))
    try:
        deed = on_loop if kind == "loop" else on_thread
        run(sdk, deed, lambda queue: queue.push_many("n", range(5)), lambda queue: queue.push("n"), concurrency=3)
    finally:
        context.detach(token)
    assert {span_id for span_id, _ in seen} == {span.context.span_id for span in sdk.spans("process n")}
    assert {who for _, who in seen} == {"Anaïs, the 1st"}
    assert len(sdk.spans("process n")) == 6


@pytest.mark.parametrize("kind", ["thread", "loop"])
def test_afterwards_the_span_is_current_no_more(sdk, kind):
    seen = []

    class Outside(Notes):
        @contextmanager
        def running(self, run):
            yield
            seen.append(trace.get_current_span())

    async def on_loop(ctx, job): ...

    deed = on_loop if kind == "loop" else lambda ctx, job: None
    with Queue(":memory:", Worker(deed), observers=[Outside(), sdk.telemetry]) as queue:
        queue.push("n")
        assert queue.wait_idle(10)
    assert seen == [trace.INVALID_SPAN]


def test_what_a_handler_pushes_and_awaits_is_below_its_span(sdk):
    with Queue(":memory:", concurrency=4, observers=[sdk.telemetry]) as queue:
        done = threading.Event()

        @queue.task(name="last")
        def last() -> None:
            done.set()

        @queue.task(name="second")
        async def second() -> None:
            with sdk.tracer.start_as_current_span("inside"):
                await last.apush()

        @queue.task(name="first")
        def first() -> None:
            second.push()

        first.push()
        queue.start()
        assert done.wait(10)
        assert queue.wait_idle(10)
    chain = ["process last", "send last", "inside", "process second", "send second", "process first", "send first"]
    spans = [span for name in chain for span in sdk.spans(name)]
    assert [span.name for span in spans] == chain
    for below, above in zip(spans, spans[1:], strict=False):
        assert below.parent.span_id == above.context.span_id
    assert spans[-1].parent is None


def test_an_error_is_recorded_and_each_attempt_has_a_span(sdk):
    def deed(ctx, job):
        if job.attempt == 1:
            raise RecoverableWorkerError("later", delay=0)
        raise ValueError("no good")

    run(sdk, deed, lambda queue: queue.push("n"))
    [send], attempts = sdk.spans("send n"), sdk.spans("process n")
    assert [span.attributes["workqueue.attempt"] for span in attempts] == [1, 2]
    assert [span.attributes["workqueue.retry_count"] for span in attempts] == [0, 1]
    assert {span.parent.span_id for span in attempts} == {send.context.span_id}
    assert [span.attributes["error.type"] for span in attempts] == ["RecoverableWorkerError", "ValueError"]
    assert [(span.status.status_code, span.status.description) for span in attempts] == [
        (StatusCode.ERROR, "later"),
        (StatusCode.ERROR, "no good"),
    ]
    [event] = attempts[1].events
    assert event.name == "exception"
    assert event.attributes["exception.type"] == "ValueError"
    assert "in deed" in event.attributes["exception.stacktrace"]


def test_a_control_is_no_error(sdk):
    def deed(ctx, job):
        raise Snooze(3600)

    run(sdk, deed, lambda queue: queue.push("n"))
    [span] = sdk.spans("process n")
    assert (span.status.status_code, span.events) == (StatusCode.UNSET, ())
    assert span.attributes["workqueue.control"] == "Snooze"


def test_a_push_that_fails_is_an_error(sdk):
    with Queue(":memory:", observers=[sdk.telemetry]) as queue:
        task = queue.task(name="n", key_by="n", on_conflict="error")(lambda n: None)
        task.push(1)
        with pytest.raises(Exception, match="key"):
            task.push(1)
    assert [span.attributes.get("error.type") for span in sdk.spans("send n")] == [None, "DuplicateJob"]


def test_metrics(sdk):
    def deed(ctx, job):
        if job.name == "bad":
            raise ValueError("no good")

    run(sdk, deed, lambda queue: queue.push_many("good", range(3)), lambda queue: queue.push("bad"))
    assert sdk.points() == [
        ("messaging.client.consumed.messages", "error.type=ValueError,workqueue.task=bad", 1),
        ("messaging.client.consumed.messages", "workqueue.task=good", 3),
        ("messaging.client.operation.duration", "workqueue.task=bad", 1),
        ("messaging.client.operation.duration", "workqueue.task=good", 1),
        ("messaging.client.sent.messages", "workqueue.task=bad", 1),
        ("messaging.client.sent.messages", "workqueue.task=good", 3),
        ("messaging.process.duration", "error.type=ValueError,workqueue.task=bad", 1),
        ("messaging.process.duration", "workqueue.task=good", 3),
        ("workqueue.attempts", "workqueue.outcome=completed,workqueue.task=good", 3),
        ("workqueue.attempts", "workqueue.outcome=failed,workqueue.task=bad", 1),
    ]


def test_without_an_sdk_jobs_carry_nothing():
    with Queue(":memory:", observers=[otel.Telemetry()]) as queue:
        assert dict(queue.get(queue.push("n")).headers) == {}
        assert dict(queue.get(queue.push_many("n", [1, 2])[0]).headers) == {}


class Isolated:
    def id(self):
        return "isolated"

    def handling(self, job):
        return Handling("child", entry="traced:deeds")

    def do_work(self, ctx, job): ...


def test_an_isolated_handler_is_below_the_span_of_who_waits_for_it(sdk, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACED_OUT", str(tmp_path / "out"))
    token = context.attach(baggage.set_baggage("who", "me"))
    try:
        with Queue(tmp_path / "q.db", Isolated(), observers=[sdk.telemetry]) as queue:
            queue.push("otel", "raise")
            assert queue.wait_idle(30)
    finally:
        context.detach(token)
    [process] = sdk.spans("process otel")
    assert json.loads((tmp_path / "out").read_text()) == {
        "trace": trace.format_trace_id(process.context.trace_id),
        "parent": trace.format_span_id(process.context.span_id),
        "who": "me",
    }
    assert process.attributes["workqueue.isolated"] is True
    assert process.attributes["error.type"] == "LookupError"
    [event] = process.events
    assert (event.attributes["exception.type"], event.attributes["exception.message"]) == (
        "LookupError",
        "no such: thing",
    )
    assert "in fail" in event.attributes["exception.stacktrace"]


@pytest.mark.parametrize(("module", "package"), [("otel", "opentelemetry"), ("sentry", "sentry_sdk")])
def test_a_missing_extra_is_named(module, package):
    program = f"""
import sys
sys.modules[{package!r}] = None
import workqueue
try:
    import workqueue.{module}
except workqueue.UsageError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert f"pip install '.[{module}]' in a clone of workqueue" in said


def test_a_span_is_current_in_what_a_drain_runs(sdk):
    seen = []
    with Queue(":memory:", observers=[sdk.telemetry]) as queue:

        @queue.task(name="n")
        async def task() -> None:
            await asyncio.sleep(0)
            seen.append(trace.get_current_span().get_span_context().span_id)

        task.push()
        task.push()
        drain(queue)
    assert seen == [span.context.span_id for span in sdk.spans("process n")]
