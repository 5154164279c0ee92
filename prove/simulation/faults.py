"""Faults: what goes wrong, drawn from the seed. Each seed enables a random subset of the kinds (a swarm).

Each kind draws from a stream of its own, so that switching one off leaves the others much as they were.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection
from random import Random
from typing import TYPE_CHECKING, Final

from workqueue.errors import StoreUnavailable
from workqueue.store.sqlite.connection import connect_bare

from prove.simulation.stand_ins import SECOND

if TYPE_CHECKING:
    from prove.simulation.disk import Connection
    from prove.simulation.host import Host, Process

KINDS: Final = (
    "death",  # a process is killed, at any statement or between
    "freeze",  # a process stands still, longer than its leases or shorter, perhaps with the write lock
    "clock",  # the time of day steps
    "beat",  # beats do not get through
    "commit",  # COMMIT fails with an I/O error, having committed or not
    "ioerror",  # a statement fails with an I/O error
    "away",  # for a while nobody can open or use the file
    "full",  # the disk is full for a while
    "wakeup",  # rings across processes are lost, or come twice
    "slow",  # a statement takes seconds
    "busy",  # another program holds the write lock
    "restart",  # a worker is stopped in order, and started again
    "poison",  # some handlers kill their process
    "long",  # some handlers run for longer than a lease
)
_AT_A_STATEMENT: Final = {"death", "freeze", "clock", "slow", "ioerror"}


def error(code: int, words: str) -> sqlite3.OperationalError:
    """Give SQLite's error with this primary result code."""
    found = sqlite3.OperationalError(words)
    found.sqlite_errorcode = code
    found.sqlite_errorname = words
    return found


class Faults:
    """See the module. enabled: the kinds that this seed has; counts: what was injected."""

    def __init__(self, host: Host, seed: str, *, lease: float, without: Collection[str]) -> None:
        self._host = host
        self._lease = lease
        draw = Random(f"{seed}:swarm")
        self.enabled = {kind for kind in KINDS if draw.random() < 0.4} - set(without)
        self.counts: Counter[str] = Counter()
        self.reserve_kept = True
        self.calm = False
        self._draws = {kind: Random(f"{seed}:{kind}") for kind in KINDS}
        self._time = host.rng
        self._away_until = self._full_until = self._beats_lost_until = 0
        self._commits: list[tuple[str, float]] = []  # what befalls the next ones, and how long the file is away then

    def has(self, kind: str) -> bool:
        return kind in self.enabled and not self.calm

    def draw(self, kind: str) -> Random:
        return self._draws[kind]

    def schedule(self, seconds: float) -> list[tuple[int, str]]:
        """Give the instants of this seed's faults within so many seconds from now, and their kinds."""
        now = self._host.now
        found: list[tuple[int, str]] = []
        for kind in KINDS:
            if kind in self.enabled and kind not in ("poison", "long", "wakeup"):
                draw = self._draws[kind]
                found += [(now + int(draw.random() * seconds * SECOND), kind) for _ in range(draw.randint(1, 4))]
        return sorted(found)

    def strike(self, kind: str, victim: Process | None) -> None:
        """Let one fault happen, now or soon."""
        host, draw = self._host, self._draws[kind]
        seconds = draw.choice([0.05, 0.5, self._lease * 0.5, self._lease * 0.95, self._lease * 1.2, self._lease * 3])
        match kind:
            case "clock" if victim is None or draw.random() < 0.3:
                self._step_clock()
            case "beat":
                self._beats_lost_until = host.now + int(min(seconds, self._lease * 1.2) * SECOND)
            case "commit":
                self._commits.append((draw.choice(["before", "after"]), draw.choice([0, 0, 0.2, 2])))
            case "away":
                self.counts[kind] += 1
                self._away_until = host.now + int(min(seconds, 10) * SECOND)
            case "full":
                self.counts[kind] += 1
                self._full_until = host.now + int(min(seconds, 10) * SECOND)
            case "busy":
                self.counts[kind] += 1
                host.start("stranger", lambda process: self._hold_lock(process, draw.choice([0.01, 1, 5, 35])))
            case _ if victim is not None and kind in _AT_A_STATEMENT:
                victim.armed.append((draw.choice([0, 1, 2, 3, 5, 8, 13, 21, 34]), kind))

    def _hold_lock(self, process: Process, seconds: float) -> None:
        try:
            connect_bare(self._host.path).execute("BEGIN IMMEDIATE")
            self._host.scheduler.sleep(int(seconds * SECOND))
        except sqlite3.Error:  # somebody else has it, or another fault
            pass
        process.kill()

    def calm_down(self) -> None:
        """Begin no more faults: who is frozen or slow yet, comes to itself in its time.

        The time of day is set to the furthest it ever was, so that what was put off comes.
        """
        self.calm = True
        self._away_until = self._full_until = self._beats_lost_until = 0
        self._commits.clear()
        self._host.set_clock(self._host.furthest)
        for process in self._host.processes:
            process.armed.clear()
            if process.name == "stranger":
                process.kill()

    # asked by the stand-ins

    def point(self, process: Process) -> None:
        """Before and after each statement: time passes, and what was armed befalls the process."""
        host = self._host
        if process.armed:
            armed, process.armed = process.armed, []
            process.armed = [(left - 1, kind) for left, kind in armed if left > 0]
            for left, kind in armed:
                if left == 0 and not self.calm:  # the one before may have taken until after the end of the faults
                    self._befall(process, kind)
        host.scheduler.sleep(1 + int(self._time.expovariate(0.01)))

    def _befall(self, process: Process, kind: str) -> None:
        draw = self._draws[kind]
        self.counts[kind] += kind != "clock"
        match kind:
            case "clock":
                self._step_clock()
            case "death":
                process.kill()
            case "freeze":
                process.freeze(self._lease * draw.choice([0.1, 0.7, 1.1, 1.5, 2.5]))
            case "slow":
                self._host.scheduler.sleep(int(draw.choice([0.1, 1, 6, self._lease]) * SECOND))
            case "ioerror":
                raise error(sqlite3.SQLITE_IOERR, "disk I/O error")

    def _step_clock(self) -> None:
        host, draw = self._host, self._draws["clock"]
        self.counts["clock"] += 1
        host.set_clock(host.step + draw.choice([-1, 1]) * int(draw.choice([1.5, self._lease * 1.5, 3600]) * SECOND))

    def opening(self, process: Process) -> None:
        del process
        if self._host.now < self._away_until:
            raise error(sqlite3.SQLITE_CANTOPEN, "unable to open database file")

    def statement(self, connection: Connection) -> None:
        del connection
        if self._host.now < self._away_until:
            raise error(sqlite3.SQLITE_IOERR, "disk I/O error")

    def commit(self, connection: Connection) -> tuple[sqlite3.Error | None, sqlite3.Error | None]:
        """Give the errors of this COMMIT: in place of it, and after it was done."""
        if connection.changes and self._commits:
            self.counts["commit"] += 1
            failed = error(sqlite3.SQLITE_IOERR, "disk I/O error")
            when, away = self._commits.pop()
            self._away_until = max(self._away_until, self._host.now + int(away * SECOND))
            return (failed, None) if when == "before" else (None, failed)
        if connection.changes and self._host.now < self._full_until and self.reserve_kept:
            return error(sqlite3.SQLITE_FULL, "database or disk is full"), None
        return None, None

    def disk_is_full(self) -> bool:
        return self._host.now < self._full_until

    def rings(self) -> int:
        """Say how often a ring across processes arrives."""
        if not self.has("wakeup"):
            return 1
        count = self._draws["wakeup"].choice([0, 0, 1, 1, 2])
        self.counts["wakeup"] += count != 1
        return count

    def beat(self) -> None:
        """Raise when this beat is to be lost."""
        if self._host.now < self._beats_lost_until:
            self.counts["beat"] += 1
            raise StoreUnavailable("expected to beat, but the simulation does not want it", path=self._host.path)
