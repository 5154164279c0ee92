"""What users write, and a strict type checker must accept. Checked by test_types.py; not run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import assert_type

from workqueue import (
    Attempt,
    Backoff,
    Context,
    Handle,
    Job,
    JobNotFound,
    JobStatus,
    Queue,
    RecoverableWorkerError,
    Size,
    Snooze,
    Worker,
    chain,
    injected,
)
from workqueue.testing import (
    Drained,
    FakeClock,
    Pushed,
    assert_not_pushed,
    assert_pushed,
    drain,
    in_memory,
    inline,
    pushed,
)


@dataclass
class Mail:
    to: str


class Plain:
    def id(self) -> str:
        return "plain"

    def do_work(self, ctx: Context, job: Job) -> None:
        assert_type(ctx.cancelled, bool)
        assert_type(ctx.wait(0.5), bool)
        assert_type(ctx.deadline, datetime | None)
        assert_type(job.decode(Mail), Mail)
        assert_type(job.decode(list[int]), list[int])
        with ctx.transaction() as rows:
            rows.execute("INSERT INTO sent VALUES (?, :b)", (1, "x", b"", None, 2.5))
            rows.execute("INSERT INTO sent VALUES (:to)", {"to": "ada"})
        raise RecoverableWorkerError("busy", delay=timedelta(seconds=5))


class Async:
    def id(self) -> str:
        return "async"

    async def do_work(self, ctx: Context, job: Job) -> int:
        assert_type(await ctx.sleep(1), bool)
        return len(job.data)


class OtherNames:
    def id(self) -> str:
        return "other names"

    def do_work(self, context: Context, task: Job) -> None: ...


workers: list[Worker] = [Plain(), Async(), OtherNames()]

Queue("jobs.db")
Queue(Path("jobs.db"), Plain())
Queue(":memory:", Async(), concurrency=1000, auto_start=False)
Queue(
    "jobs.db",
    None,
    id="mail",
    timing=True,
    archive=False,
    backoff=Backoff(factor=2, jitter=True, min=timedelta(seconds=1), max=timedelta(hours=1), limit=5),
    batch_size=500,
    poll_rate=0.5,
    grace=timedelta(seconds=5),
    lease=60,
    max_payload=1024,
    durability="process",
)


def use(queue: Queue) -> None:
    assert_type(queue.id, str)
    assert_type(queue.push("n"), int)
    assert_type(queue.push("n", {"to": ["ada"]}, run_at=datetime.now(UTC), priority=5), int)
    assert_type(queue.push("n", Mail("ada")), int)
    assert_type(queue.push_after("n", Mail("ada"), 5), int)
    assert_type(queue.push_after("n", delay=timedelta(seconds=5)), int)
    assert_type(queue.push_bytes("n", b"data"), int)
    assert_type(queue.push_many("n", (n for n in range(5))), list[int])
    assert_type(queue.size(), Size)
    assert_type(queue.size().waiting, int)
    assert_type(queue.jobs(status="failed", limit=5, after=7), list[Job])
    assert_type(queue.jobs(status=JobStatus.FAILED, name="n"), list[Job])
    assert_type(queue.get(1).run_at, datetime)
    assert_type(queue.get(1).backoff.for_attempt(2.5), timedelta)
    assert_type(queue.history(1), list[Attempt])
    assert_type(queue.cancel(1), bool)
    assert_type(queue.restore(1, 2, 3), int)
    assert_type(queue.restore_failed_jobs(), int)
    assert_type(queue.clean_failed_jobs(), int)
    assert_type(queue.wait_idle(), bool)
    assert_type(queue.wait_idle(timedelta(seconds=5)), bool)
    assert_type(queue.start(), bool)
    assert_type(queue.check(), list[str])
    assert_type(Job.from_bytes(bytes(queue.get(1))), Job)
    with queue.transaction() as rows:
        assert_type(rows.execute("SELECT 1").fetchall(), list[tuple[None | int | float | str | bytes, ...]])
    try:
        queue.get(1)
    except JobNotFound as error:
        assert_type(error.job_id, int)
    queue.stop(grace=5)
    queue.close()


async def use_async(queue: Queue) -> None:
    assert_type(await queue.apush("n", {"a": 1}, delay=5), int)


def open_it() -> None:
    with Queue("jobs.db") as queue:
        assert_type(queue, Queue)


def test_it(queue: Queue) -> None:
    @queue.task
    def send(to: str, subject: str = "") -> int:
        return len(to + subject)

    @queue.task
    async def fetch(url: str) -> bytes:
        return url.encode()

    clock = FakeClock()
    assert_type(clock.advance(5), datetime)
    with in_memory(queue, clock=clock) as same, inline(queue) as again:
        assert_type(same, Queue)
        assert_type(again, Queue)
    Queue(":memory:", clock=clock).close()
    assert_type(drain(queue, until=clock.now()), Drained)
    assert_type(drain(queue).failures, list[tuple[Job, BaseException]])
    assert_type(assert_pushed(send, count=2), list[Pushed])
    assert_type(assert_pushed(fetch, at=clock.now()), list[Pushed])
    assert_type(assert_pushed(send.s("ada"), after=5), list[Pushed])
    assert_not_pushed(fetch.s("x"))
    assert_type([pushed(queue), pushed(queue, "n"), pushed(queue, send), pushed(queue, fetch)], list[list[Pushed]])


async def use_tasks(queue: Queue) -> None:
    @queue.task(retry=Backoff(limit=5), timeout=30, keep_results=timedelta(hours=1))
    async def fetch(url: str, *, depth: int = 0, ctx: Context = injected) -> Mail:
        ctx.progress({"depth": depth})
        return Mail(url)

    @queue.task(retry=lambda error, failure: None if failure > 2 else 1.5, limit=3, rate="5/s", rate_by="number")
    def double(number: int) -> int:
        return 2 * number

    handle = fetch.push("https://example.org", depth=2)
    assert_type(handle, Handle[Mail])
    assert_type(handle.result(timeout=60), Mail)
    assert_type(await handle, Mail)
    assert_type(await (await fetch.apush("x")), Mail)
    assert_type(await fetch("x"), Mail)
    assert_type(double(2), int)
    assert_type(fetch.using(after=timedelta(minutes=5), priority=10, key="k").push("x").id, int)
    assert_type(double.push_many((number,) for number in range(3)), list[int])
    assert_type(chain(double.s(2), double.s()).push().result(), int)
    with queue.batch(then=double.s(1)) as batch:
        batch.add(double.s(2))
    raise Snooze(5)
