"""What the jobs of the loop do. Each notes that it began before it acts, and that it ended after."""

from __future__ import annotations

import os
import random
import signal
import threading
from contextlib import nullcontext
from typing import Final

import msgspec
from workqueue import Context, Job, LeaseLost, Queue, RecoverableWorkerError, StoreUnavailable

from prove.crash.part import now
from prove.crash.witness import Witness
from prove.journal import Ended, Pushed, Pushing, Refused, Settled, Started, Vanished

TRANSACTIONAL: Final = frozenset({"effect", "raiser", "flaky", "chain", "frozen"})  # they end with one row
DEADLY: Final = "deadly"
FAILING: Final = "failing"
FORK_PATIENCE: Final = 20.0  # seconds, after which a forked child hangs
TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS effects (job BIGINT, attempt BIGINT, batch TEXT)",
    "CREATE TABLE IF NOT EXISTS orders (job BIGINT, parent BIGINT)",
)


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A job's data. pause: seconds that it takes. tries: how often it fails first, if it is one that does.

    batch: the push of many it came with, and how many those were: "name/7".
    """

    pause: float = 0.0
    tries: int = 0
    batch: str = ""


class Handlers:
    """The worker of a program; `do_work` runs on threads."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self.queue: Queue | None = None

    def id(self) -> str:
        return "crash"

    def do_work(self, ctx: Context, job: Job) -> None:
        by, task = self.begin(job)
        ctx.wait(task.pause)
        self.act(ctx, job, by, task)

    def begin(self, job: Job) -> tuple[str, Task]:
        by = self._witness.name
        self._witness.note(Started(at=now(), job=job.id, attempt=job.attempt, by=by))
        return by, job.decode(Task)

    def act(self, ctx: Context, job: Job, by: str, task: Task) -> None:
        match job.name:
            case "plain":
                pass
            case "effect":
                self._effect(ctx, job, by, task)
            case "raiser":
                self._effect(ctx, job, by, task)
                self._end(job, by)
                raise ValueError("after its transaction")
            case "flaky":
                if job.retry_count < task.tries:
                    self._end(job, by, "again")
                    raise RecoverableWorkerError("not yet", 0.005 * job.retry_count)
                self._effect(ctx, job, by, task)
            case "failing":
                self._end(job, by, "failed")
                raise ValueError("on purpose")
            case "chain":
                self._effect(ctx, job, by, task, child=True)
            case "forks":
                self._fork(job)
            case "deadly":
                self._witness.note(Vanished(at=now(), by=by, why=f"job {job.id}"))
                os.kill(os.getpid(), signal.SIGKILL)
            case "frozen":
                if job.attempt == 1:
                    self._freeze(job, by)
                self._effect(ctx, job, by, task)
            case name:
                raise AssertionError(name)
        self._end(job, by)

    def _end(self, job: Job, by: str, how: str = "returned") -> None:
        self._witness.note(Ended(at=now(), job=job.id, attempt=job.attempt, by=by, how=how))

    def _effect(self, ctx: Context, job: Job, by: str, task: Task, *, child: bool = False) -> None:
        """Write the job's one row; with `child`, push one job beside it."""
        pushed = 0
        try:
            if child:
                self._witness.note(Pushing(at=now()))
            with ctx.transaction() as database:
                database.execute("INSERT INTO effects VALUES (?, ?, ?)", (job.id, job.attempt, task.batch))
                if child:
                    assert self.queue is not None
                    pushed = self.queue.push("effect", Task())
                    database.execute("INSERT INTO orders VALUES (?, ?)", (pushed, job.id))
        except LeaseLost:
            self._witness.note(Refused(at=now(), job=job.id, attempt=job.attempt, by=by))
            raise
        except StoreUnavailable:
            if self._witness.on_server:
                self._end(job, by, "again")
            raise
        at = self._witness.committed_at()
        self._witness.note(Settled(at=at, job=job.id, attempt=job.attempt, to="completed", by=by))
        if pushed:
            self._witness.note(Pushed(at=now(), job=pushed, transactional=True))

    def _fork(self, job: Job) -> None:
        """Let a child push or look, as drawn, and end without a word to SQLite."""
        assert self.queue is not None
        child = os.fork()
        if child == 0:
            code = 1
            try:
                signal.alarm(int(FORK_PATIENCE))  # its default is to end the process
                if random.Random(job.id).random() < 0.5:
                    self._witness.note(Pushing(at=now()))
                    pushed = self.queue.push("plain", Task())
                    self._witness.note(Pushed(at=now(), job=pushed))
                self.queue.size()
                code = 0
            except StoreUnavailable:
                code = 0 if self._witness.on_server else 1
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code not in (0, -signal.SIGKILL):  # strace follows children, and kills them too
            raise RuntimeError(f"a forked child ended with {code}")

    def _freeze(self, job: Job, by: str) -> None:
        """Stand still past the lease: of a file in our own turn to write, so that no thread of ours is inside a commit.

        By this thread's own hand, for a signal to the process may let this thread run on for a while.
        """
        assert self.queue is not None
        with nullcontext() if self._witness.on_server else self.queue._store._database._turn():
            self._witness.note(Vanished(at=now(), by=by, why="frozen"))
            os.write(1, f"frozen {os.getpid()}\n".encode())
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


class AsyncHandlers(Handlers):
    """The same on an event loop."""

    async def do_work(self, ctx: Context, job: Job) -> None:  # type: ignore[override]
        by, task = self.begin(job)
        await ctx.sleep(task.pause)
        self.act(ctx, job, by, task)
