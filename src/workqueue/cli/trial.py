"""A trial of a disk: what a queue in a folder of it can do. Everything goes through `Queue`, as in a program of yours.

The queue is new, in a folder of its own that goes away again, however the trial ends.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Final

import msgspec

from workqueue.cli.sleeper import Sleeper
from workqueue.context import Context
from workqueue.errors import StoreUnavailable, UnsuitableFile
from workqueue.job import Job
from workqueue.queue import Queue
from workqueue.store import is_url, scratch_schema
from workqueue.store.contract import Durability
from workqueue.worker import Worker

PUSHERS: Final = 32
_BLOCK: Final = b"\0" * 4096  # a page of the log
_BLOCKS: Final = 256  # written over again and again, as the log is
_JOB: Final = {"number": 12345678, "address": "somebody@example.org", "text": "x" * 40}  # about 100 bytes of JSON
_CHUNK: Final = 1000
_MOST_JOBS: Final = 200_000  # of push_many: about 50 MB
_SHARES: Final = {
    "flush": 0.05,
    "push": 0.2,
    "threads": 0.2,
    "many": 0.1,
    "drain": 0.15,
    "thread": 0.12,
    "process": 0.12,
}
_PAUSES: Final = (0.002, 0.02)  # seconds; the worker shall be asleep again, and not in step with its polls
_LONGEST: Final = 30.0  # seconds until a job of an idle worker begins


class Times(msgspec.Struct, frozen=True):
    """How long a thing took each time, in seconds."""

    mean: float
    median: float
    p99: float
    count: int


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured; rates are jobs per second.

    flush: 4 KiB of a plain file written over, and flushed; None where a server has the disk. commit: one job pushed by
    one thread, until it is durable. pick_up: from before a push until the job has begun on an idle worker, in this
    process or in another.
    """

    flush: Times | None
    commit: Times
    push: float
    push_threads: float
    push_many: float
    drain: float
    pick_up_thread: Times
    pick_up_process: Times


@contextmanager
def place(folder: str) -> Generator[str]:
    """Give the path for a file in a new folder inside `folder`; both are gone when the block ends.

    For the URL of a database, that of a new schema in it.
    """
    if is_url(folder):
        with scratch_schema(folder) as url:
            yield url
        return
    if not os.path.isdir(folder):
        raise UnsuitableFile(f"expected a folder {folder!r} to measure in, but there is none; create it", path=folder)
    try:
        made = tempfile.TemporaryDirectory(dir=folder, prefix=".workqueue-bench-", ignore_cleanup_errors=True)
    except OSError as error:
        raise StoreUnavailable(
            f"expected to be allowed to make a folder in {folder!r}: {error.strerror}; change its owner or mode, or "
            "name another folder on the same disk",
            path=folder,
        ) from error
    with made as inside:
        yield os.path.join(inside, "jobs.db")


def measure(
    path: str, *, durability: Durability, seconds: float, allow_network: bool, tell: Callable[[str], object]
) -> Trial:
    """Measure for about `seconds` with a new queue at `path`. tell: hears what is being measured."""
    share = {name: seconds * part for name, part in _SHARES.items()}

    def opened(worker: Worker | None = None, *, id: str = "default") -> Queue:
        return Queue(path, worker, id=id, auto_start=False, durability=durability, allow_network=allow_network)

    counting, stamped = _Counting(), _Stamped()
    with opened(counting) as queue:
        flush = None
        if not is_url(path):
            tell("a flush of the disk")
            flush = _flushes(os.path.dirname(path), share["flush"])
        tell("pushing, one thread")
        commit = _times(_each(lambda: queue.push("trial", _JOB), share["push"]))
        tell(f"pushing, {PUSHERS} threads")
        at_once, push_threads = _push_at_once(queue, share["threads"])
        tell("push_many")
        in_bulk, push_many = _push_many(queue, share["many"])
        tell("running jobs that do nothing")
        drain = _drain(queue, counting, commit.count + at_once + in_bulk, share["drain"])
    with opened(stamped, id="thread") as queue:
        tell("waking a worker of this process")
        queue.start()
        thread = _pick_ups(queue, stamped.next, share["thread"])
    with opened(id="process") as queue:
        tell("waking a worker of another process")
        with Sleeper(path, queue.id, durability, allow_network=allow_network) as sleeper:
            process = _pick_ups(queue, sleeper.next, share["process"])
    return Trial(
        flush=flush,
        commit=commit,
        push=1 / commit.mean,
        push_threads=push_threads,
        push_many=push_many,
        drain=drain,
        pick_up_thread=thread,
        pick_up_process=process,
    )


class _Counting:
    """Counts jobs until there were enough."""

    def __init__(self) -> None:
        self.count = 0
        self.target = 0
        self.enough = threading.Event()

    def id(self) -> str:
        return "counting"

    def do_work(self, ctx: Context, job: Job) -> None:
        del ctx
        job.decode()
        self.count += 1
        if self.count == self.target:
            self.enough.set()


class _Stamped:
    """Says how long ago each job was pushed."""

    def __init__(self) -> None:
        self._delays: SimpleQueue[float] = SimpleQueue()

    def id(self) -> str:
        return "stamped"

    def do_work(self, ctx: Context, job: Job) -> None:
        now = time.monotonic()
        del ctx
        self._delays.put(now - job.decode(float))

    def next(self, timeout: float) -> float | None:
        try:
            return self._delays.get(timeout=timeout)
        except Empty:
            return None


def _each(step: Callable[[], object], seconds: float) -> list[float]:
    """Do `step` again and again for so many seconds, at least once; give how long it took each time."""
    taken: list[float] = []
    now = time.perf_counter()
    until = now + seconds
    while now < until or not taken:
        began = now
        step()
        now = time.perf_counter()
        taken.append(now - began)
    return taken


def _times(taken: list[float]) -> Times:
    ordered = sorted(taken)
    count = len(ordered)
    return Times(sum(ordered) / count, ordered[count // 2], ordered[min(count - 1, count * 99 // 100)], count)


def _flushes(folder: str, seconds: float) -> Times:
    """Write over the blocks of a file, one after the other, with a flush after each."""
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        file.write(_BLOCK * _BLOCKS)
        _flush(file.fileno())
        offsets = itertools.cycle(range(0, len(_BLOCK) * _BLOCKS, len(_BLOCK)))

        def write() -> None:
            os.pwrite(file.fileno(), _BLOCK, next(offsets))
            _flush(file.fileno())

        return _times(_each(write, seconds))


def _flush(descriptor: int) -> None:
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # there fsync leaves it in the disk's own memory
    else:
        os.fdatasync(descriptor)


def _push_at_once(queue: Queue, seconds: float) -> tuple[int, float]:
    """Push one at a time from many threads; give how many jobs, and how many a second."""
    over = threading.Event()

    def push() -> int:
        count = 0
        while not over.is_set() or not count:
            queue.push("trial", _JOB)
            count += 1
        return count

    with ThreadPoolExecutor(PUSHERS) as pool:
        began = time.perf_counter()
        try:
            pushers = [pool.submit(push) for _ in range(PUSHERS)]
            over.wait(seconds)
        finally:
            over.set()
        count = sum(pusher.result() for pusher in pushers)
        return count, count / (time.perf_counter() - began)


def _push_many(queue: Queue, seconds: float) -> tuple[int, float]:
    chunk = [_JOB] * _CHUNK
    count = 0
    began = time.perf_counter()
    while not count or (time.perf_counter() < began + seconds and count < _MOST_JOBS):
        count += len(queue.push_many("trial", chunk))
    return count, count / (time.perf_counter() - began)


def _drain(queue: Queue, worker: _Counting, jobs: int, seconds: float) -> float:
    """Run what was pushed, all or for so many seconds; give the jobs a second."""
    worker.target = jobs
    began = time.perf_counter()
    queue.start()
    worker.enough.wait(seconds)
    while not worker.count:
        worker.enough.wait(0.01)
    rate = worker.count / (time.perf_counter() - began)
    queue.stop()
    return rate


def _pick_ups(queue: Queue, started: Callable[[float], float | None], seconds: float) -> Times:
    """Push to an idle worker again and again; `started` waits for its delay."""
    delays: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until or not delays:
        time.sleep(random.uniform(*_PAUSES))  # noqa: S311 - guards no secret
        queue.push("trial", time.monotonic())
        delay = started(_LONGEST)
        if delay is None:
            raise StoreUnavailable(
                f"expected an idle worker to begin a job within {_LONGEST:.0f} s of its push, but none did",
                path=queue.path,
            )
        delays.append(delay)
    return _times(delays)
