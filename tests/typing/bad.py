"""Mistakes that a type checker must find: every line marked so, and no other. Checked by test_types.py; not run."""

from __future__ import annotations

from datetime import datetime, timedelta

from workqueue import Backoff, Context, Job, Queue, RecoverableWorkerError, Snooze, Worker, chain, injected
from workqueue.testing import assert_pushed, drain


class NoId:
    def do_work(self, ctx: Context, job: Job) -> None: ...


class NoContext:
    def id(self) -> str:
        return "no context"

    def do_work(self, job: Job) -> None: ...


class NumberedId:
    def id(self) -> int:
        return 5

    def do_work(self, ctx: Context, job: Job) -> None: ...


no_id: Worker = NoId()  # error
no_context: Worker = NoContext()  # error
numbered_id: Worker = NumberedId()  # error

Queue()  # error
Queue(5)  # error
Queue("jobs.db", lambda ctx, job: None)  # error
Queue("jobs.db", bach_size=5)  # error
Queue("jobs.db", batch_size="5")  # error
Queue("jobs.db", durability="fast")  # error
Queue("jobs.db", poll_rate="5s")  # error
Queue("jobs.db", backoff=5)  # error
Backoff(min="1s")  # error
Backoff(first=5)  # error
RecoverableWorkerError("busy", delay="soon")  # error


def use(queue: Queue, job: Job, ctx: Context) -> None:
    queue.push()  # error
    queue.push(5)  # error
    queue.push("n", run_at="tomorrow")  # error
    queue.push("n", 1, datetime.now())  # error
    queue.push("n", delay=5)  # error
    queue.push("n", priority="high")  # error
    queue.push_bytes("n", "text")  # error
    queue.push_many("n", 5)  # error
    queue.get("1")  # error
    queue.cancel("1")  # error
    queue.jobs(status=3)  # error
    queue.jobs("failed")  # error
    queue.wait_idle("5s")  # error
    queue.size().done  # error
    job.name = "other"  # error
    job.payload  # error
    ctx.wait("5")  # error
    with queue.transaction() as rows:
        rows.commit()  # error
        rows.execute("SELECT ?", ([1],))  # error


async def use_async(queue: Queue) -> None:
    job_id: int = queue.apush("n")  # error
    await queue.push("n")  # error


def test_it(queue: Queue) -> None:
    drain(queue, until=timedelta(days=1))  # error
    drain(queue, with_scheduled=True)  # error
    assert_pushed("send")  # error
    Queue(":memory:", clock=datetime.now)  # error


def make_tasks(queue: Queue) -> None:
    @queue.task
    def resize(path: str, width: int = 800, *, crop: bool = False) -> str:
        return path

    @queue.task(keep_results=60)
    async def fetch(url: str, *, ctx: Context = injected) -> bytes:
        return url.encode()

    @queue.task
    def asks(ctx: Context, url: str) -> None: ...

    resize.push()  # error
    resize.push(5)  # error
    resize.push("a", "wide")  # error
    resize.push("a", 5, True)  # error
    resize.push("a", widht=5)  # error
    resize.push("a", after=5)  # error
    resize.using(after=5).push()  # error
    resize.using(after="5s")  # error
    resize.using(run_at=5)  # error
    resize.using(on_conflict="drop")  # error
    resize.using(key=5)  # error
    fetch.push("a", ctx=5)  # error
    asks.push("a")  # error
    length: int = resize.push("a").result()  # error
    later: int = resize.push("a")  # error
    text: str = fetch("a")  # error
    resize.push("a").result("5s")  # error
    resize.push_many([5])  # error
    resize.push_many(resize.s("a"))  # error
    resize.push_many([fetch.s("a")])  # error
    chain(resize.s("a"))  # error
    chain(resize, fetch)  # error
    queue.batch(then=resize)  # error
    queue.trigger(resize)  # error
    queue.edit("5", {})  # error
    Snooze()  # error
    queue.task(retry=5)(len)  # error
    queue.task(retry_on="OSError")(len)  # error
    queue.task(timeout="5s")(len)  # error
    queue.task(limit="2")(len)  # error
    queue.task(rate=5)(len)  # error
    queue.task(on_conflict="drop")(len)  # error
    queue.task(every=5)(len)  # error
    queue.task(retries=5)(len)  # error
    queue.task("fetch")(len)  # error


async def use_tasks_async(queue: Queue) -> None:
    @queue.task
    def resize(path: str) -> str:
        return path

    handle: str = await resize.push("a")
    handle.id  # error
    await resize.apush(5)  # error
    pushed: str = await resize.apush("a")  # error
    await resize("a")  # error


def use_observers(job: Job) -> None:
    Queue("jobs.db", observers=[object()])  # error
    job.headers["a"] = "b"  # error
