"""Queue: the front door. Checks what comes in, and passes it to the store and the runner."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from datetime import timedelta
from traceback import walk_stack
from types import TracebackType
from typing import Self, get_args

from workqueue import closing, payload
from workqueue.arguments import at_least, between, checked_name, one_of
from workqueue.backoff import Backoff
from workqueue.duration import as_duration
from workqueue.errors import InvalidOption, JobNotFound, QueueClosed, ScheduleNotFound, UsageError
from workqueue.executor.child import in_child
from workqueue.handle import Handle
from workqueue.liveness import Pulse
from workqueue.logs import Log
from workqueue.nudge import Nudge
from workqueue.observer import Observer, checked_observers
from workqueue.plan import Plan
from workqueue.pusher import Pusher
from workqueue.pushing import Pushing
from workqueue.registry import Registry
from workqueue.retention import Keep, Retention, as_keep, as_keep_results
from workqueue.runner import Runner
from workqueue.steering import Steering
from workqueue.store import open_store
from workqueue.store.clock import Clock, system_clock
from workqueue.store.contract import Durability, Store, Transaction
from workqueue.store.timetable import ScheduleStanding
from workqueue.task import Desk
from workqueue.watch import Watch
from workqueue.worker import Worker, checked_worker

log = Log("workqueue.queue")


class Queue(Pushing, Steering):
    """A durable job queue in the file at `path`; with a worker, it also runs the jobs.

    path: a file, made when missing, or ":memory:". worker: None means push, look and clean only.
    id: the queue's name in the file; several queues share one. timing: run what has the earliest `run_at` first, not
    what was pushed first; all who push to one queue must agree on it. archive: keep failed jobs. keep_completed,
    keep_failed, keep_results: for how long, how many, or both as `Keep(age=…, count=…)`; None: completed jobs leave at
    once, failed ones stay, results are kept where their task says so (docs/retention.md). auto_start: begin work at
    once. backoff: the rule stored with each job pushed here. batch_size: jobs claimed per transaction, 1 to 1000.
    poll_rate: the longest a due job waits if every wake-up is lost. concurrency: jobs run at once. grace: how long
    `stop` waits for running jobs. lease: how long a frozen process keeps its jobs. max_payload: bytes.
    processes, max_jobs, max_memory: of isolated tasks: how many children at once (0: one for each core), and after how
    many jobs, or above how many bytes, one is replaced. figures: note what became of the jobs run here, for charts.
    durability: "full" survives a power cut; "process" only a crash of the program; "conservative" survives a power cut
    without a write-ahead log; who opens a file that nobody else has open may change it. observers: told of pushes and
    attempts here, for traces and error reports (docs/traces.md). clock: of the store, for tests (`testing.FakeClock`).
    Durations: timedeltas or seconds.

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
        keep_completed: Keep | timedelta | int | None = None,
        keep_failed: Keep | timedelta | int | None = None,
        keep_results: Keep | timedelta | None = None,
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
        observers: Iterable[Observer] = (),
        clock: Clock = system_clock,
    ) -> None:
        self.id = checked_name(id, "id")
        rule = Backoff() if backoff is None else _checked_backoff(backoff).copy()
        retention = Retention(
            completed=as_keep(keep_completed, "keep_completed"),
            failed=as_keep(keep_failed, "keep_failed"),
            results=as_keep_results(keep_results, "keep_results"),
        )
        if retention.failed is not None and not archive:
            raise InvalidOption(
                f"expected archive=True beside keep_failed, got: archive=False, keep_failed={keep_failed!r}",
                name="keep_failed",
                value=keep_failed,
            )
        most = between(max_payload, 1, 512 * 1024 * 1024, "max_payload")
        self._plan = Plan(
            queue=self.id,
            batch_size=between(batch_size, 1, 1000, "batch_size"),
            concurrency=between(concurrency, 1, 1_000_000, "concurrency"),
            poll_rate=at_least(poll_rate, timedelta(milliseconds=1), "poll_rate"),
            lease=at_least(lease, timedelta(seconds=1), "lease"),
            grace=as_duration(grace, "grace"),
            archive=archive,
            retention=retention,
            processes=between(processes, 0, 1000, "processes"),
            max_jobs=None if max_jobs is None else between(max_jobs, 1, 2**31, "max_jobs"),
            max_memory=None if max_memory is None else between(max_memory, 2**20, 2**50, "max_memory"),
            figures=one_of(figures, (True, False), "figures"),
            observers=checked_observers(observers),
        )
        self.worker: Worker | None = None if worker is None else checked_worker(worker, concurrency)
        self._runner: Runner | None = None
        self._transacting: int | None = None  # the thread that is inside `transaction`
        self._closed = False
        kept = one_of(durability, get_args(Durability), "durability")
        self._store = open_store(path, durability=kept, allow_network=allow_network, clock=clock)
        self.path = self._store.path
        self._pusher = Pusher(
            self._open_store,
            self.id,
            timing=timing,
            backoff=rule,
            max_payload=most,
            observers=self._plan.observers,
        )
        self._make_locks()
        desk = Desk(self._pusher, self._watch, self._cancel_known, retention)
        self.task = Registry(desk, worker=worker, runs=self._runs)
        closing.remember(self)
        if auto_start and worker is not None:
            try:
                self.start()
            except BaseException:
                self._store.close()
                raise

    @contextmanager
    def transaction(self) -> Generator[Transaction]:
        """Open a transaction of the queue's database: your rows and the pushes inside commit together or not at all.

        It holds the only write lock of a SQLite file: keep it short, with no `await` inside. A child that is forked
        inside has no part in it.
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
        progress = Nudge()
        try:
            self._idlers.add(progress)
            while not self._open_store().idle(self.id):
                left = longest if until is None else min(longest, until - time.monotonic())
                if left <= 0:
                    return False
                progress.wait(left)
        finally:
            self._idlers.discard(progress)
        return True

    def schedules(self) -> list[ScheduleStanding]:
        """List the schedules of this queue, by name: when their next slot comes, and what ran last."""
        return self._open_store().schedules.standings(self.id)

    def pause_schedule(self, name: str) -> None:
        """Let the slots of a schedule pass until `resume_schedule`. Raises ScheduleNotFound."""
        self._open_store().schedules.pause(self.id, checked_name(name, "name"))

    def resume_schedule(self, name: str) -> None:
        """Run a schedule again, from its next slot on. Raises ScheduleNotFound."""
        self._open_store().schedules.resume(self.id, checked_name(name, "name"))

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

        False without either, which is logged, when running already, and in a child process that runs an isolated task.
        """
        store = self._open_store()
        if self.worker is None and self.task.names():
            self.worker = self.task
        if self.worker is None and not in_child():
            log.warning(
                "nothing was started: queue %r of %s has no worker, and no task of it is known here; import the "
                "modules that define its tasks before start()",
                self.id,
                self.path,
            )
        with self._lock:
            if self._runner is not None and self._runner.is_stopping():
                self.stop()  # until it has ended
            if self.worker is None or self._runs() or in_child():
                return False
            for name, schedule in self.task.schedules().items():
                store.schedules.put(self.id, name, schedule, schedule.after(store.now()))
            knows = self.task.names if self.worker is self.task else None
            self._runner = Runner(
                store, self.worker.do_work, self._plan, settled=self._notify, makers=self.task.makers(), knows=knows
            )
            self._runner.start()
            return True

    def stop(self, grace: timedelta | float | None = None) -> None:
        """Claim no more, tell running jobs (`ctx.cancelled`), wait for them up to `grace`, hand the rest back.

        What is handed back counts nowhere. Can be started again. Safe to call twice, from any thread; a shorter grace
        shortens that of the first call. From inside a job it does not wait; nor in a signal handler that has
        interrupted a verb of a queue, for what runs may need the lock which that holds.
        """
        longest = None if grace is None else as_duration(grace, "grace")
        if self._transacting == threading.get_ident():
            raise UsageError("expected stop() or close() after the transaction's block, but it was called inside")
        runner = self._runner
        if runner is None or runner.pid != os.getpid():
            return
        if _has_interrupted_a_verb():
            threading.Thread(target=runner.stop, args=[longest], name="workqueue-stop", daemon=True).start()
        else:
            runner.stop(longest)

    def wait_stopped(self, timeout: timedelta | float | None = None) -> bool:
        """Wait until no jobs are run here, whoever stopped that; False when `timeout` is over before."""
        runner = self._runner
        if runner is None or not self._runs():
            return True
        if runner.is_inside():
            raise UsageError("expected wait_stopped() from outside its own jobs, for it waits for them")
        _check_no_verb_interrupted("wait_stopped")
        return runner.join(None if timeout is None else as_duration(timeout, "timeout").total_seconds())

    def pulse(self) -> Pulse | None:
        """Say how the runner of this process is; None where no jobs are run here. For who watches over the process."""
        runner = self._runner
        if runner is None or not self._runs():
            return None
        return Pulse(timedelta(seconds=time.monotonic() - runner.turned_at), runner.is_stopping())

    def close(self, grace: timedelta | float | None = None) -> None:
        """Stop, then close the file. Safe to call twice.

        Raises UsageError inside its jobs, and in a signal handler that has interrupted a verb of a queue.
        """
        _check_no_verb_interrupted("close")
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
        self._idlers: set[Nudge] = set()  # of those who wait for progress
        self._watch = Watch(self._open_store, self.id)

    def forget_locks(self) -> None:
        """In a forked child: whoever holds the parent's locks does not exist here."""
        self._lock = threading.Lock()
        self._idlers = set()
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
        for progress in tuple(self._idlers):
            progress.give()
        self._watch.nudge()


def _has_interrupted_a_verb() -> bool:
    """Say whether this code is a signal handler's that came while its thread was in the store, and may hold a lock."""
    frames = (frame for frame, _ in walk_stack(None))
    return any(frame.f_globals.get("__name__", "").startswith("workqueue.store.") for frame in frames)


def _check_no_verb_interrupted(verb: str) -> None:
    if _has_interrupted_a_verb():
        raise UsageError(
            f"expected {verb}() outside a signal handler that has interrupted a verb of a queue, for it waits for jobs "
            "that may need the lock which that verb holds; let the handler raise SystemExit or set an event, and call "
            f"{verb}() once that is seen"
        )


def _checked_backoff(backoff: object) -> Backoff:
    if not isinstance(backoff, Backoff):
        raise InvalidOption(f"expected backoff to be a Backoff, got: {backoff}", name="backoff", value=backoff)
    return backoff
