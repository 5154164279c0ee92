"""workqueue.sentry: what is reported, when, and with what beside it; kept by a transport of ours."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
import sentry_sdk
from sentry_sdk.transport import Transport
from workqueue import Queue, RecoverableWorkerError, Snooze, otel, sentry
from workqueue.worker import Handling


class Kept(Transport):
    def __init__(self):
        super().__init__()
        self.events = []

    def capture_envelope(self, envelope):
        self.events += [item.payload.json for item in envelope.items]

    @property
    def errors(self):
        return [event for event in self.events if event.get("type") != "transaction"]

    @property
    def transactions(self):
        return [event for event in self.events if event.get("type") == "transaction"]


@pytest.fixture
def init():
    """Start the SDK with these options, and give what would be sent."""
    before = sentry_sdk.get_global_scope().client

    def start(**options):
        kept = Kept()
        sentry_sdk.init(
            dsn="https://key@sentry.invalid/1",
            transport=kept,
            default_integrations=False,
            auto_enabling_integrations=False,
            traces_sample_rate=1.0,
            **options,
        )
        return kept

    yield start
    sentry_sdk.get_client().close(timeout=0)
    sentry_sdk.get_global_scope().set_client(before)


class Worker:
    def __init__(self, deed):
        self.do_work = deed

    def id(self):
        return "worker"


def run(deed, *pushes, observer=None, **options):
    observers = [sentry.Reports() if observer is None else observer]
    with Queue(":memory:", Worker(deed), observers=observers, **options) as queue:
        for push in pushes:
            push(queue)
        assert queue.wait_idle(10)


def fail(ctx, job):
    raise ValueError("no good")


def test_a_job_that_failed_is_reported_with_what_it_was(init):
    kept = init()
    run(fail, lambda queue: queue.push("mail.send", {"to": "ada"}))
    [error] = kept.errors
    [exception] = error["exception"]["values"]
    assert (exception["type"], exception["value"]) == ("ValueError", "no good")
    assert exception["mechanism"] == {"type": "workqueue", "handled": False}
    assert exception["stacktrace"]["frames"][-1]["function"] == "fail"
    assert (error["transaction"], error["transaction_info"]) == ("mail.send", {"source": "task"})
    assert error["tags"] == {"workqueue.task": "mail.send", "workqueue.queue": "default"}
    assert error["contexts"]["workqueue"] == {
        "job_id": 1,
        "task": "mail.send",
        "queue": "default",
        "attempt": 1,
        "retry_count": 0,
        "lost": 0,
    }
    [transaction] = kept.transactions
    assert error["contexts"]["trace"]["trace_id"] == transaction["contexts"]["trace"]["trace_id"]
    assert error["contexts"]["trace"]["span_id"] == transaction["contexts"]["trace"]["span_id"]


def test_an_attempt_is_a_transaction_of_the_trace_that_pushed_it(init):
    kept = init()
    with sentry_sdk.start_transaction(name="request", op="http.server"):
        run(lambda ctx, job: None, lambda queue: queue.push("n", "data"), id="mail")
    request, attempt = sorted(kept.transactions, key=lambda one: one["transaction"] == "n")
    [publish] = request["spans"]
    assert (publish["op"], publish["description"], publish["origin"]) == ("queue.publish", "n", "auto.queue.workqueue")
    assert {key: value for key, value in publish["data"].items() if key.startswith("messaging")} == {
        "messaging.system": "workqueue",
        "messaging.destination.name": "mail",
        "messaging.message.id": "1",
        "messaging.message.body.size": 6,
    }
    about = attempt["contexts"]["trace"]
    assert (attempt["transaction"], about["op"], about["origin"]) == ("n", "queue.process", "auto.queue.workqueue")
    assert (about["trace_id"], about["parent_span_id"]) == (publish["trace_id"], publish["span_id"])
    assert about["status"] == "ok"
    assert about["data"]["messaging.message.id"] == "1"
    assert about["data"]["messaging.message.receive.latency"] >= 0
    assert about["data"]["messaging.message.retry.count"] == 0


def test_a_push_outside_of_a_transaction_carries_the_trace_too(init):
    init()
    with Queue(":memory:", observers=[sentry.Reports()]) as queue:
        headers = queue.get(queue.push("n")).headers
    assert headers["sentry-trace"].startswith(sentry_sdk.get_traceparent().split("-")[0])
    assert "sentry-trace_id=" in headers["baggage"]


def test_frames_of_ours_are_not_the_programs_and_keep_their_variables(init):
    kept = init()
    with Queue(":memory:", observers=[sentry.Reports()]) as queue:

        @queue.task(name="n")
        def task(secret: str) -> None:
            del secret
            raise ValueError("no good")

        task.push("s" * 37)
        queue.start()
        assert queue.wait_idle(10)
    frames = kept.errors[0]["exception"]["values"][0]["stacktrace"]["frames"]
    assert [frame["in_app"] for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert "s" * 37 not in json.dumps(kept.events, default=str)


def retried_once(ctx, job):
    if job.attempt == 1:
        raise RecoverableWorkerError("later", delay=0)
    raise ValueError("no good")


@pytest.mark.parametrize(
    ("observer", "reported"),
    [(sentry.Reports(), ["ValueError"]), (sentry.Reports(retried=True), ["RecoverableWorkerError", "ValueError"])],
)
def test_errors_of_attempts_that_are_retried_are_reported_only_where_that_is_asked_for(init, observer, reported):
    kept = init()
    run(retried_once, lambda queue: queue.push("n"), observer=observer)
    assert [error["exception"]["values"][-1]["type"] for error in kept.errors] == reported
    assert [one["contexts"]["trace"]["status"] for one in kept.transactions] == ["internal_error"] * 2


def test_a_control_is_not_reported(init):
    kept = init()

    def snooze(ctx, job):
        raise Snooze(3600)

    run(snooze, lambda queue: queue.push("n"), observer=sentry.Reports(retried=True))
    assert kept.errors == []
    assert kept.transactions[0]["contexts"]["trace"]["status"] == "aborted"


@pytest.mark.filterwarnings("ignore:The send_default_pii option is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ({}, False),
        ({"send_default_pii": False}, False),
        ({"send_default_pii": True}, True),
        ({"data_collection": {"queues": False, "stack_frame_variables": False}}, False),
        ({"data_collection": {"queues": True, "stack_frame_variables": False}}, True),
    ],
)
def test_what_a_job_holds_is_sent_only_where_personal_data_may_be(init, said, sent):
    kept = init(include_local_variables=False, **said)
    secret = "s" * 37  # the lines of this file are sent beside the traceback
    run(fail, lambda queue: queue.push("n", secret))
    assert kept.errors[0]["contexts"]["workqueue"].get("data") == (f'"{secret}"' if sent else None)
    assert (secret in json.dumps(kept.events, default=str)) is sent


@pytest.mark.parametrize("concurrency", [1, 2])
def test_what_handlers_tell_the_sdk_does_not_mix(init, concurrency):
    kept = init()
    all_here = threading.Barrier(concurrency)

    def deed(ctx, job):
        sentry_sdk.set_tag(job.name, "mine")
        sentry_sdk.add_breadcrumb(message=job.name)
        all_here.wait(10)
        raise ValueError(job.name)

    run(deed, lambda queue: queue.push("a"), lambda queue: queue.push("b"), concurrency=concurrency)
    assert sorted(
        (error["transaction"], sorted(set(error["tags"]) & {"a", "b"}), error["breadcrumbs"]["values"][0]["message"])
        for error in kept.errors
    ) == [("a", ["a"], "a"), ("b", ["b"], "b")]
    assert [len(error["breadcrumbs"]["values"]) for error in kept.errors] == [1, 1]


def test_async_handlers_that_run_at_once_do_not_mix(init):
    kept = init()

    async def deed(ctx, job):
        sentry_sdk.set_tag("mine", job.name)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        raise ValueError(job.name)

    run(deed, lambda queue: queue.push("a"), lambda queue: queue.push("b"), concurrency=2)
    assert {error["exception"]["values"][0]["value"]: error["tags"]["mine"] for error in kept.errors} == {
        "a": "a",
        "b": "b",
    }
    assert {error["transaction"] for error in kept.errors} == {"a", "b"}


def test_a_thread_past_its_timeout_is_reported_though_it_never_comes_back(init):
    goes_on, came_back = threading.Event(), threading.Event()

    def note(event, hint):
        came_back.set()
        return event

    kept = init(before_send_transaction=note)
    with Queue(":memory:", observers=[sentry.Reports()]) as queue:

        @queue.task(timeout=0.05, name="late")
        def late() -> None:
            assert goes_on.wait(30)

        late.push()
        queue.start()
        assert queue.wait_idle(10)
        assert [error["exception"]["values"][-1]["type"] for error in kept.errors] == ["TimedOut"]
        goes_on.set()
        assert came_back.wait(10)  # else its transaction may be sent by the SDK of the next test


class Isolated:
    def id(self):
        return "isolated"

    def handling(self, job):
        return Handling("child", entry="traced:deeds")

    def do_work(self, ctx, job): ...


def test_an_isolated_job(init, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACED_OUT", str(tmp_path / "out"))
    kept = init()
    with Queue(tmp_path / "q.db", Isolated(), observers=[sentry.Reports()]) as queue:
        queue.push("sentry", "raise")
        assert queue.wait_idle(30)
    [transaction], [error] = kept.transactions, kept.errors
    trace = transaction["contexts"]["trace"]
    there = json.loads((tmp_path / "out").read_text())
    assert there["task"] == "sentry"
    assert there["trace"].startswith(trace["trace_id"])
    [exception] = error["exception"]["values"]
    assert (exception["type"], exception["value"]) == ("LookupError", "no such: thing")
    assert exception["stacktrace"]["frames"][-1]["function"] == "fail"
    assert exception["stacktrace"]["frames"][-1]["filename"].endswith("traced.py")
    assert error["contexts"]["trace"]["span_id"] == trace["span_id"]


def test_beside_opentelemetry_both_traces_go_along(init):
    from opentelemetry import baggage, context
    from opentelemetry.sdk.trace import TracerProvider

    init()
    token = context.attach(baggage.set_baggage("who", "me"))
    try:
        with Queue(":memory:", observers=[otel.Telemetry(TracerProvider()), sentry.Reports()]) as queue:
            headers = queue.get(queue.push("n")).headers
    finally:
        context.detach(token)
    assert {"traceparent", "sentry-trace", "baggage"} <= set(headers)
    assert headers["baggage"].startswith("who=me,sentry-")


def test_without_the_sdk_set_up_nothing_happens():
    with Queue(":memory:", Worker(lambda ctx, job: None), observers=[sentry.Reports()]) as queue:
        queue.push("n")
        assert queue.wait_idle(10)
