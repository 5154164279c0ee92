"""The seed's constructors, options and verbs, row by row of docs/from-go.md."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from workqueue import (
    Backoff,
    InvalidOption,
    JobNotFound,
    JobStatus,
    Queue,
    QueueClosed,
    RecoverableWorkerError,
    Size,
)
from workqueue.store.sqlite.database import Database

PAST = datetime(2001, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
NONE = timedelta(0)


def fail(_ctx, _job):
    raise ValueError("for good")


# constructors


def test_init(open_queue, notes):
    """First in, first out, whatever `run_at` says of jobs that are due."""
    worker = notes()
    queue = open_queue(worker, auto_start=False)
    for number in range(50):
        queue.push("n", number, run_at=PAST - timedelta(days=number))
    queue.start()
    assert queue.wait_idle(10)
    assert worker.ran == list(range(50))


def test_init_opens_the_file_again(tmp_path, notes):
    path = tmp_path / "jobs.db"
    with Queue(path) as queue:
        queue.push("n", "kept")
    worker = notes()
    with Queue(str(path), worker) as queue:
        assert queue.wait_idle(10)
    assert worker.ran == ["kept"]


def test_init_timing(open_queue, notes):
    """The earliest `run_at` first, whatever was pushed first."""
    worker = notes()
    queue = open_queue(worker, timing=True, auto_start=False)
    days = [3, 1, 4, 15, 9, 2, 6, 5]
    for day in days:
        queue.push("n", day, run_at=PAST + timedelta(days=day))
    queue.push("n", "now")
    queue.start()
    assert queue.wait_idle(10)
    assert worker.ran == [*sorted(days), "now"]


def test_init_extend(open_queue, notes):
    """One constructor takes the worker, the timing and every option."""
    worker = notes()
    queue = open_queue(
        worker,
        id="extended",
        timing=True,
        archive=False,
        auto_start=False,
        backoff=Backoff(limit=1),
        batch_size=7,
        poll_rate=timedelta(seconds=1),
        concurrency=1,
    )
    queue.push("n", "second", run_at=PAST + HOUR)
    queue.push("n", "first", run_at=PAST)
    assert queue.start()
    assert queue.wait_idle(10)
    assert worker.ran == ["first", "second"]


# options


@pytest.mark.parametrize("archive", [True, False])
def test_with_archive(open_queue, notes, archive):
    queue = open_queue(notes(fail), archive=archive)
    job_id = queue.push("n")
    assert queue.wait_idle(10)
    assert queue.size() == Size(waiting=0, failed=int(archive))
    if archive:
        assert queue.get(job_id).message == "ValueError: for good"
    else:
        with pytest.raises(JobNotFound):
            queue.get(job_id)


def test_with_auto_start(open_queue, notes):
    worker = notes()
    queue = open_queue(worker, auto_start=False)
    queue.push("n", 1)
    assert not queue.wait_idle(0)
    assert worker.ran == []
    assert queue.start()
    assert queue.wait_idle(10)
    assert worker.ran == [1]

    started = open_queue(notes())
    assert started.start() is False


def test_with_backoff(open_queue, notes):
    """The rule is the one the job was pushed with; the caller's object stays the caller's."""
    mine = Backoff(min=HOUR, max=2 * HOUR, limit=9)
    queue = open_queue(backoff=mine)
    mine.limit = 1
    mine.duration()
    job = queue.get(queue.push("n"))
    assert job.backoff == Backoff(min=HOUR, max=2 * HOUR, limit=9)


def test_with_backoff_is_stored_with_each_job(tmp_path, notes):
    path = tmp_path / "jobs.db"
    with Queue(path, backoff=Backoff(min=NONE, max=NONE, limit=2)) as queue:
        queue.push("n", "old")

    def again(_ctx, _job):
        raise RecoverableWorkerError

    worker = notes(again)
    with Queue(path, worker, auto_start=False, backoff=Backoff(min=NONE, max=NONE, limit=4)) as queue:
        queue.push("n", "new")
        queue.start()
        assert queue.wait_idle(10)
    assert (worker.ran.count("old"), worker.ran.count("new")) == (2, 4)


@pytest.mark.parametrize(("batch_size", "largest"), [(1, 1), (3, 3), (1000, 200)])
def test_with_batch_size(open_queue, notes, batch_size, largest):
    worker = notes()
    queue = open_queue(worker, auto_start=False, batch_size=batch_size)
    queue.push_many("n", range(200))
    turn = queue._store.turn
    claimed: list[int] = []

    def counted(settlements, want):
        done = turn(settlements, want)
        claimed.append(len(done.claims))
        return done

    queue._store.turn = counted
    queue.start()
    assert queue.wait_idle(10)
    assert worker.ran == list(range(200))
    assert max(claimed) <= largest
    assert max(claimed) == largest or batch_size == 1000
    assert max(claimed) > 3 or batch_size < 1000


@pytest.mark.parametrize("batch_size", [0, 1001, -1, True, "5", 2.5, None])
def test_with_batch_size_refuses(open_queue, batch_size):
    with pytest.raises(InvalidOption, match="expected batch_size to be a whole number from 1 to 1000, got: ") as caught:
        open_queue(batch_size=batch_size)
    assert (caught.value.name, caught.value.value) == ("batch_size", batch_size)


def test_with_poll_rate(tmp_path, notes, monkeypatch):
    """With every wake-up lost, an idle worker finds the job all the same."""
    ran = threading.Event()
    path = tmp_path / "jobs.db"
    with Queue(path, notes(lambda _ctx, _job: ran.set()), poll_rate=0.05) as queue:
        queue.push("n")
        assert ran.wait(10)
        assert queue.wait_idle(10)
        ran.clear()
        monkeypatch.setattr(Database, "_ring", lambda _database, _runners: None)
        queue.push("n")
        assert ran.wait(10)


def test_queue_id(tmp_path, notes):
    path = tmp_path / "jobs.db"
    workers = {"mail": notes(), "image": notes()}
    with Queue(path, workers["mail"], id="mail") as mail, Queue(path, workers["image"], id="image") as image:
        assert (mail.id, image.id) == ("mail", "image")
        mail.push("n", "letter")
        image.push("n", "cat")
        assert mail.wait_idle(10)
        assert image.wait_idle(10)
    assert [worker.ran for worker in workers.values()] == [["letter"], ["cat"]]


def test_queue_id_has_a_default(open_queue):
    assert open_queue().id == "default"


# verbs


def test_push(open_queue):
    queue = open_queue()
    ids = [
        queue.push("object", {"a": [1, None, "ž"]}),
        queue.push("later", 1, run_at=PAST + HOUR),
        queue.push_after("after", 2, HOUR),
        queue.push_after("after", 2, delay=90.5),
        queue.push_bytes("bytes", b"\x00\xff"),
        queue.push_bytes("bytes", b"x", run_at=PAST),
    ]
    assert all(type(job_id) is int for job_id in ids)
    assert sorted(set(ids)) == ids
    assert [job.id for job in queue.jobs()] == ids
    jobs = [queue.get(job_id) for job_id in ids]
    assert [job.name for job in jobs] == ["object", "later", "after", "after", "bytes", "bytes"]
    assert jobs[0].decode() == {"a": [1, None, "ž"]}
    assert jobs[1].run_at == PAST + HOUR
    assert [job.run_at - job.pushed_at for job in jobs[2:4]] == [HOUR, timedelta(seconds=90.5)]
    assert [job.data for job in jobs[4:]] == [b"\x00\xff", b"x"]
    assert jobs[5].run_at == PAST


def test_push_bytes_may_be_empty(open_queue):
    data: list[bytes] = []

    class Reader:
        def id(self) -> str:
            return "reader"

        def do_work(self, ctx, job):
            data.append(job.data)

    queue = open_queue(Reader(), auto_start=False)
    job_id = queue.push_bytes("bytes", b"")
    assert queue.get(job_id).data == b""
    queue.start()
    assert queue.wait_idle(10)
    assert data == [b""]


def test_push_is_in_the_file_when_it_returns(tmp_path):
    path = tmp_path / "jobs.db"
    with Queue(path) as queue, Queue(path) as other:
        job_id = queue.push("n", "there")
        assert other.get(job_id).decode() == "there"


def test_push_runs_nothing_before_its_time(open_queue, notes):
    worker = notes()
    queue = open_queue(worker)
    later = [queue.push("n", "later", run_at=datetime.now(UTC) + HOUR), queue.push_after("n", "later", HOUR)]
    queue.push("n", "now")
    assert queue.wait_idle(10)
    assert worker.ran == ["now"]
    assert [job.id for job in queue.jobs()] == later


def test_size(open_queue, notes):
    """waiting: pushed and not yet settled, running ones included. failed: in the archive."""
    begun, go = threading.Event(), threading.Event()

    def hold(_ctx, job):
        begun.set()
        assert go.wait(10)
        if job.name == "bad":
            raise ValueError

    queue = open_queue(notes(hold))
    assert queue.size() == Size(waiting=0, failed=0)
    queue.push("bad")
    queue.push("good")
    queue.push_after("later", delay=HOUR)
    assert begun.wait(10)
    assert queue.jobs(status="running")
    assert queue.size() == Size(waiting=3, failed=0)
    go.set()
    assert queue.wait_idle(10)
    size = queue.size()
    assert (size.waiting, size.failed) == (1, 1)


def test_clean_and_restore_failed_jobs(open_queue, notes):
    failing = True

    def act(_ctx, _job):
        if failing:
            raise RecoverableWorkerError("still failing")

    worker = notes(act)
    queue = open_queue(worker, backoff=Backoff(min=NONE, max=NONE, limit=2))
    queue.push_many("n", range(3))
    assert queue.wait_idle(10)
    assert queue.size() == Size(waiting=0, failed=3)
    assert [job.retry_count for job in queue.jobs()] == [2, 2, 2]

    queue.stop()
    assert queue.restore_failed_jobs() == 3
    assert queue.size() == Size(waiting=3, failed=0)
    assert {(job.status, job.retry_count, job.message) for job in queue.jobs()} == {(JobStatus.PENDING, 0, "")}
    assert queue.restore_failed_jobs() == 0
    queue.start()
    assert queue.wait_idle(10)
    assert [job.retry_count for job in queue.jobs()] == [2, 2, 2]

    assert queue.clean_failed_jobs() == 3
    assert queue.clean_failed_jobs() == 0
    assert queue.size() == Size(waiting=0, failed=0)

    failing = False
    queue.push("n")
    assert queue.wait_idle(10)
    assert queue.size() == Size(waiting=0, failed=0)


def test_start_stop_close(open_queue, notes):
    worker = notes()
    queue = open_queue(worker, auto_start=False)
    assert queue.start() is True
    assert queue.start() is False
    queue.push("n", 1)
    assert queue.wait_idle(10)
    queue.stop()
    queue.stop()
    queue.push("n", 2)
    assert not queue.wait_idle(0)
    assert queue.start() is True
    assert queue.wait_idle(10)
    assert worker.ran == [1, 2]
    queue.close()
    queue.close()
    queue.stop()
    with pytest.raises(QueueClosed, match="create a new Queue"):
        queue.start()


def test_stop_drains(open_queue, notes):
    """What runs is waited for; what was not begun waits for the next start."""
    begun, go = threading.Event(), threading.Event()

    def hold(ctx, _job):
        begun.set()
        ctx.wait(10)  # until stop() says so
        assert go.wait(10)

    worker = notes(hold)
    queue = open_queue(worker)
    queue.push_many("n", [1, 2, 3])
    assert begun.wait(10)
    stopping = threading.Thread(target=queue.stop)
    stopping.start()
    go.set()
    stopping.join(10)
    assert not stopping.is_alive()
    assert worker.ran == [1]
    assert [job.decode() for job in queue.jobs(status="pending")] == [2, 3]
    assert [job.retry_count for job in queue.jobs()] == [0, 0]


def test_stop_returns_when_the_last_job_has_ended(open_queue, notes):
    """And not at the next look around: `poll_rate` is for lost wake-ups."""
    begun = threading.Event()

    def hold(ctx, _job):
        begun.set()
        ctx.wait(10)

    queue = open_queue(notes(hold), poll_rate=60)
    queue.push("n")
    assert begun.wait(10)
    began = time.monotonic()
    queue.stop(grace=20)
    assert time.monotonic() - began < 5
    assert queue.size() == Size(waiting=0, failed=0)


def test_queue_is_a_context_manager(open_queue, notes):
    worker = notes()
    with open_queue(worker) as queue:
        queue.push("n", 1)
        assert queue.wait_idle(10)
    with pytest.raises(QueueClosed):
        queue.size()


# workers


def test_worker(open_queue):
    """Returning is success; any other exception fails the job at once; `ctx` is cancelled by stop and close."""
    begun = threading.Event()
    told: list[bool] = []

    class Plain:
        def id(self) -> str:
            return "plain"

        def do_work(self, ctx, job):
            if job.name == "bad":
                raise LookupError("no such thing")
            if job.name == "long":
                told.append(ctx.cancelled)
                begun.set()
                told.append(ctx.wait(10))

    queue = open_queue(Plain())
    queue.push("good")
    bad = queue.push("bad")
    assert queue.wait_idle(10)
    assert [(job.id, job.status, job.message) for job in queue.jobs()] == [
        (bad, JobStatus.FAILED, "LookupError: no such thing")
    ]
    queue.push("long")
    assert begun.wait(10)
    queue.close()
    assert told == [False, True]


def test_worker_may_be_async(open_queue):
    begun = threading.Event()
    told: list[object] = []

    class Async:
        def id(self) -> str:
            return "async"

        async def do_work(self, ctx, job):
            told.append(job.decode())
            if job.name == "bad":
                raise LookupError("no such thing")
            if job.name == "long":
                begun.set()
                told.append(await ctx.sleep(10))

    queue = open_queue(Async())
    queue.push("good", 1)
    queue.push("bad", 2)
    assert queue.wait_idle(10)
    assert [job.message for job in queue.jobs()] == ["LookupError: no such thing"]
    queue.push("long", 3)
    assert begun.wait(10)
    queue.close()
    assert told == [1, 2, 3, True]


def test_recoverable_worker_error(open_queue, notes):
    attempts: list[int] = []

    def act(_ctx, job):
        attempts.append(job.retry_count)
        if job.retry_count < 3:
            raise RecoverableWorkerError("not yet")

    queue = open_queue(notes(act), backoff=Backoff(min=NONE, max=NONE))
    queue.push("n")
    assert queue.wait_idle(10)
    assert attempts == [0, 1, 2, 3]
    assert queue.size() == Size(waiting=0, failed=0)


@pytest.mark.parametrize(
    ("error", "wait"),
    [(RecoverableWorkerError("busy", delay=3 * HOUR), 3 * HOUR), (RecoverableWorkerError("busy"), HOUR)],
    ids=["its delay", "the backoff"],
)
def test_recoverable_worker_error_waits(open_queue, notes, error, wait):
    begun = threading.Event()

    def act(_ctx, _job):
        begun.set()
        raise error

    queue = open_queue(notes(act), backoff=Backoff(min=HOUR, max=24 * HOUR))
    job_id = queue.push("n")
    assert begun.wait(10)
    queue.stop()
    job = queue.get(job_id)
    assert (job.status, job.retry_count, job.message) == (JobStatus.RETRYING, 1, "RecoverableWorkerError: busy")
    assert wait <= job.run_at - job.pushed_at < wait + timedelta(minutes=10)


def test_recoverable_worker_error_keeps_what_it_was_given():
    error = RecoverableWorkerError("busy", HOUR)
    assert (str(error), error.delay) == ("busy", HOUR)
    assert RecoverableWorkerError("busy").delay is None
    with pytest.raises(InvalidOption, match="expected delay to be .*zero or more, got: -1 day") as caught:
        RecoverableWorkerError("busy", delay=-timedelta(days=1))
    assert caught.value.name == "delay"
