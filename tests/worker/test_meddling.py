"""Handlers that meddle with what runs them: their own jobs may fail, and everybody else's go on."""

from __future__ import annotations

import asyncio
import ctypes
import decimal
import logging
import os
import sys
import threading
from contextvars import ContextVar

import pytest
from workqueue import Backoff, JobStatus, Queue, Size, UsageError
from workqueue.worker import Handling


class Vague(Exception):
    """Raises when asked what it is."""

    @property
    def __class__(self):
        raise OSError("who asks?")

    @__class__.setter
    def __class__(self, value):
        raise OSError("no")


class Sync:
    def __init__(self, **deeds) -> None:
        self.deeds = deeds
        self.ran: list[str] = []

    def id(self) -> str:
        return "meddling"

    def do_work(self, ctx, job):
        self.ran.append(job.name)
        deed = self.deeds.get(job.name)
        return deed(ctx, job) if deed else None


class Async(Sync):
    async def do_work(self, ctx, job):
        result = Sync.do_work(self, ctx, job)
        if asyncio.iscoroutine(result):
            await result


BOTH = pytest.mark.parametrize("kind", [Sync, Async])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.db"


def play(path, worker, *, concurrency: int = 1) -> None:
    """Run the deeds first, then ten good jobs on the same threads."""
    with Queue(path, worker, concurrency=concurrency, auto_start=False) as queue:
        for deed in worker.deeds:
            queue.push(deed)
        queue.push_many("good", range(10))
        queue.start()
        assert queue.wait_idle(30)
    with Queue(path) as queue:
        assert queue.check() == []
    assert worker.ran.count("good") >= 10  # or more, where the deed brought a neighbour down
    assert "good" not in failed(path)


def failed(path) -> dict[str, str]:
    with Queue(path) as queue:
        return {job.name: job.message for job in queue.jobs(status=JobStatus.FAILED)}


@BOTH
def test_an_error_that_cannot_be_looked_at(path, kind):
    def vague(ctx, job):
        raise Vague

    play(path, kind(vague=vague))
    assert failed(path)["vague"].startswith("Vague")


def test_a_generator_is_no_work_done(path):
    def lazy(ctx, job):
        yield

    async def lazier(ctx, job):
        yield

    play(path, Sync(lazy=lazy, lazier=lazier))
    assert [text.split(",")[0] for text in failed(path).values()] == [
        "UsageError: expected do_work to return when done"
    ] * 2


@BOTH
def test_a_rule_that_the_handler_spoils_fails_its_own_job_only(path, kind):
    def spoils(ctx, job):
        job.backoff.limit = "many"
        job.backoff.min = None
        raise Recoverable

    from workqueue import RecoverableWorkerError as Recoverable

    worker = kind(spoils=spoils)
    with Queue(path, worker, backoff=Backoff(limit=3), auto_start=False) as queue:
        queue.push("spoils")
        sound = queue.push_after("later", None, 3600)
        queue.start()
        assert queue.wait_idle(30)
        assert queue.get(sound).backoff.limit == 3
    assert failed(path)["spoils"].startswith("TypeError: ")


@BOTH
def test_logs_that_raise(path, kind):
    class Broken(logging.Handler):
        def handle(self, record):
            raise OSError("the log is gone")

    def raises(ctx, job):
        raise ValueError("unheard")

    broken, log = Broken(), logging.getLogger("workqueue")
    log.addHandler(broken)
    try:
        play(path, kind(raises=raises))
    finally:
        log.removeHandler(broken)
    assert failed(path) == {"raises": "ValueError: unheard"}


TENANT = ContextVar("tenant", default="nobody")


class AsTasks(Sync):
    def handling(self, job):
        return Handling()


class AsAsyncTasks(Async):
    def handling(self, job):
        return Handling("loop")


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("kind", [Sync, Async, AsTasks, AsAsyncTasks])
def test_what_a_job_sets_in_its_context_no_other_job_sees(path, kind, concurrency):
    seen = []

    def sets(ctx, job):
        seen.append((TENANT.get(), decimal.getcontext().prec))
        TENANT.set(job.name)
        decimal.getcontext().prec = 3

    play(path, kind(alice=sets, bob=sets, good=sets), concurrency=concurrency)
    assert seen == [("nobody", 28)] * 13


@pytest.mark.parametrize("function", ["end", "_deliver"])
def test_a_tracer_that_raises_once_the_handler_is_over(path, function):
    def tracer(frame, event, arg):
        if frame.f_code.co_name == function and "workqueue" in frame.f_code.co_filename:
            sys.settrace(None)
            raise KeyboardInterrupt
        return None

    play(path, Sync(traces=lambda ctx, job: sys.settrace(tracer)))


def test_an_exception_thrown_into_an_idle_thread_costs_no_job(path):
    """The well-known timeout for threads, when it comes after its job has ended."""
    idents: list[int] = []
    with Queue(path, Sync(notes=lambda ctx, job: idents.append(threading.get_ident()))) as queue:
        queue.push("notes")
        assert queue.wait_idle(10)
        throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
        assert throw(ctypes.c_ulong(idents[0]), ctypes.py_object(TimeoutError)) == 1
        for _ in range(3):
            queue.push("good")
        assert queue.wait_idle(10)
        assert queue.worker.ran == ["notes", "good", "good", "good"]
        assert queue.size() == Size(0, 0)


@BOTH
def test_a_forked_child_that_leaves_the_handler_ends(path, kind, tmp_path):
    read, write = os.pipe()

    def forks(ctx, job):
        child = os.fork()
        os.write(write, f"{child}\n".encode())
        if child:
            assert os.waitpid(child, 0)[1] == 0

    play(path, kind(forks=forks))
    os.close(write)
    with os.fdopen(read) as told:
        assert len(told.readlines()) == 2  # once in the child, and once in the parent


@BOTH
def test_a_transaction_left_open_is_rolled_back(path, kind):
    left: list[object] = []  # else the collector would end it

    def leaves(ctx, job):
        block = ctx.transaction()
        left.append(block)
        transaction = block.__enter__()
        transaction.execute("CREATE TABLE effects (n)")

    play(path, kind(leaves=leaves))
    assert "left open; it was rolled back" in failed(path)["leaves"]
    with Queue(path) as queue, queue.transaction() as transaction:
        assert list(transaction.execute("SELECT name FROM sqlite_master WHERE name = 'effects'")) == []


async def stop_loop(ctx, job):
    asyncio.get_running_loop().stop()


async def exit_in_a_task(ctx, job):
    async def exits():
        raise SystemExit(3)

    task = asyncio.create_task(exits())
    await asyncio.wait([task])
    task.exception()  # else the collector tells of it, in the middle of another test


async def break_the_factory(ctx, job):
    def refuses(*args, **kwargs):
        raise RuntimeError("no tasks today")

    asyncio.get_running_loop().set_task_factory(refuses)


async def break_the_loop(ctx, job):
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, asyncio.get_running_loop()._selector.fileno())  # as programs do that close all they know not
    os.close(null)


async def cancel_and_return(ctx, job):
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the broken loop's tasks
@pytest.mark.parametrize("deed", [stop_loop, exit_in_a_task, break_the_factory, break_the_loop, cancel_and_return])
def test_the_event_loop_outlives_its_jobs(path, deed):
    play(path, Async(deed=deed))


def test_a_job_that_cancels_itself_fails_in_the_end(path):
    async def cancels_itself(ctx, job):
        await cancel_and_return(ctx, job)
        await asyncio.sleep(0)

    worker = Async(itself=cancels_itself)
    play(path, worker)
    assert worker.ran.count("itself") == 3
    assert failed(path) == {"itself": "CancelledError"}


def test_a_job_cancelled_by_its_neighbour_is_tried_again(path):
    here = asyncio.Event()

    async def waits(ctx, job):
        if job.attempt == 1:
            here.set()
            await asyncio.sleep(3600)

    async def cancels_everybody(ctx, job):
        await here.wait()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    worker = Async(waits=waits, cancels=cancels_everybody)
    play(path, worker, concurrency=2)
    assert worker.ran.count("waits") == 2
    assert failed(path) == {}


def test_a_job_that_slept_on_a_loop_of_its_own_can_be_cancelled(path):
    slept = threading.Event()

    def sleeps(ctx, job):
        async def nap():
            asyncio.get_running_loop().call_soon(task.cancel)
            await ctx.sleep(3600)

        loop = asyncio.new_event_loop()
        task = loop.create_task(nap())
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()
        slept.set()
        assert ctx.wait(30)

    with Queue(path, Sync(sleeps=sleeps)) as queue:
        job_id = queue.push("sleeps")
        assert slept.wait(30)
        queue.cancel(job_id)
        assert queue.wait_idle(30)


def test_wait_stopped_tells_when_the_queue_has_stopped_by_whomever(path):
    refused: list[str] = []

    def stops(ctx, job):
        with pytest.raises(UsageError) as caught:
            queue.wait_stopped()
        refused.append(str(caught.value))
        queue.stop()

    queue = Queue(path, Sync(stops=stops), auto_start=False)
    assert queue.wait_stopped()  # nothing runs yet
    queue.start()
    assert not queue.wait_stopped(0)
    queue.push("stops")
    assert queue.wait_stopped(30)
    assert refused == ["expected wait_stopped() from outside its own jobs, for it waits for them"]
    queue.close()
    assert queue.wait_stopped()
