"""Queue: the front door. Checks what comes in, and passes it to the store and the runner."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self, get_args

from workqueue import closing, payload
from workqueue.arguments import at_least, between, checked_name, one_of
from workqueue.backoff import Backoff
from workqueue.batch import Batch
from workqueue.duration import as_duration
from workqueue.errors import InvalidOption, InvalidPayload, JobNotFound, QueueClosed, ScheduleNotFound, UsageError
from workqueue.executor.children import in_child
from workqueue.handle import Handle
from workqueue.pusher import Pusher
from workqueue.registry import Registry
from workqueue.runner import Plan, Runner
from workqueue.steering import Steering
from workqueue.store import open_store
from workqueue.store.clock import Clock, system_clock
from workqueue.store.contract import Durability, Store, Transaction
from workqueue.store.timetable import ScheduleStanding
from workqueue.task import Call, Desk
from workqueue.watch import Watch
from workqueue.worker import Worker, checked_worker


class Queue(Steering):
    """A durable job queue in the file at `path`; with a worker, it also runs the jobs.

    path: a file, made when missing, or ":memory:". worker: None means push, look and clean only.
    id: the queue's name in the file; several queues share one. timing: run what has the earliest `run_at` first, not
    what was pushed first; all who push to one queue must agree on it. archive: keep failed jobs. auto_start: begin work
    at once. backoff: the rule stored with each job pushed here. batch_size: jobs claimed per transaction, 1 to 1000.
    poll_rate: the longest a due job waits if every wake-up is lost. concurrency: jobs run at once. grace: how long
    `stop` waits for running jobs. lease: how long a frozen process keeps its jobs. max_payload: bytes.
    processes, max_jobs, max_memory: of isolated tasks: how many children at once (0: one for each core), and after how
    many jobs, or above how many bytes, one is replaced. figures: note what became of the jobs run here, for charts and
    metrics (docs/monitoring.md). durability: "full" survives a power cut; "process" only a crash
    of the program; "conservative" survives a power cut without a write-ahead log. clock: of the store, for tests
    (`testing.FakeClock`). Durations are timedeltas or seconds.

    task: makes a task of a function: `@queue.task`, or `@queue.task(retry=…)`; see `Registry.__call__`.

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
        processes: int = 0,
        max_jobs: int | None = None,
        max_memory: int | None = None,
        figures: bool = True,
        max_payload: int = payload.DEFAULT_LIMIT,
        durability: Durability = "full",
        allow_network: bool = False,
        clock: Clock = system_clock,
    ) -> None:
        self.id = checked_name(id, "id")
        rule = Backoff() if backoff is None else _checked_backoff(backoff).copy()
        most = between(max_payload, 1, 512 * 1024 * 1024, "max_payload")
        self._plan = Plan(
            queue=self.id,
            batch_size=between(batch_size, 1, 1000, "batch_size"),
            concurrency=between(concurrency, 1, 1_000_000, "concurrency"),
            poll_rate=at_least(poll_rate, timedelta(milliseconds=1), "poll_rate"),
            lease=at_least(lease, timedelta(seconds=1), "lease"),
            grace=as_duration(grace, "grace"),
            archive=archive,
            processes=between(processes, 0, 1000, "processes"),
            max_jobs=None if max_jobs is None else between(max_jobs, 1, 2**31, "max_jobs"),
            max_memory=None if max_memory is None else between(max_memory, 2**20, 2**50, "max_memory"),
            figures=one_of(figures, (True, False), "figures"),
        )
        self.worker: Worker | None = None if worker is None else checked_worker(worker, concurrency)
        self._runner: Runner | None = None
        self._transacting: int | None = None  # the thread that is inside `transaction`
        self._closed = False
        kept = one_of(durability, get_args(Durability), "durability")
        self._store = open_store(path, durability=kept, allow_network=allow_network, clock=clock)
        self.path = self._store.path
        self._pusher = Pusher(self._open_store, self.id, timing=timing, backoff=rule, max_payload=most)
        self._make_locks()
        self.task = Registry(Desk(self._pusher, self._watch, self._cancel_known), worker=worker, runs=self._runs)
        closing.remember(self)
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
        pusher = self._pusher
        return pusher.push(pusher.new_job(name, pusher.encode(obj), run_at=run_at, priority=priority))

    def push_after(self, name: str, obj: object = None, delay: timedelta | float = 0, *, priority: int = 0) -> int:
        """Store a job that runs no earlier than `delay` from now."""
        pusher = self._pusher
        data = pusher.encode(obj)
        return pusher.push(pusher.new_job(name, data, delay=as_duration(delay, "delay"), priority=priority))

    def push_bytes(self, name: str, data: bytes, *, run_at: datetime | None = None, priority: int = 0) -> int:
        """Store a job with these very bytes."""
        pusher = self._pusher
        return pusher.push(pusher.new_job(name, pusher.as_bytes(data), run_at=run_at, priority=priority))

    def push_many(
        self, name: str, objs: Iterable[object], *, run_at: datetime | None = None, priority: int = 0
    ) -> list[int]:
        """Store a job for each of `objs`, taken as they come, in one transaction per 1,000; gives their ids in order.

        When it raises midway, the full thousands before are stored; the error's `__notes__` say how many.
        """
        self._open_store()
        if isinstance(objs, str | bytes):
            raise InvalidPayload(f"expected several objects, got one {type(objs).__name__}; push it by push()")
        head = self._pusher.new_job(name, b"", run_at=run_at, priority=priority)
        return self._pusher.push_many(self._pusher.alike(head, objs))

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
        wait = None if delay is None else as_duration(delay, "delay")
        data = self._pusher.encode(obj)
        job = self._pusher.new_job(name, data, run_at=run_at, delay=wait, priority=priority)
        return await self._pusher.apush(job)

    def batch(self, *, then: Call[object] | None = None) -> Batch:
        """Begin a batch: `with queue.batch() as batch: batch.add(fetch.s(url))`. then: pushed when all have ended."""
        store = self._open_store()
        return Batch(store.batches.open(self.id), store=self._open_store, pusher=self._pusher, then=then)

    def find_batch(self, batch: int) -> Batch:
        """Give a batch by its id, to be looked at, waited for and cancelled. Raises BatchNotFound."""
        self._open_store().batches.get(batch)
        return Batch(batch, store=self._open_store, pusher=self._pusher, then=None)

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

    def schedules(self) -> list[ScheduleStanding]:
        """List the schedules of this queue, by name: when their next slot comes, and what ran last."""
        return self._open_store().schedules.standings(self.id)

    def pause_schedule(self, name: str) -> None:
        """Let the slots of a schedule pass until `resume_schedule`. Raises ScheduleNotFound."""
        self._open_store().schedules.pause(self.id, name)

    def resume_schedule(self, name: str) -> None:
        """Run a schedule again, from its next slot on. Raises ScheduleNotFound."""
        self._open_store().schedules.resume(self.id, name)

    def trigger(self, name: str) -> Handle[object]:
        """Push a periodic task's job now, beside its slots. Raises ScheduleNotFound for what is no such task here."""
        store = self._open_store()
        task = self.task.find(name)
        if task is None or task.plan.schedule is None:
            raise ScheduleNotFound(self.id, name)
        return task.handle(self._pusher.push(task.slot_job(store.now())))

    # run

    def start(self) -> bool:
        """Begin to run jobs: of the worker, or of the tasks; says whether it did.

        False without either, when running already, and in a child process that runs an isolated task.
        """
        store = self._open_store()
        if self.worker is None and self.task.names():
            self.worker = self.task
        with self._lock:
            if self._runner is not None and self._runner.is_stopping():
                self.stop()  # until it has ended
            if self.worker is None or self._runs() or in_child():
                return False
            for name, schedule in self.task.schedules().items():
                store.schedules.put(self.id, name, schedule, schedule.after(store.now()))
            makers = self.task.makers()
            self._runner = Runner(store, self.worker.do_work, self._plan, settled=self._notify, makers=makers)
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
        closing.forget(self)

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
        self._watch = Watch(self._open_store)

    def forget_locks(self) -> None:
        """In a forked child: whoever holds the parent's locks does not exist here."""
        self._lock = threading.Lock()
        self._progress = threading.Condition()
        self._watch.forget_locks()
        self._pusher.make_locks()

    def _cancel_known(self, job_id: int) -> bool:
        try:
            return self.cancel(job_id)
        except JobNotFound:
            return False

    def _runs(self) -> bool:
        runner = self._runner
        return runner is not None and runner.pid == os.getpid() and runner.is_alive()

    def _encode(self, obj: object) -> bytes:
        return self._pusher.encode(obj)

    def _open_store(self) -> Store:
        if self._closed:
            raise QueueClosed(self.path)
        return self._store

    def _notify(self) -> None:
        with self._progress:
            self._progress.notify_all()
        self._watch.nudge()


def _checked_backoff(backoff: object) -> Backoff:
    if not isinstance(backoff, Backoff):
        raise InvalidOption(f"expected backoff to be a Backoff, got: {backoff}", name="backoff", value=backoff)
    return backoff
