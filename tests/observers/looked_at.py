"""What the tests run in child processes, and what is around it there."""

from __future__ import annotations

import json
import logging
import time
from contextlib import contextmanager
from contextvars import ContextVar

from workqueue.control import Snooze
from workqueue.lifecycle import Returned
from workqueue.observer import Push, Run

around_here: ContextVar[str] = ContextVar("around_here", default="")


@contextmanager
def around(job):
    token = around_here.set(f"around {job.id}")
    yield
    around_here.reset(token)


def broken(job):
    raise LookupError("this cannot be made")


class Notes:
    """An observer that notes what it is told."""

    def __init__(self, in_child: str | None = None) -> None:
        self.in_child = in_child
        self.said: list[tuple[object, ...]] = []
        self.pushes: list[Push] = []
        self.runs: list[Run] = []
        self.ended_runs: list[Run] = []

    @contextmanager
    def pushing(self, push):
        push.carry("n", str(len(self.pushes)))
        try:
            yield
        except BaseException as error:
            self.said.append(("push", repr(error)))
            raise
        self.pushes.append(push)

    @contextmanager
    def running(self, run):
        run.carry("here", "yes")
        self.said.append(("running", run.job.name, run.job.attempt))
        try:
            yield
        except BaseException as error:
            self.said.append(("raised", repr(error)))
            raise
        else:
            self.said.append(("returned",))
        finally:
            self.runs.append(run)

    def ended(self, run):
        self.ended_runs.append(run)


class Deeds:
    def do_work(self, ctx, job):
        ctx.give = lambda value: Returned(repr(value).encode())
        self.headers = dict(job.headers)
        return getattr(self, job.name)(ctx)

    def tells(self, ctx):
        raise ValueError(json.dumps([self.headers, around_here.get()]))

    def plain(self, ctx):
        logging.getLogger("app").warning("here it is")

    def raises(self, ctx):
        raise ValueError("no good: at all")

    def snoozes(self, ctx):
        raise Snooze(3600)

    def late(self, ctx):
        time.sleep(600)


deeds = Deeds()
