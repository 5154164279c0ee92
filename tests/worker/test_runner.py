"""The runner through its front door: order, room, stopping, cancelling, waking, and a store in trouble."""

from __future__ import annotations

import asyncio
import queue as queues
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import NoReturn

import pytest
from workqueue import JobStatus, Queue, QueueClosed, RecoverableWorkerError, StoreUnavailable, UsageError
from workqueue.context import Context
from workqueue.job import Claim, Job
from workqueue.runner import Runner


class Handler:
    """Calls `act(ctx, job)` and remembers the order."""

    def __init__(self, act=lambda ctx, job: None) -> None:
        self.act = act
        self.ran: list[str] = []

    def id(self) -> str:
        return "handler"

    def do_work(self, ctx, job):
        self.ran.append(job.name)
        return self.act(ctx, job)


@pytest.fixture(params=["file", "memory"])
def path(request, tmp_path):
    return tmp_path / "jobs.db" if request.param == "file" else ":memory:"


def test_one_at_a_time_in_the_order_of_pushing(path):
    at_once = threading.Semaphore(1)

    def alone(ctx, job):
        assert at_once.acquire(blocking=False)
        at_once.release()

    handler = Handler(alone)
    with Queue(path, handler, auto_start=False, batch_size=7) as queue:
        names = [f"job {number}" for number in range(50)]
        for name in names:
            queue.push(name)
        queue.start()
        assert queue.wait_idle(30)
    assert handler.ran == names


def test_priority_first_then_turn(path):
    handler = Handler()
    with Queue(path, handler, auto_start=False) as queue:
        queue.push("low", priority=-1)
        queue.push("first")
        queue.push("second")
        queue.push("high", priority=5)
        queue.start()
        assert queue.wait_idle(30)
    assert handler.ran == ["high", "first", "second", "low"]


def test_as_many_at_once_as_were_asked_for(path):
    together = threading.Barrier(4, timeout=30)
    with Queue(path, Handler(lambda ctx, job: together.wait()), concurrency=4) as queue:
        queue.push_many("n", range(8))
        assert queue.wait_idle(30)
        assert tuple(queue.size()) == (0, 0)


def test_a_thousand_async_jobs_at_once(path):
    waiting = 0
    all_here = asyncio.Event()

    class Together(Handler):
        async def do_work(self, ctx, job):
            nonlocal waiting
            waiting += 1
            if waiting == 1_000:
                all_here.set()
            await asyncio.wait_for(all_here.wait(), 60)

    with Queue(path, Together(), concurrency=1_000, batch_size=1_000) as queue:
        queue.push_many("n", range(1_000))
        assert queue.wait_idle(90)
        assert tuple(queue.size()) == (0, 0)


@pytest.mark.parametrize("kind", ["plain", "threads", "loop"])
def test_what_was_claimed_ahead_does_not_wait_behind_a_long_job_while_others_idle(tmp_path, kind):
    entered, release, ran = threading.Event(), threading.Event(), threading.Event()

    def hold():
        entered.set()
        assert release.wait(30)

    def open_queue():
        plain = Handler(lambda ctx, job: hold() if job.name == "long" else ran.set()) if kind == "plain" else None
        queue = Queue(tmp_path / "jobs.db", plain, auto_start=False)
        if kind != "plain":

            async def hold_on_the_loop():
                await asyncio.to_thread(hold)

            queue.task(name="long")(hold_on_the_loop if kind == "loop" else hold)
            queue.task(name="short")(lambda: ran.set())
        return queue

    with open_queue() as busy, open_queue() as idle:
        busy.push_bytes("long", b"{}")
        busy.push_bytes("short", b"{}")
        busy.start()
        assert entered.wait(30)
        held = [job.name for job in busy.jobs(status="running")]
        idle.start()
        assert ran.wait(30)
        release.set()
        assert idle.wait_idle(30)
    assert held == ["long", "short"], "else nothing was claimed ahead, and this shows nothing"


def test_a_runner_whose_threads_all_hang_leaves_jobs_to_others_until_one_returns(tmp_path):
    go_on, ran = threading.Event(), queues.SimpleQueue()

    def open_queue(name):
        queue = Queue(tmp_path / "jobs.db", auto_start=False)
        queue.task(name="hangs", timeout=0.01)(lambda: go_on.wait(60))
        queue.task(name="good")(lambda: ran.put(name))
        return queue

    with open_queue("hung") as hung, open_queue("well") as well:
        hung.start()
        for failed in range(1, 6):  # one, and four in whose place others came
            hung.push_bytes("hangs", b"{}")
            assert hung.wait_idle(30)
            assert hung.size().failed == failed
        for _ in range(5):
            hung.push_bytes("good", b"{}")
        well.start()
        assert [ran.get(timeout=30) for _ in range(5)] == ["well"] * 5
        well.stop()
        hung.push_bytes("good", b"{}")
        go_on.set()
        assert ran.get(timeout=30) == "hung"


def test_stopping_drains_what_runs_and_hands_back_the_rest_uncounted(path):
    began, go_on = threading.Event(), threading.Event()

    def slow(ctx, job):
        began.set()
        assert ctx.wait(30)  # until stop() says so
        assert ctx.deadline is not None
        assert timedelta(0) < ctx.deadline - datetime.now(UTC) <= timedelta(seconds=20)
        go_on.wait(30)

    with Queue(path, Handler(slow), auto_start=False) as queue:
        ids = queue.push_many("n", range(5))
        queue.start()
        assert began.wait(30)
        stopping = threading.Thread(target=queue.stop, args=(20,))
        stopping.start()
        go_on.set()
        stopping.join(30)
        assert not stopping.is_alive()
        left = queue.jobs()
        assert [job.id for job in left] == ids[1:]
        assert {(job.status, job.retry_count, job.lost) for job in left} == {(JobStatus.PENDING, 0, 0)}
        queue.stop()  # twice is fine


def test_a_store_in_trouble_does_not_cut_the_drain_short(path, caplog):
    began, told, go_on = threading.Event(), threading.Event(), threading.Event()
    deadlines = []

    def slow(ctx, job):
        began.set()
        assert ctx.wait(30)
        deadlines.append(ctx.deadline)
        told.set()
        go_on.wait(30)

    def away():
        raise StoreUnavailable("the server starts anew", path="x")

    with Queue(path, Handler(slow)) as queue:
        queue.push("n")
        assert began.wait(30)
        now, queue._store.now = queue._store.now, away
        stopping = threading.Thread(target=queue.stop, args=(30,))
        stopping.start()
        assert told.wait(30)
        assert queue.pulse() is not None, "it waits for its job"
        queue._store.now = now
        go_on.set()
        stopping.join(30)
        assert tuple(queue.size()) == (0, 0)
    assert deadlines == [None]
    assert "running jobs are told to end, but not until when: the server starts anew" in caplog.text


def test_after_the_grace_what_still_runs_is_handed_back(path):
    began, go_on = threading.Event(), threading.Event()

    def stubborn(ctx, job):
        began.set()
        go_on.wait(30)

    handler = Handler(stubborn)
    queue = Queue(path, handler)
    job_id = queue.push("n")
    assert began.wait(30)
    queue.stop(grace=0)
    job = queue.get(job_id)
    assert (job.status, job.retry_count, job.lost, job.attempt) == (JobStatus.PENDING, 0, 0, 1)
    go_on.set()
    handler.act = lambda ctx, job: None
    assert queue.start()
    assert queue.wait_idle(30)
    assert handler.ran == ["n", "n"]
    queue.close()
    queue.close()


def test_async_handlers_are_cancelled_after_the_grace(path):
    began, cancelled = threading.Event(), threading.Event()

    class Endless(Handler):
        async def do_work(self, ctx, job):
            began.set()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                cancelled.set()
                raise

    queue = Queue(path, Endless())
    job_id = queue.push("n")
    assert began.wait(30)
    queue.stop(grace=0)
    assert cancelled.wait(30)
    assert queue.get(job_id).status is JobStatus.PENDING
    queue.close()


def test_the_queue_can_be_stopped_from_inside_a_job_but_not_closed(path):
    stopped = threading.Semaphore(0)

    def stop(ctx, job):
        with pytest.raises(UsageError, match="call stop"):
            queue.close()
        assert not queue.start(), "it runs"
        queue.stop()
        stopped.release()

    handler = Handler(stop)
    queue = Queue(path, handler, auto_start=False)
    queue.push("first")
    queue.push("second")
    queue.start()
    assert stopped.acquire(timeout=30)
    assert handler.ran == ["first"], "nothing starts after stop()"
    assert queue.start(), "once the old runner has ended"
    assert stopped.acquire(timeout=30)
    queue.close()
    assert handler.ran == ["first", "second"]


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_running_job_learns_that_it_is_cancelled(path, kind):
    began = threading.Event()

    class Waiting(Handler):
        def do_work(self, ctx, job):
            began.set()
            assert ctx.wait(60)
            raise ValueError("gave up")

    class AsyncWaiting(Handler):
        async def do_work(self, ctx, job):
            began.set()
            assert await ctx.sleep(60)
            raise ValueError("gave up")

    with Queue(path, Waiting() if kind == "def" else AsyncWaiting()) as queue:
        job_id = queue.push("n")
        assert began.wait(30)
        assert queue.cancel(job_id)
        assert queue.wait_idle(30)
        job = queue.get(job_id)
        assert job.status is JobStatus.CANCELLED
        assert "gave up" in job.message
        assert queue.history(job_id)[0].outcome == "cancelled"
        assert queue.restore(job_id) == 1


def refuse(monkeypatch, name) -> None:
    """Let no thread of this name be started."""
    start = threading.Thread.start

    def sometimes(thread):
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", sometimes)


@pytest.mark.parametrize("which", ["workqueue-job-0", "workqueue-beat-1", "workqueue-default"])
def test_a_runner_that_cannot_be_started_leaves_nothing_behind(path, which, monkeypatch):
    before = set(threading.enumerate())
    handler = Handler()
    with Queue(path, handler, auto_start=False) as queue:
        queue.push("n")
        with monkeypatch.context() as patch:
            refuse(patch, which)
            with pytest.raises(RuntimeError, match="can't start"):
                queue.start()
        assert [runner.label for runner in queue._store.overview().runners] == []
        queue.stop()
        assert queue.start()
        assert queue.wait_idle(30)
        queue.stop()
        assert not [thread.name for thread in set(threading.enumerate()) - before if "beat" in thread.name]
    assert handler.ran == ["n"]


def test_a_queue_whose_runner_could_not_be_started_can_be_closed(path, monkeypatch):
    refuse(monkeypatch, "workqueue-default")
    queue = Queue(path, Handler(), auto_start=False)
    with pytest.raises(RuntimeError, match="can't start"):
        queue.start()
    queue.close()
    with pytest.raises(QueueClosed):
        queue.push("n")


def test_all_threads_of_a_handler_that_wait_learn_that_it_is_cancelled(monkeypatch):
    """The second begins to wait while the first is making what it will wait for."""
    context = Context(Claim(Job(id=1, name="n", data=b""), 1, timedelta(0), 0), None, 0.0)
    learned = queues.SimpleQueue()
    first, second = (
        threading.Thread(target=lambda: learned.put(context.wait(3600)), name=name, daemon=True)
        for name in ("first", "second")
    )
    waits = {thread: threading.Event() for thread in (first, second)}

    class Event(threading.Event):
        def __init__(self):
            super().__init__()
            if threading.current_thread() is first:
                second.start()
                assert waits[second].wait(30)

        def wait(self, timeout=None):
            waits[threading.current_thread()].set()
            return super().wait(timeout)

    monkeypatch.setattr("workqueue.context.threading", SimpleNamespace(Event=Event))
    first.start()
    assert waits[first].wait(30)
    context.cancel()
    assert [learned.get(timeout=30) for _ in range(2)] == [True, True]


def test_a_store_in_trouble_never_ends_the_runner(path, caplog):
    went_wrong = threading.Event()
    troubles = iter(range(4))
    with Queue(path, Handler(), auto_start=False) as queue:
        real = queue._store.turn

        def turn(settlements, want):
            if settlements and next(troubles, None) is not None:
                went_wrong.set()
                raise StoreUnavailable("the disk is away", path="x")
            return real(settlements, want)

        queue._store.turn = turn
        queue.push_many("n", range(3))
        queue.start()
        assert queue.wait_idle(60)
        assert went_wrong.is_set()
        assert tuple(queue.size()) == (0, 0)
    assert "the store is away (try 1)" in caplog.text
    assert "the disk is away" in caplog.text


def test_what_fails_beside_the_jobs_is_told_and_keeps_none_of_them(path, caplog):
    def held(*_: object, **__: object) -> NoReturn:
        raise StoreUnavailable("another has the gate", path="x")

    with Queue(path, Handler(), poll_rate=0.001, auto_start=False) as queue:
        queue._store.orphans = held
        queue.push_many("n", range(3))
        queue.start()
        assert queue.wait_idle(60)
    assert "the store is away (try 1)" in caplog.text
    assert "another has the gate" in caplog.text


def test_a_handler_that_meets_a_store_in_trouble_is_tried_again(path):
    def act(ctx, job):
        if job.retry_count == 0:
            raise StoreUnavailable("away", path="x")

    with Queue(path, Handler(act)) as queue:
        queue.push("n")
        assert queue.wait_idle(30)
        assert tuple(queue.size()) == (0, 0)


def test_a_push_wakes_an_idle_runner_at_once(path):
    """The poll is an hour away, so only the bell can have done it."""
    ran = threading.Event()
    with Queue(path, Handler(lambda ctx, job: ran.set()), poll_rate=3600) as queue:
        for _ in range(20):
            ran.clear()
            queue.push("n")
            assert ran.wait(30)


def test_a_lost_wake_up_costs_a_poll_and_no_job(path):
    ran = threading.Event()
    with Queue(path, Handler(lambda ctx, job: ran.set()), poll_rate=0.05) as queue:
        deaf = queue._store if path == ":memory:" else queue._store._database
        deaf._ring = lambda _whom: None
        for _ in range(5):
            ran.clear()
            queue.push("n")
            assert ran.wait(30)


def test_a_push_by_another_process_wakes_too(tmp_path):
    ran = threading.Event()
    with Queue(tmp_path / "jobs.db", Handler(lambda ctx, job: ran.set()), poll_rate=3600):
        program = "import sys; from workqueue import Queue; Queue(sys.argv[1]).push('n')"
        subprocess.run([sys.executable, "-c", program, tmp_path / "jobs.db"], check=True)
        assert ran.wait(30)


def test_a_long_path_has_bells_too(tmp_path):
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    test_a_push_by_another_process_wakes_too(folder)


def test_a_job_for_later_wakes_its_runner(path):
    ran = threading.Event()
    with Queue(path, Handler(lambda ctx, job: ran.set()), poll_rate=3600) as queue:
        queue.push_after("n", None, 0.05)
        assert ran.wait(30)


def test_a_retry_wakes_its_runner(path):
    def act(ctx, job):
        if job.retry_count < 3:
            raise RecoverableWorkerError("again", delay=0.01)

    handler = Handler(act)
    with Queue(path, handler, poll_rate=3600) as queue:
        queue.push("n")
        assert queue.wait_idle(30)
    assert handler.ran == ["n"] * 4


def test_what_is_raised_after_the_transaction_changes_nothing(tmp_path, caplog):
    def act(ctx, job):
        with ctx.transaction() as database:
            database.execute("CREATE TABLE rows (x)")
        with pytest.raises(UsageError, match="settled by an earlier one"), ctx.transaction():
            pass
        raise ValueError("too late")

    with Queue(tmp_path / "jobs.db", Handler(act)) as queue:
        queue.push("n")
        assert queue.wait_idle(30)
        queue.stop()
        assert tuple(queue.size()) == (0, 0)
    assert "raised after its transaction had completed it: ValueError: too late" in caplog.text


def test_pushes_inside_a_handlers_transaction_commit_with_it(path):
    def act(ctx, job):
        if job.name == "parent":
            with ctx.transaction():
                queue.push("child")
        if job.name == "careless":
            with ctx.transaction():
                queue.push("child of nobody")
                raise ValueError("changed my mind")

    handler = Handler(act)
    queue = Queue(path, handler)
    queue.push("parent")
    queue.push("careless")
    assert queue.wait_idle(30)
    queue.close()
    assert sorted(handler.ran) == ["careless", "child", "parent"]


def test_a_runner_whose_beat_did_not_get_through_claims_nothing(path, monkeypatch):
    """Its leases may have ended: what it claimed could be taken for a dead runner's at once."""
    holds, asked = [False], threading.Semaphore(0)

    def sure(self) -> bool:
        asked.release()
        return holds[0]

    monkeypatch.setattr("workqueue.liveness.Heartbeat.holds", sure)
    handler = Handler()
    with Queue(path, handler, poll_rate=0.01) as queue:
        queue.push("n")
        for _ in range(5):
            assert asked.acquire(timeout=30)
        assert [job.status for job in queue.jobs()] == [JobStatus.PENDING]
        holds[0] = True
        assert queue.wait_idle(30)
    assert handler.ran == ["n"]


def test_leases_are_renewed_until_the_last_job_has_ended(path):
    """A drain may take longer than a lease."""
    begun, beats, may_end = threading.Event(), threading.Semaphore(0), threading.Event()

    def act(ctx, job):
        begun.set()
        may_end.wait(30)

    queue = Queue(path, Handler(act), lease=1)
    store, beat = queue._store, queue._store.beat

    def counted(*args):
        beats.release()
        return beat(*args)

    store.beat = counted
    queue.push("n")
    assert begun.wait(30)
    stopping = threading.Thread(target=queue.stop, args=(60,))
    stopping.start()
    while not queue._runner.is_stopping():
        pass
    while beats.acquire(blocking=False):
        pass
    for _ in range(3):
        assert beats.acquire(timeout=30)
    may_end.set()
    stopping.join(30)
    assert queue.size().waiting == 0
    queue.close()


def test_a_runner_signs_off_though_its_last_outcomes_cannot_be_settled_for_an_error_of_ours(path, caplog, monkeypatch):
    monkeypatch.setattr("workqueue.runner._LAST_TRIES", timedelta(0))
    ran = threading.Event()
    queue = Queue(path, Handler(lambda ctx, job: ran.set()))

    def turn(settlements, want):
        if settlements:
            raise LookupError("an error of ours")
        return answer(settlements, want)

    runner, store = queue._runner, queue._store
    answer, store.turn = store.turn, turn
    queue.push("n")
    assert ran.wait(30)
    queue.stop()
    assert not runner._heartbeat._thread.is_alive()
    assert [known.alive for known in store.overview().runners] in ([], [False])
    [told] = [record for record in caplog.records if "1 outcomes could not be stored" in record.message]
    assert isinstance(told.exc_info[1], LookupError)
    queue.close()


def test_a_runner_that_waits_for_its_last_job_does_not_spin(tmp_path, monkeypatch):
    monkeypatch.setattr("workqueue.pruning._SECONDS", 0.001)  # there is always something to look for
    rounds = 0
    one_round = Runner._round

    def counted(self):
        nonlocal rounds
        rounds += 1
        one_round(self)

    begun, over = threading.Event(), threading.Event()

    def act(ctx, job):
        begun.set()
        over.wait(30)

    with Queue(tmp_path / "jobs.db", Handler(act)) as queue:
        queue.push("long")
        assert begun.wait(30)
        monkeypatch.setattr(Runner, "_round", counted)
        queue.stop(grace=0.3)
        assert rounds < 20
        over.set()
