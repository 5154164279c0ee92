"""What stands in for `time`, `threading` and `queue` in the package's modules: the same names, on the virtual clock."""

from __future__ import annotations

import queue as real_queue
import threading
from collections import deque
from collections.abc import Callable
from math import ceil
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from prove.simulation.scheduler import Actor, Death, Scheduler

T = TypeVar("T")
SECOND: Final = 1_000_000


class Time:
    """As the module `time`. wall: the time of day in microseconds."""

    def __init__(self, scheduler: Scheduler, wall: Callable[[], int]) -> None:
        self._scheduler = scheduler
        self._wall = wall

    def monotonic(self) -> float:
        return self._scheduler.now / SECOND

    def time_ns(self) -> int:
        return self._wall() * 1000

    def sleep(self, seconds: float) -> None:
        self._scheduler.sleep(ceil(seconds * SECOND))


class Line:
    """Actors that wait for one thing, the first to come first."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._waiting: deque[Actor] = deque()

    def wait(self, until: int | None) -> bool:
        """Wait to be called; False when `until` came first."""
        me = self._scheduler.current
        self._waiting.append(me)
        try:
            return self._scheduler.park(until)
        finally:
            if me in self._waiting:
                self._waiting.remove(me)

    def call(self) -> None:
        """Wake the next; who was woken before and has not gone on yet does not count."""
        if self._waiting:
            self._scheduler.wake(self._waiting.popleft())

    def call_all(self) -> None:
        while self._waiting:
            self.call()


class Lock:
    """As `threading.Lock`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._line = Line(scheduler)
        self._held = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        scheduler = self._scheduler
        if scheduler.current.doomed:
            return True
        until = None if timeout < 0 else scheduler.now + ceil(timeout * SECOND)
        while self._held:
            if not blocking or not (self._line.wait(until) or not self._held):
                return False
        self._held = True
        return True

    def release(self) -> None:
        if not self._held and not self._scheduler.current.doomed:
            raise RuntimeError("release unlocked lock")
        self._held = False
        self._line.call()

    def locked(self) -> bool:
        return self._held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class RLock(Lock):
    """As `threading.RLock`."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__(scheduler)
        self._owner: object | None = None
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        me = self._scheduler.current
        if self._owner is not me and not super().acquire(blocking, timeout):
            return False
        self._owner = me
        self._depth += 1
        return True

    def release(self) -> None:
        me = self._scheduler.current
        if self._owner is not me:
            raise RuntimeError("cannot release un-acquired lock")
        self._depth -= 1
        if not self._depth or me.doomed:
            self._owner, self._depth = None, 0
            super().release()


class Event:
    """As `threading.Event`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._line = Line(scheduler)
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        self._line.call_all()

    def wait(self, timeout: float | None = None) -> bool:
        if not self._set:
            self._line.wait(None if timeout is None else self._scheduler.now + ceil(timeout * SECOND))
        return self._set


class Condition(Lock):
    """As `threading.Condition` over a lock of its own."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__(scheduler)
        self._news = Line(scheduler)

    def wait(self, timeout: float | None = None) -> bool:
        self.release()
        try:
            return self._news.wait(None if timeout is None else self._scheduler.now + ceil(timeout * SECOND))
        finally:
            self.acquire()

    def notify_all(self) -> None:
        self._news.call_all()

    def __enter__(self) -> Self:  # type: ignore[override]
        self.acquire()
        return self


class Thread:
    """As `threading.Thread`: an actor of the process that starts it."""

    def __init__(self, scheduler: Scheduler, target: Callable[[], object], name: str) -> None:
        self.name = name
        self._scheduler = scheduler
        self._target = target
        self._actor: Actor | None = None

    def start(self) -> None:
        process = self._scheduler.current.process
        self._actor = process.begin(self.name, self._target)  # type: ignore[attr-defined]
        self._actor.thread = self

    def join(self) -> None:
        actor = self._actor
        if actor is None:
            raise RuntimeError("cannot join thread before it is started")
        while not actor.ended:
            actor.joiners.append(self._scheduler.current)
            self._scheduler.park()

    def is_alive(self) -> bool:
        return self._actor is not None and not self._actor.ended

    @property
    def ident(self) -> int | None:
        return None if self._actor is None else self._actor.number


class Threading:
    """As the module `threading`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def Lock(self) -> Lock:  # noqa: N802 - the module's name
        return Lock(self._scheduler)

    def RLock(self) -> RLock:  # noqa: N802
        return RLock(self._scheduler)

    def Event(self) -> Event:  # noqa: N802
        return Event(self._scheduler)

    def Condition(self) -> Condition:  # noqa: N802
        return Condition(self._scheduler)

    def Thread(self, *, target: Callable[[], object], name: str, daemon: bool = True) -> Thread:  # noqa: N802
        del daemon
        return Thread(self._scheduler, target, name)

    def get_ident(self) -> int:
        return self._scheduler.current.number

    def current_thread(self) -> object:
        return self._scheduler.current.thread

    def main_thread(self) -> threading.Thread:
        """The real one, which runs the scheduler: none of those that are simulated."""
        return threading.main_thread()


class SimpleQueue(Generic[T]):
    """As `queue.SimpleQueue`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._items: deque[T] = deque()
        self._line = Line(scheduler)

    def put(self, item: T) -> None:
        self._items.append(item)
        self._line.call()

    def get(self) -> T | None:
        """As the original's; None in a process that is dead, so that its threads end by the door they have."""
        try:
            while not self._items:
                self._line.wait(None)
        except Death:
            return None
        return None if self._scheduler.current.doomed else self._items.popleft()

    def get_nowait(self) -> T:
        if not self._items:
            raise real_queue.Empty
        return self._items.popleft()

    def empty(self) -> bool:
        return not self._items


class Queues:
    """As the module `queue`."""

    Empty = real_queue.Empty

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def SimpleQueue(self) -> SimpleQueue[object]:  # noqa: N802
        return SimpleQueue(self._scheduler)
