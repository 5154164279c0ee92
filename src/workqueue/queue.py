"""Queue: the front door. Checks what comes in, and passes it to the store and the runner."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Self, get_args

import msgspec

from workqueue import arguments, payload
from workqueue.arguments import as_status, at_least, aware, between, checked_name, one_of
from workqueue.backoff import Backoff
from workqueue.duration import as_duration
from workqueue.errors import InvalidOption, InvalidPayload, QueueClosed, UsageError
from workqueue.gathering import Gathering
from workqueue.job import Attempt, Job, JobStatus, NewJob, Size
from workqueue.runner import Plan, Runner
from workqueue.store import open_store
from workqueue.store.contract import Durability, Find, Store, Transaction
from workqueue.worker import Worker, checked_worker

_BATCH: Final = 1000
_BATCH_BYTES: Final = 32 * 1024 * 1024
_PRIORITIES: Final = 2**31
_open_queues: weakref.WeakSet[Queue] = weakref.WeakSet()


class Queue:
    """A durable job queue in the file at `path`; with a worker, it also runs the jobs.

    path: a file, made when missing, or ":memory:". worker: None means push, look and clean only.
    id: the queue's name in the file; several queues share one. timing: run what has the earliest `run_at` first, not
    what was pushed first; all who push to one queue must agree on it. archive: keep failed jobs. auto_start: begin work
    at once. backoff: the rule stored with each job pushed here. batch_size: jobs claimed per transaction, 1 to 1000.
    poll_rate: the longest a due job waits if every wake-up is lost. concurrency: jobs run at once. grace: how long
    `stop` waits for running jobs. lease: how long a frozen process keeps its jobs. max_payload: bytes.
    durability: "full" survives a power cut; "process" only a crash of the program; "conservative" survives a power cut
    without a write-ahead log. Durations are timedeltas or seconds.

    Safe from any thread; after a fork the child may push and look, and starts its own worker. Raises InvalidOption,
    UnsuitableFile, SchemaOutdated or StoreUnavailable; then nothing was changed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        worker: Worker | None = None,
        *,
        id: str = "default",
        timing: bool = False,
        archive: bool = True,
        auto_start: bool = True,
        backoff: Backoff | None = None,
        batch_size: int = 100,
        poll_rate: timedelta | float = 0.5,
        concurrency: int = 1,
        grace: timedelta | float = 25,
        lease: timedelta | float = 60,
        max_payload: int = payload.DEFAULT_LIMIT,
        durability: Durability = "full",
        allow_network: bool = False,
    ) -> None:
        self.id = checked_name(id, "id")
        self._timing = timing
        self._backoff = Backoff() if backoff is None else _checked_backoff(backoff).copy()
        self._max_payload = between(max_payload, 1, 512 * 1024 * 1024, "max_payload")
        self._plan = Plan(
            queue=self.id,
            batch_size=between(batch_size, 1, 1000, "batch_size"),
            concurrency=between(concurrency, 1, 1_000_000, "concurrency"),
            poll_rate=at_least(poll_rate, timedelta(milliseconds=1), "poll_rate"),
            lease=at_least(lease, timedelta(seconds=1), "lease"),
            grace=as_duration(grace, "grace"),
            archive=archive,
        )
        self.worker = None if worker is None else checked_worker(worker, concurrency)
        self._runner: Runner | None = None
        self._transacting: int | None = None  # the thread that is inside `transaction`
        self._store = open_store(
            path, durability=one_of(durability, get_args(Durability), "durability"), allow_network=allow_network
        )
        self._make_locks()
        self.path = self._store.path
        self._closed = False
        _open_queues.add(self)
        if auto_start and worker is not None:
            try:
                self.start()
            except BaseException:
                self._store.close()
                raise

    # push

    def push(self, name: str, obj: object = None, *, run_at: datetime | None = None, priority: int = 0) -> int:
        """Store a job with `obj` as JSON; durable when this returns. Gives its id.

        run_at: not before this aware datetime. priority: higher first. Raises InvalidPayload (with the path of the bad
        value), InvalidOption, QueueFull or StoreUnavailable; then nothing was stored.
        """
        return self._push(name, payload.encode(obj, limit=self._max_payload), run_at=run_at, priority=priority)

    def push_after(self, name: str, obj: object = None, delay: timedelta | float = 0, *, priority: int = 0) -> int:
        """Store a job that runs no earlier than `delay` from now."""
        data = payload.encode(obj, limit=self._max_payload)
        return self._push(name, data, delay=as_duration(delay, "delay"), priority=priority)

    def push_bytes(self, name: str, data: bytes, *, run_at: datetime | None = None, priority: int = 0) -> int:
        """Store a job with these very bytes."""
        plain = payload.as_bytes(data)
        payload.check_size(plain, limit=self._max_payload)
        return self._push(name, plain, run_at=run_at, priority=priority)

    def push_many(
        self, name: str, objs: Iterable[object], *, run_at: datetime | None = None, priority: int = 0
    ) -> list[int]:
        """Store a job for each of `objs`, taken as they come, in one transaction per 1,000; gives their ids in order.

        When it raises midway, the full thousands before are stored; the error's `__notes__` say how many.
        """
        store = self._open_store()
        if isinstance(objs, str | bytes):
            raise InvalidPayload(f"expected several objects, got one {type(objs).__name__}; push it by push()")
        head = self._new_job(name, b"", run_at=run_at, priority=priority)
        ids: list[int] = []
        try:
            for batch in self._batches(objs):
                ids += store.push([msgspec.structs.replace(head, data=data) for data in batch])
        except BaseException as error:
            error.add_note(f"push_many had stored {len(ids):,} jobs before this")
            raise
        return ids

    async def apush(
        self,
        name: str,
        obj: object = None,
        *,
        run_at: datetime | None = None,
        delay: timedelta | float | None = None,
        priority: int = 0,
    ) -> int:
        """Do as `push` does, without blocking the event loop."""
        data = payload.encode(obj, limit=self._max_payload)
        wait = None if delay is None else as_duration(delay, "delay")
        job = self._new_job(name, data, run_at=run_at, delay=wait, priority=priority)
        self._open_store()
        return await self._gathering.apush(job)

    @contextmanager
    def transaction(self) -> Generator[Transaction]:
        """Open a transaction of the queue's database: your rows and the pushes inside commit together or not at all.

        It holds the only write lock of a SQLite file: keep it short, with no `await` inside.
        """
        with self._open_store().transaction() as transaction:
            self._transacting = threading.get_ident()
            try:
                yield transaction
            finally:
                self._transacting = None

    # look

    def size(self) -> Size:
        """Count this queue's jobs."""
        return self._open_store().size(self.id)

    def get(self, job_id: int) -> Job:
        """Give one job. Raises JobNotFound; a completed job has left the file."""
        return self._open_store().get(arguments.job_id(job_id))

    def jobs(
        self,
        *,
        status: JobStatus | str | None = None,
        name: str | None = None,
        limit: int = 100,
        after: int = 0,
    ) -> list[Job]:
        """List this queue's jobs by id, upwards. after: only ids above it (the last id of the page before)."""
        which = Find(
            queue=self.id,
            status=None if status is None else as_status(status),
            name=None if name is None else checked_name(name, "name"),
            after=between(after, 0, 2**63 - 1, "after"),
            limit=between(limit, 1, 1_000_000, "limit"),
        )
        return self._open_store().find(which)

    def history(self, job_id: int) -> list[Attempt]:
        """Give the attempts of a job that did not complete: error, traceback, runner, duration."""
        return self._open_store().history(job_id) if arguments.may_be_job_id(job_id) else []

    def wait_idle(self, timeout: timedelta | float | None = None) -> bool:
        """Wait until nothing of this queue runs, is due, or waits for another try; False when `timeout` came first.

        Jobs pushed for a later time do not count.
        """
        until = None if timeout is None else time.monotonic() + as_duration(timeout, "timeout").total_seconds()
        longest = self._plan.poll_rate.total_seconds()  # runners of other processes do not tell us
        with self._progress:
            while not self._open_store().idle(self.id):
                left = longest if until is None else min(longest, until - time.monotonic())
                if left <= 0:
                    return False
                self._progress.wait(left)
        return True

    def check(self) -> list[str]:
        """Give each broken invariant of the file as a sentence; [] when all is well."""
        return self._open_store().check()

    # change

    def cancel(self, job_id: int) -> bool:
        """Cancel a waiting job at once, or tell a running one (`ctx.cancelled`); False when it was settled already."""
        return self._open_store().cancel(arguments.job_id(job_id))

    def restore_failed_jobs(self) -> int:
        """Make all failed jobs wait again, with fresh counters; gives how many."""
        return self._open_store().restore(self.id, None)

    def restore(self, *job_ids: int) -> int:
        """Make these failed or cancelled jobs wait again, with fresh counters; gives how many of them there were."""
        known = [job_id for job_id in job_ids if arguments.may_be_job_id(job_id)]
        return self._open_store().restore(self.id, known)

    def clean_failed_jobs(self) -> int:
        """Delete all failed jobs; gives how many."""
        return self._open_store().clean(self.id, JobStatus.FAILED)

    def clean_cancelled_jobs(self) -> int:
        """Delete all cancelled jobs; gives how many."""
        return self._open_store().clean(self.id, JobStatus.CANCELLED)

    # run

    def start(self) -> bool:
        """Begin to run jobs; says whether it did: False without a worker, or when running already."""
        self._open_store()
        with self._lock:
            if self._runner is not None and self._runner.is_stopping():
                self.stop()  # until it has ended
            if self.worker is None or self._runs():
                return False
            self._runner = Runner(self._store, self.worker.do_work, self._plan, settled=self._notify)
            self._runner.start()
            return True

    def stop(self, grace: timedelta | float | None = None) -> None:
        """Claim no more, tell running jobs (`ctx.cancelled`), wait for them up to `grace`, hand the rest back.

        What is handed back counts nowhere. Can be started again. Safe to call twice, from any thread; a shorter grace
        shortens that of the first call.
        """
        longest = None if grace is None else as_duration(grace, "grace")
        if self._transacting == threading.get_ident():
            raise UsageError("expected stop() or close() after the transaction's block, but it was called inside")
        runner = self._runner
        if runner is not None and runner.pid == os.getpid():
            runner.stop(longest)

    def wait_stopped(self, timeout: timedelta | float | None = None) -> bool:
        """Wait until no jobs are run here, whoever stopped that; False when `timeout` is over before."""
        runner = self._runner
        if runner is None or not self._runs():
            return True
        if runner.is_inside():
            raise UsageError("expected wait_stopped() from outside its own jobs, for it waits for them")
        return runner.join(None if timeout is None else as_duration(timeout, "timeout").total_seconds())

    def close(self, grace: timedelta | float | None = None) -> None:
        """Stop, then close the file. Safe to call twice."""
        runner = self._runner
        if runner is not None and self._runs() and runner.is_inside():
            raise UsageError("expected close() from outside its own jobs, for it waits for them; call stop() here")
        self.stop(grace)
        self._closed = True
        self._store.close()
        _open_queues.discard(self)

    def __enter__(self) -> Self:
        self._open_store()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Queue({self.path!r}, id={self.id!r})"

    # inside

    def _make_locks(self) -> None:
        self._lock = threading.Lock()
        self._progress = threading.Condition()
        self._gathering = Gathering(self._store)

    def _runs(self) -> bool:
        runner = self._runner
        return runner is not None and runner.pid == os.getpid() and runner.is_alive()

    def _open_store(self) -> Store:
        if self._closed:
            raise QueueClosed(self.path)
        return self._store

    def _push(
        self,
        name: str,
        data: bytes,
        *,
        run_at: datetime | None = None,
        delay: timedelta | None = None,
        priority: int = 0,
    ) -> int:
        job = self._new_job(name, data, run_at=run_at, delay=delay, priority=priority)
        self._open_store()
        return self._gathering.push(job)

    def _new_job(
        self,
        name: str,
        data: bytes,
        *,
        run_at: datetime | None = None,
        delay: timedelta | None = None,
        priority: int = 0,
    ) -> NewJob:
        if run_at is not None and delay is not None:
            raise InvalidOption("expected run_at or delay, got both", name="delay", value=delay)
        return NewJob(
            queue=self.id,
            name=checked_name(name, "name"),
            data=data,
            priority=between(priority, -_PRIORITIES, _PRIORITIES, "priority"),
            run_at=None if run_at is None else aware(run_at),
            delay=delay,
            timing=self._timing,
            backoff=self._backoff,
        )

    def _batches(self, objs: Iterable[object]) -> Iterator[list[bytes]]:
        """Encode `objs` into pieces of 1,000, or of 32 MiB where that is less."""
        encoded = (payload.encode(obj, limit=self._max_payload) for obj in objs)
        batch: list[bytes] = []
        size = 0
        for data in encoded:
            batch.append(data)
            size += len(data)
            if len(batch) == _BATCH or size >= _BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _notify(self) -> None:
        with self._progress:
            self._progress.notify_all()


def _checked_backoff(backoff: object) -> Backoff:
    if not isinstance(backoff, Backoff):
        raise InvalidOption(f"expected backoff to be a Backoff, got: {backoff}", name="backoff", value=backoff)
    return backoff


@atexit.register
def _close_all() -> None:
    """Drain what a program forgot to close; its worker threads would be cut off in the middle of a job."""
    for queue in list(_open_queues):
        queue.close()


def _forget_locks() -> None:
    """In a forked child: whoever holds the parent's locks does not exist here."""
    for queue in list(_open_queues):
        queue._make_locks()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - this module's own


os.register_at_fork(after_in_child=_forget_locks)
