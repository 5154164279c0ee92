"""The program under test: `workqueue run prove.handlers.program:queue`, told by its environment what to be.

PROVE_FILE, PROVE_JOURNAL: where. PROVE_EXECUTOR: thread, asyncio or child. PROVE_CONCURRENCY, PROVE_LEASE, PROVE_GRACE:
numbers. PROVE_EVENTS: a descriptor that takes a line when a hostile handler has begun. PROVE_GATE: one to read a byte
from before the deed; -1 for none. PROVE_TAME: the handlers were mended, and only return.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import time

from workqueue import Context, Job, Queue, RecoverableWorkerError
from workqueue.executor.child import in_child
from workqueue.worker import Handling

from prove.handlers.table import ASYNCIO, CHILD, TABLE, THREAD, Row
from prove.journal import Ended, Journal, Started

_PROCESS = os.getppid() if in_child() else os.getpid()  # who claims


def _pipe(name: str, mode: int) -> int:
    """Give a descriptor of ours; a child has to fetch it from its parent, for it inherits none."""
    descriptor = int(os.environ[name])
    return os.open(f"/proc/{_PROCESS}/fd/{descriptor}", mode) if in_child() and descriptor >= 0 else descriptor


_EVENTS = _pipe("PROVE_EVENTS", os.O_WRONLY)
_GATE = _pipe("PROVE_GATE", os.O_RDONLY)
_TAME = bool(os.environ.get("PROVE_TAME"))
_journal = Journal(os.environ["PROVE_JOURNAL"])  # type: ignore[arg-type]


def now() -> int:
    return time.monotonic_ns() // 1000


class _Attempt:
    """Writes down that a handler began, and how it ended."""

    def __init__(self, ctx: Context, job: Job) -> None:
        self._ctx = ctx
        self._fence = {"job": job.id, "attempt": job.attempt, "by": str(_PROCESS)}

    def __enter__(self) -> None:
        _journal.note(Started(at=now(), **self._fence))  # type: ignore[arg-type]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        how = "returned" if kind is None else "failed"
        if kind is not None and issubclass(kind, asyncio.CancelledError | RecoverableWorkerError):
            how = "again"
        _journal.note(Ended(at=now(), how=how, **self._fence))  # type: ignore[arg-type]


def _row(job: Job) -> Row | None:
    return None if _TAME else TABLE.get(job.name)


def _tell(job: Job) -> None:
    os.write(_EVENTS, f"began {job.id} {_PROCESS}\n".encode())


class ThreadWorker:
    def id(self) -> str:
        return "hostile"

    def do_work(self, ctx: Context, job: Job) -> object:
        with _Attempt(ctx, job):
            row = _row(job)
            if row is None:
                return None
            _tell(job)
            if _GATE >= 0:
                os.read(_GATE, 1)
            return row.deed(ctx, job, queue)


class IsolatedWorker(ThreadWorker):
    def handling(self, job: Job) -> Handling:
        return Handling("child", entry=f"{__name__}:isolated")


class AsyncWorker:
    def id(self) -> str:
        return "hostile"

    async def do_work(self, ctx: Context, job: Job) -> object:
        with _Attempt(ctx, job):
            row = _row(job)
            if row is None:
                return None
            _tell(job)
            if _GATE >= 0:
                await _readable(_GATE)
            result = row.deed(ctx, job, queue)
            return await result if inspect.isawaitable(result) else result


async def _readable(gate: int) -> None:
    """Wait for a byte of our own; handlers wait side by side, so the descriptor is asked and not watched."""
    os.set_blocking(gate, False)
    while True:
        try:
            os.read(gate, 1)
        except BlockingIOError:
            await asyncio.sleep(0.005)
        else:
            return


isolated = IsolatedWorker()
queue = Queue(
    os.environ["PROVE_FILE"],
    {THREAD: ThreadWorker(), ASYNCIO: AsyncWorker(), CHILD: isolated}[os.environ["PROVE_EXECUTOR"]],
    auto_start=False,
    poll_rate=0.05,
    lease=float(os.environ["PROVE_LEASE"]),
    grace=float(os.environ["PROVE_GRACE"]),
    concurrency=int(os.environ["PROVE_CONCURRENCY"]),
)
