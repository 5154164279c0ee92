"""Host: one simulated machine: its clocks, its processes, who is dead, and the turn to write."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final

from workqueue.store.sqlite.database import Database

from prove.journal import Vanished
from prove.simulation.scheduler import Actor, Carriers, Death, Scheduler
from prove.simulation.stand_ins import Line

if TYPE_CHECKING:
    from prove.simulation.disk import Connection
    from prove.simulation.faults import Faults
    from prove.simulation.ledger import Ledger

BIRTH: Final = 1_700_000_000_000_000  # the time of day, in microseconds, when the monotonic clock shows 0


class Process:
    """One simulated process: what dies and freezes together."""

    def __init__(self, host: Host, name: str) -> None:
        self.host = host
        self.name = name
        self.alive = True
        self.stopping = False
        self.frozen_until = 0
        self.actors: list[Actor] = []
        self.connections: list[Connection] = []
        self.databases: dict[str, tuple[Database, int]] = {}
        self.runners: set[int] = set()
        self.armed: list[tuple[int, str]] = []  # what befalls it, after so many more statements

    def begin(self, name: str, work: Callable[[], object]) -> Actor:
        if not self.alive:
            raise Death
        actor = self.host.scheduler.spawn(f"{self.name}/{name}", self, work)
        self.actors.append(actor)
        return actor

    def freeze(self, seconds: float) -> None:
        self.frozen_until = max(self.frozen_until, self.host.scheduler.now + int(seconds * 1e6))

    def kill(self) -> None:
        """End it as SIGKILL does: at once, in the middle of whatever it does. Raises Death in an actor of its own."""
        if not self.alive:
            return
        self.alive = False
        self.host.note(*(Vanished(by=str(runner), at=self.host.scheduler.now) for runner in sorted(self.runners)))
        for connection in list(self.connections):
            connection.drop()
        scheduler = self.host.scheduler
        me = scheduler.current
        for actor in self.actors:
            if actor is not me:
                scheduler.unwind(actor)
        if me.process is self:
            me.doomed = True
            raise Death

    def open_database(self, path: str, durability: str, *, clock: Callable[[], int], allow_network: bool) -> Database:
        """As `shared.open_database`: one for each file and process."""
        path = os.path.realpath(path)
        database, users = self.databases.get(path) or (None, 0)
        if database is None:
            database = Database(path, durability, clock=clock, allow_network=allow_network)  # type: ignore[arg-type]
            database._to_wake = Ordered()  # type: ignore[assignment]
        self.databases[path] = database, users + 1
        return database

    def give_up(self, database: Database) -> None:
        """As `shared.give_up`."""
        _, users = self.databases[database.path]
        self.databases[database.path] = database, users - 1
        if users == 1:
            del self.databases[database.path]
            database.close()


class Ordered(dict[str, None]):
    """As the set of strings in its place, but in an order that does not change from one interpreter to the next."""

    def update(self, values: object) -> None:  # type: ignore[override]
        super().update(dict.fromkeys(sorted(values)))  # type: ignore[call-overload]


class Host:
    """See the module.

    step: microseconds by which the time of day is off from that of the monotonic clock; furthest: the most it ever was.
    """

    def __init__(self, path: str, seed: str, carriers: Carriers) -> None:
        self.path = path
        self.rng = Random(f"{seed}:schedule")
        self.director = Process(self, "director")
        self.scheduler = Scheduler(Random(f"{seed}:moments"), carriers, self.director)
        self.step = self.furthest = 0
        self.stepped: list[int] = []  # when the time of day was set
        self.processes: list[Process] = []
        self.owners: dict[int, Process] = {}
        self.enlisted: dict[int, int] = {}  # when each runner was
        self.bells: dict[int, object] = {}
        self.handling: set[Actor] = set()  # those that are inside a handler
        self.writing: Connection | None = None
        self.turn = Line(self.scheduler)
        self.ledger: Ledger
        self.faults: Faults
        self.raw: list[sqlite3.Connection] = []

    def wall(self) -> int:
        return BIRTH + self.scheduler.now + self.step

    def latest(self) -> int:
        """Give the latest time of day that anybody can have seen."""
        return BIRTH + self.scheduler.now + self.furthest

    def set_clock(self, step: int) -> None:
        if step < self.step:
            self.ledger.was_set_back()
        if step != self.step:
            self.stepped.append(self.scheduler.now)
            self.step = step
            self.furthest = max(self.furthest, step)

    @property
    def now(self) -> int:
        return self.scheduler.now

    @property
    def process(self) -> Process:
        """The process of whoever acts just now."""
        return self.scheduler.current.process  # type: ignore[return-value]

    def start(self, name: str, work: Callable[[Process], object]) -> Process:
        process = Process(self, name)
        self.processes.append(process)
        process.begin("main", lambda: work(process))
        return process

    def note(self, *events: object) -> None:
        self.ledger.note(*events)

    def is_dead(self, byte: int) -> bool:
        owner = self.owners.get(byte)
        return owner is None or not owner.alive

    def free_turn(self, connection: Connection) -> None:
        if self.writing is connection:
            self.writing = None
            self.turn.call_all()

    def close(self) -> None:
        for process in (*self.processes, self.director):
            if process is not self.director:
                process.kill()
        for connection in self.raw:
            connection.close()
