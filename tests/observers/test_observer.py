"""Observers: what they are told, from where, and that they are in nobody's way."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from looked_at import Notes
from workqueue import (
    InvalidOption,
    JobStatus,
    Observer,
    Queue,
    RaisedInChild,
    RecoverableWorkerError,
    Snooze,
    TimedOut,
    chain,
)
from workqueue.job import NO_HEADERS
from workqueue.testing import drain
from workqueue.worker import Handling

ROOT = Path(__file__).parents[2]


@pytest.fixture
def notes():
    return Notes()


class Worker:
    def __init__(self, deed=lambda ctx, job: None):
        self.deed = deed

    def id(self):
        return "worker"

    def do_work(self, ctx, job):
        return self.deed(ctx, job)


class Isolated:
    timeout = None

    def id(self):
        return "isolated"

    def handling(self, job):
        return Handling("child", timeout=self.timeout, entry="looked_at:deeds")

    def do_work(self, ctx, job): ...


# pushes


def test_headers_of_an_observer_go_to_the_handler(notes):
    seen = []
    with Queue(":memory:", Worker(lambda ctx, job: seen.append(dict(job.headers))), observers=[notes]) as queue:
        first = queue.push("n")
        queue.push_after("n", delay=0)
        queue.push_bytes("n", b"1")
        assert queue.wait_idle(10)
    assert seen == [{"n": "0"}, {"n": "1"}, {"n": "2"}]
    assert [push.is_bulk for push in notes.pushes] == [False] * 3
    assert notes.pushes[0].ids == [first]
    assert notes.pushes[0].queue == "default"


def test_one_push_of_many_is_observed_once_per_transaction(notes):
    with Queue(":memory:", observers=[notes]) as queue:
        ids = queue.push_many("n", range(2500))
        assert [len(push.jobs) for push in notes.pushes] == [1000, 1000, 500]
        assert [list(push.ids) for push in notes.pushes] == [ids[:1000], ids[1000:2000], ids[2000:]]
        assert all(push.is_bulk for push in notes.pushes)
        assert queue.get(ids[1200]).headers["n"] == "1"


def test_a_push_of_no_jobs_is_none(notes):
    with Queue(":memory:", observers=[notes]) as queue:
        assert queue.push_many("n", []) == []
    assert notes.pushes == []


def test_pushes_from_async_code_and_of_tasks_chains_and_batches(notes):
    with Queue(":memory:", observers=[notes]) as queue:

        @queue.task
        def task(n: int) -> int:
            return n

        handle = asyncio.run(task.apush(1))
        apushed = asyncio.run(queue.apush("n"))
        chain(task.s(1), task.s()).push()
        with queue.batch(then=task.s(3)) as batch:
            batch.add(task.s(2))
        assert [len(push.ids) for push in notes.pushes] == [1, 1, 2, 2]
        assert [notes.pushes[n].ids[0] for n in (0, 1)] == [handle.id, apushed]
        assert all(queue.get(job).headers for push in notes.pushes for job in push.ids)


def test_an_error_of_the_push_goes_through_the_observer_to_the_caller(notes):
    with Queue(":memory:", observers=[notes]) as queue:
        task = queue.task(name="n", key_by="n", on_conflict="error")(lambda n: None)
        task.push(1)
        with pytest.raises(Exception, match="key"):
            task.push(1)
    [(kind, error)] = notes.said
    assert (kind, error.startswith("DuplicateJob(")) == ("push", True)


def test_without_observers_jobs_have_no_headers():
    with Queue(":memory:") as queue:
        assert queue.get(queue.push("n")).headers is NO_HEADERS


def test_several_observers_are_left_in_the_reverse_order_and_share_the_baggage():
    said = []

    class Named(Notes):
        def __init__(self, name):
            super().__init__()
            self.name = name

        @contextmanager
        def pushing(self, push):
            push.carry("baggage", f"{self.name}=1")
            said.append(f"enter {self.name}")
            yield
            said.append(f"leave {self.name}")

    with Queue(":memory:", observers=[Named("a"), Named("b")]) as queue:
        assert dict(queue.get(queue.push("n")).headers) == {"baggage": "a=1,b=1"}
    assert said == ["enter a", "enter b", "leave b", "leave a"]


# attempts


def test_an_attempt_on_a_thread(notes):
    threads = []

    class There(Notes):
        @contextmanager
        def running(self, run):
            threads.append(threading.current_thread())
            yield
            threads.append(threading.current_thread())

    there = There()
    deed = lambda ctx, job: threads.append(threading.current_thread())  # noqa: E731
    with Queue(":memory:", Worker(deed), observers=[there]) as queue:
        job_id = queue.push("n")
        assert queue.wait_idle(10)
    assert len(set(threads)) == 1
    [run] = there.ended_runs
    assert (run.job.id, run.job.attempt, run.to, run.failed, run.exception) == (
        job_id,
        1,
        JobStatus.COMPLETED,
        False,
        None,
    )
    assert run.age >= timedelta(0)
    assert not run.is_isolated


def test_what_a_handler_raised_and_what_comes_of_it(notes):
    def deed(ctx, job):
        if job.name == "retried" and job.attempt == 1:
            raise RecoverableWorkerError("later", delay=0)
        if job.name != "retried":
            raise ValueError("no good")

    with Queue(":memory:", Worker(deed), observers=[notes]) as queue:
        queue.push("retried")
        queue.push("fails")
        assert queue.wait_idle(10)
    assert [(run.job.name, run.job.attempt, str(run.to), run.failed, run.error) for run in notes.ended_runs] == [
        ("retried", 1, "retrying", True, "RecoverableWorkerError: later"),
        ("fails", 1, "failed", True, "ValueError: no good"),
        ("retried", 2, "completed", False, ""),
    ]
    assert isinstance(notes.ended_runs[1].exception, ValueError)
    assert "in deed" in notes.ended_runs[1].traceback
    assert ("raised", "ValueError('no good')") in notes.said


def test_a_control_is_no_failure(notes):
    def deed(ctx, job):
        raise Snooze(3600)

    with Queue(":memory:", Worker(deed), observers=[notes]) as queue:
        queue.push("n")
        assert queue.wait_idle(10)
    [run] = notes.ended_runs
    assert (run.failed, run.to) == (False, JobStatus.PENDING)


def test_async_handlers_keep_apart(notes):
    class Async:
        def id(self):
            return "async"

        async def do_work(self, ctx, job):
            await asyncio.sleep(0)
            if job.name == "bad":
                raise ValueError("no good")

    with Queue(":memory:", Async(), concurrency=5, observers=[notes]) as queue:
        queue.push_many("n", range(10))
        queue.push("bad")
        assert queue.wait_idle(10)
    assert sorted(run.job.id for run in notes.ended_runs) == list(range(1, 12))
    assert notes.said.count(("returned",)) == 10
    assert notes.said.count(("raised", "ValueError('no good')")) == 1


def test_tasks_of_both_kinds(notes):
    with Queue(":memory:", concurrency=2, observers=[notes]) as queue:

        @queue.task
        def plain() -> None: ...

        @queue.task
        async def awaited() -> None: ...

        plain.push()
        awaited.push()
        queue.start()
        assert queue.wait_idle(10)
    assert notes.said.count(("returned",)) == 2


def test_a_thread_past_its_timeout_has_ended_at_once_and_is_left_late(notes):
    goes_on = threading.Event()
    with Queue(":memory:", observers=[notes]) as queue:

        @queue.task(timeout=0.05, name="late")
        def late() -> None:
            assert goes_on.wait(30)

        late.push()
        queue.start()
        assert queue.wait_idle(10)
        [run] = notes.ended_runs
        assert (run.to, type(run.exception), run.failed) == (JobStatus.FAILED, TimedOut, True)
        assert notes.runs == []
        goes_on.set()
        while not notes.runs:
            time.sleep(0.001)
    assert notes.said[-1][1].startswith("TimedOut(")
    assert notes.runs == [run]


def test_an_async_handler_past_its_timeout(notes):
    with Queue(":memory:", observers=[notes]) as queue:

        @queue.task(timeout=0.05, name="late")
        async def late() -> None:
            await asyncio.sleep(600)

        late.push()
        queue.start()
        assert queue.wait_idle(10)
    [run] = notes.ended_runs
    assert (type(run.exception), run.failed) == (TimedOut, True)
    assert notes.said[-1][1].startswith("TimedOut(")


def test_a_job_completed_by_its_transaction(tmp_path, notes):
    def deed(ctx, job):
        with ctx.transaction():
            pass
        raise ValueError("too late")

    with Queue(tmp_path / "q.db", Worker(deed), observers=[notes]) as queue:
        queue.push("n")
        assert queue.wait_idle(10)
    [run] = notes.ended_runs
    assert (run.to, run.failed, type(run.exception)) == (JobStatus.COMPLETED, False, ValueError)


def test_what_a_handler_forks_does_not_end_the_attempt(tmp_path, notes):
    told = tmp_path / "told"

    class Telling(Notes):
        @contextmanager
        def running(self, run):
            yield
            with told.open("a") as file:
                file.write("left\n")

    def deed(ctx, job):
        child = os.fork()
        if child:
            os.waitpid(child, 0)

    with Queue(tmp_path / "q.db", Worker(deed), observers=[Telling()]) as queue:
        queue.push("n")
        assert queue.wait_idle(10)
    assert told.read_text() == "left\n"


# isolated


def test_an_isolated_attempt(tmp_path):
    notes = Notes(in_child="looked_at:around")
    worker = Isolated()
    with Queue(tmp_path / "q.db", worker, observers=[notes], keep_completed=10, auto_start=False) as queue:
        queue.push("plain")
        queue.push("raises")
        queue.push("snoozes")
        queue.start()
        assert queue.wait_idle(30)
    plain, raised, snoozed = notes.ended_runs
    assert plain.is_isolated
    assert plain.headers == {"n": "0", "here": "yes"}
    assert (plain.to, plain.exception) == (JobStatus.COMPLETED, None)
    assert (raised.to, raised.failed, raised.error) == (JobStatus.FAILED, True, "ValueError: no good: at all")
    assert isinstance(raised.exception, RaisedInChild)
    assert (raised.exception.kind, raised.exception.said) == ("ValueError", "no good: at all")
    assert "in raises" in raised.exception.traceback
    assert (snoozed.to, snoozed.failed, snoozed.exception) == (JobStatus.PENDING, False, None)
    assert [said for said in notes.said if said[0] != "running"][:2] == [
        ("returned",),
        ("raised", "RaisedInChild('ValueError: no good: at all')"),
    ]


def test_a_child_sees_what_the_observer_let_it_and_is_inside_of_what_it_named(tmp_path):
    notes = Notes(in_child="looked_at:around")
    with Queue(tmp_path / "q.db", Isolated(), observers=[notes]) as queue:
        job_id = queue.push("tells")
        assert queue.wait_idle(30)
    assert json.loads(notes.ended_runs[0].exception.said) == [{"n": "0", "here": "yes"}, f"around {job_id}"]


def test_what_cannot_be_made_in_the_child_changes_nothing(tmp_path, capfd):
    notes = Notes(in_child="looked_at:broken")
    with Queue(tmp_path / "q.db", Isolated(), observers=[notes]) as queue:
        queue.push("plain")
        assert queue.wait_idle(30)
    assert notes.ended_runs[0].to is JobStatus.COMPLETED
    assert "this cannot be made" in capfd.readouterr().err


def test_an_isolated_attempt_past_its_timeout(tmp_path, notes):
    worker = Isolated()
    worker.timeout = timedelta(seconds=0.1)
    with Queue(tmp_path / "q.db", worker, observers=[notes]) as queue:
        queue.push("late")
        assert queue.wait_idle(30)
    [run] = notes.ended_runs
    assert (type(run.exception), run.to) == (TimedOut, JobStatus.FAILED)


# in nobody's way


class Broken:
    in_child = None

    def __init__(self, where):
        self.where = where

    def _fail(self, where):
        if where == self.where:
            raise RuntimeError(f"broken: {where}")

    @contextmanager
    def pushing(self, push):
        self._fail("push begins")
        if self.where == "nonsense":
            push.carry("a", 1)
        yield
        self._fail("push ends")

    @contextmanager
    def running(self, run):
        self._fail("run begins")
        try:
            yield
        finally:
            self._fail("run ends")

    def ended(self, run):
        self._fail("ended")


@pytest.mark.parametrize("where", ["push begins", "push ends", "run begins", "run ends", "ended", "nonsense"])
def test_what_an_observer_raises_is_logged_and_changes_nothing(where, notes, caplog):
    def deed(ctx, job):
        if job.name == "bad":
            raise ValueError("no good")

    with Queue(":memory:", Worker(deed), observers=[Broken(where), notes]) as queue:
        queue.push("good")
        queue.push("bad")
        assert queue.wait_idle(10)
        assert tuple(queue.size()) == (0, 1)
    assert [str(run.to) for run in notes.ended_runs] == ["completed", "failed"]
    told = [record for record in caplog.records if record.name == "workqueue.observer"]
    assert len(told) == 2
    assert told[0].exc_info is not None
    assert told[0].levelno == logging.ERROR


def test_an_observer_that_exits_when_an_attempt_has_ended_ends_no_runner(notes, caplog):
    class Exiting(Notes):
        def ended(self, run):
            raise SystemExit("told off")

    with Queue(":memory:", Worker(), observers=[Exiting(), notes], auto_start=False) as queue:
        queue.push_many("n", range(3))
        queue.start()
        assert queue.wait_idle(10)
        assert tuple(queue.size()) == (0, 0)
        assert queue.pulse() is not None
    assert len(notes.ended_runs) == 3
    assert "an observer raised when a push or an attempt ended; it goes on: SystemExit('told off')" in caplog.text


def test_an_observer_may_raise_what_it_was_left_with(caplog):
    class Left:
        def __enter__(self): ...

        def __exit__(self, kind, error, traceback):
            if error is not None:
                raise error

    class Passing(Notes):
        def running(self, run):
            return Left()

    def deed(ctx, job):
        raise ValueError("no good")

    with Queue(":memory:", Worker(deed), observers=[Passing()]) as queue:
        queue.push("n")
        assert queue.wait_idle(10)
    assert not [record for record in caplog.records if record.name == "workqueue.observer"]


def test_what_is_no_observer_is_refused():
    with pytest.raises(InvalidOption, match="expected observers to have in_child, pushing, running and ended"):
        Queue(":memory:", observers=[object()])


def test_a_drain_is_observed_too(notes):
    with Queue(":memory:", observers=[notes]) as queue:

        @queue.task
        def fails() -> None:
            raise ValueError("no good")

        @queue.task
        async def awaited() -> None:
            await asyncio.sleep(0)

        @queue.task(timeout=0.01)
        def late() -> None:
            time.sleep(0.02)

        for task in (fails, awaited, late):
            task.push()
        drain(queue)
    assert [(str(run.to), run.failed, type(run.exception)) for run in notes.ended_runs] == [
        ("failed", True, ValueError),
        ("completed", False, type(None)),
        ("failed", True, TimedOut),
    ]
    assert [said[0] for said in notes.said] == ["running", "raised", "running", "returned", "running", "raised"]


def test_the_observer_of_the_page_works_also_on_jobs_that_were_pushed_without_it(capsys, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "traces.md").read_text(), re.DOTALL)
    names: dict[str, type[Observer]] = {}
    exec(blocks[-1], names)  # noqa: S102 - a page of ours
    with Queue(tmp_path / "jobs.db") as without:
        without.push("n")
    with Queue(tmp_path / "jobs.db", Worker(), observers=[names["Slow"]()]) as queue:
        queue.push("n")
        assert queue.wait_idle(10)
    lines = capsys.readouterr().out.splitlines()
    running, ended = ([line for line in lines if line[0].isdecimal() is is_running] for is_running in (True, False))
    assert [line.rpartition(" ")[0] for line in running] == ["1 None", "2 web"]
    assert ended == ["completed False  None"] * 2
