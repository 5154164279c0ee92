"""The programs that get killed: pushers and workers, each played in a process that `nursery` has forked."""

from __future__ import annotations

import asyncio
import faulthandler
import importlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final, TypeVar

from workqueue import Backoff, Queue, StoreUnavailable, lifecycle
from workqueue.store.clock import micros

from prove.crash.handlers import DEADLY, FAILING, TABLES, TRANSACTIONAL, AsyncHandlers, Handlers, Task
from prove.crash.part import Part, now
from prove.crash.witness import Witness
from prove.journal import Journal, Pushed, Pushing

T = TypeVar("T")
BACKOFF: Final = Backoff(min=0, max=0.01, limit=50)
PAUSE: Final = timedelta(milliseconds=200)  # after a second loss, instead of 10 s
_ENOUGH: Final = 150  # jobs that wait, beyond which a pusher holds back
_PAUSES: Final = (0.0, 0.0, 0.0, 0.001, 0.02, 0.06)  # seconds
_LONG_PAUSE: Final = 0.5  # in which a session may end, so that it would be seen if its runner looked dead
_AGAIN: Final = 0.05  # seconds between tries at a store that is away
_STOP: Final = {signal.SIGTERM, signal.SIGHUP}


def say(word: str, *values: object) -> None:
    os.write(1, f"{' '.join(map(str, (word, *values)))}\n".encode())  # one piece, whoever else speaks


def open_witness(part: Part) -> Witness:
    """Announce this process, and give the one who notes for it."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    witness = Witness(Journal(Path(part.journal)), f"{part.slot}-{os.getpid()}-{now()}", on_server=part.on_server)
    say("up", part.slot, os.getpid(), witness.name)
    return witness


def patiently(part: Part, act: Callable[[], T]) -> T:
    """Do it; again and again while the store is away, where that is to be expected."""
    while True:
        try:
            return act()
        except StoreUnavailable:
            if not part.on_server:
                raise
            time.sleep(_AGAIN)


def plant(part: Part, queue: Queue, witness: Witness) -> None:
    """Make the tables, stand beside the store, and plant the bug that is to be caught."""
    lifecycle.SECOND_LOSS_PAUSE = PAUSE  # type: ignore[misc]
    if not part.on_server:
        with queue.transaction() as database:
            for table in TABLES:
                database.execute(table)
    witness.watch(queue)
    if part.plant:
        module, _, name = part.plant.partition(":")
        getattr(importlib.import_module(module), name)(queue, witness)


def play(part: Part) -> int:
    """Push or work, with threads or a loop, until a signal; give the exit code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    witness = open_witness(part)
    if part.kind == "push":
        return _push(part, witness)
    return _work(part, witness)


def work_queue(part: Part, witness: Witness) -> Queue:
    """Open the queue with its handlers, not started."""
    handlers = AsyncHandlers(witness) if part.kind == "async" else Handlers(witness)
    draw = random.Random(part.seed)
    batch_size = draw.choice([1, 5, 40, 100])
    queue = patiently(
        part,
        lambda: Queue(
            part.path,
            handlers,
            auto_start=False,
            durability=part.durability,
            timing=part.timing,
            backoff=BACKOFF,
            batch_size=batch_size,
            concurrency=part.concurrency,
            poll_rate=0.1,
            lease=part.lease,
        ),
    )
    handlers.queue = queue
    plant(part, queue, witness)
    return queue


def _work(part: Part, witness: Witness) -> int:
    """SIGTERM drains and ends; SIGHUP stops and starts again in place, under another name."""
    queue = work_queue(part, witness)
    patiently(part, queue.start)
    draw = random.Random(part.seed)
    while signal.sigwait(_STOP) == signal.SIGHUP:
        queue.stop(draw.choice([0, 0.02, 1]))
        witness.name = f"{part.slot}-{os.getpid()}-{now()}"
        say("up", part.slot, os.getpid(), witness.name)
        patiently(part, queue.start)
    queue.close(draw.choice([0, 0.02, 1]))
    return 0


def _push(part: Part, witness: Witness) -> int:
    queue = patiently(part, lambda: Queue(part.path, backoff=BACKOFF, durability=part.durability, timing=part.timing))
    plant(part, queue, witness)
    ending = threading.Event()
    failed: list[BaseException] = []
    pauses = (*_PAUSES, _LONG_PAUSE) if part.on_server else _PAUSES

    def run(number: int) -> None:
        try:
            pusher = Pusher(queue, witness, f"{part.seed}:{number}", freezes=part.lease < 5, pauses=pauses)
            while not ending.is_set():
                patiently(part, pusher.push)
        except BaseException as error:
            failed.append(error)
            os.kill(os.getpid(), signal.SIGTERM)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(part.concurrency)]
    for thread in threads:
        thread.start()
    signal.sigwait(_STOP)  # blocked in all threads: a handler would not be heard while the main thread waits for a lock
    ending.set()
    for thread in threads:
        thread.join()
    queue.close()
    if failed:
        raise failed[0]
    return 0


class Pusher:
    """Pushes what is drawn, one push after another.

    freezes: some jobs freeze their process past its lease. pauses: the seconds that jobs take.
    """

    def __init__(
        self, queue: Queue, witness: Witness, seed: str, *, freezes: bool, pauses: Sequence[float] = _PAUSES
    ) -> None:
        self._queue = queue
        self._witness = witness
        self._draw = random.Random(seed)
        self._batches = 0
        self._seed = seed
        self._pauses = pauses
        self._names = ["plain", "effect", "raiser", "flaky", "chain", FAILING, "forks", DEADLY]
        self._weights = [30, 30, 6, 10, 10, 1, 2, 0.15]
        if freezes:
            self._names.append("frozen")
            self._weights.append(0.3)

    def push(self) -> None:
        name = self._draw.choices(self._names, self._weights)[0]
        way: Callable[[str], None] = self._draw.choices(
            [self._one, self._many, self._order, self._later, self._together], [60, 20, 15, 5, 3]
        )[0]
        if name in (DEADLY, "frozen", "forks"):
            way = self._one
        way(name)
        if self._queue.size().waiting > _ENOUGH:
            self._queue.wait_idle(0.1)

    def _task(self, batch: str = "") -> Task:
        pause = self._draw.choice(self._pauses)
        return Task(pause=pause, tries=self._draw.randrange(3), batch=batch)

    def _announce(self, jobs: int = 1) -> None:
        self._witness.note(Pushing(at=now(), jobs=jobs))

    def _acknowledge(self, name: str, *ids: int, not_before: int = 0) -> None:
        at, transactional = now(), name in TRANSACTIONAL
        self._witness.note(*(Pushed(at=at, job=job, not_before=not_before, transactional=transactional) for job in ids))

    def _one(self, name: str) -> None:
        self._announce()
        self._acknowledge(name, self._queue.push(name, self._task(), priority=self._draw.choice([0, 0, 0, 5])))

    def _many(self, name: str) -> None:
        count = self._draw.randrange(2, 12)
        self._batches += 1
        batch = f"{self._seed}#{self._batches}/{count}" if name in TRANSACTIONAL else ""
        self._announce(count)
        self._acknowledge(name, *self._queue.push_many(name, [self._task(batch)] * count))

    def _together(self, name: str) -> None:
        """Push from an event loop, several at a time."""

        async def push() -> list[int]:
            return await asyncio.gather(*(self._queue.apush(name, self._task()) for _ in range(3)))

        self._announce(3)
        self._acknowledge(name, *asyncio.run(push()))

    def _order(self, name: str) -> None:
        """Push inside a transaction of our own: the row and the job are there together, or neither."""
        self._announce()
        with self._queue.transaction() as database:
            job = self._queue.push(name, self._task())
            database.execute("INSERT INTO orders VALUES (?, NULL)", (job,))
        self._acknowledge(name, job)

    def _later(self, name: str) -> None:
        delay = timedelta(milliseconds=self._draw.randrange(300))
        self._announce()
        before = now()
        job = self._queue.push_after(name, self._task(), delay)
        self._acknowledge(name, job, not_before=before + micros(delay))
