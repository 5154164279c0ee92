"""What the help for tests needs of a queue and it tells nobody else: the one place that reaches inside."""

# ruff: noqa: SLF001
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from unittest.mock import patch

from workqueue import closing
from workqueue.context import Context
from workqueue.errors import QueueClosed, UsageError
from workqueue.plan import Plan
from workqueue.pusher import Pusher
from workqueue.queue import Queue
from workqueue.store.contract import Store
from workqueue.testing.clock import FakeClock
from workqueue.worker import Worker


def store_of(place: Queue | Pusher) -> Store:
    """Raises QueueClosed."""
    return place._store() if isinstance(place, Pusher) else place._open_store()


def pusher_of(queue: Queue) -> Pusher:
    """Give what its tasks push through."""
    return queue._pusher


def plan_of(queue: Queue) -> Plan:
    """Give how its runner would work."""
    return queue._plan


def fake_clock_of(queue: Queue) -> FakeClock | None:
    """Give the clock of its store, if that can be moved."""
    clock: object = getattr(store_of(queue), "_clock", None)
    return clock if isinstance(clock, FakeClock) else None


def worker_of(queue: Queue) -> Worker:
    """Give what would run its jobs, as `start` chooses it. Raises UsageError when nothing would."""
    if queue.worker is not None:
        return queue.worker
    if queue.task.names():
        return queue.task
    raise UsageError(f"expected {queue!r} to have a worker or tasks; is the module that defines them imported?")


def take_store(context: Context) -> None:
    """Let the context be as in a child process, which has no store."""
    context._store = None


def tell_of_ends(queue: Queue) -> None:
    """Let those look who wait for jobs."""
    queue._notify()


def check_stopped(queue: Queue) -> None:
    """Raise UsageError when the queue runs its jobs itself."""
    store_of(queue)
    if queue._runs():
        raise UsageError(
            f"expected {queue!r} not to run here, but it was started, and would run the same jobs: stop() it first, or "
            "make it with auto_start=False"
        )


@contextmanager
def standing_on(queue: Queue, store: Store) -> Generator[None]:
    """Let the queue stand on another store inside the block; what it does to itself there is undone."""
    pusher, watch = queue._pusher, queue._watch
    watch._give_up(QueueClosed(queue.path))  # before it sees the other store, where the ids mean other jobs
    try:
        with patch.multiple(queue, _store=store, path=store.path, _closed=False, _runner=None, worker=queue.worker):
            pusher.make_locks()
            try:
                yield
            finally:
                queue.stop()
                watch._give_up(QueueClosed(store.path))
                store.close()
    finally:
        pusher.make_locks()
        closing.remember(queue)
