"""What users write, and a strict type checker must accept. Checked by test_types.py; not run."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from sqlite3 import connect
from typing import assert_type

from workqueue import (
    AsyncTask,
    Attempt,
    Backoff,
    Batch,
    Call,
    Cancel,
    Chain,
    Context,
    Handle,
    Job,
    JobNotFound,
    JobStatus,
    Observer,
    Queue,
    RecoverableWorkerError,
    Size,
    Snooze,
    Task,
    Worker,
    chain,
    injected,
    otel,
    sentry,
)
from workqueue.observer import Push, Run
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
Backoff(min=0.01, max=60, expiration=3600)
assert_type(Backoff(min=0.01).min, timedelta)
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


def make_tasks(queue: Queue) -> None:
    @queue.task
    def resize(path: str, width: int = 800, *, crop: bool = False) -> Mail:
        return Mail(f"{path} {width} {crop}")

    @queue.task(
        name="fetch",
        retry=Backoff(limit=5),
        retry_on=(OSError, TimeoutError),
        no_retry_on=FileNotFoundError,
        timeout=timedelta(seconds=30),
        keep_results=3600,
        priority=5,
        expires=timedelta(days=1),
        limit=4,
        limit_by="host",
        rate="100/minute",
        rate_by="host",
        ordered_by="host",
        key_by="url",
        unique_for=60,
        on_conflict="replace",
        isolated=False,
    )
    async def fetch(host: str, url: str, ctx: Context = injected) -> bytes:
        assert_type(ctx.time_left(), float | None)
        ctx.progress({"done": 5})
        ctx.set_result(b"")
        if ctx.cancelled:
            raise Cancel("enough")
        raise Snooze(5, "later")

    @queue.task(every="30 2 * * *", timezone="Europe/Berlin", jitter=60, catch_up=3)
    def nightly(on: date) -> None: ...

    @queue.task(retry=lambda error, failure: 5.0 if failure < 3 else None)
    def by_rule(ctx: Context) -> None: ...

    @queue.task
    def sized(mail: Mail, *words: str, **more: int) -> int:
        return len(words)

    assert_type(resize("a.png"), Mail)
    assert_type(resize.push("a.png"), Handle[Mail])
    assert_type(resize.push("a.png", 300, crop=True), Handle[Mail])
    assert_type(resize.push(path="a.png", width=300).result(timeout=5), Mail)
    assert_type(resize.using(after=5, priority=3, key="k", unique_for=60, on_conflict="error").push("a"), Handle[Mail])
    assert_type(resize.using(at=datetime.now(UTC), expires=timedelta(hours=1)).push("a", crop=False), Handle[Mail])
    assert_type(resize.using(within=connect(":memory:")).push("a"), Handle[Mail])
    assert_type(resize.using(priority=5)("a.png"), Mail)
    assert_type(asyncio.run(fetch.using(key="k")("example.org", "http://example.org")), bytes)
    assert_type(resize.push_many([("a",), {"path": "b"}, resize.s("c", width=5)]), list[int])
    assert_type(resize.push_many(("a", n) for n in range(5)), list[int])
    assert_type(resize.s("a"), Call[Mail])
    assert_type(resize.handle(5), Handle[Mail])
    assert_type(fetch.push("example.org", "http://example.org").result(), bytes)  # without the context
    assert_type(sized.push(Mail("ada"), "a", "b", c=5), Handle[int])
    assert_type(nightly.push(date(2030, 1, 1)).wait(5), bool)
    assert_type(queue.trigger("nightly"), Handle[object])
    assert_type([schedule.next_at for schedule in queue.schedules()], list[datetime])
    assert_type(resize.push("a").status(), JobStatus)
    assert_type(resize.push("a").cancel(), bool)
    with queue.batch(then=nightly.s(date(2030, 1, 1))) as batch:
        assert_type(batch, Batch)
        batch.add(resize.s("a"))
        batch.add(fetch.s("example.org", "http://example.org"))
    assert_type(batch.wait(timedelta(seconds=5)), bool)
    assert_type(queue.find_batch(batch.id).standing().completed, int)
    assert_type(chain(fetch.s("a", "b"), resize.s()), Chain[Mail])
    assert_type(chain(fetch.s("a", "b"), resize.s(), sized.s()).push(), Handle[int])
    assert_type(queue.edit(5, {"path": "b"}), bool)
    queue.pause("fetch")
    queue.resume()
    assert_type(queue.paused(), list[str | None])
    takes_tasks(resize, fetch)


def takes_tasks(resize: Task[..., Mail], fetch: AsyncTask[[str, str, Context], bytes]) -> None:
    """What a program passes around."""


async def use_tasks_async(resize: Task[[str, int], Mail], fetch: AsyncTask[[str], bytes]) -> None:
    assert_type(await resize.apush("a", 5), Handle[Mail])
    assert_type(await (await resize.apush("a", 5)), Mail)
    assert_type(await fetch.push("a"), bytes)
    assert_type(await fetch("a"), bytes)
    assert_type(await asyncio.create_task(fetch("a")), bytes)
    async with asyncio.TaskGroup() as group:
        assert_type(group.create_task(fetch("a")), asyncio.Task[bytes])
    assert_type(await fetch.push("a").ended(), JobStatus)


class Looks:
    in_child = None

    @contextmanager
    def pushing(self, push: Push) -> Generator[None]:
        push.carry("by", "web")
        yield
        assert_type(list(push.ids), list[int])

    @contextmanager
    def running(self, run: Run) -> Generator[None]:
        assert_type(run.job.headers.get("by", ""), str)
        yield

    def ended(self, run: Run) -> None:
        assert_type(run.exception, BaseException | None)


def use_observers() -> None:
    looks: Observer = Looks()
    Queue("jobs.db", observers=[looks, Looks(), otel.Telemetry(), sentry.Reports(retried=True)])
