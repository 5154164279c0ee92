"""Queue, the front door: what each verb does, the same in a file and in memory."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from workqueue import (
    Backoff,
    Context,
    InvalidPayload,
    Job,
    JobNotFound,
    JobStatus,
    Queue,
    QueueClosed,
    RecoverableWorkerError,
    Size,
    UsageError,
)
from workqueue.store.clock import system_clock

from support import interrupt_anywhere

HOUR = timedelta(hours=1)
PAST = datetime(2001, 1, 1, tzinfo=UTC)


class Notes:
    """A worker that notes the data of each job, in the order it ran them, and then does `act(ctx, job)`."""

    def __init__(self, act: Callable[[Context, Job], object] | None = None) -> None:
        self.ran: list[object] = []
        self._act = act

    def id(self) -> str:
        return "notes"

    def do_work(self, ctx: Context, job: Job) -> object:
        self.ran.append(job.decode())
        return None if self._act is None else self._act(ctx, job)


class Gate:
    """For `act`: holds the handler until the test opens the gate."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()
        self._error = error

    def __call__(self, _ctx: Context, _job: Job) -> None:
        self.begun.set()
        assert self.open.wait(10)
        if self._error is not None:
            raise self._error


@pytest.fixture(params=["file", "memory"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ":memory:" if request.param == "memory" else str(tmp_path / "jobs.db")


@pytest.fixture
def open_queue(path: str) -> Iterator[Callable[..., Queue]]:
    """Give a function that opens a Queue at `path`; at the end each is whole, and is closed."""
    opened: list[Queue] = []

    def opener(*args: object, **options: object) -> Queue:
        opened.append(Queue(path, *args, **options))  # type: ignore[arg-type]
        return opened[-1]

    yield opener
    try:
        still_open = [queue for queue in opened if not queue._closed]
        for queue in still_open:
            queue.stop(grace=10)
        assert [queue.check() for queue in still_open] == [[] for _ in still_open]
    finally:
        for queue in opened:
            queue.close(grace=0)


@pytest.fixture
def queue(open_queue: Callable[..., Queue]) -> Queue:
    """A queue without a worker."""
    return open_queue()


# push_many


def test_push_many_gives_the_ids_in_order(queue):
    before = queue.push("n", "before")
    ids = queue.push_many("many", ({"n": n} for n in range(2_345)), priority=3, run_at=PAST)
    assert len(ids) == 2_345
    assert sorted(set(ids)) == ids
    assert before < ids[0]
    for n in (0, 999, 1_000, 2_000, 2_344):
        job = queue.get(ids[n])
        assert (job.name, job.decode(), job.priority, job.run_at) == ("many", {"n": n}, 3, PAST)
    assert queue.size() == Size(waiting=2_346, failed=0)


def test_push_many_of_nothing(queue):
    assert queue.push_many("n", []) == []
    assert queue.push_many("n", iter(())) == []
    assert queue.size().waiting == 0


def test_push_many_streams(queue):
    """At most 1,000 are taken ahead of what is stored, so an endless source needs no endless memory."""
    ahead: list[int] = []

    def source() -> Iterator[int]:
        for taken in range(4_500):
            if taken % 250 in (0, 249):
                ahead.append(taken - queue.size().waiting)
            yield taken

    queue.push_many("n", source())
    assert 250 <= max(ahead) <= 1_000
    assert queue.size().waiting == 4_500


def test_push_many_keeps_the_full_thousands_when_its_source_fails(queue):
    def source() -> Iterator[int]:
        yield from range(2_500)
        raise ConnectionResetError("the source is gone")

    with pytest.raises(ConnectionResetError, match="the source is gone") as caught:
        queue.push_many("n", source())
    assert caught.value.__notes__ == ["push_many had stored 2,000 jobs before this"]
    assert queue.size().waiting == 2_000
    assert [job.decode() for job in queue.jobs(limit=1_000_000)] == list(range(2_000))


def test_push_many_keeps_the_full_thousands_before_a_bad_value(queue):
    with pytest.raises(InvalidPayload) as caught:
        queue.push_many("n", [*range(1_500), float("nan"), *range(10)])
    assert caught.value.__notes__ == ["push_many had stored 1,000 jobs before this"]
    assert queue.size().waiting == 1_000


def test_push_many_can_be_interrupted(queue):
    def source() -> Iterator[int]:
        yield from range(1_001)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        queue.push_many("n", source())
    assert caught.value.__notes__ == ["push_many had stored 1,000 jobs before this"]
    assert queue.size().waiting == 1_000


# look


def test_get(queue):
    job_id = queue.push("mail", {"to": "ada"}, priority=2)
    job = queue.get(job_id)
    assert (job.id, job.name, job.queue, job.priority, job.status) == (job_id, "mail", "default", 2, JobStatus.PENDING)
    assert job.pushed_at == job.run_at
    assert job.pushed_at.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - job.pushed_at) < timedelta(minutes=1)
    assert (job.attempt, job.retry_count, job.lost, job.settled_at, job.cancel_requested) == (0, 0, 0, None, False)
    with pytest.raises(JobNotFound):
        queue.get(job_id + 1)


def test_large_data_comes_back_whole(open_queue):
    sizes = [0, 1, 1_023, 1_024, 1_025, 100_000, 1_024 * 1_024 - 2]
    texts = ["x" * size for size in sizes]
    worker = Notes()
    queue = open_queue(worker, auto_start=False)
    ids = queue.push_many("n", texts)
    assert [queue.get(job_id).decode() == text for job_id, text in zip(ids, texts, strict=True)] == [True] * len(sizes)
    queue.start()
    assert queue.wait_idle(20)
    assert [len(text) for text in worker.ran] == sizes


def test_jobs_in_pages(queue):
    ids = queue.push_many("n", range(250))
    assert [job.id for job in queue.jobs()] == ids[:100]
    pages: list[list[int]] = []
    after = 0
    while page := queue.jobs(limit=80, after=after):
        pages.append([job.id for job in page])
        after = page[-1].id
    assert [len(page) for page in pages] == [80, 80, 80, 10]
    assert sum(pages, []) == ids
    assert queue.jobs(after=ids[-1]) == []
    assert [job.id for job in queue.jobs(limit=1)] == ids[:1]


def test_jobs_by_status_and_name(open_queue):
    def act(_ctx, job):
        if job.name == "bad":
            raise ValueError

    queue = open_queue(Notes(act))
    bad = queue.push_many("bad", range(3))
    assert queue.wait_idle(10)
    queue.stop()
    waiting = queue.push_many("waiting", range(3))
    queue.cancel(waiting[1])
    for failed in ("failed", "FAILED", JobStatus.FAILED):
        assert [job.id for job in queue.jobs(status=failed)] == bad
    assert [job.id for job in queue.jobs(status="pending")] == [waiting[0], waiting[2]]
    assert [job.id for job in queue.jobs(status="uack")] == [waiting[0], waiting[2]]
    assert [job.id for job in queue.jobs(status="cancelled")] == [waiting[1]]
    assert queue.jobs(status="completed") == []
    assert [job.id for job in queue.jobs(name="waiting")] == waiting
    assert [job.id for job in queue.jobs(name="waiting", status="pending", after=waiting[0])] == [waiting[2]]
    assert queue.jobs(name="nobody") == []


def test_history_of_a_failed_job(open_queue):
    def act(_ctx, _job):
        raise RecoverableWorkerError("busy")

    queue = open_queue(Notes(act), backoff=Backoff(min=timedelta(0), max=timedelta(0), limit=2))
    job_id = queue.push("n")
    assert queue.wait_idle(10)
    attempts = queue.history(job_id)
    assert [(attempt.attempt, attempt.outcome, attempt.error) for attempt in attempts] == [
        (1, "raised", "RecoverableWorkerError: busy"),
        (2, "raised", "RecoverableWorkerError: busy"),
    ]
    assert all("raise RecoverableWorkerError" in attempt.traceback for attempt in attempts)
    assert all(attempt.runner and attempt.duration >= timedelta(0) for attempt in attempts)


# cancel and restore


def test_cancel_a_waiting_job(open_queue):
    worker = Notes()
    queue = open_queue(worker, auto_start=False)
    kept, gone = queue.push("n", "kept"), queue.push("n", "gone")
    assert queue.cancel(gone) is True
    assert queue.cancel(gone) is False
    assert queue.size() == Size(waiting=1, failed=0)
    job = queue.get(gone)
    assert (job.status, job.message) == (JobStatus.CANCELLED, "cancelled")
    assert job.settled_at is not None
    queue.start()
    assert queue.wait_idle(10)
    assert worker.ran == ["kept"]
    with pytest.raises(JobNotFound):
        queue.get(kept)


def test_cancel_a_running_job(open_queue):
    begun = threading.Event()

    def act(ctx, _job):
        begun.set()
        assert ctx.wait(10)
        raise InterruptedError("gave up")

    queue = open_queue(Notes(act))
    job_id = queue.push("n")
    assert begun.wait(10)
    assert queue.cancel(job_id) is True
    assert queue.wait_idle(10)
    assert queue.get(job_id).status is JobStatus.CANCELLED
    assert queue.size() == Size(waiting=0, failed=0)


def test_restore_and_clean_cancelled_jobs(queue):
    ids = queue.push_many("n", range(4))
    for job_id in ids:
        queue.cancel(job_id)
    assert queue.restore_failed_jobs() == 0
    assert queue.restore(ids[1], ids[2], 10**6) == 2
    assert queue.restore(ids[1]) == 0
    assert [job.id for job in queue.jobs(status="pending")] == ids[1:3]
    assert queue.clean_failed_jobs() == 0
    assert queue.clean_cancelled_jobs() == 2
    assert [job.id for job in queue.jobs()] == ids[1:3]


def test_cancel_a_failed_job_changes_nothing(open_queue):
    queue = open_queue(Notes(Gate(ValueError("for good"))))
    job_id = queue.push("n")
    queue.worker._act.open.set()
    assert queue.wait_idle(10)
    assert queue.cancel(job_id) is False
    assert queue.get(job_id).status is JobStatus.FAILED


# wait_idle


def test_wait_idle_of_an_empty_queue(queue):
    assert queue.wait_idle() is True
    assert queue.wait_idle(0) is True
    assert queue.wait_idle(timedelta(0)) is True


def test_wait_idle_gives_false_at_its_timeout(queue):
    queue.push("n")
    assert queue.wait_idle(0) is False
    assert queue.wait_idle(0.02) is False
    assert queue.wait_idle(timedelta(milliseconds=20)) is False


def test_wait_idle_does_not_count_later_jobs(queue):
    queue.push("n", run_at=datetime.now(UTC) + HOUR)
    queue.push_after("n", None, HOUR)
    assert queue.wait_idle(0) is True


def test_wait_idle_counts_what_runs_and_returns_when_it_ends(open_queue):
    gate = Gate()
    queue = open_queue(Notes(gate), poll_rate=60)
    queue.push("n")
    assert gate.begun.wait(10)
    assert queue.wait_idle(0) is False
    told: list[bool] = []
    waiting = threading.Thread(target=lambda: told.append(queue.wait_idle(10)))
    waiting.start()
    gate.open.set()
    waiting.join(10)
    assert told == [True]


def test_wait_idle_counts_what_waits_for_another_try(open_queue):
    gate = Gate(RecoverableWorkerError("busy", delay=HOUR))
    queue = open_queue(Notes(gate))
    job_id = queue.push("n")
    gate.open.set()
    assert gate.begun.wait(10)
    queue.stop()
    assert queue.get(job_id).status is JobStatus.RETRYING
    assert queue.wait_idle(0) is False
    queue.cancel(job_id)
    assert queue.wait_idle(0) is True


def test_a_wait_until_idle_that_is_interrupted_anywhere_holds_up_nobody(open_queue):
    gate = Gate()
    queue = open_queue(Notes(gate), poll_rate=0.001)
    queue.push("n")
    assert gate.begun.wait(10)
    interrupt_anywhere(lambda: queue.wait_idle(0.002), "workqueue/queue.py", "threading.py")
    gate.open.set()
    assert queue.wait_idle(10)


# priorities and concurrency


@pytest.mark.parametrize("timing", [False, True])
def test_higher_priority_first(open_queue, timing):
    worker = Notes()
    queue = open_queue(worker, auto_start=False, timing=timing)
    for number, priority in enumerate([0, 5, -5, 2**31, 5, -(2**31), 0]):
        queue.push("n", [priority, number], priority=priority)
    queue.start()
    assert queue.wait_idle(10)
    assert worker.ran == [[2**31, 3], [5, 1], [5, 4], [0, 0], [0, 6], [-5, 2], [-(2**31), 5]]


def test_one_job_at_a_time_unless_told_otherwise(open_queue):
    running, most, lock = 0, 0, threading.Lock()

    def act(_ctx, _job):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        with lock:
            running -= 1

    worker = Notes(act)
    queue = open_queue(worker)
    queue.push_many("n", range(100))
    assert queue.wait_idle(10)
    assert (most, worker.ran) == (1, list(range(100)))


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_concurrency(open_queue, kind):
    """All four are inside at once, or the barrier breaks."""
    threads, arrived, all_here = threading.Barrier(4), [], []

    class Together:
        def id(self) -> str:
            return "together"

        def do_work(self, ctx, job):
            threads.wait(10)

    class TogetherAsync:
        def id(self) -> str:
            return "together"

        async def do_work(self, ctx, job):
            if not all_here:
                all_here.append(asyncio.Event())
            arrived.append(job.id)
            if len(arrived) == 4:
                all_here[0].set()
            async with asyncio.timeout(10):
                await all_here[0].wait()

    queue = open_queue(Together() if kind == "def" else TogetherAsync(), concurrency=4)
    queue.push_many("n", range(4))
    assert queue.wait_idle(15)
    assert queue.size() == Size(waiting=0, failed=0)


# asyncio


def test_apush(queue):
    async def main() -> list[int]:
        return [
            await queue.apush("plain", {"a": 1}),
            await queue.apush("later", run_at=PAST, priority=7),
            await queue.apush("after", 2, delay=HOUR),
        ]

    ids = asyncio.run(main())
    plain, later, after = (queue.get(job_id) for job_id in ids)
    assert plain.decode() == {"a": 1}
    assert (later.run_at, later.priority, later.decode()) == (PAST, 7, None)
    assert after.run_at - after.pushed_at == HOUR


def test_apush_does_not_block_the_loop(queue, monkeypatch):
    push, begun, go = queue._store.push, threading.Event(), threading.Event()

    def slow(jobs):
        begun.set()
        assert go.wait(10), "the loop was blocked"
        return push(jobs)

    monkeypatch.setattr(queue._store, "push", slow)

    async def main() -> int:
        pushing = asyncio.create_task(queue.apush("n", 1))
        assert await asyncio.to_thread(begun.wait, 10)
        for _ in range(100):
            await asyncio.sleep(0)  # the loop turns
        assert not pushing.done()
        go.set()
        return await pushing

    assert queue.get(asyncio.run(main())).decode() == 1


def test_many_apushes_at_once(queue):
    async def main() -> list[int]:
        return await asyncio.gather(*(queue.apush("n", n) for n in range(200)))

    ids = asyncio.run(main())
    assert [queue.get(job_id).decode() for job_id in ids] == list(range(200))


# several queues, several threads


def test_queues_in_one_file_are_kept_apart(tmp_path):
    path = tmp_path / "jobs.db"

    def fail(_ctx, _job):
        raise ValueError

    with Queue(path, Notes(fail), id="a") as a, Queue(path, id="b") as b, Queue(path) as default:
        a.push_many("n", range(3))
        b.push_many("n", range(2))
        assert a.wait_idle(10)
        assert (a.wait_idle(0), b.wait_idle(0), default.wait_idle(0)) == (True, False, True)
        assert (a.size(), b.size(), default.size()) == (Size(0, 3), Size(2, 0), Size(0, 0))
        assert [len(each.jobs()) for each in (a, b, default)] == [3, 2, 0]
        assert {job.queue for job in a.jobs()} == {"a"}
        assert [each.restore_failed_jobs() for each in (b, default)] == [0, 0]
        assert [each.clean_failed_jobs() for each in (b, default, a)] == [0, 0, 3]
        ours, theirs = b.jobs()[0].id, a.push_after("n", None, HOUR)
        a.cancel(theirs)
        b.cancel(ours)
        assert b.restore(theirs) == 0
        assert a.clean_cancelled_jobs() == 1
        assert b.get(ours).status is JobStatus.CANCELLED


def test_two_queues_in_memory_share_nothing():
    with Queue(":memory:") as one, Queue(":memory:") as other:
        one.push("n")
        assert (one.size().waiting, other.size().waiting) == (1, 0)


def test_memory_makes_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Queue(":memory:", Notes()) as queue:
        queue.push("n")
        assert queue.wait_idle(10)
    assert list(tmp_path.iterdir()) == []


def test_pushes_from_many_threads(open_queue):
    worker = Notes()
    queue = open_queue(worker)
    threads = [
        threading.Thread(target=lambda start=start: [queue.push("n", start + n) for n in range(25)])
        for start in range(0, 200, 25)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert queue.wait_idle(20)
    assert sorted(worker.ran) == list(range(200))


# opening and closing


def test_a_queue_without_a_worker(queue):
    assert queue.start() is False
    job_id = queue.push("n")
    queue.stop()
    assert [job.id for job in queue.jobs(status="pending")] == [job_id]


def test_the_context_manager_closes(open_queue):
    with pytest.raises(ZeroDivisionError), open_queue() as queue:
        queue.push("n")
        raise ZeroDivisionError
    with pytest.raises(QueueClosed):
        queue.size()


def test_repr(open_queue, path, tmp_path):
    assert repr(open_queue(id="mail")) == f"Queue({path!r}, id='mail')"
    with Queue(tmp_path / "other.db") as queue:
        assert repr(queue) == f"Queue({str(tmp_path / 'other.db')!r}, id='default')"
    assert repr(queue).startswith("Queue(")


def test_a_program_that_forgets_to_close_still_ends_its_job(tmp_path):
    program = """if True:
        import sys, threading
        from workqueue import Queue
        begun = threading.Event()
        class Worker:
            def id(self): return "w"
            def do_work(self, ctx, job):
                begun.set()
                ctx.wait(10)
                print("ended", flush=True)
        queue = Queue(sys.argv[1], Worker())
        queue.push("n")
        assert begun.wait(10)
    """
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "jobs.db")],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("ended\n", "")
    with Queue(tmp_path / "jobs.db") as queue:
        assert queue.size() == Size(waiting=0, failed=0)


@pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 12, 2), reason="gh-113964: Python 3.12.1 starts no thread in a program that ends"
)
def test_a_job_that_ends_with_the_program_may_still_use_a_thread_pool(tmp_path):
    program = """if True:
        import sys, threading
        from concurrent.futures import ThreadPoolExecutor
        from workqueue import Queue
        begun = threading.Event()
        idle = ThreadPoolExecutor(1)
        idle.submit(int).result()
        class Worker:
            def id(self): return "w"
            def do_work(self, ctx, job):
                begun.set()
                ctx.wait(10)
                with ThreadPoolExecutor(1) as pool:
                    print(pool.submit(str, "ended").result(), flush=True)
        queue = Queue(sys.argv[1], Worker())
        queue.push("n")
        assert begun.wait(10)
    """
    assert _output_of(program, tmp_path / "jobs.db") == "ended\n"


def test_a_program_that_goes_on_without_its_main_thread_goes_on_running_jobs(tmp_path):
    program = """if True:
        import sys, threading
        from workqueue import Queue
        class Worker:
            def id(self): return "w"
            def do_work(self, ctx, job): print("ran", flush=True)
        queue = Queue(sys.argv[1], Worker())
        def go_on():
            threading.main_thread().join()
            queue.push("n")
            print(queue.wait_idle(10), flush=True)
        threading.Thread(target=go_on).start()
    """
    assert _output_of(program, tmp_path / "jobs.db") == "ran\nTrue\n"


def _output_of(program: str, path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    return done.stdout


def test_a_queue_that_cannot_be_closed_at_the_end_keeps_no_other_from_ending_its_jobs(tmp_path):
    program = """if True:
        import sys, threading
        from workqueue import Queue
        begun = threading.Barrier(3)
        class Worker:
            def id(self): return "w"
            def do_work(self, ctx, job):
                begun.wait(10)
                ctx.wait(10)
                print("ended", flush=True)
        class Broken(Queue):
            def close(self):
                self.stop()
                raise OSError("no luck")
        queues = [Broken(f"{sys.argv[1]}{n}", Worker()) for n in range(2)]
        for queue in queues:
            queue.push("n")
        begun.wait(10)
    """
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "jobs.db")],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "ended\n" * 2
    assert done.stderr.count("did not close at the end of the program: no luck\n") == 2


def test_a_signal_handler_that_interrupts_a_push_asks_the_queue_to_stop_and_does_not_wait(open_queue):
    """The runner that it would wait for may need the lock that its own thread holds."""
    armed: list[str] = []
    refused: list[str] = []

    def clock() -> int:
        if armed and threading.current_thread() is threading.main_thread():
            armed.clear()
            signal.raise_signal(signal.SIGUSR1)
        return system_clock()

    def handler(*_: object) -> None:
        queue.stop()
        for verb in (queue.close, queue.wait_stopped):
            with pytest.raises(UsageError, match="outside a signal handler") as caught:
                verb()
            refused.append(str(caught.value))

    queue = open_queue(Notes(), clock=clock)
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        armed.append("now")
        job_id = queue.push("n")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [said.split("()")[0] for said in refused] == ["expected close", "expected wait_stopped"]
    assert queue.wait_stopped(30)
    assert queue.size().waiting + len(queue.worker.ran) == job_id == 1
    queue.close()


# transactions


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Queue]:
    """A queue in a file that has a table of its application too."""
    with Queue(tmp_path / "shop.db") as queue:
        with queue.transaction() as rows:
            rows.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL)")
        yield queue
        assert queue.check() == []


def orders(queue: Queue) -> list[object]:
    with queue.transaction() as rows:
        return [item for (item,) in rows.execute("SELECT item FROM orders ORDER BY id").fetchall()]


@pytest.mark.parametrize("end", ["stop", "close"])
@pytest.mark.parametrize("path", ["file", "memory"])
def test_a_queue_does_not_end_inside_its_own_transaction(tmp_path, path, end):
    with Queue(tmp_path / "jobs.db" if path == "file" else ":memory:") as queue:
        with queue.transaction():
            with pytest.raises(UsageError, match="after the transaction's block"):
                getattr(queue, end)()
            queue.push("n")
        assert queue.size().waiting == 1


def test_rows_and_pushes_commit_together(shop):
    with shop.transaction() as rows:
        rows.execute("INSERT INTO orders (item) VALUES (?)", ("lamp",))
        rows.execute("INSERT INTO orders (item) VALUES (:item)", {"item": "desk"})
        rows.executemany("INSERT INTO orders (item) VALUES (?)", [("chair",), ("bed",)])
        one = shop.push("mail", 1)
        many = shop.push_many("mail", [2, 3])
        with Queue(shop.path, id="other") as other:
            other.push("count", 4)
    assert orders(shop) == ["lamp", "desk", "chair", "bed"]
    assert [job.id for job in shop.jobs()] == [one, *many]
    with Queue(shop.path, id="other") as other:
        assert [job.decode() for job in other.jobs()] == [4]


def test_rows_and_pushes_roll_back_together(shop):
    with pytest.raises(ZeroDivisionError), shop.transaction() as rows:
        rows.execute("INSERT INTO orders (item) VALUES ('lamp')")
        shop.push("mail", 1)
        shop.push_many("mail", range(2_500))
        assert shop.size().waiting == 2_501
        raise ZeroDivisionError
    assert orders(shop) == []
    assert shop.size() == Size(waiting=0, failed=0)


def test_nobody_sees_a_push_before_its_transaction_commits(shop):
    seen: list[int] = []
    with shop.transaction():
        shop.push("mail")
        look = threading.Thread(target=lambda: seen.append(shop.size().waiting))
        look.start()
        look.join(10)
    assert seen == [0]
    assert shop.size().waiting == 1


def test_a_queue_goes_on_after_a_transaction_rolled_back_its_first_push(tmp_path):
    """The first push stores the backoff too; rolled back, it must be stored again."""
    with Queue(tmp_path / "jobs.db", backoff=Backoff(limit=4)) as queue:
        with pytest.raises(ZeroDivisionError), queue.transaction():
            queue.push("n")
            raise ZeroDivisionError
        assert queue.get(queue.push("n")).backoff.limit == 4
        assert queue.check() == []


def test_a_bad_push_leaves_the_rest_of_its_transaction(shop):
    with shop.transaction() as rows:
        rows.execute("INSERT INTO orders (item) VALUES ('lamp')")
        with pytest.raises(InvalidPayload):
            shop.push("mail", float("nan"))
        shop.push("mail", "good")
    assert orders(shop) == ["lamp"]
    assert [job.decode() for job in shop.jobs()] == ["good"]


@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK", "END"])
def test_a_statement_cannot_end_the_transaction(shop, statement):
    went_on = False
    ended = pytest.raises(UsageError, match="expected the transaction to be open until its block ends")
    with ended, shop.transaction() as rows:
        rows.execute(statement)
        went_on = True
    assert not went_on
    assert shop.wait_idle(0)


def test_one_transaction_at_a_time(shop):
    with shop.transaction(), pytest.raises(UsageError, match="expected one transaction at a time"), shop.transaction():
        pass


def test_a_worker_waits_for_the_commit(tmp_path):
    """What is pushed inside is claimed after the commit, and at once."""
    ran = threading.Event()
    with Queue(tmp_path / "jobs.db", Notes(lambda _ctx, _job: ran.set()), poll_rate=60) as queue:
        with queue.transaction():
            queue.push("n")
            assert not ran.is_set()
        assert ran.wait(10)
