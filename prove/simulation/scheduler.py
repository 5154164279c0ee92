"""Scheduler: many actors, one virtual clock, and never two of them at once.

An actor is a coroutine with a stack of its own, so that the package's code runs in it as it stands: it is kept on a
parked thread, and runs only while it holds the one token, which it hands to whom it names. The operating system
schedules nothing. What comes next is decided by the virtual time alone, so that a seed says everything.
"""

from __future__ import annotations

import contextvars
import heapq
import threading
from collections.abc import Callable
from random import Random
from typing import Final, Protocol

START: Final = 1_000_000_000  # microseconds that the monotonic clock shows in the beginning
_STEPS: Final = 400_000  # of one schedule; more is a loop that goes on for ever


class Death(BaseException):
    """The process that this actor belongs to was killed; nothing it still does has an effect outside."""


class Stalled(Exception):
    """Nobody will ever act again, or all go round for ever."""


class Fate(Protocol):
    """What the scheduler asks of an actor's process."""

    frozen_until: int


class Actor:
    """One line of execution. woken: whether the last `park` ended by `wake`, and not by its time."""

    __slots__ = ("doomed", "ended", "go", "heir", "joiners", "name", "number", "process", "thread", "ticket", "woken")

    def __init__(self, name: str, process: Fate, number: int, go: threading.Lock) -> None:
        self.name = name
        self.process = process
        self.number = number
        self.go = go
        self.ticket = 0
        self.woken = False
        self.doomed = False
        self.ended = False
        self.heir: Actor | None = None
        self.joiners: list[Actor] = []
        self.thread: object = None


class _Carrier(threading.Thread):
    """A thread that lends its stack to one actor after another."""

    def __init__(self) -> None:
        super().__init__(name="simulation-carrier", daemon=True)
        self.go = threading.Lock()
        self.go.acquire()
        self.work: Callable[[], None] | None = None

    def run(self) -> None:
        while True:
            self.go.acquire()
            if self.work is None:
                return
            self.work()


class Carriers:
    """Those that are free; kept from one schedule to the next."""

    def __init__(self) -> None:
        self.free: list[_Carrier] = []

    def take(self) -> _Carrier:
        if self.free:
            return self.free.pop()
        carrier = _Carrier()
        carrier.start()
        return carrier

    def close(self) -> None:
        for carrier in self.free:
            carrier.work = None
            carrier.go.release()
            carrier.join()
        self.free.clear()


class Scheduler:
    """See the module. The thread that makes it is its first actor, of the process `fate`."""

    def __init__(self, rng: Random, carriers: Carriers, fate: Fate) -> None:
        self.rng = rng
        self.now = START
        self.crashes: list[tuple[Actor, BaseException]] = []  # in actors whose process was alive
        self.switches = 0
        self._carriers = carriers
        self._agenda: list[tuple[int, int, int, Actor]] = []
        self._booked = 0
        self._steps = 0
        self._numbers = 0
        go = threading.Lock()
        go.acquire()
        self.current = self._main = Actor("director", fate, 0, go)

    def spawn(self, name: str, process: Fate, work: Callable[[], object]) -> Actor:
        """Let a new actor begin a moment from now."""
        carrier = self._carriers.take()
        self._numbers += 1
        actor = Actor(name, process, self._numbers, carrier.go)
        context = contextvars.Context()

        def perform() -> None:
            try:
                if not actor.doomed:
                    context.run(work)
            except Death:
                pass
            except BaseException as error:  # noqa: BLE001 - whatever ends an actor of the package is a finding
                if not actor.doomed:
                    self.crashes.append((actor, error))
            actor.ended = True
            for joiner in actor.joiners:
                self.wake(joiner)
            self._carriers.free.append(carrier)
            heir = actor.heir
            if heir is None:
                try:
                    heir = self._next()
                except Stalled as error:
                    self.crashes.append((actor, error))
                    heir = self._main
            self._hand_to(heir)

        carrier.work = perform
        self._book(actor, self.now + self._moment())
        return actor

    def sleep(self, micros: int) -> None:
        """Let the current actor go on after so many microseconds, or when its process is let go on."""
        me = self.current
        if me.doomed:
            raise Death
        at = self.now + micros
        if (not self._agenda or self._agenda[0][0] > at) and me.process.frozen_until <= at:
            self.now = at
            self._count()
            return
        me.ticket += 1
        self._book(me, at)
        self._switch(me)

    def park(self, until: int | None = None) -> bool:
        """Wait to be woken, or until then; say whether woken."""
        me = self.current
        if me.doomed:
            raise Death
        me.woken = False
        me.ticket += 1
        if until is not None:
            self._book(me, max(until, self.now))
        self._switch(me)
        return me.woken

    def wake(self, actor: Actor) -> None:
        """Let one who parks go on a moment from now."""
        if not actor.ended:
            actor.woken = True
            actor.ticket += 1
            self._book(actor, self.now + self._moment())

    def unwind(self, actor: Actor) -> None:
        """End an actor whose process is dead: run what it has left to clean up, which nobody sees."""
        if actor.ended:
            return
        me = self.current
        actor.doomed = True
        actor.heir = me
        self.current = actor
        actor.go.release()
        me.go.acquire()

    def _switch(self, me: Actor) -> None:
        following = self._next()
        if following is not me:
            self._hand_to(following)
            me.go.acquire()
        if me.doomed:
            raise Death

    def _hand_to(self, actor: Actor) -> None:
        self.switches += 1
        self.current = actor
        actor.go.release()

    def _next(self) -> Actor:
        self._count()
        agenda = self._agenda
        while agenda:
            at, _, ticket, actor = heapq.heappop(agenda)
            if ticket != actor.ticket or actor.ended:
                continue
            if actor.process.frozen_until > at:
                self._book(actor, actor.process.frozen_until + self._moment())
                continue
            self.now = max(self.now, at)
            return actor
        raise Stalled("nobody will ever act again")

    def _count(self) -> None:
        self._steps += 1
        if self._steps > _STEPS:
            raise Stalled(f"{_STEPS:,} steps, and no end")

    def _book(self, actor: Actor, at: int) -> None:
        self._booked += 1
        heapq.heappush(self._agenda, (at, self._booked, actor.ticket, actor))

    def _moment(self) -> int:
        return 1 + int(self.rng.expovariate(0.02))  # 50 µs and more, as waking takes
