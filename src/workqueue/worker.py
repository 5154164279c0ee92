"""Worker: what a program brings along to have its jobs run."""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import Final, Literal, Protocol

import msgspec

from workqueue.context import Context, Policy
from workqueue.errors import InvalidOption
from workqueue.job import Job

MOST_THREADS: Final = 1000


class Handling(msgspec.Struct, frozen=True):
    """How one job is to be run. timeout: after so long its attempt is over.

    thread: `do_work` on a thread of its own. loop: the coroutine that `do_work` gives, on the event loop. child: in a
    child process, by the `do_work` of the object that `entry` names, "module:attribute.attribute", importable there.
    policy: asked where `do_work` has set none on the context: when its child died, or was killed at its timeout.
    """

    kind: Literal["thread", "loop", "child"] = "thread"
    timeout: timedelta | None = None
    entry: str = ""
    policy: Policy | None = None


class Worker(Protocol):
    """What runs jobs. Returning is success, RecoverableWorkerError asks for another try, any other exception fails.

    `do_work` may be `async def`. Calls come from the runner's threads (or its event loop), `concurrency` at once. A
    worker that also has `handling(job) -> Handling` says for each job how it is to be run.
    """

    def id(self) -> str: ...
    def do_work(self, ctx: Context, job: Job, /) -> object: ...


def checked_worker(worker: Worker, concurrency: int) -> Worker:
    """Give it back, or say what is wrong with it. Raises InvalidOption."""
    if isinstance(worker, type):
        raise InvalidOption(
            f"expected worker to be an object, got: {worker!r}; say {worker.__name__}()",
            name="worker",
            value=worker,
        )
    for method in ("do_work", "id"):
        if not callable(getattr(worker, method, None)):
            raise InvalidOption(
                f"expected worker to have the methods do_work(ctx, job) and id(), but {worker!r} has no {method}()",
                name="worker",
                value=worker,
            )
    is_threaded = not inspect.iscoroutinefunction(worker.do_work) and not hasattr(worker, "handling")
    if concurrency > MOST_THREADS and is_threaded:
        raise InvalidOption(
            f"expected concurrency to be at most {MOST_THREADS:,} for a worker that needs a thread for each job, got: "
            f"{concurrency}; make do_work `async def`, or start more processes",
            name="concurrency",
            value=concurrency,
        )
    return worker
