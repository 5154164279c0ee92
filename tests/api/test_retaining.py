"""Queue: what it keeps of jobs that are over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from workqueue import Context, InvalidOption, JobNotFound, JobStatus, Keep, Queue, ResultNotKept, injected, pruning
from workqueue.testing import drain

HOUR = timedelta(hours=1)


class Handler:
    def __init__(self, act: Callable[[Context], object] = lambda ctx: None) -> None:
        self.act = act

    def id(self) -> str:
        return "handler"

    def do_work(self, ctx, job):
        self.act(ctx)


class AsyncHandler(Handler):
    async def do_work(self, ctx, job):
        self.act(ctx)


@pytest.fixture(params=["file", "memory"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    return tmp_path / "jobs.db" if request.param == "file" else ":memory:"


def when_pruned(queue: Queue, monkeypatch: pytest.MonkeyPatch, count: int) -> threading.Event:
    """Give what is set once the runner has deleted so many."""
    pruned = threading.Event()
    prune = queue._store.surplus.prune
    gone = 0

    def watched(*arguments: object) -> int:
        nonlocal gone
        deleted = prune(*arguments)
        gone += deleted
        if gone == count:
            pruned.set()
        return deleted

    monkeypatch.setattr(queue._store.surplus, "prune", watched)
    return pruned


def transacting(ctx: Context) -> None:
    with ctx.transaction():
        pass


@pytest.mark.parametrize("handler", [Handler(), AsyncHandler(), Handler(transacting)], ids=["def", "async", "ctx"])
def test_completed_jobs_are_kept_where_the_queue_that_runs_them_says_so(path, handler):
    with Queue(path, handler, keep_completed=HOUR) as queue:
        job_id = queue.push("n", 5)
        assert queue.wait_idle(30)
        job = queue.get(job_id)
        assert (job.status, job.decode(), job.attempt) == (JobStatus.COMPLETED, 5, 1)
        assert job.duration is not None
        assert job.duration >= timedelta(0)
        assert job.runner
        assert [found.id for found in queue.jobs(status="completed")] == [job_id]
        assert queue.clean_jobs(status="completed") == 1
        with pytest.raises(JobNotFound):
            queue.get(job_id)


def test_completed_jobs_leave_where_nothing_is_said(path):
    with Queue(path, Handler()) as queue:
        queue.push("n")
        assert queue.wait_idle(30)
        assert queue.jobs() == []


def test_a_runner_prunes_its_queue_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(pruning, "_SECONDS", 0.01)
    monkeypatch.setattr(pruning, "_LIMIT", 3)
    with Queue(tmp_path / "jobs.db", Handler(), id="other", keep_completed=HOUR) as other:
        other.push_many("n", range(12))
        assert other.wait_idle(30)
    with Queue(tmp_path / "jobs.db", Handler(), keep_completed=10, auto_start=False) as queue:
        ids = queue.push_many("n", range(30))
        pruned: list[int] = []
        enough = threading.Event()
        prune = queue._store.surplus.prune

        def watched(*arguments: object) -> int:
            pruned.append(prune(*arguments))
            if sum(pruned) >= 20 and not pruned[-1]:
                enough.set()
            return pruned[-1]

        monkeypatch.setattr(queue._store.surplus, "prune", watched)
        queue.start()
        assert enough.wait(30)
        assert queue.wait_idle(30)
        assert [job.id for job in queue.jobs()] == ids[20:]
        assert max(pruned) == 3
    with Queue(tmp_path / "jobs.db", id="other") as other:
        assert len(other.jobs(status="completed")) == 12


def test_failed_jobs_are_pruned_too(tmp_path, monkeypatch):
    monkeypatch.setattr(pruning, "_SECONDS", 0.01)

    def fail(ctx: Context) -> None:
        raise ValueError(ctx.job.id)

    with Queue(tmp_path / "jobs.db", Handler(fail), keep_failed=Keep(age=HOUR, count=2)) as queue:
        pruned = when_pruned(queue, monkeypatch, 3)
        ids = queue.push_many("n", range(5))
        assert pruned.wait(30)
        assert [job.id for job in queue.jobs(status="failed")] == ids[3:]


# results


def test_a_queues_rule_for_results_is_that_of_tasks_that_say_nothing(path):
    with Queue(path, keep_results=HOUR) as queue:

        @queue.task
        def silent(n: int) -> int:
            return n

        @queue.task(keep_results=None)
        def forgetful(n: int) -> int:
            return n

        @queue.task(keep_results=5)
        def brief(n: int) -> int:
            return n

        @queue.task
        def transacting(n: int, *, ctx: Context = injected) -> int:
            ctx.set_result(n)
            with ctx.transaction():
                pass
            return n

        handles = [silent.push(1), brief.push(2), transacting.push(3)]
        forgotten = forgetful.push(4)
        queue.start()
        assert [handle.result(timeout=30) for handle in handles] == [1, 2, 3]
        assert forgotten.wait(30)
        with pytest.raises(ResultNotKept):
            forgotten.result(timeout=1)


def test_of_results_that_are_counted_the_newest_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(pruning, "_SECONDS", 0.01)
    with Queue(tmp_path / "jobs.db", keep_results=Keep(count=3)) as queue:

        @queue.task
        def give(n: int) -> int:
            return n

        pruned = when_pruned(queue, monkeypatch, 5)
        ids = give.push_many([(n,) for n in range(8)])
        queue.start()
        assert pruned.wait(30)
        outlook = queue._store.outlook(ids)
        assert [job for job in ids if outlook[job].result is not None] == ids[5:]


def test_what_cannot_be_kept_is_told_when_the_task_is_made():
    with Queue(":memory:", keep_results=HOUR) as queue:

        def stream() -> threading.Thread:
            raise NotImplementedError

        with pytest.raises(InvalidOption):
            queue.task(stream)
        assert queue.task(keep_results=None)(stream)


# in tests


def test_a_drain_keeps_what_its_queue_keeps(tmp_path):
    with Queue(tmp_path / "jobs.db", Handler(), auto_start=False, keep_completed=HOUR) as queue:
        job_id = queue.push("n")
        assert drain(queue).completed == 1
        assert queue.get(job_id).status is JobStatus.COMPLETED
