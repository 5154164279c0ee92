"""Nothing that a handler raises leaves a job running or stops the worker, and all of it is kept with the job."""

from __future__ import annotations

import asyncio

import pytest
from workqueue import JobStatus, Queue


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no words for it")


class Wicked(BaseException):
    """Fails in every way in which an exception is looked at."""

    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


def recurse() -> None:
    recurse()


def fail(error: BaseException) -> None:
    raise error


async def never_awaited() -> None:
    pass


DEEDS = {
    "SystemExit": lambda: fail(SystemExit(1)),
    "KeyboardInterrupt": lambda: fail(KeyboardInterrupt()),
    "GeneratorExit": lambda: fail(GeneratorExit()),
    "MemoryError": lambda: fail(MemoryError()),
    "RecursionError": recurse,
    "CancelledError": lambda: fail(asyncio.CancelledError()),
    "StopIteration": lambda: fail(StopIteration()),
    "BaseExceptionGroup": lambda: fail(BaseExceptionGroup("two", [KeyboardInterrupt(), ValueError("x")])),
    "Unprintable": lambda: fail(Unprintable()),
    "Wicked": lambda: fail(Wicked()),
    "ValueError": lambda: fail(ValueError("x" * 5_000_000)),
    "UnicodeError": lambda: fail(UnicodeError("lone \ud800 surrogate, \0 and \x1b[31m")),
}


class Sync:
    def id(self) -> str:
        return "sync"

    def do_work(self, ctx, job):
        if job.name == "undecodable":
            job.decode()
        if job.name in DEEDS:
            DEEDS[job.name]()


class Async(Sync):
    async def do_work(self, ctx, job):
        Sync.do_work(self, ctx, job)


@pytest.fixture(params=["file", "memory"])
def path(request, tmp_path):
    return tmp_path / "jobs.db" if request.param == "file" else ":memory:"


@pytest.mark.parametrize("worker", [Sync, Async])
@pytest.mark.parametrize("deed", DEEDS)
def test_the_job_fails_with_its_reason_and_the_worker_goes_on(path, worker, deed):
    with Queue(path, worker(), auto_start=False) as queue:
        bad, good = queue.push(deed), queue.push("good")
        queue.start()
        assert queue.wait_idle(30)
        job = queue.get(bad)
        assert job.status is JobStatus.FAILED
        # A coroutine turns StopIteration into RuntimeError; that is Python's doing.
        assert job.message.startswith((deed, "RuntimeError: coroutine raised StopIteration"))
        assert len(job.message) <= 1_000
        [attempt] = queue.history(bad)
        assert (attempt.attempt, attempt.outcome, attempt.error) == (1, "raised", job.message)
        assert attempt.runner
        assert attempt.traceback.startswith(("Traceback", "  + Exception Group Traceback", "<the traceback"))
        assert len(attempt.traceback) < 70_000
        assert [one.id for one in queue.jobs()] == [bad], good


@pytest.mark.parametrize("worker", [Sync, Async])
@pytest.mark.parametrize("data", [b"\xff\xfe", b"{", b"", b"[" * 100_000])
def test_data_that_do_not_decode_fail_their_job_with_the_reason(path, worker, data):
    with Queue(path, worker()) as queue:
        bad = queue.push_bytes("undecodable", data)
        queue.push("good")
        assert queue.wait_idle(30)
        assert queue.get(bad).message.startswith("InvalidPayload: expected data that is JSON, got ")
        assert queue.get(bad).data == data


def test_a_def_that_gives_a_coroutine_is_told_to_be_async(path):
    class Forgetful(Sync):
        def do_work(self, ctx, job):
            return never_awaited()

    with Queue(path, Forgetful()) as queue:
        job_id = queue.push("n")
        assert queue.wait_idle(30)
        assert "declare it `async def`" in queue.get(job_id).message
