"""The help for tests of programs: what it does, on every engine where that could differ."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import sqlite3
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextlib import closing as closing_connection
from contextvars import ContextVar
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from unittest.mock import ANY

import pytest
from workqueue import (
    Backoff,
    Cancel,
    Context,
    InvalidOption,
    Job,
    JobStatus,
    Queue,
    QueueClosed,
    RecoverableWorkerError,
    Snooze,
    TimedOut,
    UnsuitableFile,
    UsageError,
    chain,
    closing,
    injected,
)
from workqueue.control import Retry
from workqueue.errors import JobFailed
from workqueue.testing import (
    Drained,
    FakeClock,
    assert_not_pushed,
    assert_pushed,
    drain,
    in_memory,
    inline,
    pushed,
)
from workqueue.worker import Handling

ROOT = Path(__file__).parents[2]
PLUGIN = "workqueue.testing.plugin"
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
STEADY = Backoff(factor=1, min=MINUTE, max=MINUTE)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["file", "memory"])
def queue(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Queue]:
    path = ":memory:" if request.param == "memory" else str(tmp_path / "jobs.db")
    with Queue(path, clock=clock) as queue:
        yield queue
        if not queue._closed:
            assert queue.check() == []


class Ran:
    """What ran, in order; calling it notes something."""

    def __init__(self) -> None:
        self.notes: list[object] = []

    def __call__(self, note: object) -> None:
        self.notes.append(note)


@pytest.fixture
def ran() -> Ran:
    return Ran()


# the clock


def test_a_clock_stands_still_until_it_is_told():
    clock = FakeClock()
    assert clock.now() == clock.now() == NEW_YEAR
    assert clock.advance(1.5) == NEW_YEAR + timedelta(seconds=1.5)
    assert clock.advance(HOUR) == clock.now()
    clock.set(NEW_YEAR - DAY)
    assert clock.now() == NEW_YEAR - DAY
    assert repr(clock) == "<FakeClock at 2025-12-31T00:00:00+00:00>"


def test_a_clock_starts_where_it_is_told_and_never_at_a_naive_time():
    assert FakeClock(NEW_YEAR + HOUR).now() == NEW_YEAR + HOUR
    with pytest.raises(InvalidOption, match="aware"):
        FakeClock(datetime(2026, 1, 1))
    with pytest.raises(InvalidOption, match="zero or more"):
        FakeClock().advance(-1)


def test_a_queue_tells_the_time_by_its_clock(queue, clock):
    job = queue.get(queue.push_after("later", delay=HOUR))
    assert (job.pushed_at, job.run_at) == (NEW_YEAR, NEW_YEAR + HOUR)
    clock.advance(DAY)
    assert queue.get(queue.push("now")).run_at == NEW_YEAR + DAY


def test_all_who_share_a_file_share_its_clock(tmp_path, clock):
    with Queue(tmp_path / "jobs.db", clock=clock):
        Queue(tmp_path / "jobs.db", clock=clock).close()
        with pytest.raises(UnsuitableFile, match="must agree on the time"):
            Queue(tmp_path / "jobs.db")


# drain


def test_what_is_due_is_run_and_what_that_pushes(queue, ran):
    @queue.task
    def count_down(n: int) -> None:
        ran(n)
        if n:
            count_down.push(n - 1)

    count_down.push(2)
    assert drain(queue) == Drained(completed=3)
    assert ran.notes == [2, 1, 0]
    assert drain(queue) == Drained()
    assert queue.size().waiting == 0


def test_what_is_not_due_waits(queue, ran, clock):
    note = queue.task(name="note")(_noting(ran))
    note.using(after=HOUR).push("late")
    assert drain(queue) == Drained()
    clock.advance(HOUR)
    assert drain(queue) == Drained(completed=1)
    assert ran.notes == ["late"]


def test_jobs_run_in_the_order_of_life(queue, ran):
    note = queue.task(name="note")(_noting(ran))
    note.push("first")
    note.push("second")
    note.using(priority=5).push("urgent")
    drain(queue)
    assert ran.notes == ["urgent", "first", "second"]


def test_each_end_is_counted(queue):
    @queue.task(retry=STEADY, no_retry_on=KeyError)
    def end(how: str) -> None:
        match how:
            case "fail":
                raise KeyError(how)
            case "retry":
                raise ValueError(how)
            case "cancel":
                raise Cancel("enough")
            case "snooze":
                raise Snooze(HOUR)
            case _:
                pass

    end.push_many([(how,) for how in ("fail", "retry", "retry", "cancel", "cancel", "snooze", "well", "well", "well")])
    drained = drain(queue)
    [(job, error)] = drained.failures
    assert (job.id, job.name, str(error)) == (1, end.name, "'fail'")
    assert drained == Drained(completed=3, retried=2, failed=1, cancelled=2, snoozed=1, failures=[(job, error)])
    assert [found.status for found in queue.jobs()].count(JobStatus.RETRYING) == 2
    assert queue.get(job.id).status is JobStatus.FAILED
    assert "KeyError" in queue.history(job.id)[0].traceback


def test_failures_are_raised_when_asked(queue):
    @queue.task
    def fail(why: str) -> None:
        raise ValueError(why)

    assert drain(queue).raise_failures() is None
    fail.push("one")
    with pytest.raises(ValueError, match="^one$") as raised:
        drain(queue).raise_failures()
    assert any(entry.name == "fail" for entry in raised.traceback)
    fail.push("two")
    fail.push("three")
    with pytest.raises(ExceptionGroup, match="2 jobs raised") as group:
        drain(queue).raise_failures()
    assert [str(error) for error in group.value.exceptions] == ["two", "three"]


def test_a_failure_without_an_exception_tells_its_reason(queue):
    @queue.task
    def lazy() -> object:
        return (n for n in range(3))

    lazy.push()
    [(job, error)] = drain(queue).failures
    assert isinstance(error, JobFailed)
    assert "generator, which nobody runs" in error.error
    assert error.job_id == job.id


def test_async_tasks_run_too(queue, ran):
    @queue.task
    async def fetch(n: int) -> None:
        await asyncio.sleep(0)
        ran((n, asyncio.get_running_loop()))

    fetch.push(1)
    fetch.push(2)
    assert drain(queue) == Drained(completed=2)
    [(first, loop), (second, same)] = ran.notes
    assert (first, second) == (1, 2)
    assert loop is same
    assert loop.is_closed()


def test_async_tasks_run_in_this_thread_where_it_can_be(queue, ran):
    @queue.task
    async def where() -> None:
        ran(threading.current_thread() is threading.main_thread())

    async def test() -> None:
        where.push()
        assert drain(queue) == Drained(completed=1)

    where.push()
    drain(queue)
    asyncio.run(test())
    assert ran.notes == [True, False]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("workqueue-drain")]


def test_workers_of_every_kind_are_drained(tmp_path, clock, ran):
    class Plain:
        def id(self) -> str:
            return "plain"

        def do_work(self, ctx: Context, job: Job) -> None:
            ran(job.decode())

    class Async(Plain):
        async def do_work(self, ctx: Context, job: Job) -> None:
            await asyncio.sleep(0)
            ran(job.decode())

    class Forgiving(Plain):
        def handling(self, job: Job) -> Handling:
            return Handling(policy=lambda _error: Retry(HOUR))

        def do_work(self, ctx: Context, job: Job) -> None:
            raise ValueError

    class Forgetful(Plain):
        def do_work(self, ctx: Context, job: Job) -> object:
            return asyncio.sleep(0)

    for number, worker in enumerate((Plain(), Async())):
        with Queue(":memory:", worker, auto_start=False, clock=clock) as queue:
            queue.push("any", number)
            assert drain(queue) == Drained(completed=1)
    assert ran.notes == [0, 1]
    with Queue(":memory:", Forgiving(), auto_start=False) as queue:
        queue.push("any")
        assert drain(queue) == Drained(retried=1)
    with Queue(":memory:", Forgetful(), auto_start=False) as queue:
        queue.push("any")
        assert "declare it `async def`" in str(drain(queue).failures[0][1])


def test_what_a_drained_job_sets_in_its_context_neither_the_next_one_nor_the_test_sees(queue):
    seen = []
    tenant = ContextVar("tenant", default="nobody")
    tenant.set("tester")

    @queue.task
    def sets(name: str) -> None:
        seen.append(tenant.get())
        tenant.set(name)

    @queue.task
    async def sets_too(name: str) -> None:
        seen.append(tenant.get())
        tenant.set(name)

    for name in ("alice", "bob"):
        sets.push(name)
        sets_too.push(name)
    drain(queue)
    assert seen == ["tester"] * 4
    assert tenant.get() == "tester"


@(isolated_queue := Queue(":memory:")).task(isolated=True)
def isolated(ctx: Context = injected) -> None:
    with ctx.transaction():
        pass


def test_isolated_tasks_run_here_and_have_no_transaction():
    isolated.push()
    [(_, error)] = drain(isolated_queue).failures
    assert isinstance(error, UsageError)
    assert "isolated job runs in a child" in str(error)


def test_a_task_past_its_timeout_has_timed_out(queue, monkeypatch):
    @queue.task(timeout=0.01)
    async def hang() -> None:
        await asyncio.Event().wait()

    @queue.task(timeout=5)
    def slow() -> None:
        seconds[0] += 6

    hang.push()
    [(_, error)] = drain(queue).failures
    assert isinstance(error, TimedOut)
    seconds = [0.0]
    monkeypatch.setattr("workqueue.testing.draining.time.monotonic", lambda: seconds[0])
    slow.push()
    [(_, error)] = drain(queue).failures
    assert isinstance(error, TimedOut)


def test_a_transaction_completes_its_job(queue, ran):
    @queue.task
    def move(ctx: Context = injected) -> None:
        with ctx.transaction() as transaction:
            transaction.execute("CREATE TABLE moved (at TEXT)")
            note.push("follows")
        raise ValueError("too late")

    note = queue.task(name="note")(_noting(ran))
    move.push()
    assert drain(queue) == Drained(completed=2)
    assert ran.notes == ["follows"]


def test_a_transaction_that_is_left_open_fails_its_job(queue):
    @queue.task
    def leave(ctx: Context = injected) -> None:
        kept.append(ctx.transaction())
        kept[0].__enter__()

    kept: list[AbstractContextManager[object]] = []

    leave.push()
    [(_, error)] = drain(queue).failures
    assert "it was left open" in str(error)


def test_limits_keys_batches_chains_and_pauses_are_as_in_life(queue, ran, clock):
    @queue.task(rate="2/minute", keep_results=HOUR)
    def add(a: int, b: int) -> int:
        ran(a + b)
        return a + b

    note = queue.task(name="note")(_noting(ran))
    assert note.using(key="k").push("once").id == note.using(key="k").push("twice").id
    handle = chain(add.s(1, 2), add.s(b=10)).push()
    with queue.batch(then=note.s("all")) as batch:
        batch.add(note.s("of batch"))
        batch.add(add.s(0, 0))
    queue.pause(note.name)
    assert drain(queue).completed == 2
    assert ran.notes == [3, 13]
    queue.resume(note.name)
    drain(queue)
    clock.advance(MINUTE)
    drain(queue)
    assert sorted(map(str, ran.notes)) == ["0", "13", "3", "all", "of batch", "once"]
    assert handle.result(timeout=5) == 13


def test_a_person_who_cancels_a_running_job_is_heard(queue):
    @queue.task
    def raising(ctx: Context = injected) -> None:
        queue.cancel(ctx.job.id)
        raise ValueError("stopped")

    @queue.task
    def snoozing(ctx: Context = injected) -> None:
        queue.cancel(ctx.job.id)
        raise Snooze(HOUR)

    raising.push()
    snoozing.push()
    assert drain(queue) == Drained(cancelled=2)
    assert {job.status for job in queue.jobs()} == {JobStatus.CANCELLED}


def test_a_job_that_was_lost_before_runs_too(queue, ran, clock):
    from tests.support import claim_one, lost

    note = queue.task(name="note")(_noting(ran))
    note.push("again")
    queue._store.turn([lost(claim_one(queue._store))], None)
    assert drain(queue) == Drained(completed=1)
    assert ran.notes == ["again"]


def test_progress_is_kept_and_expired_jobs_end(queue, clock):
    @queue.task
    def work(ctx: Context = injected) -> None:
        ctx.progress(50)
        raise ValueError

    handle = work.push()
    drain(queue)
    assert handle.progress() == 50
    stale = work.using(expires=SECOND, after=HOUR).push()
    clock.advance(MINUTE)
    assert drain(queue) == Drained()
    assert stale.status() is JobStatus.CANCELLED


def test_the_age_of_a_job_is_told_by_the_clock(queue, clock):
    @queue.task(retry=Backoff(factor=1, min=MINUTE, max=MINUTE, expiration=HOUR))
    def slow() -> None:
        clock.advance(HOUR)
        raise ValueError

    slow.push()
    assert drain(queue).failed == 1


def test_an_endless_loop_ends_at_the_limit(queue):
    @queue.task(name="again")
    def again() -> None:
        raise Snooze(0)

    again.push()
    with pytest.raises(UsageError, match=r"after 50 attempts, but there is; 50 of them were of 'again'"):
        drain(queue, limit=50)
    assert queue.get(1).status is JobStatus.PENDING


def test_drain_asks_for_a_queue_that_does_not_run_and_has_tasks(queue):
    with pytest.raises(UsageError, match="to have a worker or tasks"):
        drain(queue)
    queue.task(name="note")(_noting(Ran()))
    with queue.transaction(), pytest.raises(UsageError, match="after the transaction's block"):
        drain(queue)
    queue.start()
    with pytest.raises(UsageError, match="stop\\(\\) it first"):
        drain(queue)
    queue.stop()
    assert drain(queue) == Drained()
    queue.close()
    with pytest.raises(QueueClosed):
        drain(queue)


@pytest.mark.parametrize("error", [KeyboardInterrupt, pytest.fail.Exception])
def test_what_is_no_error_of_the_job_comes_out_and_hands_it_back(queue, error):
    @queue.task
    def stop() -> None:
        raise error("now")

    stop.push()
    with pytest.raises(error):
        drain(queue)
    [job] = queue.jobs()
    assert (job.status, job.retry_count, job.message) == (JobStatus.PENDING, 0, "")
    assert queue._store.overview().runners == []


def test_what_else_a_handler_raises_fails_it(queue):
    @queue.task
    def leave() -> None:
        sys.exit(3)

    leave.push()
    assert drain(queue).failed == 1


def test_who_waits_for_a_job_sees_its_end(queue):
    @queue.task(keep_results=HOUR)
    def double(n: int) -> int:
        return 2 * n

    handle = double.push(4)
    waiting = threading.Thread(target=lambda: results.append(handle.result(10)))
    results: list[int] = []
    waiting.start()
    drain(queue)
    waiting.join(10)
    assert results == [8]


# playing the time


def test_a_day_of_retries_is_played(queue, clock, ran):
    @queue.task(retry=Backoff(factor=2, min=HOUR, max=DAY, limit=4))
    def fail() -> None:
        ran(clock.now() - NEW_YEAR)
        raise ValueError

    fail.push()
    drained = drain(queue, until=NEW_YEAR + DAY)
    assert ran.notes == [0 * HOUR, HOUR, 3 * HOUR, 7 * HOUR]
    assert (drained.retried, drained.failed) == (3, 1)
    assert clock.now() == NEW_YEAR + DAY


def test_what_comes_at_the_last_instant_is_run_and_nothing_later(queue, clock, ran):
    note = queue.task(name="note")(_noting(ran))
    note.using(after=HOUR).push("then")
    note.using(after=HOUR + timedelta(microseconds=1)).push("later")
    drain(queue, until=NEW_YEAR + HOUR)
    assert ran.notes == ["then"]


def test_schedules_are_played_slot_by_slot(queue, clock, ran):
    @queue.task(every="0 */8 * * *")
    def report(slot: datetime) -> None:
        ran((slot, clock.now()))

    @queue.task(every="0 10 * * *", timezone="Europe/Berlin")
    def daily(day: date) -> None:
        ran((day, clock.now()))

    clock.set(NEW_YEAR + MINUTE)
    drain(queue)
    assert ran.notes == []
    drain(queue, until=NEW_YEAR + DAY)
    assert ran.notes == [
        (NEW_YEAR + 8 * HOUR, NEW_YEAR + 8 * HOUR),
        (date(2026, 1, 1), NEW_YEAR + 9 * HOUR),
        (NEW_YEAR + 16 * HOUR, NEW_YEAR + 16 * HOUR),
        (NEW_YEAR + DAY, NEW_YEAR + DAY),
    ]
    drain(queue, until=NEW_YEAR + DAY)
    assert len(ran.notes) == 4


def test_a_handler_may_move_the_clock_itself(queue, clock, ran):
    @queue.task(every=HOUR, catch_up=10)
    def hourly(slot: datetime) -> None:
        ran(slot - NEW_YEAR)

    @queue.task
    def long() -> None:
        clock.advance(3 * HOUR)

    long.push()
    drain(queue, until=NEW_YEAR + 4 * HOUR)
    assert ran.notes == [1 * HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR]
    long.push()
    drain(queue, until=clock.now() + HOUR)
    assert clock.now() == NEW_YEAR + 7 * HOUR


def test_a_rate_is_played(queue, clock, ran):
    @queue.task(rate="1/hour")
    def rare(n: int) -> None:
        ran((n, clock.now() - NEW_YEAR))

    rare.push_many([(1,), (2,), (3,)])
    drain(queue, until=NEW_YEAR + DAY)
    assert [n for n, _ in ran.notes] == [1, 2, 3]
    assert all(late - early >= HOUR for (_, early), (_, late) in zip(ran.notes, ran.notes[1:], strict=False))
    assert ran.notes[-1][1] < 2 * HOUR + MINUTE


def test_time_is_played_forwards_by_a_clock_that_can_be_moved(queue, clock):
    queue.task(name="note")(_noting(Ran()))
    with pytest.raises(InvalidOption, match="expected until not to be past"):
        drain(queue, until=clock.now() - SECOND)
    with pytest.raises(InvalidOption, match="aware"):
        drain(queue, until=datetime(2027, 1, 1))
    with Queue(":memory:") as other:
        other.task(name="note")(_noting(Ran()))
        with pytest.raises(UsageError, match="with a FakeClock"):
            drain(other, until=NEW_YEAR)


# what was pushed


def _mail(queue: Queue) -> Callable[..., None]:
    @queue.task(name="mail")
    def mail(to: str, subject: str = "hi", tags: tuple[str, ...] = (), ctx: Context = injected) -> None:
        pass

    return mail


def test_what_waits_is_shown_with_its_arguments(queue, clock):
    mail = _mail(queue)
    mail.push("ada", tags=("a", "b"))
    queue.push("raw", {"x": 1})
    mail.using(after=HOUR).push("bob", "yo")
    assert [one.arguments for one in pushed(queue, mail)] == [
        {"to": "ada", "subject": "hi", "tags": ("a", "b")},
        {"to": "bob", "subject": "yo", "tags": ()},
    ]
    [raw] = pushed(queue, "raw")
    assert (raw.arguments, raw.job.decode()) == (None, {"x": 1})
    assert str(raw) == "raw(data=b'{\"x\":1}'), job 2, due 2026-01-01T00:00:00+00:00"
    assert [one.job.id for one in pushed(queue)] == [1, 2, 3]


def test_a_call_in_a_chain_is_shown_without_what_it_waits_for(queue):
    @queue.task(name="add")
    def add(a: int, b: int) -> int:
        return a + b

    chain(add.s(1, 2), add.s(b=5)).push()
    assert [one.arguments for one in pushed(queue, add)] == [{"a": 1, "b": 2}, {"b": 5}]
    assert_pushed(add.s(b=5), count=1)
    assert_not_pushed(add.s(a=3))


def test_a_call_in_a_chain_is_shown_with_what_has_come(queue):
    @queue.task(name="add")
    def add(a: int, b: int) -> int:
        return a + b

    chain(add.s(1, 2), add.using(after=HOUR).s(b=5)).push()
    drain(queue)
    assert [one.arguments for one in pushed(queue, add)] == [{"a": 3, "b": 5}]


def test_an_assertion_compares_the_arguments_that_it_names(queue):
    mail = _mail(queue)
    mail.push("ada", tags=("a",))
    mail.push("bob", subject="yo")
    assert [one.job.id for one in assert_pushed(mail)] == [1, 2]
    assert [one.job.id for one in assert_pushed(mail.s("ada"))] == [1]
    assert [one.job.id for one in assert_pushed(mail.s(subject="yo"))] == [2]
    assert [one.job.id for one in assert_pushed(mail.s(ANY, "hi", ["a"]))] == [1]
    assert_pushed(mail, count=2)
    assert_pushed(mail.s("eve"), count=0)
    assert_not_pushed(mail.s("eve"))
    with pytest.raises(TypeError, match="unexpected keyword argument 'from'"):
        assert_pushed(mail.s(**{"from": "x"}))


def test_an_assertion_compares_as_json_has_it(queue):
    @queue.task
    def note(what: object) -> None:
        pass

    note.push({"at": (NEW_YEAR, 2)})
    assert_pushed(note.s({"at": (NEW_YEAR, 2)}))
    assert_pushed(note.s({"at": [ANY, 2]}))
    assert_not_pushed(note.s({"at": (NEW_YEAR, 3)}))
    assert_not_pushed(note.s(object()))


def test_an_assertion_compares_when(queue, clock):
    mail = _mail(queue)
    clock.advance(MINUTE)
    mail.using(after=HOUR).push("ada")
    mail.using(at=NEW_YEAR + DAY).push("bob")
    clock.advance(MINUTE)
    [ada] = assert_pushed(mail, after=HOUR)
    [bob] = assert_pushed(mail, at=NEW_YEAR + DAY)
    assert (ada.arguments["to"], bob.arguments["to"]) == ("ada", "bob")
    with pytest.raises(AssertionError, match=r"expected a job of mail\(to='ada'\), due 0:59:59 after the push"):
        assert_pushed(mail.s("ada"), after=HOUR - SECOND)


def test_a_failed_assertion_lists_what_waits_instead(queue):
    mail = _mail(queue)
    with pytest.raises(AssertionError, match="expected a job of task 'mail' to wait, got: 0; nothing waits in this"):
        assert_pushed(mail)
    queue.push("other")
    with pytest.raises(AssertionError, match=r"none of this task; of others: other \(1\)"):
        assert_pushed(mail)
    mail.push("ada")
    with pytest.raises(AssertionError) as raised:
        assert_pushed(mail.s("bob"), count=2)
    assert str(raised.value) == (
        "expected 2 jobs of mail(to='bob') to wait, got: 0; of this task there wait: \n"
        "  mail(to='ada', subject='hi', tags=()), job 2, due 2026-01-01T00:00:00+00:00"
    )
    with pytest.raises(AssertionError, match=r"expected no job of task 'mail' to wait, got: \n  mail\(to='ada'"):
        assert_not_pushed(mail)


def test_an_assertion_about_what_is_no_task_says_what_was_expected(queue):
    send = queue.task(name="send")(lambda to: None)
    handle = send.push("ada")
    for assertion in (assert_pushed, assert_not_pushed):
        for wrong in ("send", handle, None):
            said = f"expected a task, or a call as task.s(...) gives it, got: {wrong!r}"
            with pytest.raises(TypeError, match=re.escape(said)):
                assertion(wrong)
    with pytest.raises(TypeError, match=re.escape("expected a queue, as in pushed(queue, task), got: <task 'send'>")):
        pushed(send)
    with pytest.raises(TypeError, match=re.escape("expected a task or its name, got: Call(task=<task 'send'>")):
        pushed(queue, send.s("ada"))
    assert [one.job.id for one in pushed(queue, "send")] == [handle.id]


def test_jobs_that_ended_do_not_wait(queue):
    @queue.task
    def fail(n: int) -> None:
        raise RecoverableWorkerError if n else ValueError

    fail.push(0)
    fail.push(1)
    drain(queue)
    assert [one.arguments for one in assert_pushed(fail)] == [{"n": 1}]


# in memory


def test_a_queue_of_a_module_stands_in_memory_for_a_while(tmp_path, clock, ran):
    with Queue(tmp_path / "jobs.db") as queue:
        note = queue.task(name="note")(_noting(ran))
        note.push("real")
        with in_memory(queue, clock=clock) as same:
            assert same is queue
            assert (queue.path, pushed(queue)) == (":memory:", [])
            handle = note.push("one")
            note.push_many([("two",)])
            with queue.batch(then=note.s("then")) as batch:
                batch.add(note.s("three"))
            asyncio.run(_apush(note, "four"))
            assert sorted(one.arguments["what"] for one in pushed(queue, note)) == [
                "four",
                "one",
                "then",
                "three",
                "two",
            ]
            assert drain(queue).completed == 5
            assert (handle.wait(5), batch.standing().is_done) == (True, True)
        assert queue.path == str(tmp_path / "jobs.db")
        assert [one.arguments for one in pushed(queue)] == [{"what": "real"}]
        note.push("real too")
        assert drain(queue).completed == 2
        assert ran.notes[-2:] == ["real", "real too"]
    reader = sqlite3.connect(tmp_path / "jobs.db")
    assert reader.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'jobs'").fetchone() in [(2,), (None,)]
    reader.close()


def test_what_a_block_in_memory_does_to_its_queue_is_undone(tmp_path, ran):
    with Queue(tmp_path / "jobs.db") as queue:
        note = queue.task(name="note")(_noting(ran))
        with in_memory(queue):
            queue.start()
            assert note.push("there").wait(10)
            runner, store = queue._runner, queue._store
        assert (queue.worker, queue._runner) == (None, None)
        assert not runner.is_alive()
        with pytest.raises(QueueClosed):
            store.size(queue.id)
        with in_memory(queue):
            queue.close()
        assert queue in closing._open
        assert note.push("back").id == 1
        with pytest.raises(ZeroDivisionError), in_memory(queue), in_memory(queue):
            note.push("deep")
            1 / 0  # noqa: B018
        assert queue.path == str(tmp_path / "jobs.db")
        assert len(pushed(queue)) == 1
    assert queue._closed


def test_who_still_waits_when_a_block_ends_is_told(tmp_path, ran):
    with Queue(tmp_path / "jobs.db") as queue:
        note = queue.task(name="note")(_noting(ran))
        with in_memory(queue):
            told = threading.Event()
            end = queue._watch.end_of(note.push("never run").id, told.set)
        assert told.wait(10)
        with pytest.raises(QueueClosed):
            end.outlook()
        told = threading.Event()
        end = queue._watch.end_of(note.push("never run").id, told.set)
        with in_memory(queue), pytest.raises(QueueClosed):
            assert told.wait(10)
            end.outlook()


def test_a_queue_that_runs_or_is_closed_cannot_be_put_into_memory(tmp_path, ran):
    with Queue(tmp_path / "jobs.db") as queue:
        queue.task(name="note")(_noting(ran))
        queue.start()
        with pytest.raises(UsageError, match="stop\\(\\) it first"), in_memory(queue):
            pass
        with pytest.raises(UsageError, match="stop\\(\\) it first"), inline(queue):
            pass
    entered = False
    with pytest.raises(QueueClosed), in_memory(queue):
        entered = True
    assert not entered


# inline


def test_inside_an_inline_block_each_push_runs_at_once(queue, ran):
    note = queue.task(name="note")(_noting(ran))
    with inline(queue):
        note.push("one")
        assert ran.notes == ["one"]
        note.push_many([("two",), ("three",)])
        assert ran.notes == ["one", "two", "three"]
        asyncio.run(_apush(note, "four"))
        assert ran.notes[-1] == "four"
        chain(note.s("five"), note.s()).push()
        assert ran.notes[-2:] == ["five", None]
    note.push("waits")
    assert ran.notes[-1] is None


def test_what_an_inline_job_raises_comes_out_of_its_push(queue):
    @queue.task(retry=STEADY, no_retry_on=KeyError)
    def fail(kind: str) -> None:
        raise KeyError(kind) if kind == "key" else ValueError(kind)

    @queue.task
    def put_off() -> None:
        raise Snooze(HOUR)

    with inline(queue):
        with pytest.raises(KeyError):
            fail.push("key")
        with pytest.raises(ValueError, match="value"):
            fail.push("value")
        put_off.push()
    assert [job.status for job in queue.jobs()] == [JobStatus.FAILED, JobStatus.RETRYING, JobStatus.PENDING]


def test_what_an_inline_job_pushes_runs_when_it_has_ended(queue, ran):
    @queue.task
    def outer() -> None:
        inner.push()
        ran("outer ends")

    @queue.task
    def inner() -> None:
        ran("inner")
        raise ValueError("of inner")

    with inline(queue), pytest.raises(ValueError, match="of inner"):
        outer.push()
    assert ran.notes == ["outer ends", "inner"]


def test_inline_pushes_in_a_transaction_run_when_it_commits(queue, ran):
    note = queue.task(name="note")(_noting(ran))
    with inline(queue):
        with queue.transaction():
            note.push("one")
            assert ran.notes == []
        assert ran.notes == ["one"]
        with pytest.raises(ZeroDivisionError), queue.transaction():
            note.push("two")
            1 / 0  # noqa: B018
        note.push("three")
    assert ran.notes == ["one", "three"]


def test_inline_pushes_within_a_transaction_of_the_application_wait_for_the_next_run(tmp_path, ran):
    with Queue(tmp_path / "jobs.db") as queue, closing_connection(sqlite3.connect(tmp_path / "jobs.db")) as connection:
        note = queue.task(name="note")(_noting(ran))
        with inline(queue):
            note.using(within=connection).push("one")
            note.using(within=connection).push_many([("two",)])
            with queue.batch(within=connection) as batch:
                batch.add(note.s("three"))
            chain(note.s("four"), queue.task(name="end")(lambda _: None).s()).push(within=connection)
            connection.commit()
            assert ran.notes == []
            note.push("five")
        assert ran.notes == ["one", "two", "three", "four", "five"]


def test_in_memory_no_connection_of_the_application_has_the_jobs(tmp_path):
    with Queue(tmp_path / "jobs.db") as queue, closing_connection(sqlite3.connect(tmp_path / "jobs.db")) as connection:
        with in_memory(queue), pytest.raises(UsageError, match="a queue in memory"):
            queue.push("task", within=connection)


def test_what_follows_a_batch_runs_inline_when_it_is_sealed(queue, ran):
    note = queue.task(name="note")(_noting(ran))
    with inline(queue):
        with queue.batch(then=note.s("all")) as batch:
            batch.add(note.s("one"))
        assert ran.notes == ["one", "all"]


def test_a_job_that_raises_inline_cancels_no_other_of_its_batch(queue):
    @queue.task
    def fail() -> None:
        raise ValueError

    @queue.task
    def put_off() -> None:
        raise Snooze(HOUR)

    with inline(queue), pytest.raises(ValueError), queue.batch() as batch:
        batch.add(put_off.s())
        batch.add(fail.s())
    assert (batch.standing().failed, batch.standing().left) == (1, 1)


def test_inline_jobs_that_are_put_off_wait_for_their_time(queue, ran, clock):
    note = queue.task(name="note")(_noting(ran))
    with inline(queue):
        note.using(after=HOUR).push("late")
        assert ran.notes == []
        drain(queue, until=NEW_YEAR + HOUR)
    assert ran.notes == ["late"]


def test_inline_and_in_memory_go_together(tmp_path, ran):
    with Queue(tmp_path / "jobs.db") as queue:
        note = queue.task(name="note")(_noting(ran))
        with inline(queue), in_memory(queue):
            note.push("one")
        with in_memory(queue), inline(queue):
            note.push("two")
        note.push("three")
    assert ran.notes == ["one", "two"]


def test_async_code_may_push_async_tasks_inline(queue, ran):
    @queue.task
    async def outer() -> None:
        await inner.apush()
        ran("outer ends")

    @queue.task
    async def inner() -> None:
        ran("inner")

    with inline(queue):
        asyncio.run(_apush(outer))
    assert ran.notes == ["outer ends", "inner"]


def _noting(ran: Ran) -> Callable[..., None]:
    def note(what: object) -> None:
        ran(what)

    return note


async def _apush(task: object, *args: object) -> None:
    await task.apush(*args)  # type: ignore[attr-defined]


# pytest


def test_the_plugin_is_where_the_entry_point_says(tmp_path):
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [(_, module)] = settings["project"]["entry-points"]["pytest11"].items()
    assert module == PLUGIN
    assert importlib.util.find_spec(module) is not None


def test_nothing_but_the_plugin_imports_pytest():
    program = "import sys, workqueue, workqueue.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_fixtures_give_a_queue_and_its_clock(tmp_path):
    (tmp_path / "test_it.py").write_text(
        """
import pytest
from workqueue import QueueClosed

seen = []

def test_one(temporary_queue, workqueue_clock, tmp_path):
    assert temporary_queue.path == str(tmp_path / "jobs.db")
    assert temporary_queue.get(temporary_queue.push("a")).pushed_at == workqueue_clock.now()
    seen.append(temporary_queue)

def test_two(temporary_queue):
    assert temporary_queue.size().waiting == 0
    with pytest.raises(QueueClosed):
        seen[0].size()
"""
    )
    assert run_pytest(tmp_path) == "2 passed"


def test_every_example_of_the_page_runs(tmp_path):
    """A block that begins with a comment of its file's name is that file; the others are tests of theirs."""
    page = (ROOT / "docs" / "testing.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for number, block in enumerate(blocks):
        named = re.match(r"# (\w+\.py)\n", block)
        (tmp_path / (named[1] if named else f"test_{number}.py")).write_text(block)
    tests = sum(block.count("def test_") for block in blocks)
    assert len(blocks) > 5
    assert run_pytest(tmp_path) == f"{tests} passed"
    assert all("def test_" in block or re.match(r"# \w+\.py\n", block) for block in blocks)


def run_pytest(folder: Path) -> str:
    """Run the tests of a folder as a program's own, with the plugin; give the last line, without the seconds."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", PLUGIN, "-p", "no:cacheprovider", "-W", "error", str(folder)],
        cwd=folder,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout.splitlines()[-1].partition(" in ")[0] if done.returncode == 0 else done.stdout + done.stderr
