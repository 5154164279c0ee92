"""A program with an SDK of its own, as its child processes import it: what handlers see there goes to a file."""

from __future__ import annotations

import json
import os

import sentry_sdk
from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import TracerProvider


class Deeds:
    def do_work(self, ctx, job):
        with open(os.environ["TRACED_OUT"], "a") as file:
            file.write(json.dumps(getattr(self, job.name)(job)) + "\n")
        if job.decode() == "raise":
            self.fail()

    def fail(self):
        raise LookupError("no such: thing")

    def otel(self, job):
        with TracerProvider().get_tracer("app").start_as_current_span("inner") as span:
            context = span.get_span_context()
            parent = span.parent
        return {
            "trace": trace.format_trace_id(context.trace_id),
            "parent": trace.format_span_id(parent.span_id),
            "who": baggage.get_baggage("who"),
        }

    def sentry(self, job):
        scope = sentry_sdk.get_isolation_scope()
        return {"trace": sentry_sdk.get_traceparent(), "task": scope._tags.get("workqueue.task")}


deeds = Deeds()
